"""Batches that are large enough for batch statistics to be compared.

A batch norm that sees two numbers per channel, as after pooling a batch of two, divides one rounding by the difference
of two numbers that may be nearly the same: what comes out in training says as much of rounding as of the network.
"""

from __future__ import annotations

import contextlib
from typing import Any

from einops_arch.translation.inputs import Arguments, resized

__all__ = ["ENOUGH", "PLENTY", "enough_for_statistics", "numbers_of_norms"]

ENOUGH = 8
"""Numbers per channel from which on a batch norm is compared at the batch that it was recorded with."""
PLENTY = 32
"""The same in a deep network, and where rounding was over a limit at that batch."""
_DEEP = 100
"""Batch norms from which on each magnifies what so many others have made of rounding."""
_LARGEST = 32
"""The largest batch that is tried: a comparison keeps what every module gives."""


def enough_for_statistics(model: Any, arguments: Arguments, enough: int | None = None) -> tuple[str, Arguments]:
    """Inputs for a comparison in train mode, and what to call their size; the same where they are enough.

    Args:
        model: of PyTorch, with any weights; it is not changed.
        arguments: at a size that was recorded.
        enough: numbers per channel; None for as many as a network of this depth should have.

    Returns:
        Such as `" with b=8"`, and the inputs; nothing and the same inputs where they are enough, or where the batch is
        fixed or would have to be larger than 32.
    """
    batch = arguments.letters.get("b")
    counts = numbers_of_norms(model, arguments) if batch else []
    if not batch or not counts:
        return "", arguments
    enough = enough or (ENOUGH if len(counts) < _DEEP else PLENTY)
    larger = batch * -(-enough // max(1, min(counts)))
    if not batch < larger <= _LARGEST:
        return "", arguments
    return f" with b={larger}", resized(arguments, {"b": larger})


def numbers_of_norms(model: Any, arguments: Arguments) -> list[int]:
    """How many numbers per channel each batch norm has in train mode."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from einops_arch.translation.calls import copy_of

    counts = []

    def count(module: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, _BatchNorm) and module.training and inputs and inputs[0].ndim > 1:
            counts.append(inputs[0].numel() // max(1, inputs[0].shape[1]))

    model = copy_of(model).train()
    for module in model.modules():
        module.register_forward_pre_hook(count)
    # What the model raises, such as of a single number per channel, the comparison itself says.
    with torch.no_grad(), contextlib.suppress(Exception):
        model(*arguments.args, **arguments.kwargs)
    return counts
