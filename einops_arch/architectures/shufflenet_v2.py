"""ShuffleNet V2: the image classifier of channel splits and shuffles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.images import IMAGENET, ImagePreprocessing

__all__ = ["ShuffleNetV2Config", "ShuffleNetV2UnitConfig"]


@dataclass(frozen=True)
class ShuffleNetV2UnitConfig:
    """The sizes of one unit; see `ShuffleNetV2Config.stages`.

    Args:
        in_channels: channels of the features that come in.
        out_channels: channels of the features that go out.
        stride: 2 halves height and width, and works on all channels in both branches; 1 works on half of them.
    """

    in_channels: int
    out_channels: int
    stride: int

    @property
    def splits(self) -> bool:
        """Whether one half of the channels goes on as it is."""
        return self.stride == 1

    @property
    def branch_channels(self) -> int:
        """Channels that each branch gives."""
        return self.out_channels // 2


@dataclass(frozen=True)
class ShuffleNetV2Config(Config):
    """ShuffleNet V2: an image classifier of units that work on half of the channels, and shuffles.

    A 3x3 convolution and a pooling, each halving the image; stages of units, the first of each halving the image; a
    1x1 convolution; the mean over space; a linear layer. The stages are numbered as in the paper, from 2.

    Args:
        in_channels: channels of the image.
        stem_channels: channels after the first convolution.
        stage_channels: channels after each stage, even numbers.
        repeats: units in each stage.
        last_channels: channels after the last convolution.
        classes: number of classes.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("x1_0", "x0_5", "x1_5", "x2_0", "tiny")
    SUMMARY: ClassVar[str] = (
        "ShuffleNet V2: an image classifier of units that work on half of the channels, and shuffles."
    )
    MODEL: ClassVar[str] = "ShuffleNetV2"
    SOURCE: ClassVar[str] = "Ma et al. 2018, arXiv:1807.11164, in the form of torchvision"
    IMAGES: ClassVar[ImagePreprocessing] = IMAGENET
    # By torchvision, beside its weights.
    PUBLISHED: ClassVar[Mapping[str, tuple[int, float]]] = {
        "x0_5": (1_366_792, 0.040),
        "x1_0": (2_278_604, 0.145),
        "x1_5": (3_503_624, 0.296),
        "x2_0": (7_393_996, 0.583),
    }

    in_channels: int = 3
    stem_channels: int = 24
    stage_channels: tuple[int, ...] = (116, 232, 464)
    repeats: tuple[int, ...] = (4, 8, 4)
    last_channels: int = 1024
    classes: int = 1000

    def __post_init__(self) -> None:
        self._require_positive("in_channels", "stem_channels", "stage_channels", "repeats", "last_channels", "classes")
        self._require(not any(c % 2 for c in self.stage_channels), "stage_channels", "even numbers")
        each = len(self.repeats) == len(self.stage_channels)
        self._require(each, "repeats", f"one number for each of stage_channels={self.stage_channels}")

    @classmethod
    def x1_0(cls) -> Self:
        """The paper's 1x; 2.3 million parameters."""
        return cls()

    @classmethod
    def x0_5(cls) -> Self:
        """The paper's 0.5x; 1.4 million parameters."""
        return cls(stage_channels=(48, 96, 192))

    @classmethod
    def x1_5(cls) -> Self:
        """The paper's 1.5x; 3.5 million parameters."""
        return cls(stage_channels=(176, 352, 704))

    @classmethod
    def x2_0(cls) -> Self:
        """The paper's 2x; 7.4 million parameters."""
        return cls(stage_channels=(244, 488, 976), last_channels=2048)

    @classmethod
    def tiny(cls) -> Self:
        """A thousand parameters, no two widths equal: for tests."""
        return cls(in_channels=2, stem_channels=5, stage_channels=(8, 12), repeats=(2, 1), last_channels=11, classes=7)

    def stages(self) -> tuple[tuple[ShuffleNetV2UnitConfig, ...], ...]:
        """The sizes of every unit, stage by stage.

        >>> [unit.stride for unit in ShuffleNetV2Config.x1_0().stages()[0]]
        [2, 1, 1, 1]
        """
        stages = []
        c_in = self.stem_channels
        for c_out, repeat in zip(self.stage_channels, self.repeats, strict=True):
            rest = (ShuffleNetV2UnitConfig(c_out, c_out, stride=1),) * (repeat - 1)
            stages.append((ShuffleNetV2UnitConfig(c_in, c_out, stride=2), *rest))
            c_in = c_out
        return tuple(stages)

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any height and width."""
        channels, least, example = {"c": self.in_channels}, {"h": 1, "w": 1}, {"h": 65, "w": 96}
        return (Axes("image", "b c h w", channels, least=least, example=example),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b o`, one for each class."""
        return (Axes("logits", "b o", {"o": self.classes}),)
