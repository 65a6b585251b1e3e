"""GraphSage in Flax NNX, translated by einops_arch from own_models.

The original is own_models.GraphSage, recorded at n=7 6, 2 m=12, and at n=9, m=16. The weights of the PyTorch model
load with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import Linear

__all__ = ["GraphSage"]


class SageLayer(nnx.Module):
    """`own_models.SageLayer`: `n c`, `m`, `m` -> `n c`."""

    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs) -> None:
        self.own = Linear(c_in, c_out, rngs=rngs)
        self.neighbors = Linear(c_in, c_out, use_bias=False, rngs=rngs)

    def __call__(self, x: Array, source: Array, target: Array) -> Array:
        total = jnp.zeros_like(x).at[target].add(x[source])
        count = jnp.zeros((x.shape[0], 1), total.dtype).at[target].add(jnp.ones((source.shape[0], 1), total.dtype))
        return self.own(x) + self.neighbors(total / functional.clamp(count, 1))


class GraphSage(nnx.Module):
    """`own_models.GraphSage`: `n c`, `b m` -> `n c`."""

    def __init__(self, features: int = 6, hidden: int = 9, classes: int = 4, *, rngs: nnx.Rngs) -> None:
        self.layer1 = SageLayer(features, hidden, rngs=rngs)
        self.layer2 = SageLayer(hidden, classes, rngs=rngs)

    def __call__(self, x: Array, edges: Array) -> Array:
        functional.check_shape(x, "n 6")
        functional.check_shape(edges, "2 m")
        source = edges[0]
        target = edges[1]
        x = jax.nn.relu(self.layer1(x, source, target))
        return self.layer2(x, source, target)
