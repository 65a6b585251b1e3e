"""What the normalizations share: checks, dtypes, and the normalization itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from einops_arch._settings import check_fraction, check_number
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_features, check_sizes
from einops_arch.flax.functional._dtypes import check_floating
from einops_arch.flax.kernels.moments import normalize

__all__ = [
    "check_momentum",
    "check_normalized",
    "check_settings",
    "move_running",
    "normalize_over",
    "normalized_axes",
    "promote",
    "reshape_leaves",
    "scale_and_shift",
    "widen",
    "with_running",
]


def normalized_axes(
    layer: str, num_features: int | Sequence[int], axis: Sequence[int] | None, epsilon: float | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of the normalized axes in PyTorch's order, and where each is, counted from the end."""
    sizes = tuple(num_features) if isinstance(num_features, (tuple, list)) else (num_features,)
    for size in sizes or (0,):
        check_settings(layer, size, epsilon)
    axes = tuple(range(-len(sizes), 0)) if axis is None else tuple(axis)
    if len(axes) != len(sizes) or len(set(axes)) < len(axes) or any(a >= 0 for a in axes):
        raise ConfigError(
            f"{layer}: expected axis as {len(sizes)} negative integers, one for each of {sizes}, received {axis!r}"
        )
    return sizes, axes


def reshape_leaves(layer: Any) -> None:
    """Leaves of several axes, in the order of the input."""
    if len(layer.axis) > 1:
        shape = tuple(size for _, size in sorted(zip(layer.axis, layer.normalized_shape, strict=True)))
        for leaf in (layer.scale, getattr(layer, "bias", None)):
            if leaf is not None:
                leaf.set_value(leaf[...].reshape(shape))


def check_normalized(layer: str, shape: tuple[int, ...], sizes: tuple[int, ...], axes: tuple[int, ...]) -> None:
    if axes == (-1,):
        check_features(layer, shape, sizes[0])
    elif len(shape) < -min(axes) or tuple(shape[axis] for axis in axes) != sizes:
        raise ShapeError(f"{layer}: expected sizes {sizes} along axes {axes}, received shape {shape}")


def check_settings(layer: str, num_features: int, epsilon: float | None) -> None:
    check_sizes(layer, num_features=num_features)
    if epsilon is not None:
        check_number(layer, "epsilon", epsilon)


def check_momentum(layer: str, momentum: float | None) -> None:
    if momentum is not None:
        check_fraction(layer, "momentum", momentum)


def with_running(layer: Any, wide: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    mean, var = layer.mean[...].astype(wide.dtype), layer.var[...].astype(wide.dtype)
    factor = jax.lax.rsqrt(var + layer.epsilon) * _wide_or(scale, 1.0, wide)
    return (wide - mean) * factor + _wide_or(bias, 0.0, wide)


def move_running(layer: Any, mean: jax.Array, var: jax.Array, momentum: float | None) -> None:
    """Moves the running statistics towards those of a batch; they take the parameters' dtype where it is wider."""
    parameter = layer.scale if layer.scale is not None else layer.bias
    for running, batch in ((layer.mean, mean), (layer.var, var)):
        dtype = running.dtype if parameter is None else jnp.promote_types(running.dtype, parameter.dtype)
        weight = 1.0 / layer.num_batches_tracked[...].astype(dtype) if momentum is None else momentum
        moved = (1.0 - weight) * running[...].astype(dtype) + weight * jax.lax.stop_gradient(batch).astype(dtype)
        # Not `running[...] = moved`: that casts back to a narrower dtype without a word, and is slow when traced, where
        # NNX asks for a sharding and JAX searches the whole program for what to say when there is none.
        running.set_value(moved)


def promote(layer: Any, x: jax.Array) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """The input and the parameters in one dtype, by the layer's own promotion; integers are refused, as in PyTorch."""
    check_floating(type(layer).__name__, x)
    scale, bias = layer.scale, getattr(layer, "bias", None)
    values = (x, None if scale is None else scale[...], None if bias is None else bias[...])
    promoted: tuple[jax.Array, jax.Array | None, jax.Array | None] = layer.promote_dtype(values, dtype=layer.dtype)
    return promoted


def widen(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def _wide_or(value: jax.Array | None, default: float, wide: jax.Array) -> jax.Array:
    return jnp.full((), default, wide.dtype) if value is None else value.astype(wide.dtype)


def normalize_over(
    wide: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    axes: tuple[int, ...],
    epsilon: float,
    flat: float = jnp.inf,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    y, mean, var = normalize(wide, _wide_or(scale, 1.0, wide), _wide_or(bias, 0.0, wide), axes, epsilon, flat)
    return y, mean, var


def scale_and_shift(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, dtype: Any) -> jax.Array:
    if scale is not None:
        x = x * scale.astype(x.dtype)
    if bias is not None:
        x = x + bias.astype(x.dtype)
    return x.astype(dtype)
