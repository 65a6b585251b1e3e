"""Operations on tensors of several floating-point types, computed in the widest as jax does."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from einops_arch.discovery.tracing.program import map_tree
from einops_arch.discovery.tracing.torch_trees import leaves_in

__all__ = ["promoting"]


class promoting(TorchFunctionMode):  # type: ignore[misc,unused-ignore]  # noqa: N801 a context, as a function is named
    """A context in which an operation that PyTorch refuses for mixed dtypes is done in the widest of them.

    A model that casts to `torch.float32` by name runs in float64 then, up to these casts. An operation in place gives
    the dtype of what it writes into.

    >>> with promoting():
    ...     torch.nn.functional.linear(torch.ones(2, 3), torch.ones(5, 3, dtype=torch.float64)).dtype
    torch.float64
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            name = getattr(func, "__name__", "")
            in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
            tensors = [leaf for leaf in leaves_in((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            dtypes = [tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]
            if len(set(dtypes)) < 2:
                raise
            widest = dtypes[0]
            for dtype in () if in_place else dtypes:
                widest = torch.promote_types(widest, dtype)
            args, kwargs = map_tree((tuple(args), dict(kwargs)), lambda leaf: _cast(leaf, widest))
            return func(*args, **kwargs)


def _cast(leaf: Any, dtype: torch.dtype) -> Any:
    """A tensor of numbers with a fraction in that dtype, or in its complex or real counterpart; all else as it is."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    if leaf.is_complex():
        return leaf.to(dtype.to_complex())
    return leaf.to(dtype.to_real()) if leaf.is_floating_point() else leaf
