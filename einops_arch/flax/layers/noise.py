"""Random numbers that a model draws in each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

__all__ = ["Noise"]


class Noise(nnx.Module):
    """`-> ...`: numbers that are drawn anew in each call, as `torch.randn` and `torch.rand` draw them.

    They are drawn in training and in evaluation, as PyTorch's are. The random bits are not PyTorch's; `compare` gives
    both models the same numbers. Stock NNX has none: a model keeps a stream of its own and calls `jax.random`.

    Args:
        rngs: forks the stream `noise`, or the default one.

    >>> from flax import nnx
    >>> noise = Noise(rngs=nnx.Rngs(0))
    >>> noise.normal((2, 3)).shape, noise.uniform((4,)).dtype.name, noise.integers((5,), 0, 10).shape
    ((2, 3), 'float32', (5,))
    """

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.rngs: Any = rngs["noise"].fork()

    def normal(self, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        """`-> ...`: of mean 0 and variance 1."""
        return jax.random.normal(self.rngs(), tuple(shape), dtype)

    def uniform(self, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        """`-> ...`: even between 0 and 1."""
        return jax.random.uniform(self.rngs(), tuple(shape), dtype)

    def integers(self, shape: Sequence[int], low: int, high: int) -> jax.Array:
        """`-> ...`: even, from low to high, which is left out."""
        return jax.random.randint(self.rngs(), tuple(shape), low, high)
