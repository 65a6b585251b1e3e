"""The seed's old ShuffleNet unit, in plain PyTorch, without einops: what it means, in our own words.

As it was written it could not be built or called: it asks for `nn.BatchNordm2d`, and its forward pass calls
`g_con_1x1_compress` and `g_conv_1x1_expand` where the constructor names `g_conv_1x1_compress` and
`g_conv_conv_1x1_expand`. `conv1x1` and `conv3x3` were not shown; a bias before a batch norm does nothing.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Where each of the old layers is in the new unit.
NEW_NAMES = {
    "g_conv_1x1_compress.conv1x1": "compress_conv1",
    "g_conv_1x1_compress.batch_norm": "compress_bn1",
    "depthwise_conv3x3": "dw_conv2",
    "bn_after_depthwise": "dw_bn2",
    "g_conv_1x1_expand.conv1x1": "expand_conv3",
    "g_conv_1x1_expand.batch_norm": "expand_bn3",
}


def old_channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    x = x.transpose(1, 2).contiguous()
    return x.view(batch, -1, height, width)


def conv1x1(in_channels: int, out_channels: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, groups=groups, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=False)


class OldShuffleUnit(nn.Module):
    def __init__(self, in_channels, out_channels, groups=3, grouped_conv=True, combine="add"):
        super().__init__()
        self.combine = combine
        self.groups = groups
        # Before the shortcut's channels are taken off.
        bottleneck = out_channels // 4
        if combine == "add":
            stride = 1
        elif combine == "concat":
            stride = 2
            out_channels -= in_channels
        else:
            raise ValueError(f"Cannot combine tensors with {combine}. Only 'add' & 'concat' supported.")
        first_groups = groups if grouped_conv else 1
        self.g_conv_1x1_compress = nn.Sequential(
            OrderedDict(
                conv1x1=conv1x1(in_channels, bottleneck, first_groups),
                batch_norm=nn.BatchNorm2d(bottleneck),
                relu=nn.ReLU(),
            )
        )
        self.depthwise_conv3x3 = conv3x3(bottleneck, bottleneck, stride, groups=bottleneck)
        self.bn_after_depthwise = nn.BatchNorm2d(bottleneck)
        self.g_conv_1x1_expand = nn.Sequential(
            OrderedDict(
                conv1x1=conv1x1(bottleneck, out_channels, groups),
                batch_norm=nn.BatchNorm2d(out_channels),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        if self.combine == "concat":
            residual = F.avg_pool2d(residual, kernel_size=3, stride=2, padding=1)
        out = self.g_conv_1x1_compress(x)
        out = old_channel_shuffle(out, self.groups)
        out = self.depthwise_conv3x3(out)
        out = self.bn_after_depthwise(out)
        out = self.g_conv_1x1_expand(out)
        out = residual + out if self.combine == "add" else torch.cat((residual, out), 1)
        return F.relu(out)


def new_state(old: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The state of an old unit by the names of the new one."""
    state = {}
    for name, value in old.state_dict().items():
        layer, _, leaf = name.rpartition(".")
        state[f"{prefix}{NEW_NAMES[layer]}.{leaf}"] = value
    return state


def randomize_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms weights and statistics in which a mistake shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.uniform_(-0.5, 0.5, generator=generator)
    return model
