"""ShuffleNet V2 in PyTorch. The Flax twin is `einops_arch/flax/shufflenet_v2.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from einops_arch.architectures.shufflenet_v2 import ShuffleNetV2Config, ShuffleNetV2UnitConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import ChannelShuffle, Reduce
from einops_arch.torch.layers.sequential import Sequential

__all__ = ["ShuffleNetV2", "ShuffleNetV2Unit"]


class ShuffleNetV2(Pretrained, Sequential):
    """Classify images `b c h w` of any size; gives logits `b o`.

    `model[:-2]` is the network up to the feature map `b c h w`. Memory in `torch.channels_last` stays so.

    Args:
        config: sizes; the paper's 1x if left out.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: Ma et al. 2018, arXiv:1807.11164. Names, layouts and initial distributions are torchvision's; the weights
    of `torchvision.models.shufflenet_v2_x1_0` and its like load as they are.

    >>> model = ShuffleNetV2(ShuffleNetV2Config.tiny())
    >>> model(torch.zeros(3, 2, 32, 45)).shape
    torch.Size([3, 7])
    """

    def __init__(self, config: ShuffleNetV2Config | None = None) -> None:
        self.config = config = config or ShuffleNetV2Config()
        stem, last = config.stem_channels, config.last_channels
        layers: dict[str, nn.Module] = {
            "conv1": nn.Sequential(
                nn.Conv2d(config.in_channels, stem, kernel_size=3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(stem, eps=1e-5, momentum=0.1),
                nn.ReLU(inplace=True),
            ),
            "maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        }
        for stage, units in enumerate(config.stages(), 2):
            layers[f"stage{stage}"] = nn.Sequential(*(ShuffleNetV2Unit(unit) for unit in units))
        layers["conv5"] = nn.Sequential(
            nn.Conv2d(config.stage_channels[-1], last, kernel_size=1, bias=False),
            nn.BatchNorm2d(last, eps=1e-5, momentum=0.1),
            nn.ReLU(inplace=True),
        )
        layers["pool"] = Reduce("b c h w -> b c", "mean")
        layers["fc"] = nn.Linear(last, config.classes)
        super().__init__(layers)

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to logits `b o`."""
        self.config.check_inputs(image)
        return super().forward(image)


class ShuffleNetV2Unit(nn.Module):
    """Features `b c h w` to features: half of the channels worked on, beside the other half, then shuffled.

    The two halves come to lie one channel of each after the other, `b (g k) h w -> b (k g) h w` with two groups, so
    that the next unit splits both.

    Args:
        config: sizes.
    """

    def __init__(self, config: ShuffleNetV2UnitConfig) -> None:
        super().__init__()
        self.splits = config.splits
        c, k, stride = config.in_channels, config.branch_channels, config.stride
        if self.splits:
            self.branch1 = nn.Sequential()
            c = k
        else:
            self.branch1 = nn.Sequential(
                nn.Conv2d(c, c, kernel_size=3, stride=stride, padding=1, groups=c, bias=False),
                nn.BatchNorm2d(c, eps=1e-5, momentum=0.1),
                nn.Conv2d(c, k, kernel_size=1, bias=False),
                nn.BatchNorm2d(k, eps=1e-5, momentum=0.1),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(c, k, kernel_size=1, bias=False),
            nn.BatchNorm2d(k, eps=1e-5, momentum=0.1),
            nn.ReLU(inplace=True),
            nn.Conv2d(k, k, kernel_size=3, stride=stride, padding=1, groups=k, bias=False),
            nn.BatchNorm2d(k, eps=1e-5, momentum=0.1),
            nn.Conv2d(k, k, kernel_size=1, bias=False),
            nn.BatchNorm2d(k, eps=1e-5, momentum=0.1),
            nn.ReLU(inplace=True),
        )
        self.shuffle = ChannelShuffle(2)

    def forward(self, features: Tensor) -> Tensor:
        """Features `b c h w` to features `b c h w`."""
        if self.splits:
            left, right = features.chunk(2, dim=1)
        else:
            left, right = self.branch1(features), features
        return self.shuffle(torch.cat([left, self.branch2(right)], dim=1))
