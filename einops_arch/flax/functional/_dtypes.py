"""The dtype in which half precision is computed, as PyTorch does on every device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from einops_arch.errors import DtypeError, ShapeError

__all__ = ["as_floating", "check_axis", "check_floating", "in_float32", "widened"]


def widened(x: jax.Array) -> jax.Array:
    """An array in float32 where it has fewer bits; any other as it is."""
    return x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits < 32 else x


def in_float32(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Compute a function of one array in float32 where the array has fewer bits, and round its result once.

    Integers are refused, as in PyTorch.
    """

    @functools.wraps(function)
    def rounded_once(x: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
        x = jnp.asarray(x)
        check_floating(function.__name__, x)
        return function(widened(x), *arguments, **options).astype(x.dtype)

    return rounded_once


def as_floating(x: jax.Array) -> jax.Array:
    """Integers and booleans in float32, as PyTorch takes them where it divides or calls a function of real numbers."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def check_axis(name: str, x: jax.Array, axis: int) -> None:
    """Refuse an axis that the array does not have; a scalar counts as one of one value, as in PyTorch."""
    axes = max(x.ndim, 1)
    if not -axes <= axis < axes:
        raise ShapeError(f"{name}: expected axis from {-axes} to {axes - 1}, received {axis} for shape {x.shape}")


def check_floating(name: str, x: jax.Array) -> None:
    """Refuse integers, for which PyTorch has no such function either."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise DtypeError(f"{name}: expected floating-point values, received {x.dtype} in shape {x.shape}")
