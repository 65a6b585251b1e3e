"""Upsample, a wrapper around `einops_arch.flax.functional.interpolate`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from einops_arch.flax.functional.resize import Scale, check_resize, interpolate

__all__ = ["Upsample"]


class Upsample(nnx.Module):
    """`b *s c -> b *o c`: an image in another size: `torch.nn.Upsample`, `UpsamplingNearest2d`, `UpsamplingBilinear2d`.

    Differs from `jax.image.resize` as `einops_arch.flax.functional.interpolate` tells. `UpsamplingBilinear2d` is
    `mode="bilinear", align_corners=True`.

    Args:
        size: the size of each spatial axis, or one for all; instead of scale_factor.
        scale_factor: how many times as large each axis becomes, or one for all.
        mode: `"nearest"`, `"nearest-exact"`, `"linear"` (1D), `"bilinear"`, `"bicubic"` (2D), `"trilinear"` (3D) or
            `"area"`.
        align_corners: whether the centers of the corner pixels stay where they are, instead of their outer corners.
        recompute_scale_factor: whether positions are counted by the sizes where scale_factor was given.
        antialias: whether bilinear and bicubic smooth an image that becomes smaller; PyTorch has it in `interpolate`.

    Raises:
        ConfigError: settings that do not go together, or a mode that is not there for so many axes.
        ShapeError: when called with another rank, or with nothing along an axis.
        DtypeError: when called with integers, and mode needs to compute with them.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Upsample.html

    >>> import jax.numpy as jnp
    >>> Upsample(scale_factor=2, mode="bilinear")(jnp.ones((1, 3, 4, 5))).shape
    (1, 6, 8, 5)
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: Scale | None = None,
        mode: str = "nearest",
        *,
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        antialias: bool = False,
    ) -> None:
        check_resize("Upsample", size, scale_factor, mode, align_corners, recompute_scale_factor, antialias=antialias)
        self.size = tuple(size) if isinstance(size, (tuple, list)) else size
        self.scale_factor = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor
        self.antialias = antialias

    def __call__(self, x: jax.Array) -> jax.Array:
        """`b *s c -> b *o c`, channels last."""
        return interpolate(
            x,
            self.size,
            self.scale_factor,
            self.mode,
            align_corners=self.align_corners,
            recompute_scale_factor=self.recompute_scale_factor,
            antialias=self.antialias,
        )
