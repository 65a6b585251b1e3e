"""Depth to space and back under the names of `torch.nn`."""

from __future__ import annotations

import math

import jax

from einops_arch.errors import ShapeError
from einops_arch.flax.layers.wrappers import DepthToSpace, SpaceToDepth

__all__ = ["PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(DepthToSpace):
    """`... h w (c r1 r2) -> ... (h r1) (w r2) c`: `torch.nn.PixelShuffle`, `DepthToSpace` in the order `"CRD"`.

    Args:
        upscale_factor: r.

    Raises:
        ConfigError: `upscale_factor` is no positive int.
        ShapeError: when called with channels that its square does not divide.

    Source:
        ESPCN, https://arxiv.org/abs/1609.05158

    Example:
        >>> import jax.numpy as jnp
        >>> PixelShuffle(3)
        PixelShuffle(upscale_factor=3)
        >>> PixelShuffle(3)(jnp.zeros((2, 5, 7, 18))).shape
        (2, 15, 21, 2)
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__(upscale_factor)
        self.upscale_factor = upscale_factor

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... h w (c r1 r2) -> ... (h r1) (w r2) c`."""
        image, leading = _as_batch("PixelShuffle", x)
        y = super().__call__(image)
        return y.reshape(*leading, *y.shape[1:])


class PixelUnshuffle(SpaceToDepth):
    """`... (h r1) (w r2) c -> ... h w (c r1 r2)`: `torch.nn.PixelUnshuffle`: `SpaceToDepth` in the order `"CRD"`.

    Args:
        downscale_factor: r.

    Raises:
        ConfigError: `downscale_factor` is no positive int.
        ShapeError: when called with sizes that it does not divide.

    Example:
        >>> import jax.numpy as jnp
        >>> PixelUnshuffle(3)(jnp.zeros((2, 15, 21, 2))).shape
        (2, 5, 7, 18)
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__(downscale_factor)
        self.downscale_factor = downscale_factor

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... (h r1) (w r2) c -> ... h w (c r1 r2)`."""
        image, leading = _as_batch("PixelUnshuffle", x)
        y = super().__call__(image)
        return y.reshape(*leading, *y.shape[1:])


def _as_batch(layer: str, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """The image with all axes before `h w c` in one, and these axes."""
    if x.ndim < 3:
        raise ShapeError(f"{layer}: expected axes '... h w c', received {x.ndim} axes in shape {x.shape}")
    leading = x.shape[:-3]
    return x.reshape(math.prod(leading), *x.shape[-3:]), leading
