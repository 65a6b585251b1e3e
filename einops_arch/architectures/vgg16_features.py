"""VGG-16 features: what the layers of a network for classification see in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.vgg import VGGConfig

__all__ = ["VGG16FeaturesConfig"]

# In each block between two poolings.
_CONVOLUTIONS = VGGConfig.vgg16().convolutions


@dataclass(frozen=True)
class VGG16FeaturesConfig(Config):
    """VGG-16 features for perceptual losses: the results of some of its layers, up to the deepest of them.

    Args:
        channels: channels of the image.
        widths: channels of each of the five blocks.
        layers: the results to give, in the order of the network: `relu<block>_<convolution>`, from `relu1_1`
            to `relu5_3`.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("johnson", "tiny")
    SUMMARY: ClassVar[str] = (
        "VGG-16 features for perceptual losses: the results of some of its layers, up to the deepest of them."
    )
    MODEL: ClassVar[str] = "VGG16Features"
    SOURCE: ClassVar[str] = "Simonyan and Zisserman 2014, arXiv:1409.1556, in the form of torchvision"

    channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")

    def __post_init__(self) -> None:
        self._require_positive("channels", "widths")
        self._require(len(self.widths) == 5, "widths", "five numbers of channels")
        known = list(_positions())
        in_order = [name for name in known if name in self.layers]
        holds = bool(self.layers) and list(self.layers) == in_order
        self._require(holds, "layers", f"some of {', '.join(known)}, in this order")

    @classmethod
    def johnson(cls) -> Self:
        """The four layers that Johnson et al. compare."""
        return cls()

    @classmethod
    def tiny(cls) -> Self:
        """A few thousand parameters, no two widths equal: for tests."""
        return cls(widths=(4, 5, 6, 7, 8))

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The channels after each convolution, block by block, up to the deepest layer asked for."""
        block, convolution = _numbers(self.layers[-1])
        counts = (*_CONVOLUTIONS[: block - 1], convolution)
        return tuple((width,) * count for width, count in zip(self.widths, counts, strict=False))

    @property
    def positions(self) -> tuple[int, ...]:
        """The index in `features` of each layer asked for.

        >>> VGG16FeaturesConfig.johnson().positions
        (3, 8, 15, 22)
        """
        known = _positions()
        return tuple(known[name] for name in self.layers)

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w`, normalised as the weights expect; sides that can be halved before each block."""
        side = 2 ** (len(self.blocks) - 1)
        return (Axes("image", "b c h w", {"c": self.channels}, least={"h": side, "w": side}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Features `b c h w` of each layer; sides are halved, rounding down, from each block to the next."""
        return tuple(Axes(name, "b c h w", {"c": self.widths[_numbers(name)[0] - 1]}) for name in self.layers)


def _numbers(name: str) -> tuple[int, int]:
    block, _, convolution = name.removeprefix("relu").partition("_")
    return int(block), int(convolution)


def _positions() -> dict[str, int]:
    """The index of each ReLU in torchvision's `features`, which numbers convolutions, ReLUs and poolings."""
    positions: dict[str, int] = {}
    start = 0
    for block, count in enumerate(_CONVOLUTIONS, start=1):
        for convolution in range(1, count + 1):
            positions[f"relu{block}_{convolution}"] = start + 2 * convolution - 1
        start += 2 * count + 1
    return positions
