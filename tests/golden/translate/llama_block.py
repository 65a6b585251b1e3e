"""LlamaBlock in Flax NNX, translated by einops_arch from own_models.

The original is own_models.LlamaBlock, recorded at b=2 t=7 24, and at b=3, t=9. The weights of the PyTorch model load
with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.

Written for width=24, heads=4: with another number the original's state has other names or shapes than this one's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.functional import scaled_dot_product_attention
from einops_arch.flax.layers import Linear

__all__ = ["LlamaBlock"]


class RootMeanSquareNorm(nnx.Module):
    """`own_models.RootMeanSquareNorm`: `b t c` -> `b t c`."""

    def __init__(self, width: int, eps: float = 1e-06, *, rngs: nnx.Rngs) -> None:
        self.eps = eps
        self.weight = nnx.Param(jnp.ones((width,)))

    def __call__(self, x: Array) -> Array:
        return self.weight[...] * (x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.eps))


class LlamaBlock(nnx.Module):
    """`own_models.LlamaBlock`: `b t c` -> `b t c`."""

    def __init__(self, groups: int = 2, hidden: int = 40, *, rngs: nnx.Rngs) -> None:
        self.heads = 4
        self.groups = groups
        self.rates = nnx.Variable(10000.0 ** (-jnp.arange(3, dtype=jnp.float32) / 3))
        self.norm1 = RootMeanSquareNorm(24, rngs=rngs)
        self.q = Linear(24, 24, use_bias=False, rngs=rngs)
        self.k = Linear(24, groups * 6, use_bias=False, rngs=rngs)
        self.v = Linear(24, groups * 6, use_bias=False, rngs=rngs)
        self.o = Linear(24, 24, use_bias=False, rngs=rngs)
        self.norm2 = RootMeanSquareNorm(24, rngs=rngs)
        self.gate = Linear(24, hidden, use_bias=False, rngs=rngs)
        self.up = Linear(24, hidden, use_bias=False, rngs=rngs)
        self.down = Linear(hidden, 24, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        functional.check_shape(x, "b t 24")
        angles = (
            rearrange(jnp.arange(x.shape[1], dtype=int).astype(self.rates[...].dtype), "n -> n 1") * self.rates[...]
        )
        angles = jnp.concatenate([angles, angles], axis=-1)
        cos = jnp.cos(angles)
        sin = jnp.sin(angles)
        h = self.norm1(x)
        q = rearrange(self.q(h), "b t (heads k) -> b heads t k", heads=self.heads)
        first, second = jnp.split(q, 2, axis=-1)
        q = q * cos + jnp.concatenate([-second, first], axis=-1) * sin
        k = rearrange(self.k(h), "b t (heads k) -> b heads t k", heads=self.groups)
        first, second = jnp.split(k, 2, axis=-1)
        k = k * cos + jnp.concatenate([-second, first], axis=-1) * sin
        v = rearrange(self.v(h), "b t (heads k) -> b heads t k", heads=self.groups)
        k = jnp.repeat(k, self.heads // self.groups, axis=1)
        v = jnp.repeat(v, self.heads // self.groups, axis=1)
        h = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(rearrange(h, "b heads t k -> b t (heads k)"))
        h = self.norm2(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))
