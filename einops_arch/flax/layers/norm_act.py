"""A norm and the activation after it as one layer, as timm's networks have them."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from einops_arch.flax.layers.batch_norm import BatchNorm
from einops_arch.flax.layers.norm import GroupNorm

__all__ = ["BatchNormAct", "GroupNormAct"]


class BatchNormAct(BatchNorm):
    """`b ... c -> b ... c`: a batch norm, then an activation: `timm.layers.BatchNormAct2d`.

    Leaves: those of `BatchNorm`, and those of the activation under `act`.

    Args:
        num_features: channels.
        act: the activation, a module or a function.
        settings: of `BatchNorm`.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Source: https://github.com/huggingface/pytorch-image-models/blob/main/timm/layers/norm_act.py

    >>> import jax.numpy as jnp
    >>> norm = BatchNormAct(2, jax.nn.relu, rngs=nnx.Rngs(0))
    >>> norm(jnp.asarray([[-1.0, 1.0], [1.0, -1.0]])).round(3).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    def __init__(self, num_features: int, act: Any, *, rngs: nnx.Rngs, **settings: Any) -> None:
        super().__init__(num_features, rngs=rngs, **settings)
        self.act = act

    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        """`b ... c -> b ... c`, channels last; see `BatchNorm`."""
        y: jax.Array = self.act(super().__call__(x, use_running_average))
        return y


class GroupNormAct(GroupNorm):
    """`b ... c -> b ... c`: a group norm, then an activation: `timm.layers.GroupNormAct`.

    Leaves: those of `GroupNorm`, and those of the activation under `act`.

    Args:
        num_features: channels.
        num_groups: into how many groups they are divided.
        act: the activation, a module or a function.
        settings: of `GroupNorm`.
        rngs: nothing is drawn from it; it is there as NNX layers have it.

    Raises:
        ConfigError: as `GroupNorm`.
        ShapeError: as `GroupNorm`.

    Source: https://github.com/huggingface/pytorch-image-models/blob/main/timm/layers/norm_act.py

    >>> import jax.numpy as jnp
    >>> norm = GroupNormAct(4, 2, jax.nn.relu, rngs=nnx.Rngs(0))
    >>> norm(jnp.asarray([[-1.0, 1.0, 5.0, 3.0]])).round(3).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """

    def __init__(self, num_features: int, num_groups: int, act: Any, *, rngs: nnx.Rngs, **settings: Any) -> None:
        super().__init__(num_features, num_groups, rngs=rngs, **settings)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b ... c -> b ... c`, channels last; see `GroupNorm`."""
        y: jax.Array = self.act(super().__call__(x))
        return y
