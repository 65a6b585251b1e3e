"""PointNet in Flax NNX, translated by einops_arch from own_models.

The original is own_models.PointNet, recorded at b=4 3 n=11, and at b=5, n=13. The weights of the PyTorch model load
with `einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax import functional
from einops_arch.flax.layers import BatchNorm, Conv, Linear

__all__ = ["PointNet"]


class SpatialTransform(nnx.Module):
    """`own_models.SpatialTransform`: `b c n` -> `b n c`."""

    def __init__(self, size: int, *, rngs: nnx.Rngs) -> None:
        self.size = size
        self.conv1 = Conv(size, 8, (1,), rngs=rngs)
        self.conv2 = Conv(8, 16, (1,), rngs=rngs)
        self.fc = Linear(16, size * size, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        h = jax.nn.relu(self.conv2(jax.nn.relu(self.conv1(rearrange(x, "b c n -> b n c")))))
        h = functional.largest(h, axis=1)
        eye = jnp.eye(self.size, dtype=h.dtype)
        return rearrange(self.fc(h), "b (n c) -> b n c", n=self.size) + eye


class PointNet(nnx.Module):
    """`own_models.PointNet`: `b c n` -> `b c`."""

    def __init__(self, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        self.transform = SpatialTransform(3, rngs=rngs)
        self.conv1 = Conv(3, 8, (1,), rngs=rngs)
        self.norm1 = BatchNorm(8, rngs=rngs)
        self.conv2 = Conv(8, 12, (1,), rngs=rngs)
        self.norm2 = BatchNorm(12, rngs=rngs)
        self.fc1 = Linear(12, 7, rngs=rngs)
        self.norm3 = BatchNorm(7, rngs=rngs)
        self.fc2 = Linear(7, classes, rngs=rngs)

    def __call__(self, points: Array) -> Array:
        functional.check_shape(points, "b 3 n")
        matrix = self.transform(points)
        x = rearrange(points, "b c n -> b n c") @ matrix
        x = jax.nn.relu(self.norm1(self.conv1(x)))
        x = self.norm2(self.conv2(x))
        x = rearrange(functional.largest(x, axis=1, keepdims=True), "b 1 c -> b c")
        x = jax.nn.relu(self.norm3(self.fc1(x)))
        return jax.nn.log_softmax(self.fc2(x), axis=-1)
