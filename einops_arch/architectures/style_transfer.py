"""Style transfer: a network that paints any photograph in one style, in a single pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config

__all__ = ["StyleTransferConfig"]


@dataclass(frozen=True)
class StyleTransferConfig(Config):
    """Style transfer: two strided convolutions down, residual blocks, two nearest-neighbour enlargements up.

    Any image size works. A side that 4 does not divide grows to the next multiple of 4, as in the original,
    because both strided convolutions round up: see `output_size`. Nothing is cropped.

    Args:
        channels: channels of the image, and of the result.
        hidden: channels at full, half and quarter size.
        residual_blocks: number of blocks at quarter size.
        kernel_size: side of the first and the last kernel; odd, so that padding keeps the size.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("fast_neural_style", "tiny")
    SUMMARY: ClassVar[str] = (
        "Style transfer: two strided convolutions down, residual blocks, two nearest-neighbour enlargements up."
    )
    MODEL: ClassVar[str] = "StyleTransfer"
    SOURCE: ClassVar[str] = "Johnson et al. 2016, arXiv:1603.08155, in the form of pytorch/examples"

    channels: int = 3
    hidden: tuple[int, int, int] = (32, 64, 128)
    residual_blocks: int = 5
    kernel_size: int = 9

    def __post_init__(self) -> None:
        self._require_positive("channels", "hidden", "residual_blocks", "kernel_size")
        self._require(len(self.hidden) == 3, "hidden", "three numbers of channels")
        self._require(self.kernel_size % 2 == 1, "kernel_size", "odd")

    @classmethod
    def fast_neural_style(cls) -> Self:
        """The sizes of the paper, and of the published weights of pytorch/examples."""
        return cls()

    @classmethod
    def tiny(cls) -> Self:
        """A few thousand parameters, no two widths equal: for tests."""
        return cls(hidden=(4, 5, 7), residual_blocks=2, kernel_size=5)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result: the next multiples of 4.

        >>> StyleTransferConfig.fast_neural_style().output_size(256, 341)
        (256, 344)
        """
        return 4 * -(-height // 4), 4 * -(-width // 4)

    @property
    def smallest_side(self) -> int:
        """The smallest side of an image: a reflection needs more pixels than it adds, at any size inside."""
        return max(self.kernel_size // 2 + 1, 5)

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any size; pixels from 0 to 255 in the published weights."""
        least = {"h": self.smallest_side, "w": self.smallest_side}
        return (Axes("image", "b c h w", {"c": self.channels}, least=least),)

    def outputs(self) -> tuple[Axes, ...]:
        """Images `b c h w`; for their sizes see `output_size`."""
        return (Axes("stylized", "b c h w", {"c": self.channels}),)
