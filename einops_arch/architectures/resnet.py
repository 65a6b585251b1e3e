"""ResNet: the image classifier of residual blocks, with its wide and grouped forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.images import IMAGENET, ImagePreprocessing

__all__ = ["ResNetBlockConfig", "ResNetConfig"]

_EXPANSION = {"basic": 1, "bottleneck": 4}


@dataclass(frozen=True)
class ResNetBlockConfig:
    """The sizes of one residual block; see `ResNetConfig.stages`.

    Args:
        kind: `"basic"` or `"bottleneck"`.
        in_channels: channels of the features that come in.
        inner_channels: channels between the convolutions.
        out_channels: channels of the features that go out.
        stride: 2 halves height and width.
        groups: groups of the 3x3 convolution of a bottleneck.
    """

    kind: str
    in_channels: int
    inner_channels: int
    out_channels: int
    stride: int
    groups: int

    @property
    def projects(self) -> bool:
        """Whether the shortcut needs a convolution, as it joins features of another size."""
        return self.stride != 1 or self.in_channels != self.out_channels


@dataclass(frozen=True)
class ResNetConfig(Config):
    """ResNet, Wide ResNet and ResNeXt: an image classifier of residual blocks.

    A 7x7 convolution and a pooling, each halving the image; stages of blocks, each but the first halving the image;
    the mean over space; a linear layer. A bottleneck halves the image in its 3x3 convolution, as public
    weights have it ("ResNet v1.5"); the first paper does so in the 1x1 convolution before.

    Args:
        in_channels: channels of the image.
        block: `"basic"`, two 3x3 convolutions, or `"bottleneck"`, one of 3x3 between two of 1x1.
        stem_channels: channels after the first convolution.
        depths: blocks in each stage; four stages in the published sizes.
        widths: channels of each stage; a bottleneck gives out four times as many.
        groups: groups of a bottleneck's 3x3 convolution; more than one makes a ResNeXt.
        width_per_group: channels of each of these groups in a stage of width 64, and in proportion in the others.
        classes: number of classes.
    """

    PRESETS: ClassVar[tuple[str, ...]] = (
        "resnet50",
        "resnet18",
        "resnet34",
        "resnet101",
        "resnet152",
        "wide_resnet50_2",
        "wide_resnet101_2",
        "resnext50_32x4d",
        "resnext101_32x8d",
        "resnext101_64x4d",
        "tiny",
        "tiny_grouped",
    )
    SUMMARY: ClassVar[str] = "ResNet, Wide ResNet and ResNeXt: an image classifier of residual blocks."
    MODEL: ClassVar[str] = "ResNet"
    SOURCE: ClassVar[str] = (
        "He et al. 2015, arXiv:1512.03385, in the form of torchvision; ResNeXt: Xie et al. 2016, arXiv:1611.05431; "
        "wide: Zagoruyko and Komodakis 2016, arXiv:1605.07146"
    )
    IMAGES: ClassVar[ImagePreprocessing] = IMAGENET
    # By torchvision, beside its weights.
    PUBLISHED: ClassVar[Mapping[str, tuple[int, float]]] = {
        "resnet18": (11_689_512, 1.814),
        "resnet34": (21_797_672, 3.664),
        "resnet50": (25_557_032, 4.089),
        "resnet101": (44_549_160, 7.801),
        "resnet152": (60_192_808, 11.514),
        "wide_resnet50_2": (68_883_240, 11.398),
        "wide_resnet101_2": (126_886_696, 22.753),
        "resnext50_32x4d": (25_028_904, 4.230),
        "resnext101_32x8d": (88_791_336, 16.414),
        "resnext101_64x4d": (83_455_272, 15.460),
    }

    in_channels: int = 3
    block: str = "bottleneck"
    stem_channels: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    groups: int = 1
    width_per_group: int = 64
    classes: int = 1000

    def __post_init__(self) -> None:
        self._require_positive(
            "in_channels", "stem_channels", "depths", "widths", "groups", "width_per_group", "classes"
        )
        self._require_choice("block", tuple(_EXPANSION))
        self._require(len(self.depths) == len(self.widths), "depths", f"one for each of widths={self.widths}")
        if self.block == "basic":
            self._require(self.groups == 1, "groups", "1 where block='basic'")
            self._require(self.width_per_group == 64, "width_per_group", "64 where block='basic'")
        whole = all(self._inner(width) >= 1 for width in self.widths)
        self._require(whole, "width_per_group", f"large enough that each of widths={self.widths} has a channel a group")

    @classmethod
    def resnet50(cls) -> Self:
        """ResNet-50; 25.6 million parameters."""
        return cls()

    @classmethod
    def resnet18(cls) -> Self:
        """ResNet-18, of basic blocks; 11.7 million parameters."""
        return cls(block="basic", depths=(2, 2, 2, 2))

    @classmethod
    def resnet34(cls) -> Self:
        """ResNet-34, of basic blocks; 21.8 million parameters."""
        return cls(block="basic")

    @classmethod
    def resnet101(cls) -> Self:
        """ResNet-101; 44.5 million parameters."""
        return cls(depths=(3, 4, 23, 3))

    @classmethod
    def resnet152(cls) -> Self:
        """ResNet-152; 60.2 million parameters."""
        return cls(depths=(3, 8, 36, 3))

    @classmethod
    def wide_resnet50_2(cls) -> Self:
        """ResNet-50 with bottlenecks twice as wide inside; 68.9 million parameters."""
        return cls(width_per_group=128)

    @classmethod
    def wide_resnet101_2(cls) -> Self:
        """ResNet-101 with bottlenecks twice as wide inside; 126.9 million parameters."""
        return cls(depths=(3, 4, 23, 3), width_per_group=128)

    @classmethod
    def resnext50_32x4d(cls) -> Self:
        """ResNeXt-50 of 32 groups; 25.0 million parameters."""
        return cls(groups=32, width_per_group=4)

    @classmethod
    def resnext101_32x8d(cls) -> Self:
        """ResNeXt-101 of 32 wide groups; 88.8 million parameters."""
        return cls(depths=(3, 4, 23, 3), groups=32, width_per_group=8)

    @classmethod
    def resnext101_64x4d(cls) -> Self:
        """ResNeXt-101 of 64 groups; 83.5 million parameters."""
        return cls(depths=(3, 4, 23, 3), groups=64, width_per_group=4)

    @classmethod
    def tiny(cls) -> Self:
        """A thousand parameters in basic blocks, no two widths equal: for tests."""
        return cls(block="basic", stem_channels=5, depths=(1, 1), widths=(5, 7), classes=9)

    @classmethod
    def tiny_grouped(cls) -> Self:
        """Bottlenecks of two groups, for tests."""
        return cls(
            in_channels=2, stem_channels=5, depths=(1, 2), widths=(3, 4), groups=2, width_per_group=32, classes=7
        )

    def stages(self) -> tuple[tuple[ResNetBlockConfig, ...], ...]:
        """The sizes of every block, stage by stage.

        >>> [block.stride for block in ResNetConfig.resnet18().stages()[1]]
        [2, 1]
        """
        stages: list[tuple[ResNetBlockConfig, ...]] = []
        c_in = self.stem_channels
        for depth, width in zip(self.depths, self.widths, strict=True):
            c_out = width * _EXPANSION[self.block]
            blocks: list[ResNetBlockConfig] = []
            for number in range(depth):
                stride = 2 if stages and number == 0 else 1
                blocks.append(ResNetBlockConfig(self.block, c_in, self._inner(width), c_out, stride, self.groups))
                c_in = c_out
            stages.append(tuple(blocks))
        return tuple(stages)

    @property
    def features(self) -> int:
        """Channels before the linear layer."""
        return self.widths[-1] * _EXPANSION[self.block]

    def _inner(self, width: int) -> int:
        return width * self.width_per_group // 64 * self.groups

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any height and width."""
        channels, least, example = {"c": self.in_channels}, {"h": 1, "w": 1}, {"h": 65, "w": 96}
        return (Axes("image", "b c h w", channels, least=least, example=example),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b o`, one for each class."""
        return (Axes("logits", "b o", {"o": self.classes}),)
