"""UNet in Flax NNX, translated by einops_arch from own_models.

The original is own_models.UNet, recorded at b=2 c=3 h=16 w=24, and at b=3, h=24, w=32. The weights of the PyTorch
model load with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import BatchNorm, Conv, ConvTranspose, MaxPool

__all__ = ["UNet"]


class DoubleConv(nnx.Module):
    """`own_models.DoubleConv`: `b h w c` -> `b h w c`."""

    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = Conv(c_in, c_out, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.norm1 = BatchNorm(c_out, rngs=rngs)
        self.conv2 = Conv(c_out, c_out, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.norm2 = BatchNorm(c_out, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = jax.nn.relu(self.norm1(self.conv1(x)))
        return jax.nn.relu(self.norm2(self.conv2(x)))


class UNet(nnx.Module):
    """`own_models.UNet`: `b h w c` -> `b h w c`."""

    def __init__(self, channels: int = 3, base: int = 4, *, rngs: nnx.Rngs) -> None:
        self.down1 = DoubleConv(channels, base, rngs=rngs)
        self.down2 = DoubleConv(base, 2 * base, rngs=rngs)
        self.bottom = DoubleConv(2 * base, 4 * base, rngs=rngs)
        self.pool = MaxPool((2, 2))
        self.up2 = ConvTranspose(4 * base, 2 * base, (2, 2), strides=2, rngs=rngs)
        self.merge2 = DoubleConv(4 * base, 2 * base, rngs=rngs)
        self.up1 = ConvTranspose(2 * base, base, (2, 2), strides=2, rngs=rngs)
        self.merge1 = DoubleConv(2 * base, base, rngs=rngs)
        self.out = Conv(base, channels, (1, 1), rngs=rngs)

    def __call__(self, image: Array) -> Array:
        functional.check_shape(image, "b h w 3")
        skip1 = self.down1(image)
        skip2 = self.down2(self.pool(skip1))
        x = self.bottom(self.pool(skip2))
        x = self.merge2(jnp.concatenate([self.up2(x), skip2], axis=-1))
        x = self.merge1(jnp.concatenate([self.up1(x), skip1], axis=-1))
        return image - self.out(x)
