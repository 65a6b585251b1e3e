"""Whether the calls of `contiguous()` in PyTorch code are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["copies"]


class _WithoutCopies(TorchFunctionMode):
    """Makes `contiguous()` give back its tensor as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.copying = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.contiguous and not kwargs and len(args) == 1:
            self.calls += 1
            self.copying += not args[0].is_contiguous()
            return args[0]
        return func(*args, **(kwargs or {}))


def copies(run: Callable[[], Any]) -> Iterator[str]:
    """One sentence about the calls of `contiguous()`, none if there are no calls.

    Args:
        run: runs the old code once.
    """
    with _WithoutCopies() as watched:
        try:
            run()
            runs = True
        except RuntimeError:
            # A view of a tensor that is not contiguous; or of the runner, which needs numpy's own order.
            runs = False
    if not watched.calls:
        return
    if not runs:
        yield "contiguous() is needed before the view; rearrange copies only where it has to"
    elif watched.copying:
        yield "contiguous() copies, and the code runs without it"
    else:
        yield "contiguous() does nothing here: the tensor is contiguous already"
