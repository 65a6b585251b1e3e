"""VAE in Flax NNX, translated by einops_arch from own_models.

The original is own_models.VAE, recorded at b=2 1 16 16, b=2 6, and at b=3. The weights of the PyTorch model load with
`einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import Conv, ConvTranspose, LeakyReLU, Linear, ReLU, Sequential, Sigmoid

__all__ = ["VAE"]


class VAE(nnx.Module):
    """`own_models.VAE`: `b c h w`, `b c` -> `b h w 1`, `b c`, `b c`."""

    def __init__(self, latent: int = 6, *, rngs: nnx.Rngs) -> None:
        self.encoder = Sequential(
            Conv(1, 4, (3, 3), strides=2, padding=1, rngs=rngs),
            ReLU(),
            Conv(4, 8, (3, 3), strides=2, padding=1, rngs=rngs),
            ReLU(),
        )
        self.mean = Linear(8 * 4 * 4, latent, rngs=rngs)
        self.log_var = Linear(8 * 4 * 4, latent, rngs=rngs)
        self.start = Linear(latent, 8 * 4 * 4, rngs=rngs)
        self.decoder = Sequential(
            ConvTranspose(8, 4, (4, 4), strides=2, padding=1, rngs=rngs),
            LeakyReLU(negative_slope=0.2),
            ConvTranspose(4, 1, (4, 4), strides=2, padding=1, rngs=rngs),
            Sigmoid(),
        )

    def __call__(self, image: Array, noise: Array) -> tuple[Array, ...]:
        functional.check_shape(image, "b 1 16 16")
        functional.check_shape(noise, "b 6")
        h = rearrange(self.encoder(rearrange(image, "b 1 h w -> b h w 1")), "b h w c -> b (c h w)")
        mean = self.mean(h)
        log_var = self.log_var(h)
        z = mean + noise * jnp.exp(log_var * 0.5)
        x = rearrange(self.start(z), "b (c h w) -> b h w c", c=8, h=4)
        return (self.decoder(x), mean, log_var)
