"""Pooling and padding over space with PyTorch's defaults, channels last."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from einops_arch.errors import ConfigError, DtypeError, ShapeError
from einops_arch.flax.layers.checks import check_rank, per_axis, window_outputs
from einops_arch.flax.layers.conv import check_reach

__all__ = ["AdaptiveAvgPool", "AvgPool", "MaxPool", "ReflectionPad"]


class _Pool(nnx.Module):
    """A window that moves over the spatial axes; a subclass says what becomes of its values."""

    def __init__(
        self,
        window: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        layer = type(self).__name__
        given = {"window": window, "strides": window if strides is None else strides, "padding": padding}
        lengths = {name: len(value) for name, value in given.items() if isinstance(value, (tuple, list))}
        if len(set(lengths.values())) > 1 or any(n not in (1, 2, 3) for n in lengths.values()):
            raise ConfigError(
                f"{layer}: expected window, strides and padding as integers, or with one for each of 1, 2 or 3 spatial "
                f"axes, received window={window!r}, strides={strides!r}, padding={padding!r}"
            )
        # None: as many spatial axes as the input has.
        self.axes = next(iter(lengths.values()), None)
        axes = self.axes or 1
        self.window = per_axis(layer, "window", window, axes, 1)
        self.strides = per_axis(layer, "strides", given["strides"], axes, 1)
        self.padding = per_axis(layer, "padding", padding, axes, 0)
        if any(p > w // 2 for p, w in zip(self.padding, self.window, strict=True)):
            raise ConfigError(
                f"{layer}: expected padding of at most half the window {self.window}, received {self.padding}; more "
                "would leave windows with nothing but padding"
            )

    def _windows(self, x: jax.Array) -> tuple[jax.Array, dict[str, tuple[int, ...]]]:
        """The input with a batch axis, and window, strides, padding and outputs for each spatial axis."""
        layer, axes = type(self).__name__, self.axes
        if axes is None:
            axes = x.ndim - 2
            if axes not in (1, 2, 3):
                raise ShapeError(
                    f"{layer}: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received {x.ndim} axes "
                    f"in shape {x.shape}"
                )
        check_rank(layer, x.shape, axes)
        names = ("window", "strides", "padding")
        each = {name: getattr(self, name) if self.axes else getattr(self, name) * axes for name in names}
        each["outputs"] = window_outputs(layer, x.shape, each["window"], each["strides"], each["padding"], (1,) * axes)
        return (x if x.ndim == axes + 2 else x[None]), each


class MaxPool(_Pool):
    """`b *s c -> b *s c`: the largest value of each window: `torch.nn.MaxPool1d`, `2d` and `3d`.

    Differs from `nnx.max_pool`: strides None means the window (NNX: 1), and padding is an integer.

    Args:
        window: one size for each spatial axis, or one integer for all axes of the input.
        strides: likewise; None is the window.
        padding: likewise; at most half the window. The padding never is the largest.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with an image smaller than the window.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html (with `ceil_mode=False`)

    >>> import jax.numpy as jnp
    >>> MaxPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *s c`, channels last; the batch axis may be left out."""
        wide, each = self._windows(x)
        lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
        y = _reduce(wide, np.asarray(lowest, x.dtype), lax.max, each)
        return y if wide is x else y[0]


class AvgPool(_Pool):
    """`b *s c -> b *s c`: the mean of each window: `torch.nn.AvgPool1d`, `2d` and `3d`.

    Differs from `nnx.avg_pool`: strides None means the window (NNX: 1), and padding is an integer.

    Args:
        window: one size for each spatial axis, or one integer for all axes of the input.
        strides: likewise; None is the window.
        padding: likewise; at most half the window.
        count_include_pad: whether the zeros of the padding count in the mean.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with an image smaller than the window.
        DtypeError: when called with integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html (with `ceil_mode=False`)

    >>> import jax.numpy as jnp
    >>> AvgPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    def __init__(
        self,
        window: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        *,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(window, strides, padding)
        self.count_include_pad = count_include_pad

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *s c`, channels last; the batch axis may be left out."""
        batch, each = self._windows(x)
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise DtypeError(f"AvgPool: expected floating-point values, received {x.dtype} in shape {x.shape}")
        work = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
        total = _reduce(batch.astype(work), np.zeros((), work), lax.add, each)
        if self.count_include_pad:
            mean = total / math.prod(each["window"])
        else:
            counts = functools.reduce(np.multiply.outer, _real_positions(batch.shape[1:-1], each))
            mean = total / jnp.asarray(counts[None, ..., None], work)
        y = mean.astype(x.dtype)
        return y if x.ndim == batch.ndim else y[0]


class AdaptiveAvgPool(nnx.Module):
    """`b *s c -> b *o c`: means over a grid of the size asked for: `torch.nn.AdaptiveAvgPool1d`, `2d` and `3d`.

    Along an axis of s positions, entry i of o is the mean of the positions from floor(i s / o) up to, and without,
    ceil((i + 1) s / o), as PyTorch has it: where o does not divide s neighbours share a position, and where s is
    smaller than o they are the same.

    Args:
        output_size: the size of each spatial axis; one integer for all of them.

    Raises:
        ConfigError: output_size is out of range.
        ShapeError: when called with another rank, or with no position along an axis.
        DtypeError: when called with integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html

    >>> import jax.numpy as jnp
    >>> AdaptiveAvgPool((2,))(jnp.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [1.0, 3.0]
    """

    def __init__(self, output_size: int | Sequence[int]) -> None:
        axes = len(output_size) if isinstance(output_size, (tuple, list)) else None
        if axes not in (None, 1, 2, 3):
            raise ConfigError(
                "AdaptiveAvgPool: expected output_size as an integer, or with one for each of 1, 2 or 3 spatial axes, "
                f"received {output_size!r}"
            )
        # None: as many spatial axes as the input has.
        self.axes = axes
        self.output_size = per_axis("AdaptiveAvgPool", "output_size", output_size, axes or 1, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out where output_size has one per axis."""
        axes = self.axes or x.ndim - 2
        if axes not in (1, 2, 3):
            raise ShapeError(
                "AdaptiveAvgPool: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received "
                f"{x.ndim} axes in shape {x.shape}"
            )
        check_rank("AdaptiveAvgPool", x.shape, axes)
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise DtypeError(f"AdaptiveAvgPool: expected floating-point values, received {x.dtype} in shape {x.shape}")
        first = x.ndim - axes - 1
        if 0 in x.shape[first:-1]:
            raise ShapeError(
                f"AdaptiveAvgPool: expected at least one position along each spatial axis, received shape {x.shape}"
            )
        work = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
        y = x.astype(work)
        for axis, outputs in enumerate(self.output_size if self.axes else self.output_size * axes, first):
            y = _means(y, axis, outputs)
        return y.astype(x.dtype)


class ReflectionPad(nnx.Module):
    """`b *s c -> b *s c`: the image mirrored at its edges: `torch.nn.ReflectionPad1d`, `2d` and `3d`.

    Args:
        padding: one integer for both sides of all spatial axes, or for each spatial axis, in their order, an integer
            or a pair (before, after). PyTorch's flat tuple names the last axis first:
            (left, right, top, bottom) there is ((top, bottom), (left, right)) here.

    Raises:
        ConfigError: padding has another form, or is negative.
        ShapeError: when called with another rank, or with an image that is not larger than the padding.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReflectionPad2d.html

    >>> import jax.numpy as jnp
    >>> ReflectionPad(2)(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """

    def __init__(self, padding: int | Sequence[int | tuple[int, int]]) -> None:
        sides = padding if isinstance(padding, (tuple, list)) else (padding,)
        pairs = [side if isinstance(side, (tuple, list)) else (side, side) for side in sides]
        whole = all(
            len(pair) == 2 and all(isinstance(p, int) and not isinstance(p, bool) and p >= 0 for p in pair)
            for pair in pairs
        )
        if not whole or not 1 <= len(pairs) <= 3:
            raise ConfigError(
                "ReflectionPad: expected padding as an integer of at least 0, or for each of 1, 2 or 3 spatial axes an "
                f"integer or a pair (before, after), received {padding!r}"
            )
        self.padding = padding if isinstance(padding, int) else tuple((pair[0], pair[1]) for pair in pairs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *s c`, channels last; the batch axis may be left out where padding has one entry per axis."""
        if isinstance(self.padding, int):
            if x.ndim not in (3, 4, 5):
                raise ShapeError(
                    "ReflectionPad: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received "
                    f"{x.ndim} axes in shape {x.shape}"
                )
            pairs: tuple[tuple[int, int], ...] = ((self.padding, self.padding),) * (x.ndim - 2)
        else:
            pairs = self.padding
            check_rank("ReflectionPad", x.shape, len(pairs))
        check_reach("ReflectionPad", x.shape, "reflect", pairs)
        return jnp.pad(x, [(0, 0)] * (x.ndim - len(pairs) - 1) + [*pairs, (0, 0)], mode="reflect")


def _reduce(x: jax.Array, start: np.ndarray, operation: object, each: dict[str, tuple[int, ...]]) -> jax.Array:
    padding = [(p, p) for p in each["padding"]]
    return lax.reduce_window(
        x, start, operation, (1, *each["window"], 1), (1, *each["strides"], 1), [(0, 0), *padding, (0, 0)]
    )


def _real_positions(sizes: Sequence[int], each: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    """For each spatial axis: how many positions of each window lie on the image."""
    counts = []
    for size, window, stride, padding, outputs in zip(
        sizes, each["window"], each["strides"], each["padding"], each["outputs"], strict=True
    ):
        first = np.arange(outputs) * stride - padding
        counts.append(np.minimum(first + window, size) - np.maximum(first, 0))
    return counts


def _means(x: jax.Array, axis: int, outputs: int) -> jax.Array:
    """The means of `outputs` stretches of one axis."""
    size = x.shape[axis]
    if size == outputs:
        return x
    if size % outputs == 0:
        return x.reshape(*x.shape[:axis], outputs, size // outputs, *x.shape[axis + 1 :]).mean(axis + 1)
    # Neighbours share positions, so that no reshape fits: each stretch is gathered, and the shorter ones end in zeros.
    numbers = np.arange(outputs)
    starts, ends = numbers * size // outputs, -(-(numbers + 1) * size // outputs)
    positions = starts[:, None] + np.arange((ends - starts).max())
    inside = positions < ends[:, None]
    stretches = jnp.take(x, jnp.asarray(np.minimum(positions, size - 1)), axis=axis)
    shape = (1,) * axis + inside.shape + (1,) * (x.ndim - axis - 1)
    total = jnp.where(inside.reshape(shape), stretches, jnp.zeros((), x.dtype)).sum(axis + 1)
    return total / jnp.asarray((ends - starts).reshape((*shape[: axis + 1], *shape[axis + 2 :])), x.dtype)
