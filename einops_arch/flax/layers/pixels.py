"""Depth to space and back under the names of `torch.nn`."""

from __future__ import annotations

from einops_arch.flax.layers.wrappers import DepthToSpace, SpaceToDepth

__all__ = ["PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(DepthToSpace):
    """`b h w (c r1 r2) -> b (h r1) (w r2) c`: `torch.nn.PixelShuffle`, which is `DepthToSpace` in the order `"CRD"`.

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


class PixelUnshuffle(SpaceToDepth):
    """`b (h r1) (w r2) c -> b h w (c r1 r2)`: `torch.nn.PixelUnshuffle`: `SpaceToDepth` in the order `"CRD"`.

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
