"""Whether the values of a tensor may be looked at."""

from __future__ import annotations

import torch
from torch import Tensor, overrides

__all__ = ["is_concrete"]


def is_concrete(x: Tensor) -> bool:
    """Whether a check may read values: on the CPU, outside of `torch.compile`, tracing, recorders and `vmap`.

    On an accelerator, reading a value would wait for all work before it. There an index out of range is left to
    the device, whose assertion reports it.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    # A recorder that writes down what is done with a tensor has no use for what is only checked.
    if any(getattr(mode, "only_records", False) for mode in overrides._get_current_function_mode_stack()):  # noqa: SLF001
        return False
    # A subclass, such as the fake tensors of an export, need not have values.
    if type(x) is not Tensor or x.device.type != "cpu":
        return False
    # What vmap hands in is no subclass, and torch has no public question for it.
    return not torch._C._functorch.is_batchedtensor(x)  # noqa: SLF001
