"""Seq2Seq in Flax NNX, translated by einops_arch from own_models.

The original is own_models.Seq2Seq, recorded at b=2 t=6, b=2 s=5, and at b=3, t=8, s=7. The weights of the PyTorch
model load with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax.layers import LSTM, Embed, Linear

__all__ = ["Seq2Seq"]


class Seq2Seq(nnx.Module):
    """`own_models.Seq2Seq`: `b t`, `b s` -> `b n c`."""

    def __init__(self, words: int = 30, width: int = 8, hidden: int = 10, *, rngs: nnx.Rngs) -> None:
        self.source = Embed(words, width, rngs=rngs)
        self.target = Embed(words, width, rngs=rngs)
        self.encoder = LSTM(width, hidden, batch_first=True, bidirectional=True, rngs=rngs)
        self.bridge = Linear(2 * hidden, hidden, rngs=rngs)
        self.decoder = LSTM(width, hidden, batch_first=True, rngs=rngs)
        self.score = Linear(hidden, 2 * hidden, use_bias=False, rngs=rngs)
        self.out = Linear(3 * hidden, words, rngs=rngs)

    def __call__(self, source: Array, target: Array) -> Array:
        memory1, memory2 = self.encoder(self.source(source))
        h = rearrange(jnp.tanh(self.bridge(jnp.concatenate([memory2[0][0], memory2[0][1]], axis=-1))), "n c -> 1 n c")
        c = rearrange(jnp.tanh(self.bridge(jnp.concatenate([memory2[1][0], memory2[1][1]], axis=-1))), "n c -> 1 n c")
        states = self.decoder(self.target(target), (h, c))
        scores = self.score(states[0]) @ rearrange(memory1, "b n c -> b c n")
        context = jax.nn.softmax(scores, axis=-1) @ memory1
        return self.out(jnp.concatenate([states[0], context], axis=-1))
