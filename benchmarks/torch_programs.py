"""What PyTorch is asked to do, as text: two calls of equal texts differ in what Python does on the way alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = ["operations"]


def operations(call: Callable[[], object]) -> str:
    """The operations of an eager call, of its gradients too, in order: name, and each tensor's shape and strides.

    Views are left out: they move nothing, and what reads them tells how they lie.

    Args:
        call: a function without arguments.
    """
    with _Recorder() as recorder:
        call()
    return "\n".join(recorder.lines)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if not func.is_view:
            self.lines.append(f"{func} {tree_map(_text, (args, kwargs or {}))}")
        return func(*args, **(kwargs or {}))


def _text(value: Any) -> Any:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {value.stride()} {value.device}"
    return str(value) if isinstance(value, torch.Generator) else value
