"""ShuffleNet built of the old units, in plain PyTorch, without einops, with the old order: shortcut first."""

from __future__ import annotations

import torch.nn.functional as F
from oracle_shuffle_unit import OldShuffleUnit, new_state
from torch import Tensor, nn


class OldShuffleNet(nn.Module):
    def __init__(self, in_channels, stem, stage_channels, repeats, groups, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stages = nn.ModuleList()
        channels = stem
        for number, (out_channels, repeat) in enumerate(zip(stage_channels, repeats, strict=True)):
            stage = nn.ModuleList()
            stage.append(OldShuffleUnit(channels, out_channels, groups, number > 0, "concat"))
            stage.extend(OldShuffleUnit(out_channels, out_channels, groups) for _ in range(repeat - 1))
            self.stages.append(stage)
            channels = out_channels
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for stage in self.stages:
            for unit in stage:
                x = unit(x)
        return self.fc(x.view(x.size(0), x.size(1), -1).mean(2))


def new_network_state(old: OldShuffleNet) -> dict[str, Tensor]:
    """The state of the old network by the names of the new one."""
    state = {f"features.init_block.conv.{name}": value for name, value in old.conv1.state_dict().items()}
    state |= {f"features.init_block.bn.{name}": value for name, value in old.bn1.state_dict().items()}
    for s, stage in enumerate(old.stages, 1):
        for u, unit in enumerate(stage, 1):
            state |= new_state(unit, f"features.stage{s}.unit{u}.")
    return state | {f"output.{name}": value for name, value in old.fc.state_dict().items()}
