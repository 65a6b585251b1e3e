"""DuelingDQN in Flax NNX, translated by einops_arch from own_models.

The original is own_models.DuelingDQN, recorded at b=2 4 40 40, and at b=3. The weights of the PyTorch model load with
`einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import Conv, Linear, ReLU, Sequential

__all__ = ["DuelingDQN"]


class DuelingDQN(nnx.Module):
    """`own_models.DuelingDQN`: `b c h w` -> `b c`."""

    def __init__(self, frames: int = 4, actions: int = 6, *, rngs: nnx.Rngs) -> None:
        self.features = Sequential(
            Conv(frames, 8, (8, 8), strides=4, rngs=rngs), ReLU(), Conv(8, 12, (4, 4), strides=2, rngs=rngs), ReLU()
        )
        self.value = Sequential(Linear(12 * 3 * 3, 16, rngs=rngs), ReLU(), Linear(16, 1, rngs=rngs))
        self.advantage = Sequential(Linear(12 * 3 * 3, 16, rngs=rngs), ReLU(), Linear(16, actions, rngs=rngs))

    def __call__(self, x: Array) -> Array:
        functional.check_shape(x, "b 4 40 40")
        x = rearrange(x / 255.0, "b c h w -> b h w c")
        x = self.features(x)
        x = rearrange(x, "b h w c -> b (c h w)")
        value = self.value(x)
        advantage = self.advantage(x)
        return value + advantage - jnp.mean(advantage, axis=-1, keepdims=True)
