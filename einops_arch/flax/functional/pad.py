"""Padding with PyTorch's modes, negative sizes included, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from einops_arch._settings import check_choice, is_whole
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_rank

__all__ = ["PAD_MODES", "Padding", "as_tuples", "check_padding", "check_reach", "pad", "padding_pairs"]

# PyTorch's names, and numpy's.
PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

Padding: TypeAlias = int | Sequence[int | tuple[int, int]]


def pad(x: jax.Array, padding: Padding, mode: str = "constant", value: float = 0.0) -> jax.Array:
    """`b *s c -> b *o c`: more, or less, on both sides of each spatial axis: `torch.nn.functional.pad`.

    Args:
        x: channels last; the batch axis may be left out where padding has one entry for each spatial axis.
        padding: one integer for both sides of all spatial axes, or for each spatial axis, in their order, an integer
            or a pair (before, after); negative ones cut away. PyTorch's flat tuple names the last axis first:
            (left, right, top, bottom) there is ((top, bottom), (left, right)) here.
        mode: `"constant"`, `"reflect"`, `"replicate"` or `"circular"`.
        value: of the padding, for `"constant"`.

    Raises:
        ConfigError: padding or mode has another form.
        ShapeError: another rank, an image too small for what is mirrored, wrapped around or taken away.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pad.html

    >>> x = jnp.arange(4.0).reshape(1, 4, 1)
    >>> pad(x, [(2, -1)], "reflect").ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0]
    """
    check_padding("pad", padding, mode)
    return padded("pad", x, padding, mode, value)


def padded(name: str, x: jax.Array, padding: Padding, mode: str, value: float = 0.0) -> jax.Array:
    """`pad` for the layer of this name."""
    pairs = padding_pairs(name, x, padding)
    sizes = x.shape[-len(pairs) - 1 : -1]
    if mode == "replicate" and 0 in sizes:
        raise ShapeError(f"{name}: expected at least one position along each spatial axis, received shape {x.shape}")
    if mode != "constant":
        check_reach(name, x.shape, mode, pairs)
    left = tuple(size + low + high for size, (low, high) in zip(sizes, pairs, strict=True))
    # PyTorch takes away before it adds constants, and after it mirrors or wraps around.
    cut = [size + min(low, 0) + min(high, 0) for size, (low, high) in zip(sizes, pairs, strict=True)]
    empty = mode in ("reflect", "replicate") and max(left) < 1
    # Where nothing is left to wrap around PyTorch gives memory that nobody wrote.
    unwritten = mode == "circular" and any(rest < 1 <= total for rest, total in zip(cut, left, strict=True))
    if min(left) < 0 or empty or unwritten or (mode == "constant" and min(cut) < 0):
        raise ShapeError(f"{name}: expected padding that takes no more than is there, received {pairs} for {x.shape}")
    around = x.ndim - len(pairs) - 1
    if 0 in left:  # what is mirrored or wrapped around is cut away again
        return jnp.zeros((*x.shape[:around], *left, x.shape[-1]), x.dtype)
    widths = [*[(0, 0)] * around, *pairs, (0, 0)]
    if mode == "constant":
        return lax.pad(x, jnp.asarray(value, x.dtype), [(low, high, 0) for low, high in widths])
    more = [(max(low, 0), max(high, 0)) for low, high in widths]
    less = [(max(-low, 0), max(-high, 0)) for low, high in widths]
    if mode == "circular":  # what wraps around comes from what is left; what is mirrored, from the whole image
        x = _cut(x, less)
        return jnp.pad(x, more, mode="wrap")
    return _cut(jnp.pad(x, more, mode=PAD_MODES[mode]), less)


def check_padding(name: str, padding: object, mode: str = "constant") -> None:
    """Refuse padding of another form, before there is an image."""
    sides = padding if isinstance(padding, (tuple, list)) else (padding,)
    pairs = [side if isinstance(side, (tuple, list)) else (side, side) for side in sides]
    whole = all(len(pair) == 2 and all(map(is_whole, pair)) for pair in pairs)
    if not whole or not 1 <= len(pairs) <= 3:
        raise ConfigError(
            f"{name}: expected padding as an integer, or for each of 1, 2 or 3 spatial axes an integer or a pair "
            f"(before, after), received {padding!r}"
        )
    check_choice(name, "mode", mode, tuple(PAD_MODES))


def padding_pairs(name: str, x: jax.Array, padding: Padding) -> tuple[tuple[int, int], ...]:
    """A pair (before, after) for each spatial axis."""
    if isinstance(padding, int | np.integer):
        if x.ndim not in (3, 4, 5):
            raise ShapeError(
                f"{name}: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received "
                f"{x.ndim} axes in shape {x.shape}"
            )
        return ((int(padding), int(padding)),) * (x.ndim - 2)
    check_rank(name, x.shape, len(padding))
    return tuple(_pair(side) for side in padding)


def as_tuples(padding: Any) -> Any:
    """Padding with tuples in the place of lists."""
    return tuple(as_tuples(side) for side in padding) if isinstance(padding, (tuple, list)) else padding


def check_reach(name: str, shape: tuple[int, ...], mode: str, pairs: Sequence[tuple[int, int]]) -> None:
    """Reflection needs an image larger than the padding, wrapping around one at least as large."""
    sizes = shape[-len(pairs) - 1 : -1]
    spare = {"reflect": 1, "circular": 0}.get(mode)
    if spare is not None and any(max(pair) + spare > size for pair, size in zip(pairs, sizes, strict=True)):
        bound = "smaller than" if spare else "no larger than"
        raise ShapeError(
            f"{name}: expected {mode} padding {bound} the image's {sizes}, received {tuple(pairs)} in shape {shape}"
        )


def _pair(side: Any) -> tuple[int, int]:
    return (int(side[0]), int(side[1])) if isinstance(side, (tuple, list)) else (int(side), int(side))


def _cut(x: jax.Array, less: Sequence[tuple[int, int]]) -> jax.Array:
    if not any(map(any, less)):
        return x
    return x[tuple(slice(low, size - high) for size, (low, high) in zip(x.shape, less, strict=True))]
