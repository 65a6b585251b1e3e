"""Arrays across the border: numpy is the common ground, and bits are moved, never computed with.

Types that numpy does not have, such as bfloat16, are those of ml_dtypes, which both extras bring.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np

from einops_arch.errors import MissingFrameworkError, PortError

__all__ = ["Bits", "digest", "dtype_kind", "no_values", "same_bits", "to_numpy", "to_tensor"]

Bits = np.ndarray[Any, Any]
"""An array of unsigned integers (or of a complex dtype), whose bits are those of the tensor."""


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """The array with the same bits: from a torch tensor on any device, a jax array, or anything that numpy takes.

    Raises:
        PortError: a parameter of a lazy module, which has no shape yet, or a tensor that is no plain array.
        MissingFrameworkError: a bfloat16 or float8 tensor, and ml_dtypes is not installed.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return np.asarray(value)
    if reason := no_values(value):
        raise PortError(reason)
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    name = str(tensor.dtype).removeprefix("torch.")
    try:
        return np.asarray(tensor.numpy())
    except TypeError:
        dtype = _ml_dtype(name)
    carrier = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
    return np.asarray(tensor.contiguous().view(carrier).numpy().view(dtype))


def no_values(value: Any) -> str:
    """Why a tensor of PyTorch cannot be carried, such as that of a lazy module or a sparse one; empty for all others.

    >>> no_values(np.ones(2))
    ''
    """
    kind = type(value).__name__
    if kind in ("UninitializedParameter", "UninitializedBuffer"):
        return (
            f"expected a tensor with values, received {kind} of a lazy module; likely fix: call the PyTorch model "
            "once, so that it knows its widths"
        )
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return ""
    what, fix = _unlike_an_array(torch, value)
    return f"expected a plain tensor, received {what}; likely fix: {fix}" if what else ""


def _unlike_an_array(torch: Any, tensor: Any) -> tuple[str, str]:
    """What a tensor is whose numbers do not lie one after the other, and how it becomes one that has them so."""
    if hasattr(tensor, "full_tensor"):
        return f"a {type(tensor).__name__} on a mesh", ".full_tensor(), or einops_arch.checkpoints.load"
    if tensor.is_nested:
        return "a nested tensor", "its parts by .unbind()"
    if tensor.is_quantized:
        return "a quantized tensor", ".dequantize()"
    if tensor.is_meta:
        return "a tensor on the meta device, which has no values", "load its weights first"
    if tensor.layout != torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        return f"a tensor of layout {layout}", ".to_dense()"
    return "", ""


def to_tensor(array: np.ndarray[Any, Any], device: Any = None) -> Any:
    """A tensor with the same bits, in memory of its own."""
    import torch

    own = np.array(array, order="C", copy=True)
    if own.dtype.kind == "V" or own.dtype.isbuiltin != 1:
        carrier = {1: np.uint8, 2: np.int16}[own.dtype.itemsize]
        return torch.from_numpy(own.view(carrier)).view(getattr(torch, own.dtype.name)).to(device)
    return torch.from_numpy(own).to(device)


def dtype_kind(dtype: Any) -> str:
    """The kind of number, by which a state and a model must agree.

    >>> dtype_kind(np.dtype("int64"))
    'integer'
    """
    dtype = np.dtype(dtype)
    kinds = {"b": "boolean", "i": "integer", "u": "integer", "f": "floating-point", "c": "complex"}
    # The float types of ml_dtypes are of kind V in some versions and f in others.
    return kinds.get(dtype.kind, "floating-point" if "float" in dtype.name else dtype.name)


def same_bits(array: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Equal in dtype, shape and every bit: NaN payloads and the sign of zero count."""
    if array.dtype != other.dtype or array.shape != other.shape:
        return False
    return np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(other).tobytes()


def digest(tensor: Any) -> str:
    """A word of PyTorch's tensor that is another where any bit is, without a copy of the tensor being kept.

    A tensor whose bits cannot be had, such as a sparse one, has an empty word.
    """
    import torch

    if tensor.is_sparse or tensor.is_quantized or tensor.is_meta:
        return ""
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha1(plain, usedforsecurity=False).hexdigest()


def _ml_dtype(name: str) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise MissingFrameworkError(
            f'numpy has no {name}; install ml_dtypes, which has: pip install "einops-arch[torch]"'
        ) from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
