"""Pooling over space with PyTorch's defaults, channels last: wrappers around `einops_arch.flax.functional`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from einops_arch.flax.functional import pool
from einops_arch.flax.functional._windows import PerAxis, Windows

__all__ = ["AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "LPPool", "MaxPool", "MaxUnpool"]


class _Pool(nnx.Module):
    """A window that moves over the spatial axes; a subclass says what becomes of its values."""

    def __init__(
        self,
        window: PerAxis,
        strides: PerAxis | None = None,
        padding: PerAxis = 0,
        dilation: PerAxis = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        windows = Windows(type(self).__name__, window, strides, padding, dilation, ceil_mode=ceil_mode)
        # None: as many spatial axes as the input has.
        self.axes = windows.axes
        self.window, self.strides, self.padding = windows.window, windows.strides, windows.padding
        self.dilation, self.ceil_mode = windows.dilation, ceil_mode

    def _windows(self) -> Windows:
        settings = (self.window, self.strides, self.padding, self.dilation)
        each = settings if self.axes else tuple(value[0] for value in settings)
        return Windows(type(self).__name__, *each, ceil_mode=self.ceil_mode)


class MaxPool(_Pool):
    """`b *s c -> b *o c`: the largest value of each window: `torch.nn.MaxPool1d`, `2d` and `3d`.

    Differs from `nnx.max_pool`: strides None means the window (NNX: 1), padding is an integer, and `dilation`,
    `ceil_mode` and `return_indices`.

    Args:
        window: one size for each spatial axis, or one integer for all axes of the input.
        strides: likewise; None is the window.
        padding: likewise; at most half the window. The padding never is the largest.
        dilation: likewise; the distance between two values of a window.
        ceil_mode: whether a last window may reach beyond the padding.
        return_indices: whether to give the positions too, as `MaxUnpool` takes them.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with an image smaller than the window.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html

    >>> import jax.numpy as jnp
    >>> MaxPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """

    def __init__(
        self,
        window: PerAxis,
        strides: PerAxis | None = None,
        padding: PerAxis = 0,
        dilation: PerAxis = 1,
        *,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> None:
        super().__init__(window, strides, padding, dilation, ceil_mode=ceil_mode)
        self.return_indices = return_indices

    def __call__(self, x: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out."""
        return pool.max_pool(x, self._windows(), return_indices=self.return_indices)


class AvgPool(_Pool):
    """`b *s c -> b *o c`: the mean of each window: `torch.nn.AvgPool1d`, `2d` and `3d`.

    Differs from `nnx.avg_pool`: strides None means the window (NNX: 1), padding is an integer, and `ceil_mode` and
    `divisor_override`.

    Args:
        window: one size for each spatial axis, or one integer for all axes of the input.
        strides: likewise; None is the window.
        padding: likewise; at most half the window.
        count_include_pad: whether the zeros of the padding count in the mean.
        ceil_mode: whether a last window may reach beyond the padding; what is there never counts.
        divisor_override: what each sum is divided by, instead of the number of its values.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with an image smaller than the window (3D: before padding).
        DtypeError: when called with integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html

    >>> import jax.numpy as jnp
    >>> AvgPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    def __init__(
        self,
        window: PerAxis,
        strides: PerAxis | None = None,
        padding: PerAxis = 0,
        *,
        count_include_pad: bool = True,
        ceil_mode: bool = False,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(window, strides, padding, ceil_mode=ceil_mode)
        pool.check_divisor("AvgPool", divisor_override)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out."""
        return pool.avg_pool(
            x,
            self._windows(),
            count_include_pad=self.count_include_pad,
            divisor_override=self.divisor_override,
        )


class LPPool(_Pool):
    """`b *s c -> b *o c`: the p-norm of each window: `torch.nn.LPPool1d`, `2d` and `3d`.

    Args:
        norm_type: p; as in PyTorch, an odd one of negative values gives 0.
        window: one size for each spatial axis, or one integer for all axes of the input.
        strides: likewise; None is the window.
        ceil_mode: whether a last window may reach beyond the image; such a sum counts as if it were a whole one.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with an image smaller than the window.
        DtypeError: when called with integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool2d.html

    >>> import jax.numpy as jnp
    >>> LPPool(2, (2,))(jnp.asarray([3.0, 4.0]).reshape(1, 2, 1)).ravel().tolist()
    [5.0]
    """

    def __init__(
        self, norm_type: float, window: PerAxis, strides: PerAxis | None = None, *, ceil_mode: bool = False
    ) -> None:
        super().__init__(window, strides, ceil_mode=ceil_mode)
        self.norm_type = norm_type

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out."""
        return pool.lp_pool(x, self.norm_type, self._windows())


class MaxUnpool(nnx.Module):
    """`b *s c -> b *o c`: maxima back in their places, zeros elsewhere: `torch.nn.MaxUnpool1d`, `2d` and `3d`.

    Args:
        window: that of the pool, as are strides and padding.
        strides: None is the window.
        padding: that of the pool.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, or with indices of another shape.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool2d.html

    >>> import jax.numpy as jnp
    >>> x = jnp.asarray([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1)
    >>> MaxUnpool(2)(*MaxPool(2, return_indices=True)(x)).ravel().tolist()
    [0.0, 3.0, 2.0, 0.0]
    """

    def __init__(self, window: PerAxis, strides: PerAxis | None = None, padding: PerAxis = 0) -> None:
        windows = Windows("MaxUnpool", window, strides, padding)
        self.axes = windows.axes
        self.window, self.strides, self.padding = windows.window, windows.strides, windows.padding

    def __call__(self, x: jax.Array, indices: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        """`b *s c -> b *o c`, channels last.

        Args:
            x: the maxima.
            indices: their positions.
            output_size: the spatial sizes of the result; the smallest that fit if left out.
        """
        settings = (self.window, self.strides, self.padding)
        window, strides, padding = settings if self.axes else tuple(value[0] for value in settings)
        return pool.max_unpool(x, indices, window, strides, padding, output_size=output_size)


class AdaptiveAvgPool(nnx.Module):
    """`b *s c -> b *o c`: means over a grid of the size asked for: `torch.nn.AdaptiveAvgPool1d`, `2d` and `3d`.

    Along an axis of s positions, entry i of o is the mean of the positions from floor(i s / o) up to, and without,
    ceil((i + 1) s / o), as PyTorch has it: where o does not divide s neighbours share a position, and where s is
    smaller than o they are the same.

    Args:
        output_size: the size of each spatial axis, None for that of the input; one for all of them.

    Raises:
        ConfigError: output_size is out of range.
        ShapeError: when called with another rank, or with no position along an axis.
        DtypeError: when called with integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html

    >>> import jax.numpy as jnp
    >>> AdaptiveAvgPool((2,))(jnp.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [1.0, 3.0]
    """

    def __init__(self, output_size: pool.Sizes) -> None:
        self.axes = pool.check_output_size("AdaptiveAvgPool", output_size)
        self.output_size = tuple(output_size) if isinstance(output_size, (tuple, list)) else output_size

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out where output_size has one per axis."""
        return pool.adaptive_avg_pool(x, self.output_size, name="AdaptiveAvgPool")


class AdaptiveMaxPool(nnx.Module):
    """`b *s c -> b *o c`: maxima over a grid of the size asked for: `torch.nn.AdaptiveMaxPool1d`, `2d` and `3d`.

    Args:
        output_size: the size of each spatial axis, None for that of the input; one for all of them.
        return_indices: whether to give the positions too.

    Raises:
        ConfigError: output_size is out of range.
        ShapeError: when called with another rank, or with no position along an axis.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool2d.html

    >>> import jax.numpy as jnp
    >>> AdaptiveMaxPool((2,))(jnp.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [2.0, 4.0]
    """

    def __init__(self, output_size: pool.Sizes, *, return_indices: bool = False) -> None:
        self.axes = pool.check_output_size("AdaptiveMaxPool", output_size)
        self.output_size = tuple(output_size) if isinstance(output_size, (tuple, list)) else output_size
        self.return_indices = return_indices

    def __call__(self, x: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out where output_size has one per axis."""
        return pool.adaptive_max_pool(x, self.output_size, return_indices=self.return_indices, name="AdaptiveMaxPool")
