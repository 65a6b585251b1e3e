"""The ShuffleNet unit: grouped 1x1 convolutions, with a channel shuffle between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.errors import ConfigError

__all__ = ["ShuffleUnitConfig"]


@dataclass(frozen=True)
class ShuffleUnitConfig(Config):
    """ShuffleNet unit: a residual bottleneck whose 1x1 convolutions are grouped, mixed by a channel shuffle.

    The bottleneck has `out_channels // 4` channels, counted before the shortcut's share is taken off, as in the
    paper's multiply-adds. The convolutions have no bias, since each is followed by a batch norm.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output: as many as of the input for "add", more for "concat".
        groups: groups of the 1x1 convolutions and of the shuffle.
        grouped_conv: the first 1x1 convolution is grouped too; the first unit of a ShuffleNet leaves that off.
        combine: "add" adds the input to the result (Figure 2b of the paper); "concat" halves the image and puts
            the average-pooled input beside the result (Figure 2c).
        shortcut_first: "concat" puts the pooled input before the result; without it, after. The paper leaves
            that open, and public implementations differ.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("add", "concat", "first", "tiny")
    SUMMARY: ClassVar[str] = (
        "ShuffleNet unit: a residual bottleneck whose 1x1 convolutions are grouped, mixed by a channel shuffle."
    )
    MODEL: ClassVar[str] = "ShuffleUnit"
    SOURCE: ClassVar[str] = "Zhang et al. 2017, arXiv:1707.01083, Figure 2"

    in_channels: int = 240
    out_channels: int = 240
    groups: int = 3
    grouped_conv: bool = True
    combine: str = "add"
    shortcut_first: bool = True

    def __post_init__(self) -> None:
        self._require_positive("in_channels", "out_channels", "groups")
        self._require_bool("grouped_conv", "shortcut_first")
        self._require_choice("combine", ("add", "concat"))
        self._require(self.bottleneck_channels > 0, "out_channels", "at least 4, for a bottleneck of a quarter")
        if self.combine == "add" and self.out_channels != self.in_channels:
            raise ConfigError(
                f"ShuffleUnitConfig: combine='add' adds the input to the result, so it needs out_channels equal to "
                f"in_channels={self.in_channels}, received out_channels={self.out_channels}; "
                f"likely fix: combine='concat'"
            )
        if self.combine == "concat" and self.out_channels <= self.in_channels:
            raise ConfigError(
                f"ShuffleUnitConfig: combine='concat' puts the input beside the result, so it needs out_channels "
                f"above in_channels={self.in_channels}, received out_channels={self.out_channels}"
            )
        wrong = [f"{name}={size}" for name, size in self._grouped_sizes().items() if size % self.groups]
        if wrong:
            raise ConfigError(
                f"ShuffleUnitConfig: expected channels divisible by groups={self.groups}, received {', '.join(wrong)}"
            )

    def _grouped_sizes(self) -> dict[str, int]:
        sizes = {"in_channels": self.in_channels} if self.grouped_conv else {}
        sizes["bottleneck_channels (out_channels // 4)"] = self.bottleneck_channels
        if self.combine == "concat":
            sizes["expanded_channels (out_channels - in_channels)"] = self.expanded_channels
        else:
            sizes["out_channels"] = self.out_channels
        return sizes

    @classmethod
    def add(cls) -> Self:
        """A later unit of the paper's Stage 2 with three groups: Figure 2b."""
        return cls()

    @classmethod
    def concat(cls) -> Self:
        """The first unit of the paper's Stage 3 with three groups: Figure 2c."""
        return cls(in_channels=240, out_channels=480, combine="concat")

    @classmethod
    def first(cls) -> Self:
        """The first unit of the paper's Stage 2 with three groups: 24 channels are too few to group."""
        return cls(in_channels=24, out_channels=240, grouped_conv=False, combine="concat")

    @classmethod
    def tiny(cls) -> Self:
        """A hundred and fifty parameters, no two sizes equal: for tests."""
        return cls(in_channels=9, out_channels=24, combine="concat")

    @property
    def bottleneck_channels(self) -> int:
        """Channels between the two 1x1 convolutions."""
        return self.out_channels // 4

    @property
    def expanded_channels(self) -> int:
        """Channels after the last 1x1 convolution: what the shortcut leaves to the convolutions."""
        return self.out_channels - self.in_channels if self.combine == "concat" else self.out_channels

    @property
    def compress_groups(self) -> int:
        """Groups of the first 1x1 convolution."""
        return self.groups if self.grouped_conv else 1

    @property
    def stride(self) -> int:
        """Stride of the 3x3 convolution and of the shortcut."""
        return 2 if self.combine == "concat" else 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result.

        >>> ShuffleUnitConfig.concat().output_size(28, 15)
        (14, 8)
        """
        return -(-height // self.stride), -(-width // self.stride)

    def inputs(self) -> tuple[Axes, ...]:
        """Features `b c h w` of any height and width."""
        return (Axes("features", "b c h w", {"c": self.in_channels}, least={"h": 1, "w": 1}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Features `b c h w`; for their height and width see `output_size`."""
        return (Axes("features", "b c h w", {"c": self.out_channels}),)
