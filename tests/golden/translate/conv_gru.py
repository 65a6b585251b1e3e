"""ConvGRU in Flax NNX, translated by einops_arch from own_models.

The original is own_models.ConvGRU, recorded at b=2 t=4 3 h=6 w=5, and at b=3, h=8, w=7. The weights of the PyTorch
model load with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.

Axis t is fixed: a number is 4 at one size and 6 at another, and how it was made is not known (own_models.py:150).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import Conv

__all__ = ["ConvGRU"]


class ConvGRUCell(nnx.Module):
    """`own_models.ConvGRUCell`: `b h w c`, `b h w c` -> `b h w c`."""

    def __init__(self, channels: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.gates = Conv(channels + hidden, 2 * hidden, (3, 3), padding=1, rngs=rngs)
        self.candidate = Conv(channels + hidden, hidden, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: Array, h: Array) -> Array:
        update, reset = jnp.split(jax.nn.sigmoid(self.gates(jnp.concatenate([x, h], axis=-1))), 2, axis=-1)
        candidate = jnp.tanh(self.candidate(jnp.concatenate([x, reset * h], axis=-1)))
        return (1 - update) * h + update * candidate


class ConvGRU(nnx.Module):
    """`own_models.ConvGRU`: `b t c h w` -> `b t c h w`."""

    def __init__(self, channels: int = 3, hidden: int = 5, *, rngs: nnx.Rngs) -> None:
        self.cell = ConvGRUCell(channels, hidden, rngs=rngs)
        self.out = Conv(hidden, 2, (1, 1), rngs=rngs)

    def __call__(self, frames: Array) -> Array:
        functional.check_shape(frames, "b 4 3 h w")
        h = rearrange(
            jnp.zeros((frames.shape[0], 5, frames.shape[3], frames.shape[4]), frames.dtype), "b c h w -> b h w c"
        )
        h = self.cell(rearrange(frames[:, 0], "b c h w -> b h w c"), h)
        x = rearrange(self.out(h), "b h w c -> b c h w")
        h = self.cell(rearrange(frames[:, 1], "b c h w -> b h w c"), h)
        x2 = rearrange(self.out(h), "b h w c -> b c h w")
        h = self.cell(rearrange(frames[:, 2], "b c h w -> b h w c"), h)
        x3 = rearrange(self.out(h), "b h w c -> b c h w")
        h = self.cell(rearrange(frames[:, 3], "b c h w -> b h w c"), h)
        x4 = rearrange(self.out(h), "b h w c -> b c h w")
        return jnp.stack([x, x2, x3, x4], axis=1)
