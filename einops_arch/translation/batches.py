"""Batches that are large enough for batch statistics to be compared.

A batch norm that sees two numbers per channel, as after pooling a batch of two, divides one rounding by the difference
of two numbers that may be nearly the same: what comes out in training says as much of rounding as of the network.
"""

from __future__ import annotations

import contextlib
from typing import Any

from einops_arch.translation.inputs import Arguments, resized

__all__ = ["ENOUGH", "PLENTY", "enough_for_statistics", "fewest_batch_values"]

ENOUGH = 8
"""Numbers per channel from which on a batch norm is compared at the batch that it was recorded with."""
PLENTY = 32
"""The same where rounding was over a limit at that batch, as it may be in a deep network."""
_LARGEST = 32
"""The largest batch that is tried: a comparison keeps what every module gives."""


def enough_for_statistics(model: Any, arguments: Arguments, enough: int = ENOUGH) -> tuple[str, Arguments]:
    """Inputs for a comparison in train mode, and what to call their size; the same where they are enough.

    Args:
        model: of PyTorch, with any weights; it is not changed.
        arguments: at a size that was recorded.
        enough: numbers per channel.

    Returns:
        Such as `" with b=8"`, and the inputs; nothing and the same inputs where they are enough, or where the batch is
        fixed or would have to be larger than 32.
    """
    batch = arguments.letters.get("b")
    fewest = fewest_batch_values(model, arguments, enough) if batch else enough
    if not batch or not 0 < fewest < enough:
        return "", arguments
    larger = batch * -(-enough // fewest)
    return (f" with b={larger}", resized(arguments, {"b": larger})) if larger <= _LARGEST else ("", arguments)


def fewest_batch_values(model: Any, arguments: Arguments, enough: int = ENOUGH) -> int:
    """How many numbers per channel the batch norm that sees fewest has in train mode; enough where there is none."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from einops_arch.translation.calls import copy_of

    counts = [enough]

    def count(module: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, _BatchNorm) and module.training and inputs and inputs[0].ndim > 1:
            counts.append(inputs[0].numel() // max(1, inputs[0].shape[1]))

    model = copy_of(model).train()
    for module in model.modules():
        module.register_forward_pre_hook(count)
    # What the model raises, such as of a single number per channel, the comparison itself says.
    with torch.no_grad(), contextlib.suppress(Exception):
        model(*arguments.args, **arguments.kwargs)
    return min(counts)
