"""PyTorch's initial distributions, as initialisers in JAX's form `init(key, shape, dtype)`.

`nnx.Linear` and `nnx.Conv` start from a truncated normal of standard deviation 1/sqrt(fan_in) and zero biases;
`torch.nn.Linear` and `torch.nn.Conv2d` start weight and bias from the uniform distribution on
[-1/sqrt(fan_in), 1/sqrt(fan_in)), whose standard deviation is smaller by sqrt(3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["Initializer", "he_normal", "normal", "standard_normal", "uniform_fan_in"]

Initializer = Callable[[jax.Array, Sequence[int], Any], jax.Array]


def uniform_fan_in(fan_in: int) -> Initializer:
    """The uniform distribution on [-1/sqrt(fan_in), 1/sqrt(fan_in)).

    PyTorch's for the weights and biases of linear, convolution and recurrent layers.

    Args:
        fan_in: how many inputs one output sums over; for recurrent layers the hidden size; for a transposed
            convolution out_features / groups times the kernel's size, which is how PyTorch counts there.

    Returns:
        An initialiser for the weight and for the bias alike. A fan_in of zero gives zeros.

    >>> import jax
    >>> weight = uniform_fan_in(25)(jax.random.key(0), (25, 40), jax.numpy.float32)
    >>> bool(abs(weight).max() <= 0.2), weight.shape
    (True, (25, 40))
    """
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return _in_few_sizes(partial(jax.random.uniform, minval=-bound, maxval=bound), key, shape, dtype)

    return init


def standard_normal() -> Initializer:
    """The normal distribution N(0, 1), PyTorch's for embeddings (NNX divides by sqrt(features))."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return _in_few_sizes(jax.random.normal, key, shape, dtype)

    return init


def normal(std: float) -> Initializer:
    """The normal distribution N(0, std)."""
    draw = standard_normal()

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return draw(key, shape, dtype) * std

    return init


def he_normal(fan_out: int) -> Initializer:
    """The normal distribution of standard deviation sqrt(2 / fan_out), for weights before a ReLU.

    `torch.nn.init.kaiming_normal_(..., mode="fan_out", nonlinearity="relu")`; He et al. 2015, arXiv:1502.01852.

    Args:
        fan_out: how many outputs one input goes into: out_features times the kernel's size, groups or not.
    """
    return normal(math.sqrt(2 / fan_out))


def _in_few_sizes(draw: Callable[..., jax.Array], key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """The values of `draw(key, shape, dtype)`, cut from a longer row of them.

    JAX compiles a generator for each shape, which takes a second where there are four axes and few numbers: far
    longer than to draw them. Rows of a few lengths are compiled once.
    """
    size = math.prod(shape)
    # Above this, drawing costs more than compiling.
    row = size if size > 1 << 16 else max(1 << 10, 1 << (size - 1).bit_length())
    return draw(key, (row,), dtype)[:size].reshape(tuple(shape))
