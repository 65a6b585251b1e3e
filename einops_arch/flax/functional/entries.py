"""The largest and the smallest entry along an axis, with PyTorch's gradient, and the check of a shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from einops_arch.errors import PatternError, ShapeError

__all__ = ["check_shape", "largest", "smallest"]


def largest(x: jax.Array, axis: int, *, keepdims: bool = False) -> jax.Array:
    """`... n ... -> ... ...`: the largest entry along an axis: the values of `torch.max(x, dim)`.

    Differs from `jnp.max`: where several entries are the largest the gradient goes to the first of them alone, as in
    PyTorch, and is not shared out.

    Args:
        x: any dtype with an order.
        axis: along which.
        keepdims: whether the axis stays, with one entry.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.max.html

    >>> largest(jnp.asarray([[1.0, 5.0], [7.0, 3.0]]), axis=1).tolist()
    [5.0, 7.0]
    >>> jax.grad(lambda x: largest(x, axis=0))(jnp.ones(3)).tolist()
    [1.0, 0.0, 0.0]
    """
    return _entry(x, jnp.argmax(x, axis=axis, keepdims=True), axis, keepdims=keepdims)


def smallest(x: jax.Array, axis: int, *, keepdims: bool = False) -> jax.Array:
    """`... n ... -> ... ...`: the smallest entry along an axis: the values of `torch.min(x, dim)`; see `largest`.

    Args:
        x: any dtype with an order.
        axis: along which.
        keepdims: whether the axis stays, with one entry.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.min.html

    >>> smallest(jnp.asarray([[1.0, 5.0], [7.0, 3.0]]), axis=1).tolist()
    [1.0, 3.0]
    """
    return _entry(x, jnp.argmin(x, axis=axis, keepdims=True), axis, keepdims=keepdims)


def check_shape(x: jax.Array, pattern: str) -> None:
    """Check the sizes of an array against a pattern: `"b 3 h w"` is four axes, of which the second has three entries.

    Args:
        x: an array.
        pattern: a letter for each axis that is free, a number for each that is fixed.

    Raises:
        ShapeError: the array has another number of axes, or another size.
        PatternError: the pattern is none.

    >>> check_shape(jnp.ones((2, 3, 5)), "b 3 t")
    """
    names = pattern.split()
    if not all(name.isidentifier() or name.isdigit() for name in names):
        raise PatternError(f"check_shape: expected letters and numbers with blanks between, received {pattern!r}")
    if len(names) != x.ndim:
        raise ShapeError(f"expected axes {pattern!r}, received {x.ndim} axes in shape {x.shape}")
    for axis, (name, size) in enumerate(zip(names, x.shape, strict=True)):
        if name.isdigit() and int(name) != size:
            raise ShapeError(
                f"expected shape[{axis}] == {name} in axes {pattern!r}, received {size} in shape {x.shape}; "
                "likely fix: an input of that size, or a model that is made or translated for the other one"
            )


def _entry(x: jax.Array, place: jax.Array, axis: int, *, keepdims: bool) -> jax.Array:
    # Taken from its place: a maximum of ties would share its gradient out, and meet 0 / 0 in fused programs.
    entry = jnp.take_along_axis(x, place, axis=axis)
    return entry if keepdims else jnp.squeeze(entry, axis)
