"""Normalisation that means what PyTorch's means: its eps, its running statistics, a variance that survives a mean.

NNX computes the variance as E[x^2] - E[x]^2 unless told otherwise, which loses every digit where the mean is large;
these layers subtract the mean first. Half-precision inputs are normalised in float32, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from einops_arch._settings import check_fraction, check_multiple, check_number
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_channels, check_features, check_sizes
from einops_arch.flax.kernels.moments import normalize, normalize_rows

__all__ = [
    "BatchNorm",
    "FrozenBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LayerNorm2d",
    "LocalResponseNorm",
    "RMSNorm",
]


class BatchNorm(nnx.BatchNorm):
    """`b ... c -> b ... c`: each channel over all else: `torch.nn.BatchNorm1d`, `2d` and `3d`.

    Differs from `nnx.BatchNorm`: `momentum` is the weight of the new batch (0.1), not of the past (0.99), and None
    gives the plain average over all batches; the running variance is the unbiased one; `num_batches_tracked` counts
    the training steps; two-pass variance. Leaves: `scale`, `bias` (parameters), `mean`, `var`, `num_batches_tracked`
    (an int32 scalar), the last three as `nnx.BatchStat`. `model.train()` and `model.eval()` switch it.

    Args:
        num_features: channels.
        momentum: the weight of the new batch in the running statistics, or None for a cumulative average.
        epsilon: added to the variance.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        track_running_stats: without it there are no statistics, and those of the batch are taken in evaluation too.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range, or epsilon is 0 where statistics of a batch are taken.
        ShapeError: when called with another number of channels, or in training with one value per channel, which has
            no variance.

    Source: https://arxiv.org/abs/1502.03167

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> norm = BatchNorm(2, rngs=nnx.Rngs(0))
    >>> y = norm(jnp.asarray([[0.0, 1.0], [2.0, 5.0]]))
    >>> norm.mean[...].tolist() == [jnp.float32(0.1), jnp.float32(0.3)], int(norm.num_batches_tracked[...])
    (True, 1)
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float | None = 0.1,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        track_running_stats: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        _check("BatchNorm", num_features, epsilon)
        _check_momentum("BatchNorm", momentum)
        super().__init__(
            num_features,
            momentum=momentum,
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            use_fast_variance=False,
            rngs=rngs,
        )
        self.track_running_stats = track_running_stats
        self.num_batches_tracked: Any = nnx.BatchStat(jnp.zeros((), jnp.int32))
        if not track_running_stats:
            self.mean = self.var = self.num_batches_tracked = nnx.data(None)

    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        """Normalises; in training also moves the running statistics.

        Args:
            x: b ... c, channels last.
            use_running_average: overrides what `train()` and `eval()` have set.

        Returns:
            b ... c.
        """
        check_channels("BatchNorm", x.shape, self.num_features)
        if x.ndim < 2:
            raise ShapeError(f"BatchNorm: expected axes 'b ... c', received 1 axis in shape {x.shape}")
        if use_running_average is None:
            use_running_average = self.use_running_average
        x, scale, bias = _promoted(self, x)
        wide = _wide(x)
        if use_running_average and self.track_running_stats:
            return _with_running(self, wide, scale, bias).astype(x.dtype)
        values = math.prod(x.shape[:-1])
        if not self.epsilon > 0:
            raise ConfigError(
                f"BatchNorm: expected epsilon above 0 with statistics of a batch, received {self.epsilon}"
            )
        if values == 1:
            raise ShapeError(
                f"BatchNorm: expected more than one value per channel in training, received shape {x.shape}; "
                "likely fix: a larger batch, or model.eval()"
            )
        y, mean, var = _normalize(wide, scale, bias, tuple(range(x.ndim - 1)), self.epsilon)
        if self.track_running_stats:
            self.num_batches_tracked[...] = self.num_batches_tracked[...] + 1  # an empty batch counts too
            if values:
                _move_running(self, mean.reshape(-1), var.reshape(-1) * (values / (values - 1)), self.momentum)
        return y.astype(x.dtype)


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
        self.normalized_shape, self.axis = _normalized("LayerNorm", num_features, axis, epsilon)
        super().__init__(
            math.prod(self.normalized_shape),
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            use_fast_variance=False,
            rngs=rngs,
        )

        _reshape_leaves(self)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... c -> ... c`."""
        _check_normalized("LayerNorm", x.shape, self.normalized_shape, self.axis)
        x, scale, bias = _promoted(self, x)
        wide = _wide(x)
        if self.axis == (-1,):
            return _scaled(normalize_rows(wide, self.epsilon), scale, bias, x.dtype)
        shape = tuple(x.shape[axis] if axis in self.axis else 1 for axis in range(-x.ndim, 0))
        scale, bias = (None if value is None else value.reshape(shape) for value in (scale, bias))
        if sorted(self.axis) == list(range(-len(self.axis), 0)):
            rows = wide.reshape(*x.shape[: -len(self.axis)], math.prod(self.normalized_shape))
            return _scaled(normalize_rows(rows, self.epsilon).reshape(x.shape), scale, bias, x.dtype)
        y, _, _ = _normalize(wide, scale, bias, tuple(axis + x.ndim for axis in sorted(self.axis)), self.epsilon)
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
        self.normalized_shape, self.axis = _normalized("RMSNorm", num_features, axis, epsilon)
        size = math.prod(self.normalized_shape)
        super().__init__(size, epsilon=epsilon, use_scale=use_scale, use_fast_variance=False, rngs=rngs)
        _reshape_leaves(self)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... c -> ... c`."""
        _check_normalized("RMSNorm", x.shape, self.normalized_shape, self.axis)
        x, scale, _ = _promoted(self, x)
        wide = _wide(x)
        epsilon = float(jnp.finfo(wide.dtype).eps) if self.epsilon is None else self.epsilon
        square = jnp.mean(jnp.square(wide), axis=self.axis, keepdims=True)
        if scale is not None and len(self.axis) > 1:
            scale = scale.reshape(tuple(x.shape[axis] if axis in self.axis else 1 for axis in range(-x.ndim, 0)))
        return _scaled(wide * jax.lax.rsqrt(square + epsilon), scale, None, x.dtype)


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
        _check("GroupNorm", num_features, epsilon)
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
        x, scale, bias = _promoted(self, x)
        grouped = rearrange(_wide(x), "... (g k) -> ... g k", g=self.num_groups)
        scale, bias = (
            None if value is None else rearrange(value, "(g k) -> g k", g=self.num_groups) for value in (scale, bias)
        )
        axes = (*range(1, x.ndim - 1), x.ndim)
        y, _, _ = _normalize(grouped, scale, bias, axes, self.epsilon)
        return rearrange(y, "... g k -> ... (g k)").astype(x.dtype)


class InstanceNorm(nnx.InstanceNorm):
    """`b ... c -> b ... c`: each sample and channel over space: `torch.nn.InstanceNorm1d`, `2d` and `3d`.

    Differs from `nnx.InstanceNorm`: no scale and no bias by default (PyTorch's `affine=False`; `affine=True` is both),
    epsilon is 1e-5 (NNX 1e-6), two-pass variance, and running statistics where they are asked for.

    Args:
        num_features: channels.
        momentum: the weight of the new batch in the running statistics; None is 0, as in PyTorch.
        epsilon: added to the variance.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        track_running_stats: whether there are running statistics, with which evaluation normalises. They are means over
            the batch. Leaves: `mean`, `var` and `num_batches_tracked`, which stays at 0, as in PyTorch.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with no spatial axis, another number of channels, or one single position.

    Source: https://arxiv.org/abs/1607.08022

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> norm = InstanceNorm(3, use_scale=True, use_bias=True, rngs=nnx.Rngs(0))
    >>> norm(jnp.ones((2, 5, 4, 3))).shape
    (2, 5, 4, 3)
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float | None = 0.1,
        epsilon: float = 1e-5,
        use_bias: bool = False,
        use_scale: bool = False,
        track_running_stats: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        _check("InstanceNorm", num_features, epsilon)
        _check_momentum("InstanceNorm", momentum)
        super().__init__(
            num_features,
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            use_fast_variance=False,
            rngs=rngs,
        )
        self.momentum, self.track_running_stats = momentum, track_running_stats
        self.mean: Any = nnx.data(None)
        self.var: Any = nnx.data(None)
        self.num_batches_tracked: Any = nnx.data(None)
        if track_running_stats:
            self.use_running_average = False  # `train()` and `eval()` set it
            self.mean = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
            self.var = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))
            self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... c -> b ... c`, channels last; with running statistics, training also moves them."""
        check_channels("InstanceNorm", x.shape, self.num_features)
        if x.ndim < 3:
            raise ShapeError(
                f"InstanceNorm: expected axes 'b ... c' with a spatial axis, received {x.ndim} axes in shape {x.shape}"
            )
        running = self.track_running_stats and self.use_running_average
        values = math.prod(x.shape[1:-1])
        if values == 1 and not running:
            raise ShapeError(f"InstanceNorm: expected more than one position in space, received shape {x.shape}")
        x, scale, bias = _promoted(self, x)
        if not x.size:
            return x  # the mean of nothing is NaN, and would be the gradient of the scale
        wide = _wide(x)
        if running:
            return _with_running(self, wide, scale, bias).astype(x.dtype)
        y, mean, var = _normalize(wide, scale, bias, tuple(range(1, x.ndim - 1)), self.epsilon)
        if self.track_running_stats:
            unbiased = var * (values / (values - 1))
            _move_running(self, mean.mean(0).reshape(-1), unbiased.mean(0).reshape(-1), self.momentum or 0.0)
        return y.astype(x.dtype)


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
        wide = _wide(x)
        pads = [(0, 0)] * (x.ndim - 1) + [(self.size // 2, (self.size - 1) // 2)]
        window = (1,) * (x.ndim - 1) + (self.size,)
        zero = np.zeros((), wide.dtype)
        total = jax.lax.reduce_window(jnp.square(wide), zero, jax.lax.add, window, (1,) * x.ndim, pads)
        return (wide / (self.k + self.alpha * total / self.size) ** self.beta).astype(x.dtype)


class FrozenBatchNorm(nnx.Module):
    """`b ... c -> b ... c`: a batch norm whose numbers never change: `torchvision.ops.FrozenBatchNorm2d`.

    Leaves: `scale`, `bias`, `mean`, `var`, all `nnx.BatchStat`, so that no optimizer steps on them.

    Args:
        num_features: channels.
        epsilon: added to the variance.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another number of channels.

    Source: https://docs.pytorch.org/vision/stable/generated/torchvision.ops.FrozenBatchNorm2d.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> FrozenBatchNorm(2, epsilon=0.0, rngs=nnx.Rngs(0))(jnp.ones((1, 3, 2)))[0, 0].tolist()
    [1.0, 1.0]
    """

    def __init__(self, num_features: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs) -> None:
        _check("FrozenBatchNorm", num_features, epsilon)
        self.num_features, self.epsilon = num_features, epsilon
        self.scale = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))
        self.bias = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
        self.var = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        check_channels("FrozenBatchNorm", x.shape, self.num_features)
        scale = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
        return x * scale + (self.bias[...] - self.mean[...] * scale)


def _normalized(
    layer: str, num_features: int | Sequence[int], axis: Sequence[int] | None, epsilon: float | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of the normalized axes in PyTorch's order, and where each is, counted from the end."""
    sizes = tuple(num_features) if isinstance(num_features, (tuple, list)) else (num_features,)
    for size in sizes or (0,):
        _check(layer, size, epsilon)
    axes = tuple(range(-len(sizes), 0)) if axis is None else tuple(axis)
    if len(axes) != len(sizes) or len(set(axes)) < len(axes) or any(a >= 0 for a in axes):
        raise ConfigError(
            f"{layer}: expected axis as {len(sizes)} negative integers, one for each of {sizes}, received {axis!r}"
        )
    return sizes, axes


def _reshape_leaves(layer: Any) -> None:
    """Leaves of several axes, in the order of the input."""
    if len(layer.axis) > 1:
        shape = tuple(size for _, size in sorted(zip(layer.axis, layer.normalized_shape, strict=True)))
        for leaf in (layer.scale, getattr(layer, "bias", None)):
            if leaf is not None:
                leaf.set_value(leaf[...].reshape(shape))


def _check_normalized(layer: str, shape: tuple[int, ...], sizes: tuple[int, ...], axes: tuple[int, ...]) -> None:
    if axes == (-1,):
        check_features(layer, shape, sizes[0])
    elif len(shape) < -min(axes) or tuple(shape[axis] for axis in axes) != sizes:
        raise ShapeError(f"{layer}: expected sizes {sizes} along axes {axes}, received shape {shape}")


def _check(layer: str, num_features: int, epsilon: float | None) -> None:
    check_sizes(layer, num_features=num_features)
    if epsilon is not None:
        check_number(layer, "epsilon", epsilon)


def _check_momentum(layer: str, momentum: float | None) -> None:
    if momentum is not None:
        check_fraction(layer, "momentum", momentum)


def _with_running(layer: Any, wide: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    mean, var = layer.mean[...].astype(wide.dtype), layer.var[...].astype(wide.dtype)
    factor = jax.lax.rsqrt(var + layer.epsilon) * _wide_or(scale, 1.0, wide)
    return (wide - mean) * factor + _wide_or(bias, 0.0, wide)


def _move_running(layer: Any, mean: jax.Array, var: jax.Array, momentum: float | None) -> None:
    """Moves the running statistics towards those of a batch; they take the parameters' dtype where it is wider."""
    parameter = layer.scale if layer.scale is not None else layer.bias
    for running, batch in ((layer.mean, mean), (layer.var, var)):
        dtype = running.dtype if parameter is None else jnp.promote_types(running.dtype, parameter.dtype)
        weight = 1.0 / layer.num_batches_tracked[...].astype(dtype) if momentum is None else momentum
        moved = (1.0 - weight) * running[...].astype(dtype) + weight * jax.lax.stop_gradient(batch).astype(dtype)
        if running.dtype == dtype:
            running[...] = moved
        else:  # assigning to [...] would cast back to the narrower type without a word
            running.set_value(moved)


def _promoted(layer: Any, x: jax.Array) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """The input and the parameters in one dtype, by the layer's own promotion."""
    scale, bias = layer.scale, getattr(layer, "bias", None)
    values = (x, None if scale is None else scale[...], None if bias is None else bias[...])
    promoted: tuple[jax.Array, jax.Array | None, jax.Array | None] = layer.promote_dtype(values, dtype=layer.dtype)
    return promoted


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def _wide_or(value: jax.Array | None, default: float, wide: jax.Array) -> jax.Array:
    return jnp.full((), default, wide.dtype) if value is None else value.astype(wide.dtype)


def _normalize(
    wide: jax.Array, scale: jax.Array | None, bias: jax.Array | None, axes: tuple[int, ...], epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    y, mean, var = normalize(wide, _wide_or(scale, 1.0, wide), _wide_or(bias, 0.0, wide), axes, epsilon)
    return y, mean, var


def _scaled(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, dtype: Any) -> jax.Array:
    if scale is not None:
        x = x * scale.astype(x.dtype)
    if bias is not None:
        x = x + bias.astype(x.dtype)
    return x.astype(dtype)
