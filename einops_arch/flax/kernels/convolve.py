"""Convolution by the form that is fast where it runs.

XLA has no good grouped or depthwise convolution for CPUs: the native operation was measured 20 to 110 times slower
than PyTorch's for depthwise kernels, and its gradient up to 290 times slower for 32 groups. On a CPU a depthwise
convolution is therefore a sum of shifted slices, a grouped one is split into dense ones, and a dense one is a product
of matrices, or its rows are convolved apart, where that was measured to be faster; on every other platform it stays
XLA's own. The choice is made when
the function is lowered for a platform, never when it is traced, so that one traced function runs well on each of them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jax.custom_derivatives import SymbolicZero

__all__ = ["Settings", "as_product", "by_rows", "convolve", "grouped_on_cpu", "native"]

Pads = tuple[tuple[int, int], ...]

# Beyond these the program grows so much that compiling it costs more than it saves.
_MOST_TAPS = 256
_MOST_GROUPS = 64
# With the frame apart, a depthwise convolution of 3x3 takes 0.5 to 0.8 of the time, one of 7x7 as much as before; up to
# five times as many slices take 0.2 s more to compile, which only a large input is worth.
_MOST_FRAMED_TAPS = 9
_FEWEST_FRAMED = 1 << 18
# A dense convolution as one product of matrices, measured as time over that of XLA's own, forward and with gradients:
# a kernel of one position 0.2 to 0.9 and 0.2 to 0.7, windows side by side 0.3 to 0.9 and 0.1 to 0.2; both lose where a
# window has few values. Windows that overlap are copied first, which pays for few windows of many channels only: 0.7 to
# 0.95 and 0.4 to 0.7, and a loss of up to 1.8 beyond.
_FEWEST_VALUES = 16
_FEWEST_CHANNELS = 256
_MOST_WINDOWS = 512
# The rows of a dense kernel apart: mostly 0.4 to 0.9 of the time of XLA's own, as each value is copied once for every
# column of the kernel and not for every position. 1.1 to 1.3 from 256 channels to few in large images; about as long
# for more channels of the result, and longer for few windows. What is added up takes as many times the memory of the
# result as the kernel has rows.
_FEWEST_ROW_VALUES = 64
_MOST_SUMMED_CHANNELS = 128
_MOST_ROW_CHANNELS = 64
_FEWEST_ROW_WINDOWS = 2048
_MOST_ROW_SUMMANDS = 1 << 23


class Settings(NamedTuple):
    """What a convolution is besides its input and kernel: the settings of `lax.conv_general_dilated`."""

    strides: tuple[int, ...]
    padding: Pads
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    precision: lax.PrecisionLike = None


@functools.partial(jax.jit, static_argnames="settings")
def convolve(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """`b *s c, *k i o -> b *s o`: `lax.conv_general_dilated` in the fast form of the platform.

    Compiled once for all equal settings, so that a call outside of `jax.jit` does not compile again.
    """
    plain: Any = functools.partial(native, settings=settings)
    if math.prod(x.shape) == 0 or math.prod(kernel.shape) == 0:
        return plain(x, kernel)
    if settings.groups > 1 and _grouped_pays(kernel, settings.groups):
        fast: Any = functools.partial(grouped_on_cpu, settings=settings)
    elif settings.groups == 1 and _product_pays(jax.eval_shape(plain, x, kernel), kernel, settings):
        fast = functools.partial(as_product, settings=settings)
    elif settings.groups == 1 and _rows_pay(jax.eval_shape(plain, x, kernel), kernel, settings):
        return _rows_apart(x, kernel, settings)
    else:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=fast, default=plain)


def native(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """XLA's own convolution: what the other forms are equal to."""
    axes = kernel.ndim - 2
    numbers = lax.ConvDimensionNumbers(
        lhs_spec=(0, axes + 1, *range(1, axes + 1)),
        rhs_spec=(axes + 1, axes, *range(axes)),
        out_spec=(0, axes + 1, *range(1, axes + 1)),
    )
    return lax.conv_general_dilated(
        x,
        kernel,
        settings.strides,
        settings.padding,
        lhs_dilation=settings.lhs_dilation,
        rhs_dilation=settings.rhs_dilation,
        dimension_numbers=numbers,
        feature_group_count=settings.groups,
        precision=settings.precision,
    )


def grouped_on_cpu(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """The same function without a grouped convolution in it."""
    if kernel.shape[-2] == 1:
        pays = _frame_pays(x, kernel.shape[:-2], settings)
        return _depthwise(x, kernel, settings) if pays else _sum_of_shifted_slices(x, kernel, settings)
    groups, ungrouped = settings.groups, settings._replace(groups=1)
    dense = as_product if math.prod(kernel.shape[:-2]) == 1 else native
    pieces = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([dense(piece, k, ungrouped) for piece, k in pieces], axis=-1)


def as_product(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """The same function for one group: every window as a row, times the kernel as a matrix."""
    x, window = _padded(x, settings), kernel.shape[:-2]
    if math.prod(window) > 1 and _tiles(window, settings):
        rows = _tiles_as_rows(x, window)
    else:
        rows = jnp.concatenate([piece for _, piece in _shifted_slices(x, window, settings)], axis=-1)
    return jnp.matmul(rows, rearrange(kernel, "... i o -> (... i) o"), precision=settings.precision)


def by_rows(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """The same function for one group: one row with as many times the channels, whose results are added up shifted."""
    rows, out = kernel.shape[0], kernel.shape[-1]
    apart = native(x, rearrange(kernel, "n ... i o -> 1 ... i (n o)"), settings)
    reach = (rows - 1) * settings.rhs_dilation[0]
    total: Any = None
    for row in range(rows):
        start = row * settings.rhs_dilation[0]
        shifted = lax.slice_in_dim(apart, start, apart.shape[1] - reach + start, axis=1)
        piece = shifted[..., row * out : (row + 1) * out]
        total = piece if total is None else total + piece
    return cast("jax.Array", total)


def _grouped_pays(kernel: jax.Array, groups: int) -> bool:
    return math.prod(kernel.shape[:-2]) <= _MOST_TAPS if kernel.shape[-2] == 1 else groups <= _MOST_GROUPS


def _frame_pays(x: jax.Array, window: tuple[int, ...], settings: Settings) -> bool:
    if any(rate > 1 for rate in settings.lhs_dilation) or not any(max(pads) > 0 for pads in settings.padding):
        return False
    return math.prod(window) <= _MOST_FRAMED_TAPS and math.prod(x.shape) >= _FEWEST_FRAMED


def _product_pays(result: jax.ShapeDtypeStruct, kernel: jax.Array, settings: Settings) -> bool:
    window, channels = kernel.shape[:-2], kernel.shape[-2]
    if math.prod(window) * channels < _FEWEST_VALUES or any(rate > 1 for rate in settings.lhs_dilation):
        return False
    if math.prod(window) == 1 or _tiles(window, settings):
        return True
    return channels >= _FEWEST_CHANNELS and math.prod(result.shape[:-1]) <= _MOST_WINDOWS


def _rows_pay(result: jax.ShapeDtypeStruct, kernel: jax.Array, settings: Settings) -> bool:
    if kernel.ndim != 4 or result.dtype.itemsize < 4:
        return False
    height, width, channels, out = kernel.shape
    windows = math.prod(result.shape[:-1])
    if height == 1 or settings.strides != (1, 1) or settings.lhs_dilation != (1, 1):
        return False
    if windows < _FEWEST_ROW_WINDOWS or out > _MOST_ROW_CHANNELS or windows * height * out > _MOST_ROW_SUMMANDS:
        return False
    return channels <= _MOST_SUMMED_CHANNELS and width * channels >= _FEWEST_ROW_VALUES


def _tiles(window: tuple[int, ...], settings: Settings) -> bool:
    """Whether the windows lie side by side, as the patches of a vision transformer do."""
    return window == settings.strides and all(rate == 1 for rate in settings.rhs_dilation)


def _tiles_as_rows(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    """`b (h p) (w q) c -> b h w (p q c)` for two spatial axes; what is left at the far sides is in no window."""
    whole = [size // width * width for size, width in zip(x.shape[1:-1], window, strict=True)]
    names = range(len(window))
    inside = " ".join(f"k{n}" for n in names)
    before, after = " ".join(f"(s{n} k{n})" for n in names), " ".join(f"s{n}" for n in names)
    sizes = {f"k{n}": width for n, width in enumerate(window)}
    x = lax.slice(x, (0,) * x.ndim, (x.shape[0], *whole, x.shape[-1]))
    rows: jax.Array = rearrange(x, f"b {before} c -> b {after} ({inside} c)", **sizes)
    return rows


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _rows_apart(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """On a CPU the rows of the kernel apart; the gradient is that of XLA's own everywhere.

    That has to stand outside of the choice: within it, XLA (jax 0.10.2) does not bring the convolutions of a gradient
    into the order of axes for which it has a fast form, and they take ten times as long.
    """
    plain: Any = functools.partial(native, settings=settings)
    return lax.platform_dependent(x, kernel, cpu=functools.partial(by_rows, settings=settings), default=plain)


@functools.partial(_rows_apart.defjvp, symbolic_zeros=True)
def _rows_apart_jvp(settings: Settings, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    result = _rows_apart(*primals, settings)
    return result, _change(native, result, settings, primals, tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _depthwise(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """`b *s c, *k 1 (c m) -> b *s (c m)`: the frame, where windows reach into the padding, apart from what is inside.

    So the padding is a copy of thin strips, and not of the whole input. The gradient of so many pieces would cost more
    than it saves: it is that of the plain sum.
    """
    return _framed(x, kernel, settings, axis=1)


@functools.partial(_depthwise.defjvp, symbolic_zeros=True)
def _depthwise_jvp(settings: Settings, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    result = _depthwise(*primals, settings)
    return result, _change(_sum_of_shifted_slices, result, settings, primals, tangents)


def _change(form: Any, result: jax.Array, settings: Settings, primals: Any, tangents: Any) -> jax.Array:
    """How the result of a convolution changes, by a form that is linear in the input and in the kernel."""
    (x, kernel), (dx, dkernel) = primals, tangents
    change = jnp.zeros_like(result)
    if not isinstance(dx, SymbolicZero):
        change += form(dx, kernel, settings)
    if not isinstance(dkernel, SymbolicZero):
        change += form(x, dkernel, settings)
    return change


def _framed(x: jax.Array, kernel: jax.Array, settings: Settings, axis: int) -> jax.Array:
    """From this axis on, each side of the frame by itself."""
    if axis == x.ndim - 1:
        return _sum_of_shifted_slices(x, kernel, settings)
    n = axis - 1
    size, step, (low, high) = x.shape[axis], settings.strides[n], settings.padding[n]
    reach = settings.rhs_dilation[n] * (kernel.shape[n] - 1) + 1
    count = (low + size + high - reach) // step + 1
    # The first window that begins inside, and the one after the last that ends there.
    first = min(max(-(-low // step), 0), count)
    last = max(min((low + size - reach) // step + 1, count), first)
    pieces = []
    for start, stop in ((0, first), (first, last), (last, count)):
        if start == stop:
            continue
        begin, end = start * step - low, (stop - 1) * step - low + reach
        inside = lax.slice_in_dim(x, max(begin, 0), min(end, size), axis=axis)
        pads = (max(-begin, 0), max(end - size, 0))
        padding = (*settings.padding[:n], pads, *settings.padding[n + 1 :])
        whole = pads == (0, 0)
        form = functools.partial(_framed, axis=axis + 1) if whole else _sum_of_shifted_slices
        pieces.append(form(inside, kernel, settings._replace(padding=padding)))
    return jnp.concatenate(pieces, axis=axis) if len(pieces) > 1 else pieces[0]


def _sum_of_shifted_slices(x: jax.Array, kernel: jax.Array, settings: Settings) -> jax.Array:
    """`b *s c, *k 1 (c m) -> b *s (c m)`: one slice of the padded input for each position of the kernel."""
    x, window = _padded(x, settings), kernel.shape[:-2]
    multiplier = kernel.shape[-1] // x.shape[-1]
    if multiplier > 1:
        x = jnp.repeat(x, multiplier, axis=-1)
    # A running sum in a half-precision type would lose what XLA's convolution keeps.
    work = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
    wide, weights = x.astype(work), kernel.astype(work)
    total: Any = None
    for tap, piece in _shifted_slices(wide, window, settings):
        term = piece * weights[(*tap, 0)]
        total = term if total is None else total + term
    return total.astype(x.dtype)


def _shifted_slices(
    x: jax.Array, window: tuple[int, ...], settings: Settings
) -> Iterator[tuple[tuple[int, ...], jax.Array]]:
    """For each position of the kernel, what it is multiplied with in all windows."""
    strides, dilation = settings.strides, settings.rhs_dilation
    reach = [
        (size - d * (k - 1) - 1) // s * s + 1
        for size, k, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True)
    ]
    for tap in itertools.product(*map(range, window)):
        start = [t * d for t, d in zip(tap, dilation, strict=True)]
        stop = [a + r for a, r in zip(start, reach, strict=True)]
        yield tap, lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1))


def _padded(x: jax.Array, settings: Settings) -> jax.Array:
    """The input with zeros around it and, for a transposed convolution, between its values."""
    inner = [(low, high, d - 1) for (low, high), d in zip(settings.padding, settings.lhs_dilation, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inner, (0, 0, 0)]) if any(map(any, inner)) else x
