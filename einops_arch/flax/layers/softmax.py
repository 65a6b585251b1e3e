"""Activations that put the values of one axis together: softmax and gated units."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.flax import functional as f
from einops_arch.flax._checks import check_rank
from einops_arch.flax.functional._dtypes import check_axis, check_floating, widened

__all__ = ["GLU", "Softmax", "Softmax2d", "Softmin"]


class GLU(nnx.Module):
    """`... (n c) -> ... c` with n = 2: one half times the sigmoid of the other: `torch.nn.GLU`.

    Args:
        axis: the axis that is halved, the last one by default, as channels are last.

    Raises:
        ShapeError: when called with an odd size along the axis.

    >>> import jax.numpy as jnp
    >>> GLU()(jnp.asarray([[2.0, 4.0, 0.0, 0.0]])).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.glu(x, self.axis)


class Softmax(nnx.Module):
    """`... -> ...`: exp(x) / sum(exp(x)) along one axis: `torch.nn.Softmax`.

    Args:
        axis: the axis of the classes, the last one by default, as channels are last; PyTorch's `dim`.

    Raises:
        DtypeError: when called with integers.

    >>> import jax.numpy as jnp
    >>> Softmax()(jnp.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return _softmax(x, self.axis)


class Softmax2d(Softmax):
    """`b h w c -> b h w c`: the softmax over the channels of an image: `torch.nn.Softmax2d`; the batch may be left out.

    Raises:
        DtypeError: when called with integers.
        ShapeError: when called with another number of axes.

    >>> import jax.numpy as jnp
    >>> Softmax2d()(jnp.zeros((1, 1, 1, 4))).ravel().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self) -> None:
        super().__init__(-1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b h w c -> b h w c`."""
        check_rank("Softmax2d", x.shape, 2)
        return super().__call__(x)


class Softmin(nnx.Module):
    """`... -> ...`: the softmax of -x along one axis: `torch.nn.Softmin`.

    Args:
        axis: the axis of the classes; PyTorch's `dim`.

    Raises:
        DtypeError: when called with integers.

    >>> import jax.numpy as jnp
    >>> Softmin()(jnp.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.softmin(x, self.axis)


def _softmax(x: jax.Array, axis: int) -> jax.Array:
    check_floating("Softmax", x)
    check_axis("Softmax", x, axis)
    # A scalar is one value along an axis, as in PyTorch.
    return jax.nn.softmax(jnp.atleast_1d(widened(x)), axis=axis).reshape(x.shape).astype(x.dtype)
