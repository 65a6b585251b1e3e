"""TransformerEncoder in Flax NNX, translated by einops_arch from own_models.

The original is own_models.TransformerEncoder, recorded at b=2 t=7, b=2 t=7, and at b=3, t=9. The weights of the
PyTorch model load with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies
to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import GELU, Dropout, Embed, LayerNorm, Linear, Sequential

__all__ = ["TransformerEncoder"]


class SelfAttention(nnx.Module):
    """`own_models.SelfAttention`: `b t c`, `b t` -> `b t c`."""

    def __init__(self, width: int, heads: int, dropout: float = 0.1, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.qkv = Linear(width, 3 * width, rngs=rngs)
        self.proj = Linear(width, width, rngs=rngs)
        self.drop = Dropout(dropout, rngs=rngs)

    def __call__(self, x: Array, mask: Array) -> Array:
        q, k, v = rearrange(self.qkv(x), "b t (qkv heads k) -> qkv b heads t k", qkv=3, heads=self.heads)
        scores = q @ rearrange(k, "b heads t k -> b heads k t") / (x.shape[-1] // self.heads) ** 0.5
        scores = jnp.where(rearrange(mask == 0, "b t -> b 1 1 t"), -jnp.inf, scores)
        weights = self.drop(jax.nn.softmax(scores, axis=-1))
        x = rearrange(weights @ v, "b heads t k -> b t (heads k)")
        return self.proj(x)


class EncoderLayer(nnx.Module):
    """`own_models.EncoderLayer`: `b t c`, `b t` -> `b t c`."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = LayerNorm(width, rngs=rngs)
        self.attention = SelfAttention(width, heads, rngs=rngs)
        self.norm2 = LayerNorm(width, rngs=rngs)
        self.mlp = Sequential(
            Linear(width, 4 * width, rngs=rngs), GELU(), Dropout(0.1, rngs=rngs), Linear(4 * width, width, rngs=rngs)
        )

    def __call__(self, x: Array, mask: Array) -> Array:
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class TransformerEncoder(nnx.Module):
    """`own_models.TransformerEncoder`: `b t`, `b t` -> `b c`."""

    def __init__(
        self, words: int = 40, width: int = 24, heads: int = 3, depth: int = 3, length: int = 64, *, rngs: nnx.Rngs
    ) -> None:
        self.positions = nnx.Variable(functional.sinusoidal_positions(length, width))
        self.tokens = Embed(words, width, rngs=rngs)
        self.layers = nnx.List([EncoderLayer(width, heads, rngs=rngs) for _ in range(depth)])
        self.norm = LayerNorm(width, rngs=rngs)
        self.head = Linear(width, 5, rngs=rngs)

    def __call__(self, tokens: Array, mask: Array) -> Array:
        x = self.tokens(tokens) + self.positions[...][: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x)
        weights = mask.astype(x.dtype)
        x2 = rearrange(weights, "b t -> b t 1")
        return self.head(jnp.sum(x * x2, axis=1) / functional.clamp(jnp.sum(x2, axis=1), 1))
