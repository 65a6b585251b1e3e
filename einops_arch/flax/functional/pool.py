"""Pooling over space with PyTorch's settings, channels last: `b *s c -> b *s c` for 1 to 3 spatial axes.

Maxima are taken one axis after the other: that is what a maximum over a window is, takes k + k values in the place of
k * k, and finds the position that PyTorch names, the first of several in the order of the axes, a NaN before all.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from einops_arch.errors import ConfigError, IndexRangeError, ShapeError
from einops_arch.flax._checks import per_axis
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax.functional._dtypes import check_floating, widened
from einops_arch.flax.functional._select import Stretches, adaptive_stretches, largest, stretches_of
from einops_arch.flax.functional._windows import PerAxis, Window, Windows, spatial_axes

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "lp_pool", "max_pool", "max_unpool"]

Sizes = int | None | Sequence[int | None]


@overload
def max_pool(
    x: jax.Array,
    window: PerAxis | Windows,
    strides: PerAxis | None = ...,
    padding: PerAxis = ...,
    dilation: PerAxis = ...,
    *,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> jax.Array: ...
@overload
def max_pool(
    x: jax.Array,
    window: PerAxis | Windows,
    strides: PerAxis | None = ...,
    padding: PerAxis = ...,
    dilation: PerAxis = ...,
    *,
    ceil_mode: bool = ...,
    return_indices: bool,
) -> jax.Array | tuple[jax.Array, jax.Array]: ...
def max_pool(
    x: jax.Array,
    window: PerAxis | Windows,
    strides: PerAxis | None = None,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """`b *s c -> b *o c`: the largest value of each window: `torch.nn.functional.max_pool1d`, `2d` and `3d`.

    Differs from `nnx.max_pool` in its defaults, in `dilation`, `ceil_mode` and `return_indices`, and in the gradient
    of a window with a NaN, which goes to the NaN.

    Args:
        x: channels last; the batch axis may be left out where a setting has one number per axis.
        window: one size for each spatial axis, or one integer for all of them.
        strides: likewise; None is the window.
        padding: likewise; at most half the window. The padding never is the largest.
        dilation: likewise; the distance between two values of a window.
        ceil_mode: whether a last window may reach beyond the padding.
        return_indices: whether to give the positions too, counted over the spatial axes of x as PyTorch counts them.

    Returns:
        The maxima; with return_indices also their positions. Dilation can make windows at the border that hold no
        value: their maximum is -inf, and their position -1, where PyTorch gives one outside of x.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: another rank, or an image smaller than the window.

    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> y, at = max_pool(x, 3, 2, ceil_mode=True, return_indices=True)
    >>> y[0, ..., 0].tolist(), at[0, ..., 0].tolist()
    ([[10.0, 11.0], [14.0, 15.0]], [[10, 11], [14, 15]])
    """
    if not isinstance(window, Windows):
        window = Windows("max_pool", window, strides, padding, dilation, ceil_mode=ceil_mode)
    bound = window.bind(x.shape)
    return _largest(x, [stretches_of(window) for window in bound], return_indices=return_indices)


def avg_pool(
    x: jax.Array,
    window: PerAxis | Windows,
    strides: PerAxis | None = None,
    padding: PerAxis = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """`b *s c -> b *o c`: the mean of each window: `torch.nn.functional.avg_pool1d`, `2d` and `3d`.

    Differs from `nnx.avg_pool` in its defaults and in `ceil_mode` and `divisor_override`. What a window has beyond
    the padding, which `ceil_mode` allows, never counts.

    Args:
        x: floating point, channels last; the batch axis may be left out where a setting has one number per axis.
        window: one size for each spatial axis, or one integer for all of them.
        strides: likewise; None is the window.
        padding: likewise; at most half the window.
        ceil_mode: whether a last window may reach beyond the padding.
        count_include_pad: whether the zeros of the padding count in the mean.
        divisor_override: what each sum is divided by, instead of the number of its values.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: another rank, or an image smaller than the window (3D: before padding).
        DtypeError: x has integers.

    >>> avg_pool(jnp.arange(3.0).reshape(1, 3, 1), 2, ceil_mode=True).ravel().tolist()
    [0.5, 2.0]
    """
    if not isinstance(window, Windows):
        window = Windows("avg_pool", window, strides, padding, ceil_mode=ceil_mode)
    check_divisor(window.layer, divisor_override)
    axes = spatial_axes(window.layer, x.shape, window.axes)
    bound = window.bind(x.shape, within=axes == 3)
    check_floating(window.layer, x)
    wide = widened(x)
    total = _sums(wide, bound)
    if divisor_override is not None:
        return (total / divisor_override).astype(x.dtype)
    counts = [window.counts(with_padding=count_include_pad) for window in bound]
    if all((count == count[:1]).all() for count in counts):
        divisor = math.prod(int(count[0]) for count in counts if count.size)
        return (total / max(divisor, 1)).astype(x.dtype)
    # A window with nothing on the image is zero, and no zero by zero.
    divisors = np.maximum(functools.reduce(np.multiply.outer, counts), 1)
    return (total / jnp.asarray(divisors[..., None], wide.dtype)).astype(x.dtype)


def lp_pool(
    x: jax.Array,
    norm_type: float,
    window: PerAxis | Windows,
    strides: PerAxis | None = None,
    *,
    ceil_mode: bool = False,
) -> jax.Array:
    """`b *s c -> b *o c`: the p-norm of each window: `torch.nn.functional.lp_pool1d`, `2d` and `3d`.

    As in PyTorch, powers are taken of x itself, so that an odd norm of negative values is zero.

    Args:
        x: floating point, channels last.
        norm_type: p.
        window: one size for each spatial axis, or one integer for all of them.
        strides: likewise; None is the window.
        ceil_mode: whether a last window may reach beyond the image; such a sum counts as if it were a whole one.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: another rank, or an image smaller than the window.
        DtypeError: x has integers.

    >>> lp_pool(jnp.asarray([3.0, 4.0]).reshape(1, 2, 1), 2, 2).ravel().tolist()
    [5.0]
    """
    if not isinstance(window, Windows):
        window = Windows("lp_pool", window, strides, ceil_mode=ceil_mode)
    check_floating(window.layer, x)
    # Integer powers of negative numbers are what PyTorch gives; a float that is whole is one to `jnp.power` too.
    mean = avg_pool(jnp.power(widened(x), norm_type), window)
    size = math.prod(axis.window for axis in window.bind(x.shape))
    total = jnp.sign(mean) * jax.nn.relu(jnp.abs(mean)) * size
    return jnp.power(total, 1.0 / norm_type).astype(x.dtype)


def adaptive_avg_pool(x: jax.Array, output_size: Sizes, *, name: str = "adaptive_avg_pool") -> jax.Array:
    """`b *s c -> b *o c`: means over a grid of the size asked for: `torch.nn.functional.adaptive_avg_pool1d` to `3d`.

    Along an axis of s positions, entry i of o is the mean of the positions from floor(i s / o) up to, and without,
    ceil((i + 1) s / o), as PyTorch has it: where o does not divide s neighbours share a position, and where s is
    smaller than o they are the same.

    Args:
        x: floating point, channels last; the batch axis may be left out where output_size has one number per axis.
        output_size: the size of each spatial axis, None for that of x; one for all of them.
        name: what an error calls the function.

    Raises:
        ConfigError: output_size is out of range.
        ShapeError: another rank, or no position along an axis.
        DtypeError: x has integers.

    >>> adaptive_avg_pool(jnp.arange(5.0).reshape(1, 5, 1), (2,)).ravel().tolist()
    [1.0, 3.0]
    """
    outputs = _adaptive(name, x, output_size)
    check_floating(name, x)
    y = widened(x)
    for axis, size in enumerate(outputs, x.ndim - len(outputs) - 1):
        y = _means(y, axis, size)
    return y.astype(x.dtype)


def adaptive_max_pool(
    x: jax.Array, output_size: Sizes, *, return_indices: bool = False, name: str = "adaptive_max_pool"
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """`b *s c -> b *o c`: maxima over a grid of the size asked for: `torch.nn.functional.adaptive_max_pool1d` to `3d`.

    Args:
        x: channels last; the batch axis may be left out where output_size has one number per axis.
        output_size: the size of each spatial axis, None for that of x; one for all of them.
        return_indices: whether to give the positions too, counted over the spatial axes of x.
        name: what an error calls the function.

    Raises:
        ConfigError: output_size is out of range.
        ShapeError: another rank, or no position along an axis.

    >>> adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), (2,)).ravel().tolist()
    [2.0, 4.0]
    """
    outputs = _adaptive(name, x, output_size)
    if not x.shape[-1]:
        raise ShapeError(f"{name}: expected at least one channel, as PyTorch does, received shape {x.shape}")
    parts = [adaptive_stretches(size, out) for size, out in zip(x.shape[-len(outputs) - 1 : -1], outputs, strict=True)]
    return _largest(x, parts, return_indices=return_indices)


def max_unpool(
    x: jax.Array,
    indices: jax.Array,
    window: PerAxis,
    strides: PerAxis | None = None,
    padding: PerAxis = 0,
    *,
    output_size: Sequence[int] | None = None,
) -> jax.Array:
    """`b *s c -> b *o c`: each maximum back in its place, zeros elsewhere: `torch.nn.functional.max_unpool2d`.

    Args:
        x: what `max_pool` gave; channels last.
        indices: the positions that `max_pool` gave, from 0 to the number of positions of the result.
        window: that of the pool, as are strides and padding.
        strides: see `max_pool`.
        padding: see `max_pool`.
        output_size: the spatial sizes of the result; the smallest that fit if left out.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: another rank, or indices of another shape than x.
        IndexRangeError: known indices outside of the result.

    >>> x = jnp.asarray([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1)
    >>> max_unpool(*max_pool(x, 2, return_indices=True), 2).ravel().tolist()
    [0.0, 3.0, 2.0, 0.0]
    """
    settings = Windows("max_unpool", window, strides, padding)
    axes = spatial_axes("max_unpool", x.shape, settings.axes)
    if indices.shape != x.shape:
        raise ShapeError(f"max_unpool: expected indices of the shape of x, {x.shape}, received {indices.shape}")
    w, s, p = (v if settings.axes else v * axes for v in (settings.window, settings.strides, settings.padding))
    least = tuple((n - 1) * b - 2 * c + a for n, a, b, c in zip(x.shape[-axes - 1 : -1], w, s, p, strict=True))
    sizes = least if output_size is None else per_axis("max_unpool", "output_size", output_size, axes, 1)
    if any(abs(size - smallest) >= step for size, smallest, step in zip(sizes, least, s, strict=True)):
        raise ShapeError(f"max_unpool: expected output_size less than a stride {s} from {least}, received {sizes}")
    _check_indices(indices, sizes)
    batch = x.shape[: x.ndim - axes - 1]
    rows = x.reshape((math.prod(batch), -1, x.shape[-1]))
    at = indices.reshape(rows.shape)
    b, c = np.ogrid[: rows.shape[0], : rows.shape[2]]
    blank = jnp.zeros((rows.shape[0], math.prod(sizes), rows.shape[2]), x.dtype)
    # Windows that share their maximum write the same value; as in PyTorch each gets the whole gradient.
    y = blank.at[b[:, None], at, c[:, None]].set(rows, unique_indices=True)
    return y.reshape((*batch, *sizes, x.shape[-1]))


def _check_indices(indices: jax.Array, sizes: Sequence[int]) -> None:
    """Known indices lie in the result, as PyTorch asks of them; inside of a trace no value is known."""
    if is_concrete(indices) and indices.size:
        # In numpy: inside of a jax trace even a concrete array's own methods are traced.
        known = np.asarray(indices)
        smallest, largest = int(known.min()), int(known.max())
        if smallest < 0 or largest >= math.prod(sizes):
            raise IndexRangeError(
                f"max_unpool: expected indices from 0 to {math.prod(sizes) - 1} for output sizes {tuple(sizes)}, "
                f"received {smallest} to {largest}; likely fix: output_size as it was before the pooling"
            )


def check_divisor(layer: str, divisor_override: int | None) -> None:
    """PyTorch refuses to divide by zero."""
    if divisor_override == 0:
        raise ConfigError(f"{layer}: expected divisor_override as an integer other than 0, or None, received 0")


def check_output_size(layer: str, output_size: Sizes) -> int | None:
    """The number of spatial axes that an adaptive size speaks of; None for one integer, which is for all axes."""
    axes = len(output_size) if isinstance(output_size, (tuple, list)) else None
    if axes not in (None, 1, 2, 3):
        raise ConfigError(
            f"{layer}: expected output_size as an integer, or with one for each of 1, 2 or 3 spatial axes, "
            f"received {output_size!r}"
        )
    known = [size for size in output_size if size is not None] if axes else output_size  # type: ignore[union-attr]
    if known is not None:
        per_axis(layer, "output_size", known, len(known) if axes else 1, 1)  # type: ignore[arg-type]
    return axes


def _adaptive(layer: str, x: jax.Array, output_size: Sizes) -> tuple[int, ...]:
    """The size of each spatial axis of the result."""
    axes = spatial_axes(layer, x.shape, check_output_size(layer, output_size))
    sizes = x.shape[-axes - 1 : -1]
    if 0 in sizes:
        raise ShapeError(f"{layer}: expected at least one position along each spatial axis, received shape {x.shape}")
    asked = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    return tuple(size if out is None else int(out) for size, out in zip(sizes, asked, strict=True))


def _means(x: jax.Array, axis: int, outputs: int) -> jax.Array:
    """The means of `outputs` stretches of one axis."""
    size = x.shape[axis]
    if size == outputs:
        return x
    if size % outputs == 0:
        return x.reshape(*x.shape[:axis], outputs, size // outputs, *x.shape[axis + 1 :]).mean(axis + 1)
    # Neighbours share positions, so that no reshape fits: each stretch is gathered, and the shorter ones end in zeros.
    parts = adaptive_stretches(size, outputs)
    total = jnp.zeros((), x.dtype)
    if parts.places <= 16:
        for place, piece in enumerate(parts.slices(x, axis)):
            total = total + jnp.where(parts.counts(place, x, axis), piece, jnp.zeros((), x.dtype))
    else:
        positions = np.minimum(parts.starts[:, None] + np.arange(parts.places), size - 1)
        inside = parts.inside.reshape(parts.inside.shape + (1,) * (x.ndim - axis - 1))
        total = jnp.where(inside, jnp.take(x, jnp.asarray(positions), axis=axis), jnp.zeros((), x.dtype)).sum(axis + 1)
    counts = parts.inside.sum(1).reshape((-1,) + (1,) * (x.ndim - axis - 1))
    return total / jnp.asarray(counts, x.dtype)


def _sums(x: jax.Array, bound: Sequence[Window]) -> jax.Array:
    """The sum of each window, zeros beyond the image."""
    around = x.ndim - len(bound) - 1
    window = (1,) * around + tuple(axis.window for axis in bound) + (1,)
    strides = (1,) * around + tuple(axis.stride for axis in bound) + (1,)
    padding = [(0, 0)] * around + [axis.pads for axis in bound] + [(0, 0)]
    # `reduce_window` takes no negative padding: what is in no window is cut away.
    x = lax.slice(
        x, (0,) * x.ndim, tuple(size + min(high, 0) for size, (_, high) in zip(x.shape, padding, strict=True))
    )
    padding = [(low, max(high, 0)) for low, high in padding]
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, strides, padding)


def _largest(
    x: jax.Array, parts: Sequence[Stretches], *, return_indices: bool
) -> jax.Array | tuple[jax.Array, jax.Array]:
    first = x.ndim - len(parts) - 1
    if not return_indices:
        for axis in reversed(range(len(parts))):
            x = largest(x, first + axis, parts[axis])[0]
        return x
    sizes = x.shape[first:-1]
    indices = jnp.zeros(x.shape, jnp.int32)
    for axis in reversed(range(len(parts))):
        at, stretches = first + axis, parts[axis]
        x, place = largest(x, at, stretches)
        row = stretches.position_of(place, at) * math.prod(sizes[axis + 1 :])
        indices = row + stretches.take(indices, place, at)
    held = functools.reduce(np.multiply.outer, [np.asarray(stretches.inside.any(axis=1)) for stretches in parts])
    return x, indices if held.all() else jnp.where(held[..., None], indices, -1)
