"""ConvNet: the small convolutional network of PyTorch's MNIST example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.errors import ConfigError

__all__ = ["ConvNetConfig"]


@dataclass(frozen=True)
class ConvNetConfig(Config):
    """Convolutional network for small images: two convolutions, two linear layers.

    The size after the convolutions is derived, so any image size and channel count works; the code that this
    replaces wrote `view(-1, 320)`, which is right for 28x28 images and mixes the images of a batch at other sizes.

    Args:
        in_channels: channels of the image.
        image_size: height and width of the image.
        channels: channels after the first and the second convolution.
        kernel_size: side of the square kernels, without padding.
        hidden: features between the linear layers.
        classes: number of classes.
        dropout: probability of dropping a channel after the second convolution, and a feature before the last layer.
        log_softmax: end with log-probabilities; without it, with logits.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("mnist", "digits", "tiny")
    SUMMARY: ClassVar[str] = "Convolutional network for small images: two convolutions, two linear layers."
    MODEL: ClassVar[str] = "ConvNet"
    SOURCE: ClassVar[str] = "the MNIST example of pytorch/examples, after LeCun et al. 1998"

    in_channels: int = 1
    image_size: tuple[int, int] = (28, 28)
    channels: tuple[int, int] = (10, 20)
    kernel_size: int = 5
    hidden: int = 50
    classes: int = 10
    dropout: float = 0.5
    log_softmax: bool = True

    def __post_init__(self) -> None:
        self._require_positive("in_channels", "image_size", "channels", "kernel_size", "hidden", "classes")
        self._require(len(self.image_size) == 2, "image_size", "a height and a width")
        self._require(len(self.channels) == 2, "channels", "two numbers of channels")
        self._require_probability("dropout")
        self._require_bool("log_softmax")
        if min(self.feature_map) < 1:
            raise ConfigError(
                f"ConvNetConfig: two convolutions of {self.kernel_size}x{self.kernel_size}, each followed by pooling "
                f"of 2x2, need images of at least {self._smallest_side} pixels a side, received image_size="
                f"{self.image_size}"
            )

    @classmethod
    def mnist(cls) -> Self:
        """The network of the MNIST example: 28x28 images of one channel, ten classes."""
        return cls()

    @classmethod
    def digits(cls) -> Self:
        """For scikit-learn's handwritten digits, 8x8, enlarged to 16x16."""
        return cls(image_size=(16, 16))

    @classmethod
    def tiny(cls) -> Self:
        """A few hundred parameters, no two sizes equal: for tests."""
        return cls(in_channels=2, image_size=(17, 12), channels=(3, 5), kernel_size=3, hidden=7, classes=4)

    @property
    def feature_map(self) -> tuple[int, int]:
        """Height and width after both convolutions and poolings."""
        height, width = (self._side_after(side) for side in self.image_size)
        return height, width

    def _side_after(self, side: int) -> int:
        for _ in self.channels:
            side = (side - self.kernel_size + 1) // 2
        return side

    @property
    def _smallest_side(self) -> int:
        side = 1
        for _ in self.channels:
            side = 2 * side + self.kernel_size - 1
        return side

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w`."""
        height, width = self.image_size
        return (Axes("image", "b c h w", {"c": self.in_channels, "h": height, "w": width}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Log-probabilities or logits `b o`, one for each class."""
        return (Axes("log_probabilities" if self.log_softmax else "logits", "b o", {"o": self.classes}),)
