"""Fractional maximum pooling over space, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, overload

import jax
import jax.numpy as jnp

from einops_arch._settings import check_fraction
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_rank, per_axis
from einops_arch.flax.functional._windows import PerAxis

__all__ = ["check_fractional", "fractional_max_pool"]

Ratio = float | Sequence[float]


@overload
def fractional_max_pool(
    x: jax.Array,
    window: PerAxis,
    output_size: PerAxis | None = ...,
    output_ratio: Ratio | None = ...,
    *,
    random_samples: jax.Array,
    return_indices: Literal[False] = ...,
    name: str = ...,
) -> jax.Array: ...
@overload
def fractional_max_pool(
    x: jax.Array,
    window: PerAxis,
    output_size: PerAxis | None = ...,
    output_ratio: Ratio | None = ...,
    *,
    random_samples: jax.Array,
    return_indices: bool,
    name: str = ...,
) -> jax.Array | tuple[jax.Array, jax.Array]: ...
def fractional_max_pool(
    x: jax.Array,
    window: PerAxis,
    output_size: PerAxis | None = None,
    output_ratio: Ratio | None = None,
    *,
    random_samples: jax.Array,
    return_indices: bool = False,
    name: str = "fractional_max_pool",
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """`b *s c -> b *o c`: maxima of windows at random steps: `torch.nn.functional.fractional_max_pool2d` and `3d`.

    Steps between windows are the fraction that fits the output size, rounded up or down as a random sample says.

    Args:
        x: `b h w c` or `b d h w c`, or without a batch where random_samples has none.
        window: one size for each spatial axis, or one integer for all of them.
        output_size: likewise; instead of output_ratio.
        output_ratio: between 0 and 1, each output size by the size of the input.
        random_samples: `b c axes` between 0 and 1, in PyTorch's order: for `w` and `h` in 2D, but for `d`, `h` and `w`
            in 3D. Two inputs with the same samples have the same windows.
        return_indices: whether to give the positions too, counted over the spatial axes as PyTorch counts them.
        name: of the caller, for messages.

    Returns:
        The maxima; with return_indices also their positions.

    Raises:
        ConfigError: a setting is out of range, or both or neither of output_size and output_ratio are there.
        ShapeError: another rank, an image that is smaller than all windows together, or samples of another shape.

    Source: Graham 2014, https://arxiv.org/abs/1412.6071

    >>> x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    >>> fractional_max_pool(x, 2, 3, random_samples=jnp.full((1, 1, 2), 0.4))[0, ..., 0].tolist()
    [[6.0, 8.0, 9.0], [16.0, 18.0, 19.0], [21.0, 23.0, 24.0]]
    """
    axes = random_samples.shape[-1] if random_samples.ndim else 0
    check_fractional(name, window, output_size, output_ratio)
    if axes not in (2, 3):
        raise ShapeError(f"{name}: expected random_samples 'b c axes' of 2 or 3 axes, received {random_samples.shape}")
    check_rank(name, x.shape, axes)
    batch = x.ndim == axes + 2
    shape = (*(x.shape[:1] if batch else ()), x.shape[-1], axes)
    if random_samples.shape != shape:
        raise ShapeError(f"{name}: expected random_samples of shape {shape}, received {random_samples.shape}")
    sizes = x.shape[-axes - 1 : -1]
    windows = per_axis(name, "window", window, axes, 1)
    outputs = _outputs(name, sizes, output_size, output_ratio)
    less = 1 if axes == 2 else 0  # PyTorch asks for one position more in 3D
    if any(o + w - less > size for o, w, size in zip(outputs, windows, sizes, strict=True)):
        raise ShapeError(
            f"{name}: expected spatial sizes of at least the output size {outputs} and the window {windows} together"
            f"{', less 1' if less else ''}, received shape {x.shape}"
        )
    if not batch:
        x, random_samples = x[None], random_samples[None]
    samples = random_samples[..., ::-1] if axes == 2 else random_samples
    flat = x.reshape(x.shape[0], math.prod(sizes), x.shape[-1])
    positions = _positions(samples, sizes, windows, outputs)  # b o k c, where o and k are over all spatial axes
    b, o, k, c = positions.shape
    values = jnp.take_along_axis(flat, positions.reshape(b, o * k, c), axis=1).reshape(b, o, k, c)
    missing = jnp.isnan(values)
    # PyTorch's choice: the last NaN, or else the first of several that are largest.
    last = k - 1 - jnp.argmax(jnp.flip(missing, 2), axis=2, keepdims=True)
    place = jnp.where(missing.any(2, keepdims=True), last, jnp.argmax(values, axis=2, keepdims=True))
    pooled, at = (jnp.take_along_axis(array, place, 2).reshape(b, *outputs, c) for array in (values, positions))
    if not batch:
        pooled, at = pooled[0], at[0]
    return (pooled, at) if return_indices else pooled


def check_fractional(name: str, window: PerAxis, output_size: PerAxis | None, output_ratio: Ratio | None) -> None:
    """What can be said of the settings without an input."""
    if (output_size is None) == (output_ratio is None):
        raise ConfigError(
            f"{name}: expected either output_size or output_ratio, received {output_size!r} and {output_ratio!r}"
        )
    for label, value, least in (("window", window, 1), ("output_size", output_size, 1)):
        if value is not None:
            per_axis(name, label, value, len(value) if isinstance(value, (tuple, list)) else 2, least)
    if output_ratio is not None:
        for ratio in output_ratio if isinstance(output_ratio, (tuple, list)) else [output_ratio]:
            check_fraction(name, "output_ratio", ratio, "(0, 1)")


def _outputs(
    name: str, sizes: tuple[int, ...], output_size: PerAxis | None, output_ratio: Ratio | None
) -> tuple[int, ...]:
    if output_size is not None:
        return per_axis(name, "output_size", output_size, len(sizes), 1)
    ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else [output_ratio] * len(sizes)
    if len(ratios) != len(sizes):
        raise ConfigError(
            f"{name}: expected output_ratio as one number, or one for each of the {len(sizes)} spatial axes, "
            f"received {output_ratio!r}"
        )
    outputs = tuple(int(size * float(ratio or 0)) for size, ratio in zip(sizes, ratios, strict=True))
    return per_axis(name, "output_size", outputs, len(sizes), 1)


def _positions(
    samples: jax.Array, sizes: tuple[int, ...], windows: tuple[int, ...], outputs: tuple[int, ...]
) -> jax.Array:
    """`b o k c`: where each value of each window lies, counted over all spatial axes."""
    b, c, axes = samples.shape
    total = jnp.zeros((b, c, *[1] * (2 * axes)), jnp.int32)
    for axis, (size, window, output) in enumerate(zip(sizes, windows, outputs, strict=True)):
        starts = _starts(samples[..., axis], size, window, output)
        at = (starts[..., None] + jnp.arange(window, dtype=jnp.int32)) * math.prod(sizes[axis + 1 :])
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = output, window
        total = total + at.reshape(b, c, *shape)
    return jnp.moveaxis(total.reshape(b, c, math.prod(outputs), math.prod(windows)), 1, -1)


def _starts(sample: jax.Array, size: int, window: int, outputs: int) -> jax.Array:
    """`b c o`: where the windows of one axis begin; the last one ends with the axis."""
    end = jnp.full((*sample.shape, 1), size - window, jnp.int32)
    if outputs == 1:
        return end
    wide = sample.astype(jnp.promote_types(sample.dtype, jnp.float32))[..., None]
    step = jnp.asarray((size - window), wide.dtype) / (outputs - 1)
    numbers = jnp.arange(outputs - 1, dtype=wide.dtype)
    starts = ((numbers + wide) * step).astype(jnp.int32) - (wide * step).astype(jnp.int32)
    return jnp.concatenate([starts, end], -1)
