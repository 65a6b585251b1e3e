"""Parameters and buffers as the constructor makes them, and tensors that a model holds without saving them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["constant_code", "variable_code"]

_SMALL = 64


def variable_code(tensor: Any, *, trained: bool) -> str:
    """A parameter or buffer in PyTorch's layout, which starts out like the original's as far as that can be seen."""
    array = tensor.detach().cpu()
    shape = tuple(array.shape)
    dtype = str(array.dtype).removeprefix("torch.")
    integer = not array.dtype.is_floating_point
    name = {"int64": "int", "bool": "bool"}.get(dtype, f"jnp.{dtype}")
    suffix = "" if dtype == "float32" else f", {name}"
    if array.numel() and bool((array == 1).all()):
        made = f"jnp.ones({shape}{suffix})"
    elif not trained or integer or not array.numel() or bool((array == 0).all()):
        made = f"jnp.zeros({shape}{suffix})"
    elif bool((array == array.reshape(-1)[0]).all()):
        made = f"jnp.full({shape}, {float(array.reshape(-1)[0])!r}{suffix})"
    else:
        made = f"{float(f'{float(array.double().std(correction=0)):.1g}')!r} * rngs.params.normal({shape}{suffix})"
    if trained:
        return f"nnx.Param({made})"
    return f'nnx.Variable({made}, torch_dtype="{dtype}")' if dtype == "int64" else f"nnx.Variable({made})"


def constant_code(tensor: Any, name: str, dtype: str | None) -> tuple[str, Any]:
    """A tensor that is not saved, as code: a known form, a short list, or an entry of the file beside.

    Returns:
        The code, and the array that belongs into the file beside, if so.
    """
    array = tensor.detach().cpu().numpy()
    kind = dtype or _dtype_name(array)
    if array.size and (array == array.reshape(-1)[0]).all():
        return f"jnp.full({array.shape}, {array.reshape(-1)[0].item()!r}, {kind})", None
    if array.size > 2 and array.size == array.shape[-1] and array.dtype != bool:
        row = array.reshape(-1)
        units = f"[{', '.join(['None'] * (array.ndim - 1))}]" if array.ndim > 1 else ""
        if np.array_equal(row, np.arange(row.size, dtype=row.dtype)):
            return f"jnp.arange({row.size}, dtype={kind}){units}", None
    if array.ndim >= 2 and array.shape[-1] == array.shape[-2]:
        triangle = np.broadcast_to(np.tril(np.ones(array.shape[-2:], array.dtype)), array.shape)
        if np.array_equal(array, triangle):
            return f"jnp.tril(jnp.ones({array.shape}, {kind}))", None
    if array.size <= _SMALL and np.isfinite(array.astype(np.float64)).all():
        return f"jnp.asarray({array.tolist()}, {kind})", None
    return f'jnp.asarray(_CONSTANTS["{name}"], {kind})', array


def _dtype_name(array: Any) -> str:
    name = str(array.dtype)
    return {"int64": "int", "bool": "bool"}.get(name, f"jnp.{name}")
