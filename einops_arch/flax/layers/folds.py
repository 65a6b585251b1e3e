"""Unfold, Fold, Flatten and Unflatten, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from flax import nnx

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import per_axis
from einops_arch.flax.functional._windows import PerAxis
from einops_arch.flax.functional.fold import fold, unfold

__all__ = ["Flatten", "Fold", "Unflatten", "Unfold"]


class Unfold(nnx.Module):
    """`b *s c -> b n (c *k)`: each window as a row: `torch.nn.Unfold`.

    Columns have PyTorch's order, so that a Linear after it has the same weights; PyTorch's result is `b (c *k) n`.

    Args:
        window: PyTorch's `kernel_size`: one size for each spatial axis, or one integer for all of them.
        strides: likewise, as the next two.
        padding: zeros on both sides.
        dilation: the distance between two values of a window.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with an image smaller than the window.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Unfold.html

    >>> import jax.numpy as jnp
    >>> Unfold((2, 3))(jnp.ones((1, 4, 5, 7))).shape
    (1, 9, 42)
    """

    def __init__(self, window: PerAxis, strides: PerAxis = 1, padding: PerAxis = 0, dilation: PerAxis = 1) -> None:
        self.window, self.strides, self.padding, self.dilation = _checked("Unfold", window, strides, padding, dilation)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b n (c *k)`, channels last; the batch axis may be left out where a setting has one per axis."""
        return unfold(x, self.window, self.strides, self.padding, self.dilation)


class Fold(nnx.Module):
    """`b n (c *k) -> b *s c`: the sum of windows where they overlap: `torch.nn.Fold`, whose input is `b (c *k) n`.

    Args:
        output_size: the size of each spatial axis of the result.
        window: as for `Unfold`, like all that follow.
        strides: see `Unfold`.
        padding: see `Unfold`.
        dilation: see `Unfold`.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with rows that are not as many, or not as long, as the windows.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Fold.html

    >>> import jax.numpy as jnp
    >>> Fold((4, 5), (2, 3))(jnp.ones((1, 9, 42))).shape
    (1, 4, 5, 7)
    """

    def __init__(
        self,
        output_size: Sequence[int],
        window: PerAxis,
        strides: PerAxis = 1,
        padding: PerAxis = 0,
        dilation: PerAxis = 1,
    ) -> None:
        if not isinstance(output_size, (tuple, list)):
            raise ConfigError(
                f"Fold: expected output_size with one size for each spatial axis, received {output_size!r}"
            )
        self.output_size = per_axis("Fold", "output_size", output_size, len(output_size), 1)
        self.window, self.strides, self.padding, self.dilation = _checked("Fold", window, strides, padding, dilation)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b n (c *k) -> b *s c`; the batch axis may be left out."""
        return fold(x, self.output_size, self.window, self.strides, self.padding, self.dilation)


class Flatten(nnx.Module):
    """`b ... -> b (...)`: neighboring axes as one, in the order that they have: `torch.nn.Flatten`.

    Between a convolution and a Linear take `FlattenFeatures`: channels are last here, so that this layer gives
    `b (h w c)` where PyTorch's weights expect `b (c h w)`.

    Args:
        start_axis: the first of them; PyTorch's `start_dim`.
        end_axis: the last of them; PyTorch's `end_dim`.

    Raises:
        ShapeError: when called with an array that has no such axes.

    >>> import jax.numpy as jnp
    >>> Flatten()(jnp.ones((2, 3, 5))).shape
    (2, 15)
    """

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis, self.end_axis = start_axis, end_axis

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... -> b (...)`."""
        if x.ndim == 0 and {self.start_axis, self.end_axis} <= {0, -1}:
            return x.reshape(1)
        start, end = (axis + x.ndim if axis < 0 else axis for axis in (self.start_axis, self.end_axis))
        if not 0 <= start <= end < x.ndim:
            raise ShapeError(
                f"Flatten: expected axes from {self.start_axis} to {self.end_axis}, received {x.ndim} axes "
                f"in shape {x.shape}"
            )
        return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


class Unflatten(nnx.Module):
    """`... (...) ... -> ...`: one axis as several, in the order that they have: `torch.nn.Unflatten`.

    Between a Linear and a convolution take `UnflattenFeatures`, which puts channels last.

    Args:
        axis: which; PyTorch's `dim`.
        sizes: of the new axes; one may be -1. PyTorch's `unflattened_size`.

    Raises:
        ConfigError: sizes has another form.
        ShapeError: when called with an array that has no such axis, or one of another size.

    >>> import jax.numpy as jnp
    >>> Unflatten(1, (3, -1))(jnp.ones((2, 15))).shape
    (2, 3, 5)
    """

    def __init__(self, axis: int, sizes: Sequence[int]) -> None:
        whole = isinstance(sizes, (tuple, list)) and all(isinstance(n, int) and n >= -1 for n in sizes)
        if not whole or not sizes or list(sizes).count(-1) > 1:
            raise ConfigError(f"Unflatten: expected sizes as a tuple, one of them -1 at most, received {sizes!r}")
        self.axis, self.sizes = axis, tuple(sizes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... (...) ... -> ...`."""
        known = math.prod(n for n in self.sizes if n != -1)
        axis = self.axis + x.ndim if self.axis < 0 else self.axis
        size = x.shape[axis] if 0 <= axis < x.ndim else None
        fits = size is not None and (size == known if -1 not in self.sizes else known > 0 and size % known == 0)
        if size is None or not fits:
            raise ShapeError(f"Unflatten: expected axis {self.axis} of {self.sizes}, received shape {x.shape}")
        sizes = tuple(size // known if n == -1 else n for n in self.sizes)
        return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])


def _checked(layer: str, *settings: PerAxis) -> tuple[int | tuple[int, ...], ...]:
    lengths = {len(value) for value in settings if isinstance(value, (tuple, list))}
    if len(lengths) > 1 or not lengths <= {1, 2, 3}:
        raise ConfigError(f"{layer}: expected settings for the same 1, 2 or 3 spatial axes, received {settings}")
    axes = next(iter(lengths), 1)
    named = zip(("window", "strides", "padding", "dilation"), settings, (1, 1, 0, 1), strict=True)
    checked = [(per_axis(layer, name, value, axes, least), value) for name, value, least in named]
    return tuple(each if isinstance(value, (tuple, list)) else each[0] for each, value in checked)
