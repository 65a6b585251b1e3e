"""DiffusionUNet in Flax NNX, translated by einops_arch from own_models.

The original is own_models.DiffusionUNet, recorded at b=2 c=3 h=8 w=12, b=2, and at b=3, h=12, w=16. The weights of
the PyTorch model load with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license
applies to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch import upsample_nearest
from einops_arch.flax import functional
from einops_arch.flax.layers import Conv, GroupNorm, Identity, Linear, Sequential, SiLU

__all__ = ["DiffusionUNet"]


class TimeBlock(nnx.Module):
    """`own_models.TimeBlock`: `b h w c`, `b c` -> `b h w c`."""

    def __init__(self, c_in: int, c_out: int, time: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = GroupNorm(c_in, 2, rngs=rngs)
        self.conv1 = Conv(c_in, c_out, (3, 3), padding=1, rngs=rngs)
        self.time = Linear(time, c_out, rngs=rngs)
        self.norm2 = GroupNorm(c_out, 2, rngs=rngs)
        self.conv2 = Conv(c_out, c_out, (3, 3), padding=1, rngs=rngs)
        self.skip = Conv(c_in, c_out, (1, 1), rngs=rngs) if c_in != c_out else Identity()

    def __call__(self, x: Array, time: Array) -> Array:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + rearrange(self.time(functional.silu(time)), "b c -> b 1 1 c")
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + self.skip(x)


class ImageAttention(nnx.Module):
    """`own_models.ImageAttention`: `b h w c` -> `b h w c`."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.norm = GroupNorm(channels, 2, rngs=rngs)
        self.qkv = Conv(channels, 3 * channels, (1, 1), rngs=rngs)
        self.out = Conv(channels, channels, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        q, k, v = rearrange(self.qkv(self.norm(x)), "b h w (g c) -> g b c (h w)", g=3)
        weights = jax.nn.softmax(jnp.einsum("bcn,bcm->bnm", q, k) * x.shape[-1] ** (-0.5), axis=-1)
        mixed = rearrange(jnp.einsum("bnm,bcm->bcn", weights, v), "b c (h w) -> b h w c", h=x.shape[1])
        return x + self.out(mixed)


class DiffusionUNet(nnx.Module):
    """`own_models.DiffusionUNet`: `b h w c`, `b` -> `b h w c`."""

    def __init__(self, channels: int = 3, base: int = 4, time: int = 8, *, rngs: nnx.Rngs) -> None:
        self.time_size = time
        self.time_mlp = Sequential(Linear(time, 2 * time, rngs=rngs), SiLU(), Linear(2 * time, 2 * time, rngs=rngs))
        self.inp = Conv(channels, base, (3, 3), padding=1, rngs=rngs)
        self.down = TimeBlock(base, base, 2 * time, rngs=rngs)
        self.shrink = Conv(base, 2 * base, (3, 3), strides=2, padding=1, rngs=rngs)
        self.middle = TimeBlock(2 * base, 2 * base, 2 * time, rngs=rngs)
        self.attention = ImageAttention(2 * base, rngs=rngs)
        self.up = TimeBlock(3 * base, base, 2 * time, rngs=rngs)
        self.out = Conv(base, channels, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: Array, step: Array) -> Array:
        functional.check_shape(x, "b h w 3")
        rates = jnp.exp(jnp.arange(self.time_size // 2, dtype=x.dtype) * -6.907755278982137 / (self.time_size // 2))
        angles = rearrange(step.astype(rates.dtype), "b -> b 1") * rates
        time = self.time_mlp(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1))
        first = self.down(self.inp(x), time)
        h = self.attention(self.middle(self.shrink(first), time))
        h = upsample_nearest(h, (2, 2), data_format="channels_last")
        return self.out(self.up(jnp.concatenate([h, first], axis=-1), time))
