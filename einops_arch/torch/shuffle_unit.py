"""The ShuffleNet unit in PyTorch. The Flax twin is `einops_arch/flax/shuffle_unit.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einops_arch.architectures.shuffle_unit import ShuffleUnitConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import ChannelShuffle

__all__ = ["ShuffleUnit"]


class ShuffleUnit(Pretrained, nn.Module):
    """Features `b c h w` to features, through a bottleneck of grouped convolutions beside a shortcut.

    Compress (1x1, grouped), shuffle (`b (g k) h w -> b (k g) h w`), 3x3 depthwise, expand (1x1, grouped), each
    convolution with a batch norm; then add the shortcut, or put it beside the result and halve the image.
    Memory in `torch.channels_last` stays so. All layers begin with PyTorch's initial distributions.

    Args:
        config: sizes and the way to combine; the paper's "add" unit of 240 channels if left out.

    Raises:
        ShapeError: the features do not have the channels of the config.

    Source: Zhang et al. 2017, arXiv:1707.01083, Figure 2. The parameter names are those of the public weights
    (pytorchcv's `shufflenet_g3_w1` and its like). The code that this replaces cannot be built: it says
    `BatchNordm2d`, and builds `g_conv_1x1_compress` and `g_conv_conv_1x1_expand` but calls `g_con_1x1_compress` and
    `g_conv_1x1_expand`. What it means is this, with the shortcut first; it shuffles after an ungrouped convolution
    too, where that changes nothing but the order of that convolution's channels.

    >>> unit = ShuffleUnit(ShuffleUnitConfig.concat())
    >>> unit(torch.zeros(2, 240, 7, 6)).shape
    torch.Size([2, 480, 4, 3])
    """

    def __init__(self, config: ShuffleUnitConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ShuffleUnitConfig()
        c, mid, out = config.in_channels, config.bottleneck_channels, config.expanded_channels
        if config.combine == "concat":
            # The zeros of the padding count in the mean.
            self.shortcut = nn.AvgPool2d(kernel_size=3, stride=2, padding=1, count_include_pad=True)
        self.compress_conv1 = nn.Conv2d(c, mid, kernel_size=1, groups=config.compress_groups, bias=False)
        self.compress_bn1 = nn.BatchNorm2d(mid, eps=1e-5, momentum=0.1)
        self.c_shuffle = ChannelShuffle(config.groups)
        self.dw_conv2 = nn.Conv2d(mid, mid, kernel_size=3, stride=config.stride, padding=1, groups=mid, bias=False)
        self.dw_bn2 = nn.BatchNorm2d(mid, eps=1e-5, momentum=0.1)
        self.expand_conv3 = nn.Conv2d(mid, out, kernel_size=1, groups=config.groups, bias=False)
        self.expand_bn3 = nn.BatchNorm2d(out, eps=1e-5, momentum=0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Features `b c h w` to features `b c h w`."""
        self.config.check_inputs(features)
        right = F.relu(self.compress_bn1(self.compress_conv1(features)), inplace=True)
        right = self.dw_bn2(self.dw_conv2(self.c_shuffle(right)))
        right = self.expand_bn3(self.expand_conv3(right))
        if self.config.combine == "add":
            return F.relu(features + right, inplace=True)
        left = self.shortcut(features)
        both = [left, right] if self.config.shortcut_first else [right, left]
        return F.relu(torch.cat(both, dim=1), inplace=True)
