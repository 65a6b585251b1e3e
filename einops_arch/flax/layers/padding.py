"""Padding layers, channels last: wrappers around `einops_arch.flax.functional.pad`."""

from __future__ import annotations

from typing import ClassVar

import jax
from flax import nnx

from einops_arch.flax.functional.pad import Padding, as_tuples, check_padding, padded

__all__ = ["CircularPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "ZeroPad"]


class _Pad(nnx.Module):
    """Padding over the spatial axes; a subclass says with what."""

    _mode: ClassVar[str]

    def __init__(self, padding: Padding) -> None:
        check_padding(type(self).__name__, padding)
        # Tuples, so that a module that holds them can be static in a program.
        self.padding: Padding = as_tuples(padding)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out where padding has one entry per axis."""
        return padded(type(self).__name__, x, self.padding, self._mode)


class ReflectionPad(_Pad):
    """`b *s c -> b *o c`: the image mirrored at its edges: `torch.nn.ReflectionPad1d`, `2d` and `3d`.

    Args:
        padding: one integer for both sides of all spatial axes, or for each spatial axis, in their order, an integer
            or a pair (before, after); negative ones cut away. PyTorch's flat tuple names the last axis first:
            (left, right, top, bottom) there is ((top, bottom), (left, right)) here.

    Raises:
        ConfigError: padding has another form.
        ShapeError: when called with another rank, or with an image that is not larger than the padding.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReflectionPad2d.html

    >>> import jax.numpy as jnp
    >>> ReflectionPad(2)(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """

    _mode = "reflect"


class ReplicationPad(_Pad):
    """`b *s c -> b *o c`: the edge of the image repeated: `torch.nn.ReplicationPad1d`, `2d` and `3d`.

    Args:
        padding: see `ReflectionPad`.

    Raises:
        ConfigError: padding has another form.
        ShapeError: when called with another rank, or if nothing is left.

    >>> import jax.numpy as jnp
    >>> ReplicationPad([(2, -1)])(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [0.0, 0.0, 0.0, 1.0, 2.0]
    """

    _mode = "replicate"


class CircularPad(_Pad):
    """`b *s c -> b *o c`: the other end of the image: `torch.nn.CircularPad1d`, `2d` and `3d`.

    Args:
        padding: see `ReflectionPad`.

    Raises:
        ConfigError: padding has another form.
        ShapeError: when called with another rank, or with an image that is smaller than the padding.

    >>> import jax.numpy as jnp
    >>> CircularPad([(2, 1)])(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 0.0]
    """

    _mode = "circular"


class ConstantPad(_Pad):
    """`b *s c -> b *o c`: a value around the image: `torch.nn.ConstantPad1d`, `2d` and `3d`.

    Args:
        padding: see `ReflectionPad`.
        value: of the padding.

    Raises:
        ConfigError: padding has another form.
        ShapeError: when called with another rank, or if nothing is left.

    >>> import jax.numpy as jnp
    >>> ConstantPad(1, 7.0)(jnp.arange(2.0).reshape(1, 2, 1)).ravel().tolist()
    [7.0, 0.0, 1.0, 7.0]
    """

    _mode = "constant"

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last; the batch axis may be left out where padding has one entry per axis."""
        return padded(type(self).__name__, x, self.padding, self._mode, self.value)


class ZeroPad(ConstantPad):
    """`b *s c -> b *o c`: zeros around the image: `torch.nn.ZeroPad1d`, `2d` and `3d`.

    Args:
        padding: see `ReflectionPad`.

    Raises:
        ConfigError: padding has another form.
        ShapeError: when called with another rank, or if nothing is left.

    >>> import jax.numpy as jnp
    >>> ZeroPad([(0, 1), (2, 0)])(jnp.ones((1, 1, 1, 1)))[0, ..., 0].tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, padding: Padding) -> None:
        super().__init__(padding, 0.0)
