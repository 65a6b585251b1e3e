"""ShuffleNet: the image classifier built of ShuffleNet units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.shuffle_unit import ShuffleUnitConfig
from einops_arch.errors import ConfigError

__all__ = ["ShuffleNetConfig"]


@dataclass(frozen=True)
class ShuffleNetConfig(Config):
    """ShuffleNet (first version): an image classifier of grouped convolutions and channel shuffles.

    A 3x3 convolution and a pooling, each halving the image; stages of units, the first of each stage halving
    the image; the mean over space; a linear layer. The stages are numbered as in the public weights: `stage1` is
    the paper's Stage 2.

    Multiply-adds at 224x224: counting the convolutions alone, the paper's Table 1 comes out exactly (143, 140,
    137, 133 and 137 million for 1, 2, 3, 4 and 8 groups). The linear layer adds 0.6 to 1.5 million, which later
    numbers of the same authors include (524 million for `g3_x2_0`, 292 million for `g3_x1_5`).

    The widths `x0_25` to `x2_0` scale every number of channels, the stem's too, as the paper says and the public
    weights have it. Two of the authors' own stems differ: the paper's 13 million for `x0_25` come out with a stem
    of 12 channels, not 6, and its 292 million for `x1_5` with 24, not 36. For `x1_5`, of which there are no other
    weights, the preset is the authors'; for the other say `ShuffleNetConfig.scaled(3, 0.25, stem_channels=12)`.

    Args:
        in_channels: channels of the image.
        groups: groups of the 1x1 convolutions and of the shuffles.
        stem_channels: channels after the first convolution.
        stage_channels: channels after each stage.
        repeats: units in each stage.
        classes: number of classes.
        shortcut_first: a unit that halves the image puts its pooled input before its result; without it, after,
            as the public weights have it. The paper leaves that open.
    """

    PRESETS: ClassVar[tuple[str, ...]] = (
        "g1",
        "g2",
        "g3",
        "g4",
        "g8",
        "g1_x0_25",
        "g1_x0_5",
        "g1_x0_75",
        "g3_x0_25",
        "g3_x0_5",
        "g3_x0_75",
        "g3_x1_5",
        "g3_x2_0",
        "tiny",
    )
    SUMMARY: ClassVar[str] = (
        "ShuffleNet (first version): an image classifier of grouped convolutions and channel shuffles."
    )
    MODEL: ClassVar[str] = "ShuffleNet"
    SOURCE: ClassVar[str] = "Zhang et al. 2017, arXiv:1707.01083, Table 1"
    TABLE_1: ClassVar[Mapping[int, tuple[int, ...]]] = {
        1: (144, 288, 576),
        2: (200, 400, 800),
        3: (240, 480, 960),
        4: (272, 544, 1088),
        8: (384, 768, 1536),
    }

    in_channels: int = 3
    groups: int = 3
    stem_channels: int = 24
    stage_channels: tuple[int, ...] = (240, 480, 960)
    repeats: tuple[int, ...] = (4, 8, 4)
    classes: int = 1000
    shortcut_first: bool = False

    def __post_init__(self) -> None:
        self._require_positive("in_channels", "groups", "stem_channels", "stage_channels", "repeats", "classes")
        stages = len(self.stage_channels)
        self._require(len(self.repeats) == stages, "repeats", f"one number for each of {stages} stages")
        self._require_bool("shortcut_first")
        # All units of a stage after its second are like that.
        self._units(tuple(min(count, 2) for count in self.repeats))

    def stages(self) -> tuple[tuple[ShuffleUnitConfig, ...], ...]:
        """The units of each stage.

        Raises:
            ConfigError: the channels do not fit the groups, or do not grow from stage to stage.
        """
        return self._units(self.repeats)

    def _units(self, counts: tuple[int, ...]) -> tuple[tuple[ShuffleUnitConfig, ...], ...]:
        stages = []
        channels = self.stem_channels
        for stage, (out_channels, repeats) in enumerate(zip(self.stage_channels, counts, strict=True), 1):
            units = []
            for unit in range(1, repeats + 1):
                try:
                    units.append(
                        ShuffleUnitConfig(
                            in_channels=channels,
                            out_channels=out_channels,
                            groups=self.groups,
                            grouped_conv=(stage, unit) != (1, 1),
                            combine="concat" if unit == 1 else "add",
                            shortcut_first=self.shortcut_first,
                        )
                    )
                except ConfigError as error:
                    raise ConfigError(f"ShuffleNetConfig: stage{stage}.unit{unit}: {error}") from None
                channels = out_channels
            stages.append(tuple(units))
        return tuple(stages)

    @classmethod
    def scaled(cls, groups: int, scale: float = 1.0, stem_channels: int | None = None) -> Self:
        """A column of the paper's Table 1, with every number of channels times `scale`, rounded down.

        Args:
            groups: 1, 2, 3, 4 or 8.
            scale: the paper's "ShuffleNet s times".
            stem_channels: channels after the first convolution, where they are not 24 times `scale`.

        Raises:
            ConfigError: Table 1 has no such column, or the scaled channels do not fit the groups.

        >>> ShuffleNetConfig.scaled(8, 0.5, stem_channels=16).stage_channels
        (192, 384, 768)
        """
        if groups not in cls.TABLE_1:
            columns = ", ".join(map(str, cls.TABLE_1))
            raise ConfigError(f"ShuffleNetConfig: expected groups to be one of {columns}, received {groups!r}")
        return cls(
            groups=groups,
            stem_channels=int(24 * scale) if stem_channels is None else stem_channels,
            stage_channels=tuple(int(channels * scale) for channels in cls.TABLE_1[groups]),
        )

    @classmethod
    def g1(cls) -> Self:
        """One group: no grouped 1x1 convolution."""
        return cls.scaled(1)

    @classmethod
    def g2(cls) -> Self:
        """Two groups."""
        return cls.scaled(2)

    @classmethod
    def g3(cls) -> Self:
        """Three groups."""
        return cls.scaled(3)

    @classmethod
    def g4(cls) -> Self:
        """Four groups."""
        return cls.scaled(4)

    @classmethod
    def g8(cls) -> Self:
        """Eight groups."""
        return cls.scaled(8)

    @classmethod
    def g1_x0_25(cls) -> Self:
        """One group, a quarter of the channels."""
        return cls.scaled(1, 0.25)

    @classmethod
    def g1_x0_5(cls) -> Self:
        """One group, half of the channels."""
        return cls.scaled(1, 0.5)

    @classmethod
    def g1_x0_75(cls) -> Self:
        """One group, three quarters of the channels."""
        return cls.scaled(1, 0.75)

    @classmethod
    def g3_x0_25(cls) -> Self:
        """Three groups, a quarter of the channels."""
        return cls.scaled(3, 0.25)

    @classmethod
    def g3_x0_5(cls) -> Self:
        """Three groups, half of the channels."""
        return cls.scaled(3, 0.5)

    @classmethod
    def g3_x0_75(cls) -> Self:
        """Three groups, three quarters of the channels."""
        return cls.scaled(3, 0.75)

    @classmethod
    def g3_x1_5(cls) -> Self:
        """Three groups, one and a half times the channels of the stages."""
        return cls.scaled(3, 1.5, stem_channels=24)

    @classmethod
    def g3_x2_0(cls) -> Self:
        """Three groups, twice the channels."""
        return cls.scaled(3, 2.0)

    @classmethod
    def tiny(cls) -> Self:
        """Two thousand parameters in two stages, no two sizes equal: for tests."""
        return cls(in_channels=2, stem_channels=9, stage_channels=(24, 72), repeats=(2, 1), classes=5)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the last stage, before the mean over space.

        >>> ShuffleNetConfig.g3().output_size(224, 160)
        (7, 5)
        """
        factor = 2 ** (2 + len(self.stage_channels))
        return -(-height // factor), -(-width // factor)

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any height and width."""
        return (Axes("image", "b c h w", {"c": self.in_channels}, least={"h": 1, "w": 1}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b o`, one for each class."""
        return (Axes("logits", "b o", {"o": self.classes}),)
