"""Parameters and buffers as the constructor makes them, and tensors that a model holds without saving them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

__all__ = ["WINDOWS", "constant_code", "variable_code", "window_code"]

_SMALL = 64
_SHORT = 16


def variable_code(tensor: Any, *, trained: bool) -> str:
    """A parameter or buffer in PyTorch's layout, which starts out like the original's as far as that can be seen."""
    array = tensor.detach().cpu()
    shape = tuple(array.shape)
    dtype = str(array.dtype).removeprefix("torch.")
    name = {"int64": "int", "bool": "bool"}.get(dtype, f"jnp.{dtype}")
    suffix = "" if dtype == "float32" else f", {name}"
    if not trained:
        made = _buffer(array, shape, name, suffix)
        return f'nnx.Variable({made}, torch_dtype="{dtype}")' if dtype == "int64" else f"nnx.Variable({made})"
    return f"nnx.Param({_filled(array, shape, suffix) or _drawn(array, shape, suffix)})"


def _filled(array: Any, shape: tuple[int, ...], suffix: str) -> str | None:
    """One number everywhere."""
    if not array.numel() or bool((array == 0).all()):
        return f"jnp.zeros({shape}{suffix})"
    if bool((array == 1).all()):
        return f"jnp.ones({shape}{suffix})"
    if bool((array == array.reshape(-1)[0]).all()):
        return f"jnp.full({shape}, {_number(array.reshape(-1)[0].item())}{suffix})"
    return None


def _number(value: Any) -> str:
    """A number as code: infinities have a name in jax, and none in Python."""
    return repr(value).replace("inf", "jnp.inf") if isinstance(value, float) else repr(value)


def _drawn(array: Any, shape: tuple[int, ...], suffix: str) -> str:
    return f"{float(f'{float(array.double().std(correction=0)):.1g}')!r} * rngs.params.normal({shape}{suffix})"


def _buffer(array: Any, shape: tuple[int, ...], name: str, suffix: str) -> str:
    """What the original's constructor computed: a known form, a short list, or numbers that show that none came yet."""
    if (filled := _filled(array, shape, suffix)) is not None:
        return filled
    if array.is_complex() or not str(array.dtype).startswith(
        ("torch.float3", "torch.float6", "torch.int", "torch.bool")
    ):
        return f"jnp.zeros({shape}{suffix})"
    values = array.numpy()
    if (form := _known_form(values, name) or _frequencies(values) or _sinusoids(values)) is not None:
        return form
    if values.size <= _SHORT and np.isfinite(values).all():
        return f"jnp.asarray({values.tolist()}, {name})"
    # A twin that is used before its weights are there must not look as if it worked; `stored` has integers beside.
    return f"jnp.full({shape}, jnp.nan{suffix})" if array.dtype.is_floating_point else f"jnp.zeros({shape}{suffix})"


def _frequencies(values: Any) -> str | None:
    """The rates of rotary and sinusoidal positions: powers of one base, that fall evenly from 1."""
    size = values.size
    if values.ndim != 1 or size < 3 or values.dtype != np.float32 or values[0] != 1 or not 0 < values[1] < 1:
        return None
    base = float(f"{float(values[1]) ** -size:.6g}")
    if np.allclose(values, base ** (-np.arange(size) / size), rtol=2e-6, atol=0):
        return f"{base!r} ** (-jnp.arange({size}, dtype=jnp.float32) / {size})"
    return None


def _sinusoids(values: Any) -> str | None:
    """The table of positions of "Attention is all you need": sines and cosines in turn, or the one after the other."""
    if values.dtype != np.float32 or values.ndim < 2 or values.size != values.shape[-1] * values.shape[-2]:
        return None
    length, width = values.shape[-2:]
    if width % 2 or length < 3 or width < 4:
        return None
    table = values.reshape(length, width)
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    parts = [np.sin(angles), np.cos(angles)]
    # Rates in float32 are a little off, and angles grow with the position.
    limit = 1e-5 + 1e-6 * length
    units = f"[{', '.join(['None'] * (values.ndim - 2))}]" if values.ndim > 2 else ""
    if np.allclose(table, np.stack(parts, axis=-1).reshape(length, width), rtol=0, atol=limit):
        return f"functional.sinusoidal_positions({length}, {width}){units}"
    if np.allclose(table, np.concatenate(parts, axis=-1), rtol=0, atol=limit):
        return f"functional.sinusoidal_positions({length}, {width}, interleaved=False){units}"
    return None


def constant_code(tensor: Any, name: str, dtype: str | None) -> tuple[str, Any]:
    """A tensor that is not saved, as code: a known form, a short list, or an entry of the file beside.

    Returns:
        The code, and the array that belongs into the file beside, if so.
    """
    array = tensor.detach().cpu().numpy()
    kind = dtype or _dtype_name(array)
    if array.size and (array == array.reshape(-1)[0]).all():
        return f"jnp.full({array.shape}, {_number(array.reshape(-1)[0].item())}, {kind})", None
    if (form := _known_form(array, kind)) is not None:
        return form, None
    if array.size <= _SMALL and np.isfinite(array.astype(np.float64)).all():
        return f"jnp.asarray({array.tolist()}, {kind})", None
    return f'jnp.asarray(_CONSTANTS["{name}"], {kind})', array


def _known_form(array: Any, kind: str) -> str | None:
    """Positions in a row, a window, or a triangle of ones."""
    if array.size > 2 and array.size == array.shape[-1] and array.dtype != bool:
        row = array.reshape(-1)
        units = f"[{', '.join(['None'] * (array.ndim - 1))}]" if array.ndim > 1 else ""
        if np.array_equal(row, np.arange(row.size, dtype=row.dtype)):
            return f"jnp.arange({row.size}, dtype={kind}){units}"
    if array.ndim == 1 and array.dtype == np.float32 and array.size > _SHORT // 2:
        return _window(array, kind)
    if array.ndim >= 2 and array.shape[-1] == array.shape[-2]:
        triangle = np.broadcast_to(np.tril(np.ones(array.shape[-2:], array.dtype)), array.shape)
        if np.array_equal(array, triangle):
            return f"jnp.tril(jnp.ones({array.shape}, {kind}))"
    return None


WINDOWS = ("bartlett", "blackman", "hamming", "hann")


def _window(array: Any, kind: str) -> str | None:
    """A window of short Fourier transforms."""
    import torch

    for name, periodic in itertools.product(WINDOWS, (True, False)):
        if np.array_equal(getattr(torch, f"{name}_window")(array.size, periodic=periodic).numpy(), array):
            return window_code(name, str(array.size), kind, periodic=periodic)
    return None


def window_code(name: str, length: str, dtype: str, *, periodic: bool) -> str:
    """The call that makes a window."""
    settings = ("" if periodic else ", periodic=False") + ("" if dtype == "jnp.float32" else f", dtype={dtype}")
    return f'functional.window("{name}", {length}{settings})'


def _dtype_name(array: Any) -> str:
    name = str(array.dtype)
    return {"int64": "int", "bool": "bool"}.get(name, f"jnp.{name}")
