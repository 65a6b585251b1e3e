"""Normalization with running statistics, as PyTorch's: its eps, its momentum, and the unbiased running variance."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_channels
from einops_arch.flax.functional._dtypes import check_floating
from einops_arch.flax.layers._norms import (
    check_momentum,
    check_settings,
    move_running,
    normalize_over,
    promote,
    widen,
    with_running,
)

__all__ = ["BatchNorm", "FrozenBatchNorm", "InstanceNorm"]


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
        check_settings("BatchNorm", num_features, epsilon)
        check_momentum("BatchNorm", momentum)
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
        x, scale, bias = promote(self, x)
        wide = widen(x)
        if use_running_average and self.track_running_stats:
            return with_running(self, wide, scale, bias).astype(x.dtype)
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
        y, mean, var = normalize_over(wide, scale, bias, tuple(range(x.ndim - 1)), self.epsilon)
        if self.track_running_stats:
            self.num_batches_tracked.set_value(self.num_batches_tracked[...] + 1)  # an empty batch counts too
            if values:
                move_running(self, mean.reshape(-1), var.reshape(-1) * (values / (values - 1)), self.momentum)
        return y.astype(x.dtype)


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
        check_settings("InstanceNorm", num_features, epsilon)
        check_momentum("InstanceNorm", momentum)
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
        x, scale, bias = promote(self, x)
        if not x.size:
            return x  # the mean of nothing is NaN, and would be the gradient of the scale
        wide = widen(x)
        if running:
            return with_running(self, wide, scale, bias).astype(x.dtype)
        # PyTorch's batch norm, which does this there, gives zeros where all positions are equal and epsilon is 0.
        y, mean, var = normalize_over(wide, scale, bias, tuple(range(1, x.ndim - 1)), self.epsilon, 0.0)
        if self.track_running_stats:
            unbiased = var * (values / (values - 1))
            move_running(self, mean.mean(0).reshape(-1), unbiased.mean(0).reshape(-1), self.momentum or 0.0)
        return y.astype(x.dtype)


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
        check_settings("FrozenBatchNorm", num_features, epsilon)
        self.num_features, self.epsilon = num_features, epsilon
        self.scale = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))
        self.bias = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
        self.var = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        check_channels("FrozenBatchNorm", x.shape, self.num_features)
        check_floating("FrozenBatchNorm", x)
        scale = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
        return x * scale + (self.bias[...] - self.mean[...] * scale)
