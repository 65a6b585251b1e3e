"""TextCNN in Flax NNX, translated by einops_arch from own_models.

The original is own_models.TextCNN, recorded at b=3 t=9, and at b=4, t=11. The weights of the PyTorch model load with
`einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import Conv, Dropout, Embed, Linear

__all__ = ["TextCNN"]


class TextCNN(nnx.Module):
    """`own_models.TextCNN`: `b t` -> `b c`."""

    def __init__(self, words: int = 50, width: int = 12, filters: int = 6, classes: int = 4, *, rngs: nnx.Rngs) -> None:
        self.embedding = Embed(words, width, padding_idx=0, rngs=rngs)
        self.convs = nnx.List([Conv(width, filters, (kernel_size,), rngs=rngs) for kernel_size in (2, 3, 4)])
        self.dropout = Dropout(0.3, rngs=rngs)
        self.fc = Linear(3 * filters, classes, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        x = self.embedding(tokens)
        pooled = [functional.largest(jax.nn.relu(conv(x)), axis=1) for conv in self.convs]
        return self.fc(self.dropout(jnp.concatenate(pooled, axis=-1)))
