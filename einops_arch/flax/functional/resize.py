"""Resizing with PyTorch's meaning of every mode and scale, channels last.

Resizing is linear and acts on one axis at a time, so it is a weight for each pair of positions, which depends on sizes
only. Where few positions have a weight they are gathered; where many have, it is one product of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from einops_arch._settings import check_choice
from einops_arch.errors import ConfigError, DtypeError, ShapeError
from einops_arch.flax._checks import per_axis
from einops_arch.flax.functional._dtypes import widened
from einops_arch.flax.functional.pool import adaptive_avg_pool

__all__ = ["MODES", "check_resize", "interpolate", "nearest_positions"]

MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")
_AXES_OF = {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}
_ALIGNED = ("linear", "bilinear", "bicubic", "trilinear")
_ANTIALIASED = ("bilinear", "bicubic")

Scale: TypeAlias = float | Sequence[float]


class _Taps(NamedTuple):
    """For each output along an axis, the positions that it is made of and their weights: both `o taps`."""

    positions: np.ndarray
    weights: np.ndarray


def interpolate(
    x: jax.Array,
    size: int | Sequence[int] | None = None,
    scale_factor: Scale | None = None,
    mode: str = "nearest",
    *,
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> jax.Array:
    """`b *s c -> b *o c`: an image in another size: `torch.nn.functional.interpolate`.

    Differs from `jax.image.resize`: its `"nearest"` is PyTorch's `"nearest-exact"`, its `"cubic"` has another kernel,
    it smooths when it makes an image smaller unless told otherwise, and it has neither `align_corners` nor a scale.
    Where `"nearest"` keeps the size of an axis under a factor that is not 1, PyTorch's gradient is not that of its own
    result; here it is.

    Args:
        x: channels last, with a batch axis and 1, 2 or 3 spatial axes.
        size: the size of each spatial axis, or one for all; instead of scale_factor.
        scale_factor: how many times as large each axis becomes, or one for all; the size is rounded down. As in
            PyTorch positions are counted by this factor, and not by the sizes, which is not the same where the factor
            times the size is not whole.
        mode: `"nearest"`, `"nearest-exact"`, `"linear"` (1D), `"bilinear"`, `"bicubic"` (2D), `"trilinear"` (3D) or
            `"area"`.
        align_corners: whether the centers of the corner pixels stay where they are, instead of their outer corners;
            for linear to trilinear.
        recompute_scale_factor: whether positions are counted by the sizes where scale_factor was given.
        antialias: whether bilinear and bicubic smooth an image that becomes smaller, as Pillow does.

    Raises:
        ConfigError: settings that do not go together, or a mode that is not there for so many axes.
        ShapeError: another rank, or nothing along an axis.
        DtypeError: x has integers, and mode needs to compute with them.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html

    >>> x = jnp.arange(3.0).reshape(1, 3, 1)
    >>> interpolate(x, 5, mode="linear", align_corners=True).ravel().tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    >>> interpolate(x, scale_factor=2).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    """
    check_resize("interpolate", size, scale_factor, mode, align_corners, recompute_scale_factor, antialias=antialias)
    axes = x.ndim - 2
    if axes not in (1, 2, 3):
        raise ShapeError(
            f"interpolate: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received {x.ndim} axes "
            f"in shape {x.shape}"
        )
    if axes not in _AXES_OF.get(mode, (1, 2, 3)):
        fits = next(name for name in ("linear", "bilinear", "trilinear") if axes in _AXES_OF[name])
        raise ConfigError(
            f"interpolate: mode {mode!r} is for {_AXES_OF[mode][0]} spatial axes, received {axes} in shape {x.shape}; "
            f"likely fix: mode={fits!r}"
        )
    if antialias and axes != 2:
        raise ConfigError(f"interpolate: antialias is for 2 spatial axes, received {axes} in shape {x.shape}")
    inputs = x.shape[1:-1]
    outputs, factors = _sizes(inputs, size, scale_factor, recompute=recompute_scale_factor)
    if 0 in inputs or min(outputs) < 1:
        raise ShapeError(f"interpolate: expected sizes of at least 1, received {outputs} from shape {x.shape}")
    if mode == "area":
        return adaptive_avg_pool(x, outputs)
    nearest = mode.startswith("nearest")
    if not nearest and not jnp.issubdtype(x.dtype, jnp.inexact):
        raise DtypeError(
            f"interpolate: expected floating-point values for mode {mode!r}, received {x.dtype} in shape {x.shape}"
        )
    y = x if nearest else widened(x)
    # PyTorch finds positions in the dtype that it computes in; rounded down, those of float32 may be other ones.
    work = np.dtype(np.float64 if x.dtype == jnp.float64 else np.float32)
    same = inputs == outputs
    for axis, (i, o, factor) in enumerate(zip(inputs, outputs, factors, strict=True), 1):
        if nearest:
            y = _nearest(y, axis, o, factor, work, exact=mode == "nearest-exact")
        elif not (same and factor is None and not antialias):
            taps = _taps(mode, i, o, factor, align_corners=bool(align_corners), antialias=antialias)
            y = _weighted(y, axis, taps)
    return y.astype(x.dtype)


def check_resize(
    name: str,
    size: object,
    scale_factor: object,
    mode: str,
    align_corners: bool | None,
    recompute_scale_factor: bool | None,
    *,
    antialias: bool,
) -> None:
    """Refuse settings that PyTorch refuses, before there is an image."""
    if (size is None) == (scale_factor is None):
        raise ConfigError(
            f"{name}: expected either size or scale_factor, received size={size!r}, scale_factor={scale_factor!r}"
        )
    check_choice(name, "mode", mode, MODES)
    if align_corners is not None and mode not in _ALIGNED:
        raise ConfigError(f"{name}: align_corners is for {', '.join(_ALIGNED)}, received {align_corners} with {mode!r}")
    if antialias and mode not in _ANTIALIASED:
        raise ConfigError(f"{name}: antialias is for {', '.join(_ANTIALIASED)}, received it with {mode!r}")
    if recompute_scale_factor and size is not None:
        raise ConfigError(f"{name}: recompute_scale_factor needs scale_factor, received size={size!r}")


def _sizes(
    inputs: tuple[int, ...], size: int | Sequence[int] | None, scale_factor: Scale | None, *, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The size of each axis, and the factor that positions are counted by, where it is not that of the sizes."""
    axes = len(inputs)
    if size is not None:
        return per_axis("interpolate", "size", size, axes, 1), (None,) * axes
    factors: tuple[Any, ...] = (
        tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * axes
    )
    if len(factors) != axes or not all(isinstance(f, (int, float)) and f > 0 for f in factors):
        raise ConfigError(
            f"interpolate: expected scale_factor above 0, or one for each of the {axes} spatial axes, "
            f"received {scale_factor!r}"
        )
    outputs = tuple(math.floor(float(i) * f) for i, f in zip(inputs, factors, strict=True))
    return outputs, (None,) * axes if recompute else tuple(float(f) for f in factors)


def _nearest(x: jax.Array, axis: int, outputs: int, factor: float | None, work: np.dtype, *, exact: bool) -> jax.Array:
    size = x.shape[axis]
    if factor is None and size == outputs:
        return x
    if outputs % size == 0 and factor in (None, outputs // size):
        return jnp.repeat(x, outputs // size, axis)  # its gradient is a sum, and no scatter
    return jnp.take(x, jnp.asarray(nearest_positions(size, outputs, factor, work, exact=exact)), axis=axis)


def nearest_positions(size: int, outputs: int, factor: float | None, work: np.dtype, *, exact: bool) -> np.ndarray:
    """The position that each output of a nearest resizing takes, found in the dtype that PyTorch finds it in."""
    step = work.type(1.0 / factor) if factor is not None else work.type(size) / work.type(outputs)
    at = np.arange(outputs).astype(work) * step
    if exact:
        half = work.type(0.5)
        at = np.maximum((np.arange(outputs).astype(work) + half) * step - half, 0) + half
    # Whatever it was computed in, PyTorch rounds down in float32.
    positions = np.floor(at.astype(np.float32)).astype(np.int64)
    return np.minimum(positions, size - 1)


def _taps(mode: str, i: int, o: int, factor: float | None, *, align_corners: bool, antialias: bool) -> _Taps:
    step = 1.0 / factor if factor is not None else i / o
    if align_corners:
        step = (i - 1) / (o - 1) if o > 1 else 0.0
    numbers = np.arange(o, dtype=np.float64)
    if antialias:
        return _smoothed(mode, i, step, numbers)
    at = numbers * step if align_corners else (numbers + 0.5) * step - 0.5
    if mode == "bicubic":
        low = np.floor(at)
        offsets = np.arange(-1, 3)
        weights = _cubic(np.abs((at - low)[:, None] - offsets), -0.75)
        return _Taps(np.clip(low[:, None] + offsets, 0, i - 1).astype(np.int64), weights)
    at = numbers if i == o else np.maximum(at, 0.0)
    low = np.minimum(np.floor(at), i - 1)
    part = np.clip(at - low, 0.0, 1.0)
    return _Taps(np.stack([low, np.minimum(low + 1, i - 1)], 1).astype(np.int64), np.stack([1 - part, part], 1))


def _smoothed(mode: str, i: int, step: float, numbers: np.ndarray) -> _Taps:
    """Pillow's: the kernel is as much wider as the image becomes smaller, and its weights add up to 1."""
    kernel: Callable[[np.ndarray], np.ndarray]
    half, kernel = (1.0, lambda d: np.maximum(1 - d, 0)) if mode == "bilinear" else (2.0, lambda d: _cubic(d, -0.5))
    support, inverse = (half * step, 1.0 / step) if step >= 1 else (half, 1.0)
    center = step * (numbers + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    last = np.minimum((center + support + 0.5).astype(np.int64), i)
    taps = np.arange(max(int((last - first).max()), 1))
    positions = first[:, None] + taps
    distance = np.abs((positions - center[:, None] + 0.5) * inverse)
    weights = np.where(positions < last[:, None], kernel(distance), 0.0)
    total = weights.sum(1, keepdims=True)
    return _Taps(np.minimum(positions, i - 1), weights / np.where(total == 0, 1.0, total))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel; PyTorch takes a = -0.75, and with antialias -0.5."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _weighted(x: jax.Array, axis: int, taps: _Taps) -> jax.Array:
    """`... i ... -> ... o ...` as one product of matrices."""
    outputs, size = len(taps.positions), x.shape[axis]
    matrix = np.zeros((outputs, size))
    np.add.at(matrix, (np.arange(outputs)[:, None], taps.positions), taps.weights)
    y = jnp.tensordot(jnp.asarray(matrix, x.dtype), x, axes=(1, axis), precision="highest")
    return jnp.moveaxis(y, 0, axis)
