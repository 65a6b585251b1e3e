"""Medians with PyTorch's choice: the lower of the two in the middle, and NaN where there is one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["median", "median_place"]


def median(x: jax.Array) -> jax.Array:
    """`... -> `: the lower median of all entries: `torch.median`.

    Differs from `jnp.median`, which takes the mean of the two in the middle. The gradient is shared out among all
    entries that are the median, as in PyTorch.

    Args:
        x: any dtype with an order; not empty.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.median.html

    >>> float(median(jnp.asarray([7.0, 1.0, 5.0, 3.0])))
    3.0
    >>> jax.grad(median)(jnp.asarray([2.0, 1.0, 2.0])).tolist()
    [0.5, 0.0, 0.5]
    """
    flat = x.ravel()
    value = jax.lax.stop_gradient(flat[median_place(flat, 0)])
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return value
    same = (flat == value) | (jnp.isnan(flat) & jnp.isnan(value))
    share = jnp.where(same & jnp.isfinite(flat), flat - jax.lax.stop_gradient(flat), 0).sum() / same.sum()
    return value + share.astype(x.dtype)


def median_place(x: jax.Array, axis: int, *, keepdims: bool = False) -> jax.Array:
    """`... n ... -> ... ...`: where the lower median along an axis is: the indices of `torch.median(x, dim)`.

    Args:
        x: any dtype with an order.
        axis: along which.
        keepdims: whether the axis stays, with one entry.

    >>> median_place(jnp.asarray([7.0, 1.0, 5.0, 3.0]), 0).item()
    3
    >>> median_place(jnp.asarray([7.0, jnp.nan, 5.0]), 0).item()
    1
    """
    middle = (x.shape[axis] - 1) // 2
    place = jnp.take(jnp.argsort(x, axis=axis, stable=True), jnp.asarray([middle]), axis=axis)
    if jnp.issubdtype(x.dtype, jnp.floating):
        unknown = jnp.isnan(x)
        first = jnp.argmax(unknown, axis=axis, keepdims=True)
        place = jnp.where(unknown.any(axis=axis, keepdims=True), first, place)
    return place if keepdims else jnp.squeeze(place, axis)
