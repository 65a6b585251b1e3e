"""Normalisation that means what PyTorch's means: its eps, its running statistics, a variance that survives a mean.

NNX computes the variance as E[x^2] - E[x]^2 unless told otherwise, which loses every digit where the mean is large;
these layers subtract the mean first. Half-precision inputs are normalised in float32, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from einops_arch._settings import check_multiple
from einops_arch.errors import ShapeError
from einops_arch.flax._checks import check_channels, check_sizes
from einops_arch.flax.kernels.moments import normalize_rows
from einops_arch.flax.layers._norms import (
    check_normalized,
    check_settings,
    normalize_over,
    normalized_axes,
    promote,
    reshape_leaves,
    scale_and_shift,
    widen,
)

__all__ = ["GroupNorm", "LayerNorm", "LayerNorm2d", "LocalResponseNorm", "RMSNorm"]


class LayerNorm(nnx.LayerNorm):
    """`... c -> ... c`: each position over its channels, or over several axes: `torch.nn.LayerNorm`.

    Differs from `nnx.LayerNorm`: epsilon is 1e-5 (NNX 1e-6), two-pass variance. Leaves: `scale` and `bias`, whose axes
    have the order that they have in the input.

    Args:
        num_features: size of the last axis; or PyTorch's `normalized_shape`, one size for each axis.
        axis: where the axes of num_features are in the input, from its end and in their order; the last ones if left
            out. PyTorch's `(c, h, w)` is `axis=(-1, -3, -2)`, as channels are last here.
        epsilon: added to the variance.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when an axis has another size.

    Source: https://arxiv.org/abs/1607.06450

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = LayerNorm(4, rngs=nnx.Rngs(0))(jnp.arange(8.0).reshape(2, 4))
    >>> [round(value, 3) for value in y[0].tolist()]
    [-1.342, -0.447, 0.447, 1.342]
    """

    def __init__(
        self,
        num_features: int | Sequence[int],
        *,
        axis: Sequence[int] | None = None,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        self.normalized_shape, self.axis = normalized_axes("LayerNorm", num_features, axis, epsilon)
        super().__init__(
            math.prod(self.normalized_shape),
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            use_fast_variance=False,
            rngs=rngs,
        )

        reshape_leaves(self)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... c -> ... c`."""
        check_normalized("LayerNorm", x.shape, self.normalized_shape, self.axis)
        x, scale, bias = promote(self, x)
        wide = widen(x)
        if self.axis == (-1,):
            return scale_and_shift(normalize_rows(wide, self.epsilon), scale, bias, x.dtype)
        shape = tuple(x.shape[axis] if axis in self.axis else 1 for axis in range(-x.ndim, 0))
        scale, bias = (None if value is None else value.reshape(shape) for value in (scale, bias))
        if sorted(self.axis) == list(range(-len(self.axis), 0)):
            rows = wide.reshape(*x.shape[: -len(self.axis)], math.prod(self.normalized_shape))
            return scale_and_shift(normalize_rows(rows, self.epsilon).reshape(x.shape), scale, bias, x.dtype)
        y, _, _ = normalize_over(wide, scale, bias, tuple(axis + x.ndim for axis in sorted(self.axis)), self.epsilon)
        return y.astype(x.dtype)


class LayerNorm2d(LayerNorm):
    """`b h w c -> b h w c`: each pixel over its channels: `LayerNorm2d` of torchvision's and timm's networks.

    They have it because PyTorch's images are channels first; here it is `LayerNorm` with their epsilon of 1e-6.

    Args:
        num_features: channels.
        epsilon: added to the variance.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when the last axis has another size.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> LayerNorm2d(4, rngs=nnx.Rngs(0))(jnp.ones((2, 3, 5, 4))).shape
    (2, 3, 5, 4)
    """

    def __init__(
        self,
        num_features: int,
        *,
        epsilon: float = 1e-6,
        use_bias: bool = True,
        use_scale: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(num_features, epsilon=epsilon, use_bias=use_bias, use_scale=use_scale, rngs=rngs)


class RMSNorm(nnx.RMSNorm):
    """`... c -> ... c`: each position divided by the root of its mean square: `torch.nn.RMSNorm`.

    Differs from `nnx.RMSNorm`: epsilon None (the default, as in PyTorch) is the machine epsilon of the dtype it is
    computed in, that of float64 for float64 and that of float32 for all else; NNX has 1e-6. One leaf: `scale`.

    Args:
        num_features: size of the last axis; or one size for each of several axes, as for `LayerNorm`.
        axis: where these axes are in the input, as for `LayerNorm`.
        epsilon: added to the mean square, or None.
        use_scale: whether there is a scale.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when the last axis has another size.

    Source: https://arxiv.org/abs/1910.07467

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> RMSNorm(2, rngs=nnx.Rngs(0))(jnp.asarray([3.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        num_features: int | Sequence[int],
        *,
        axis: Sequence[int] | None = None,
        epsilon: float | None = None,
        use_scale: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        self.normalized_shape, self.axis = normalized_axes("RMSNorm", num_features, axis, epsilon)
        size = math.prod(self.normalized_shape)
        super().__init__(size, epsilon=epsilon, use_scale=use_scale, use_fast_variance=False, rngs=rngs)
        reshape_leaves(self)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... c -> ... c`."""
        check_normalized("RMSNorm", x.shape, self.normalized_shape, self.axis)
        x, scale, _ = promote(self, x)
        wide = widen(x)
        epsilon = float(jnp.finfo(wide.dtype).eps) if self.epsilon is None else self.epsilon
        square = jnp.mean(jnp.square(wide), axis=self.axis, keepdims=True)
        if scale is not None and len(self.axis) > 1:
            scale = scale.reshape(tuple(x.shape[axis] if axis in self.axis else 1 for axis in range(-x.ndim, 0)))
        return scale_and_shift(wide * jax.lax.rsqrt(square + epsilon), scale, None, x.dtype)


class GroupNorm(nnx.GroupNorm):
    """`b ... (groups k) -> b ... (groups k)`: each sample and group over space and k: `torch.nn.GroupNorm`.

    Differs from `nnx.GroupNorm`: epsilon is 1e-5 (NNX 1e-6), the number of groups has no default, two-pass variance.
    Note the order of the arguments, NNX's: channels first, then groups. Leaves: `scale` and `bias`.

    Args:
        num_features: channels.
        num_groups: into how many groups they are divided.
        epsilon: added to the variance.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range, or the groups do not divide the channels.
        ShapeError: when called with another number of channels, or with one single value per group.

    Source: https://arxiv.org/abs/1803.08494

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> GroupNorm(6, 3, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 4, 6))).shape
    (2, 5, 4, 6)
    """

    def __init__(
        self,
        num_features: int,
        num_groups: int,
        *,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        check_settings("GroupNorm", num_features, epsilon)
        check_sizes("GroupNorm", num_groups=num_groups)
        fix = "" if num_groups % num_features else "the channels come first here, then the groups"
        check_multiple("GroupNorm", "num_features", num_features, "num_groups", num_groups, fix)
        self.num_features = num_features
        super().__init__(
            num_features,
            num_groups,
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            use_fast_variance=False,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        check_channels("GroupNorm", x.shape, self.num_features)
        if x.ndim < 2:
            raise ShapeError(f"GroupNorm: expected axes 'b ... c', received 1 axis in shape {x.shape}")
        if math.prod(x.shape[:-1]) * self.group_size == 1:
            raise ShapeError(f"GroupNorm: expected more than one value per group, received shape {x.shape}")
        x, scale, bias = promote(self, x)
        grouped = rearrange(widen(x), "... (g k) -> ... g k", g=self.num_groups)
        scale, bias = (
            None if value is None else rearrange(value, "(g k) -> g k", g=self.num_groups) for value in (scale, bias)
        )
        axes = (*range(1, x.ndim - 1), x.ndim)
        y, _, _ = normalize_over(grouped, scale, bias, axes, self.epsilon)
        return rearrange(y, "... g k -> ... (g k)").astype(x.dtype)


class LocalResponseNorm(nnx.Module):
    """`b ... c -> b ... c`: each value divided by a power of its neighbors' mean square: `torch.nn.LocalResponseNorm`.

    Neighbors are channels, the last axis here; beyond the first and the last channel they are zero and count.

    Args:
        size: how many channels are taken together.
        alpha: the factor of their mean square.
        beta: the power.
        k: what is added to it.

    Raises:
        ConfigError: size is no positive integer.
        ShapeError: when called with fewer than 3 axes.

    Source: https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks

    >>> import jax.numpy as jnp
    >>> LocalResponseNorm(2, alpha=1.0, beta=1.0)(jnp.ones((1, 1, 3))).round(3).ravel().tolist()
    [0.667..., 0.5, 0.5]
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        check_sizes("LocalResponseNorm", size=size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        if x.ndim < 3:
            raise ShapeError(f"LocalResponseNorm: expected axes 'b ... c', received {x.ndim} axes in shape {x.shape}")
        if not x.size:
            return x
        wide = widen(x)
        pads = [(0, 0)] * (x.ndim - 1) + [(self.size // 2, (self.size - 1) // 2)]
        window = (1,) * (x.ndim - 1) + (self.size,)
        zero = np.zeros((), wide.dtype)
        total = jax.lax.reduce_window(jnp.square(wide), zero, jax.lax.add, window, (1,) * x.ndim, pads)
        return (wide / (self.k + self.alpha * total / self.size) ** self.beta).astype(x.dtype)
