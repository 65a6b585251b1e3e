"""Generator in Flax NNX, translated by einops_arch from own_models.

The original is own_models.Generator, recorded at b=3 10, and at b=4. The weights of the PyTorch model load with
`einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import BatchNorm, ConvTranspose, ReLU, Sequential, Tanh

__all__ = ["Generator"]


class Generator(nnx.Module):
    """`own_models.Generator`: `b c` -> `b h w c`."""

    def __init__(self, latent: int = 10, base: int = 4, *, rngs: nnx.Rngs) -> None:
        self.net = Sequential(
            ConvTranspose(latent, 4 * base, (4, 4), use_bias=False, rngs=rngs),
            BatchNorm(4 * base, rngs=rngs),
            ReLU(),
            ConvTranspose(4 * base, 2 * base, (4, 4), strides=2, padding=1, use_bias=False, rngs=rngs),
            BatchNorm(2 * base, rngs=rngs),
            ReLU(),
            ConvTranspose(2 * base, 3, (4, 4), strides=2, padding=1, use_bias=False, rngs=rngs),
            Tanh(),
        )

    def __call__(self, z: Array) -> Array:
        functional.check_shape(z, "b 10")
        return self.net(rearrange(z, "b c -> b 1 1 c"))
