"""Sampling an image at given places, channels last: `torch.nn.functional.grid_sample` and `affine_grid`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from einops_arch._settings import check_choice
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import per_axis
from einops_arch.flax.functional._dtypes import check_floating, widened

__all__ = ["affine_grid", "grid_sample"]

_MODES = ("bilinear", "nearest", "bicubic")
_PADDING_MODES = ("zeros", "border", "reflection")


def affine_grid(theta: jax.Array, size: Sequence[int], *, align_corners: bool = False) -> jax.Array:
    """`b s (s + 1) -> b *o s`: where each pixel comes from under an affine map: `torch.nn.functional.affine_grid`.

    Args:
        theta: b 2 3 for images, b 3 4 for volumes.
        size: the spatial sizes of the result, without PyTorch's batch and channels.
        align_corners: whether -1 and 1 are the centers of the corner pixels, and not their outer corners.

    Returns:
        Places as `grid_sample` takes them: x first, then y.

    Raises:
        ConfigError: size has another form.
        ShapeError: theta has another shape.

    >>> theta = jnp.asarray([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_grid(theta, (1, 2))[0].tolist()
    [[[-0.5, 0.0], [0.5, 0.0]]]
    """
    if not isinstance(size, (tuple, list)) or len(size) not in (2, 3):
        raise ConfigError(f"affine_grid: expected size with 2 or 3 spatial sizes, received {size!r}")
    sizes = per_axis("affine_grid", "size", size, len(size), 1)
    axes = len(sizes)
    if theta.ndim != 3 or theta.shape[1:] != (axes, axes + 1):
        raise ShapeError(f"affine_grid: expected theta of shape (b, {axes}, {axes + 1}), received {theta.shape}")
    lines = [_centers(n, align_corners=align_corners) for n in sizes]
    places = [*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(sizes)]
    base = jnp.asarray(np.stack(places, -1), theta.dtype)
    return jnp.einsum("...j,bij->b...i", base, theta, precision="highest")


def grid_sample(
    x: jax.Array,
    grid: jax.Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    *,
    align_corners: bool = False,
) -> jax.Array:
    """`b *s c, b *o s -> b *o c`: an image at the places of a grid: `torch.nn.functional.grid_sample`.

    Args:
        x: b h w c or b d h w c.
        grid: places from -1 to 1 over the image: (x, y), or (x, y, z); x along the last spatial axis.
        mode: `"bilinear"` (also for volumes), `"nearest"`, or `"bicubic"` (images only).
        padding_mode: what lies outside: `"zeros"`, `"border"` (the nearest pixel) or `"reflection"`.
        align_corners: whether -1 and 1 are the centers of the corner pixels, and not their outer corners.

    Raises:
        ConfigError: a setting has another value.
        ShapeError: x and grid do not fit.
        DtypeError: x has integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.grid_sample.html

    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> grid_sample(x, jnp.zeros((1, 1, 1, 2))).ravel().tolist()
    [1.5]
    """
    axes = x.ndim - 2
    check_choice("grid_sample", "mode", mode, _MODES)
    check_choice("grid_sample", "padding_mode", padding_mode, _PADDING_MODES)
    if axes not in (2, 3) or grid.ndim != x.ndim or grid.shape[-1] != axes or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            f"grid_sample: expected x as 'b h w c' with grid 'b oh ow 2', or 'b d h w c' with 'b od oh ow 3', "
            f"received shapes {x.shape} and {grid.shape}"
        )
    if mode == "bicubic" and axes == 3:
        raise ConfigError(f"grid_sample: bicubic is for images, received a volume of shape {x.shape}")
    if 0 in x.shape[1:]:
        raise ShapeError(f"grid_sample: expected no empty axis but the batch, received shape {x.shape}")
    check_floating("grid_sample", x)
    image, places = widened(x), widened(grid)
    sizes = x.shape[1:-1]
    # The last coordinate of the grid belongs to the first spatial axis.
    at = [
        _unnormalized(places[..., axes - 1 - axis], size, align_corners=align_corners)
        for axis, size in enumerate(sizes)
    ]
    if mode != "bicubic":
        at = [_inside(a, n, padding_mode, align_corners=align_corners) for a, n in zip(at, sizes, strict=True)]
    taps = [_taps(a, mode) for a in at]
    total = jnp.zeros((), image.dtype)
    for chosen in itertools.product(*taps):
        positions = [position for position, _ in chosen]
        if mode == "bicubic":
            positions = [
                _inside(p, n, padding_mode, align_corners=align_corners) for p, n in zip(positions, sizes, strict=True)
            ]
        weight = chosen[0][1]
        for _, more in chosen[1:]:
            weight = weight * more
        total = total + _looked_up(image, positions) * weight[..., None]
    return total.astype(x.dtype)


def _centers(size: int, *, align_corners: bool) -> np.ndarray:
    if align_corners:
        return np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1)
    return (np.arange(size) * 2 + 1) / size - 1


def _unnormalized(place: jax.Array, size: int, *, align_corners: bool) -> jax.Array:
    """From [-1, 1] to pixels."""
    return (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2


def _inside(at: jax.Array, size: int, padding_mode: str, *, align_corners: bool) -> jax.Array:
    if padding_mode == "zeros":
        return at
    if padding_mode == "reflection":
        at = _reflected(at, *((0, 2 * (size - 1)) if align_corners else (-1, 2 * size - 1)))
    # Written out so that the gradient is 0 at both bounds, as in PyTorch; `jnp.clip` halves it.
    zero, last = jnp.zeros((), at.dtype), jnp.asarray(size - 1, at.dtype)
    return jnp.where(at > 0, jnp.where(at < size - 1, at, last), zero)


def _reflected(at: jax.Array, twice_low: int, twice_high: int) -> jax.Array:
    """Turned back at both bounds as often as it takes; the bounds are given twice as large, to be whole."""
    if twice_low == twice_high:
        return jnp.zeros_like(at)
    low, span = twice_low / 2, (twice_high - twice_low) / 2
    # Below the lower bound the place runs the other way; the sign is PyTorch's at the bound itself.
    away = jnp.where(at - low < 0, low - at, at - low)
    flips = jax.lax.stop_gradient(jnp.floor(away / span))
    rest = away - flips * span
    return jnp.where(flips % 2 == 0, rest + low, span - rest + low)


def _taps(at: jax.Array, mode: str) -> list[tuple[jax.Array, jax.Array]]:
    """Whole positions along one axis, and the weight of each."""
    if mode == "nearest":
        near = jax.lax.stop_gradient(jnp.round(at))
        return [(near, jnp.ones_like(near))]
    low = jax.lax.stop_gradient(jnp.floor(at))
    part = at - low
    if mode == "bilinear":
        return [(low, 1 - part), (low + 1, part)]
    return [
        (low - 1, _far(part + 1)),
        (low, _near(part)),
        (low + 1, _near(1 - part)),
        (low + 2, _far(2 - part)),
    ]


def _near(d: jax.Array, a: float = -0.75) -> jax.Array:
    return ((a + 2) * d - (a + 3)) * d * d + 1


def _far(d: jax.Array, a: float = -0.75) -> jax.Array:
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def _looked_up(image: jax.Array, positions: Sequence[jax.Array]) -> jax.Array:
    """Pixels by whole positions; zero where one is outside."""
    sizes = image.shape[1:-1]
    fits = jnp.ones((), bool)
    whole = []
    for position, size in zip(positions, sizes, strict=True):
        fits = fits & (position >= 0) & (position <= size - 1)
        whole.append(jnp.clip(jnp.nan_to_num(position, nan=-1.0), 0, size - 1).astype(jnp.int32))
    batch = jnp.arange(image.shape[0]).reshape((-1,) + (1,) * len(sizes))
    return jnp.where(fits[..., None], image[(batch, *whole)], jnp.zeros((), image.dtype))
