"""A batch norm and the activation after it as one layer, as timm's networks have them."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from einops_arch.flax.layers.batch_norm import BatchNorm

__all__ = ["BatchNormAct"]


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
