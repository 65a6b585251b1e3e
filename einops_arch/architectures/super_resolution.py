"""Super-resolution: a network that makes a small image larger, with depth-to-space as its last step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config

__all__ = ["SuperResolutionConfig"]


@dataclass(frozen=True)
class SuperResolutionConfig(Config):
    """Super-resolution by sub-pixel convolution: four convolutions at low resolution, then depth-to-space.

    The padding keeps the size of the image, so any height and width works. One channel, the brightness, gives
    an image without a channel axis; the code that this replaces kept it as an axis of size one.

    Args:
        factor: how many times higher and wider the image becomes.
        channels: channels of the image, 1 for brightness or 3 for colours.
        hidden: channels after the first three convolutions.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("espcn_x2", "espcn_x3", "espcn_x4", "tiny", "tiny_rgb")
    SUMMARY: ClassVar[str] = (
        "Super-resolution by sub-pixel convolution: four convolutions at low resolution, then depth-to-space."
    )
    MODEL: ClassVar[str] = "SuperResolution"
    SOURCE: ClassVar[str] = "Shi et al. 2016, arXiv:1609.05158, in the form of pytorch/examples"

    factor: int = 3
    channels: int = 1
    hidden: tuple[int, int, int] = (64, 64, 32)

    def __post_init__(self) -> None:
        self._require_positive("factor", "channels", "hidden")
        self._require(len(self.hidden) == 3, "hidden", "three numbers of channels")

    @classmethod
    def espcn_x2(cls, channels: int = 1) -> Self:
        """The published sizes, for twice the height and width."""
        return cls(factor=2, channels=channels)

    @classmethod
    def espcn_x3(cls, channels: int = 1) -> Self:
        """The published sizes, for three times the height and width."""
        return cls(factor=3, channels=channels)

    @classmethod
    def espcn_x4(cls, channels: int = 1) -> Self:
        """The published sizes, for four times the height and width."""
        return cls(factor=4, channels=channels)

    @classmethod
    def tiny(cls) -> Self:
        """A thousand parameters, no two sizes equal: for tests."""
        return cls(factor=3, hidden=(5, 7, 4))

    @classmethod
    def tiny_rgb(cls) -> Self:
        """As `tiny`, for three colours."""
        return cls(factor=2, channels=3, hidden=(5, 7, 4))

    @property
    def drop_channel(self) -> bool:
        """Whether the result has no axis of channels, because there is one channel only."""
        return self.channels == 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result.

        >>> SuperResolutionConfig.espcn_x3().output_size(20, 30)
        (60, 90)
        """
        return height * self.factor, width * self.factor

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any size."""
        return (Axes("image", "b c h w", {"c": self.channels}, least={"h": 1, "w": 1}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Images `b h w` for one channel, else `b c h w`; for their sizes see `output_size`."""
        if self.drop_channel:
            return (Axes("upscaled", "b h w"),)
        return (Axes("upscaled", "b c h w", {"c": self.channels}),)
