"""VGG: the image classifier of 3x3 convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.images import IMAGENET, ImagePreprocessing

__all__ = ["VGGConfig"]

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@dataclass(frozen=True)
class VGGConfig(Config):
    """VGG: an image classifier of 3x3 convolutions in blocks, and three linear layers.

    Each block ends with a pooling that halves the image. An average over a grid of 7x7 gives the linear layers the
    same number of features for any image; at 224x224 it changes nothing. For features in the middle of the network
    see `vgg16_features`, which takes the same weights.

    Args:
        in_channels: channels of the image.
        convolutions: convolutions in each block.
        widths: channels of each block.
        batch_norm: a batch norm after each convolution.
        grid: height and width of the grid before the linear layers.
        hidden: features between the linear layers.
        classes: number of classes.
        dropout: probability of dropping a feature between the linear layers.
    """

    PRESETS: ClassVar[tuple[str, ...]] = (
        "vgg16",
        "vgg11",
        "vgg13",
        "vgg19",
        "vgg11_bn",
        "vgg13_bn",
        "vgg16_bn",
        "vgg19_bn",
        "tiny",
        "tiny_bn",
    )
    SUMMARY: ClassVar[str] = "VGG: an image classifier of 3x3 convolutions in blocks, and three linear layers."
    MODEL: ClassVar[str] = "VGG"
    SOURCE: ClassVar[str] = "Simonyan and Zisserman 2014, arXiv:1409.1556, in the form of torchvision"
    IMAGES: ClassVar[ImagePreprocessing] = IMAGENET
    # By torchvision, beside its weights.
    PUBLISHED: ClassVar[Mapping[str, tuple[int, float]]] = {
        "vgg11": (132_863_336, 7.609),
        "vgg13": (133_047_848, 11.308),
        "vgg16": (138_357_544, 15.470),
        "vgg19": (143_667_240, 19.632),
        "vgg11_bn": (132_868_840, 7.609),
        "vgg13_bn": (133_053_736, 11.308),
        "vgg16_bn": (138_365_992, 15.470),
        "vgg19_bn": (143_678_248, 19.632),
    }

    in_channels: int = 3
    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch_norm: bool = False
    grid: tuple[int, int] = (7, 7)
    hidden: int = 4096
    classes: int = 1000
    dropout: float = 0.5

    def __post_init__(self) -> None:
        self._require_positive("in_channels", "convolutions", "widths", "grid", "hidden", "classes")
        each = len(self.convolutions) == len(self.widths)
        self._require(each, "convolutions", f"one number for each of widths={self.widths}")
        self._require(len(self.grid) == 2, "grid", "a height and a width")
        self._require_bool("batch_norm")
        self._require_probability("dropout")

    @classmethod
    def of_depth(cls, depth: int, *, batch_norm: bool = False) -> Self:
        """A published size.

        Args:
            depth: 11, 13, 16 or 19 layers with weights.
            batch_norm: a batch norm after each convolution.

        >>> VGGConfig.of_depth(19).convolutions
        (2, 2, 4, 4, 4)
        """
        return cls(convolutions=_CONVOLUTIONS[depth], batch_norm=batch_norm)

    @classmethod
    def vgg16(cls) -> Self:
        """VGG-16, the paper's D; 138.4 million parameters."""
        return cls()

    @classmethod
    def vgg11(cls) -> Self:
        """VGG-11, the paper's A; 132.9 million parameters."""
        return cls.of_depth(11)

    @classmethod
    def vgg13(cls) -> Self:
        """VGG-13, the paper's B; 133.0 million parameters."""
        return cls.of_depth(13)

    @classmethod
    def vgg19(cls) -> Self:
        """VGG-19, the paper's E; 143.7 million parameters."""
        return cls.of_depth(19)

    @classmethod
    def vgg11_bn(cls) -> Self:
        """VGG-11 with batch norm; 132.9 million parameters."""
        return cls.of_depth(11, batch_norm=True)

    @classmethod
    def vgg13_bn(cls) -> Self:
        """VGG-13 with batch norm; 133.1 million parameters."""
        return cls.of_depth(13, batch_norm=True)

    @classmethod
    def vgg16_bn(cls) -> Self:
        """VGG-16 with batch norm; 138.4 million parameters."""
        return cls.of_depth(16, batch_norm=True)

    @classmethod
    def vgg19_bn(cls) -> Self:
        """VGG-19 with batch norm; 143.7 million parameters."""
        return cls.of_depth(19, batch_norm=True)

    @classmethod
    def tiny(cls) -> Self:
        """A thousand parameters, no two sizes equal: for tests."""
        return cls(in_channels=2, convolutions=(1, 2), widths=(4, 5), grid=(3, 2), hidden=11, classes=7)

    @classmethod
    def tiny_bn(cls) -> Self:
        """The tiny network with batch norm."""
        return cls(convolutions=(2, 1), widths=(4, 5), batch_norm=True, grid=(2, 3), hidden=11, classes=7)

    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The channels after each convolution, block by block.

        >>> VGGConfig.vgg11().blocks()
        ((64,), (128,), (256, 256), (512, 512), (512, 512))
        """
        return tuple((width,) * count for width, count in zip(self.widths, self.convolutions, strict=True))

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any height and width that can be halved after each block."""
        side = 2 ** len(self.widths)
        example = {"h": 5 * side, "w": 4 * side + 1}
        return (Axes("image", "b c h w", {"c": self.in_channels}, least={"h": side, "w": side}, example=example),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b o`, one for each class."""
        return (Axes("logits", "b o", {"o": self.classes}),)
