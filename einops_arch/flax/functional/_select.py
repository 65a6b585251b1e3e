"""The largest value of stretches of one axis, with PyTorch's choice of the position that the gradient goes to."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from einops_arch.flax.functional._windows import Window

__all__ = ["Stretches", "adaptive_stretches", "largest", "stretches_of"]

# Up to here every place of a stretch is a slice, and all are compared in one loop; beyond, stretches are gathered.
_MOST_SLICES = 16


@dataclass(frozen=True)
class Stretches:
    """Stretches of an axis of `size` positions: o of them, each of `places` positions that lie `step` apart.

    Args:
        size: of the axis.
        starts: o positions; a negative one is in the padding.
        places: how many positions a stretch has at most.
        step: from each to the next.
        inside: `o places`: which of them count.
    """

    size: int
    starts: np.ndarray
    places: int
    step: int
    inside: np.ndarray

    @property
    def outputs(self) -> int:
        """How many stretches there are."""
        return len(self.starts)

    def position_of(self, place: jax.Array, axis: int) -> jax.Array:
        """The position on the axis of a place in each stretch."""
        starts = self.starts.reshape((-1,) + (1,) * (place.ndim - axis - 1))
        return jnp.asarray(starts, place.dtype) + place * self.step

    def take(self, x: jax.Array, place: jax.Array, axis: int) -> jax.Array:
        """What an array has at a place of each stretch."""
        position = jnp.clip(self.position_of(place, axis), 0, self.size - 1)
        return jnp.take_along_axis(x, position, axis)

    def slices(self, x: jax.Array, axis: int) -> list[jax.Array]:
        """For each place, what an array has there in all stretches; anything where the place does not count."""
        ends = self.starts + (self.places - 1) * self.step
        low, high = max(0, -int(self.starts.min())), max(0, int(ends.max()) - self.size + 1)
        if low or high:
            pads = [(low, high, 0) if n == axis else (0, 0, 0) for n in range(x.ndim)]
            x = lax.pad(x, jnp.zeros((), x.dtype), pads)
        strides = np.unique(np.diff(self.starts))
        pieces = []
        for place in range(self.places):
            at = self.starts + low + place * self.step
            if len(strides) > 1 or (len(strides) == 1 and strides[0] < 1):
                pieces.append(jnp.take(x, jnp.asarray(at), axis=axis))
            else:
                stride = int(strides[0]) if len(strides) else 1
                pieces.append(lax.slice_in_dim(x, int(at[0]), int(at[-1]) + 1, stride, axis))
        return pieces

    def counts(self, place: int, x: jax.Array, axis: int) -> np.ndarray:
        """Where a place counts, broadcast against an array."""
        return self.inside[:, place].reshape((-1,) + (1,) * (x.ndim - axis - 1))


def stretches_of(window: Window) -> Stretches:
    """The windows along an axis."""
    starts = np.arange(window.outputs) * window.stride - window.padding
    positions = starts[:, None] + np.arange(window.window) * window.dilation
    inside = (positions >= 0) & (positions < window.size)
    return Stretches(window.size, starts, window.window, window.dilation, inside)


def adaptive_stretches(size: int, outputs: int) -> Stretches:
    """Stretch i of o is from floor(i size / o) up to, and without, ceil((i + 1) size / o)."""
    numbers = np.arange(outputs)
    starts, ends = numbers * size // outputs, -(-(numbers + 1) * size // outputs)
    places = int((ends - starts).max())
    return Stretches(size, starts, places, 1, starts[:, None] + np.arange(places) < ends[:, None])


def largest(x: jax.Array, axis: int, stretches: Stretches) -> tuple[jax.Array, jax.Array]:
    """The largest value of each stretch, and its place in it; the gradient goes to that place alone.

    The place is PyTorch's: that of the last NaN, or else of the first of several equal values.
    """
    if stretches.outputs == 0 or x.size == 0:
        shape = (*x.shape[:axis], stretches.outputs, *x.shape[axis + 1 :])
        return jnp.full(shape, _lowest(x), x.dtype), jnp.zeros(shape, jnp.int32)

    @jax.custom_jvp
    def values(x: jax.Array) -> jax.Array:
        return _values(x, axis, stretches)

    @values.defjvp
    def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
        (x,), (dx,) = primals, tangents
        place = _place(x, axis, stretches)
        if stretches.places > _MOST_SLICES:
            return values(x), stretches.take(dx, place, axis)
        change = jnp.zeros((), dx.dtype)
        for number, piece in enumerate(stretches.slices(dx, axis)):
            # A place that does not count is never chosen, unless there is none that does.
            taken = (place == number) & stretches.counts(number, x, axis)
            change = change + jnp.where(taken, piece, jnp.zeros((), dx.dtype))
        return values(x), change

    return cast("jax.Array", values(x)), _place(lax.stop_gradient(x), axis, stretches)


def _lowest(x: jax.Array) -> np.ndarray:
    return np.asarray(-np.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min, x.dtype)


def _gathered(x: jax.Array, axis: int, stretches: Stretches) -> jax.Array:
    """`... o places ...`: every stretch, the lowest value where a place does not count."""
    positions = stretches.starts[:, None] + np.arange(stretches.places) * stretches.step
    windows = jnp.take(x, jnp.asarray(np.clip(positions, 0, stretches.size - 1)), axis=axis)
    inside = stretches.inside.reshape(stretches.inside.shape + (1,) * (x.ndim - axis - 1))
    return jnp.where(inside, windows, _lowest(x))


def _values(x: jax.Array, axis: int, stretches: Stretches) -> jax.Array:
    if stretches.places > _MOST_SLICES:
        return _gathered(x, axis, stretches).max(axis + 1)
    pieces = []
    for place, piece in enumerate(stretches.slices(x, axis)):
        counts = stretches.counts(place, x, axis)
        pieces.append(piece if counts.all() else jnp.where(counts, piece, _lowest(x)))
    return functools.reduce(jnp.maximum, pieces)


def _place(x: jax.Array, axis: int, stretches: Stretches) -> jax.Array:
    """The place of the largest value in each stretch."""
    first = np.argmax(stretches.inside, axis=1)  # the first that counts, which is taken where all are the lowest
    shape = (-1,) + (1,) * (x.ndim - axis - 1)
    if stretches.places > _MOST_SLICES:
        windows = _gathered(x, axis, stretches)
        missing = jnp.isnan(windows)
        best = jnp.argmax(jnp.where(missing, _lowest(x), windows), axis + 1).astype(jnp.int32)
        best = jnp.where(windows.max(axis + 1) == _lowest(x), jnp.asarray(first.reshape(shape), jnp.int32), best)
        last = stretches.places - 1 - jnp.argmax(jnp.flip(missing, axis + 1), axis + 1).astype(jnp.int32)
        return jnp.where(missing.any(axis + 1), last, best)
    best, *pieces = stretches.slices(x, axis)
    place = jnp.zeros(best.shape, jnp.int32)
    for number, piece in enumerate(pieces, 1):
        before = (first < number).reshape(shape)  # whether a place before this one counts
        better = stretches.counts(number, x, axis) & (~before | (piece > best) | jnp.isnan(piece))
        best, place = jnp.where(better, piece, best), jnp.where(better, jnp.int32(number), place)
    return place
