"""Convolution by the form that is fast where it runs.

XLA has no good grouped or depthwise convolution for CPUs: the native operation was measured 20 to 110 times slower
than PyTorch's for depthwise kernels, and its gradient up to 290 times slower for 32 groups. On a CPU a depthwise
convolution is therefore a sum of shifted slices, a grouped one is split into dense ones, and a dense one is a product
of matrices where that was measured to be faster; on every other platform it stays XLA's own. The choice is made when
the function is lowered for a platform, never when it is traced, so that one traced function runs well on each of them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

__all__ = ["as_product", "convolve", "grouped_on_cpu", "native"]

Pads = tuple[tuple[int, int], ...]

# Beyond these the program grows so much that compiling it costs more than it saves.
_MOST_TAPS = 256
_MOST_GROUPS = 64
# A dense convolution as one product of matrices, measured as time over that of XLA's own, forward and with gradients:
# a kernel of one position 0.4 to 0.9 and 0.2 to 0.7, windows side by side 0.3 to 0.9 and 0.2; both lose where a window
# has few values. Windows that overlap are copied first, which pays for few windows of many channels only: 0.7 to 0.95
# and 0.4 to 0.7, and a loss of up to 1.8 beyond.
_FEWEST_VALUES = 16
_FEWEST_CHANNELS = 256
_MOST_WINDOWS = 512


@functools.partial(
    jax.jit, static_argnames=("strides", "padding", "lhs_dilation", "rhs_dilation", "groups", "precision")
)
def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    padding: Pads,
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    groups: int,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """`b *s c, *k i o -> b *s o`: `lax.conv_general_dilated` in the fast form of the platform.

    Compiled once for all equal settings, so that a call outside of `jax.jit` does not compile again.
    """
    settings: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "groups": groups,
        "precision": precision,
    }
    plain: Any = functools.partial(native, **settings)
    if math.prod(x.shape) == 0 or math.prod(kernel.shape) == 0:
        return plain(x, kernel)
    if groups > 1 and _grouped_pays(kernel, groups):
        fast: Any = functools.partial(grouped_on_cpu, **settings)
    elif groups == 1 and _product_pays(jax.eval_shape(plain, x, kernel), kernel, strides, lhs_dilation, rhs_dilation):
        fast = functools.partial(as_product, **settings)
    else:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=fast, default=plain)


def native(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    padding: Pads,
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    groups: int,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
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
        strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=numbers,
        feature_group_count=groups,
        precision=precision,
    )


def grouped_on_cpu(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    padding: Pads,
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    groups: int,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """The same function without a grouped convolution in it."""
    if kernel.shape[-2] == 1:
        return _sum_of_shifted_slices(_padded(x, padding, lhs_dilation), kernel, strides, rhs_dilation)
    pieces = list(zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True))
    if math.prod(kernel.shape[:-2]) == 1:
        weights = [jnp.reshape(k, k.shape[-2:]) for _, k in pieces]
        inputs = [_every(_padded(piece, padding, lhs_dilation), strides) for piece, _ in pieces]
        outputs = [jnp.matmul(i, w, precision=precision) for i, w in zip(inputs, weights, strict=True)]
    else:
        dense = functools.partial(
            native,
            strides=strides,
            padding=padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            groups=1,
            precision=precision,
        )
        outputs = [dense(piece, k) for piece, k in pieces]
    return jnp.concatenate(outputs, axis=-1)


def as_product(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    padding: Pads,
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """The same function for one group: every window as a row, times the kernel as a matrix."""
    del groups
    x, window = _padded(x, padding, lhs_dilation), kernel.shape[:-2]
    if math.prod(window) > 1 and _tiles(window, strides, rhs_dilation):
        rows = _tiles_as_rows(x, window)
    else:
        rows = jnp.concatenate([piece for _, piece in _shifted_slices(x, window, strides, rhs_dilation)], axis=-1)
    return jnp.matmul(rows, rearrange(kernel, "... i o -> (... i) o"), precision=precision)


def _grouped_pays(kernel: jax.Array, groups: int) -> bool:
    return math.prod(kernel.shape[:-2]) <= _MOST_TAPS if kernel.shape[-2] == 1 else groups <= _MOST_GROUPS


def _product_pays(
    result: jax.ShapeDtypeStruct,
    kernel: jax.Array,
    strides: tuple[int, ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
) -> bool:
    window, channels = kernel.shape[:-2], kernel.shape[-2]
    if math.prod(window) * channels < _FEWEST_VALUES or any(one > 1 for one in lhs_dilation):
        return False
    if math.prod(window) == 1 or _tiles(window, strides, rhs_dilation):
        return True
    return channels >= _FEWEST_CHANNELS and math.prod(result.shape[:-1]) <= _MOST_WINDOWS


def _tiles(window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether the windows lie side by side, as the patches of a vision transformer do."""
    return window == strides and all(one == 1 for one in dilation)


def _tiles_as_rows(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    """`b (h p) (w q) c -> b h w (p q c)` for two spatial axes; what is left at the far sides is in no window."""
    whole = [size // one * one for size, one in zip(x.shape[1:-1], window, strict=True)]
    names = range(len(window))
    inside = " ".join(f"k{n}" for n in names)
    before, after = " ".join(f"(s{n} k{n})" for n in names), " ".join(f"s{n}" for n in names)
    sizes = {f"k{n}": one for n, one in enumerate(window)}
    x = lax.slice(x, (0,) * x.ndim, (x.shape[0], *whole, x.shape[-1]))
    rows: jax.Array = rearrange(x, f"b {before} c -> b {after} ({inside} c)", **sizes)
    return rows


def _sum_of_shifted_slices(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dilation: tuple[int, ...]
) -> jax.Array:
    """`b *s c, *k 1 (c m) -> b *s (c m)`: one slice of the padded input for each position of the kernel."""
    window = kernel.shape[:-2]
    multiplier = kernel.shape[-1] // x.shape[-1]
    if multiplier > 1:
        x = jnp.repeat(x, multiplier, axis=-1)
    # A running sum in a half-precision type would lose what XLA's convolution keeps.
    work = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
    wide, weights = x.astype(work), kernel.astype(work)
    total: Any = None
    for tap, piece in _shifted_slices(wide, window, strides, dilation):
        term = piece * weights[(*tap, 0)]
        total = term if total is None else total + term
    return total.astype(x.dtype)


def _shifted_slices(
    x: jax.Array, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], jax.Array]]:
    """For each position of the kernel, what it is multiplied with in all windows."""
    reach = [
        (size - d * (k - 1) - 1) // s * s + 1
        for size, k, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True)
    ]
    for tap in itertools.product(*map(range, window)):
        start = [t * d for t, d in zip(tap, dilation, strict=True)]
        stop = [a + r for a, r in zip(start, reach, strict=True)]
        yield tap, lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1))


def _padded(x: jax.Array, padding: Pads, dilation: tuple[int, ...]) -> jax.Array:
    """The input with zeros around it and, for a transposed convolution, between its values."""
    inner = [(low, high, d - 1) for (low, high), d in zip(padding, dilation, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inner, (0, 0, 0)])


def _every(x: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    return lax.slice(x, (0,) * x.ndim, x.shape, (1, *strides, 1))
