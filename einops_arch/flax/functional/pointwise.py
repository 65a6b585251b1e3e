"""Functions of single numbers with PyTorch's choice of gradient where there is a kink."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["absolute", "at_least", "atan2", "clamp"]


def absolute(x: jax.Array) -> jax.Array:
    """`... -> ...`: the absolute value: `torch.abs`, whose gradient at 0 is 0 and not 1.

    >>> jax.grad(absolute)(0.0).item()
    0.0
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.abs(x)
    return jnp.where(x == 0, jnp.zeros((), x.dtype), jnp.abs(x))


def clamp(x: jax.Array, low: jax.Array | float | None = None, high: jax.Array | float | None = None) -> jax.Array:
    """`... -> ...`: x between bounds: `torch.clamp`; at a bound the gradient is that of x, not half of it.

    Args:
        x: any dtype.
        low: the lower bound, none if left out.
        high: the upper bound, which counts where it is below the lower.

    >>> clamp(jnp.asarray([-2.0, 0.5, 2.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    if low is not None:
        x = jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def at_least(x: jax.Array, epsilon: float) -> jax.Array:
    """`... -> ...`: x, or epsilon if that is larger, with the gradient of x at both.

    `torch.nn.functional.cosine_similarity` bounds the lengths that it divides by in this way.

    >>> at_least(jnp.asarray([0.0, 2.0]), 0.5).tolist()
    [0.5, 2.0]
    """
    return jnp.where(x < epsilon, epsilon + (x - jax.lax.stop_gradient(x)), x)


def atan2(y: jax.Array, x: jax.Array) -> jax.Array:
    """`... -> ...`: the angle of the point (x, y): `torch.atan2`, whose gradient at the origin is 0 and not NaN.

    >>> jax.grad(atan2)(0.0, 0.0).item()
    0.0
    """
    origin = (y == 0) & (x == 0)
    there = jax.lax.stop_gradient(jnp.arctan2(y, x))
    return jnp.where(origin, there, jnp.arctan2(jnp.where(origin, 1.0, y), jnp.where(origin, 1.0, x)))
