"""ResNet in PyTorch. The Flax twin is `einops_arch/flax/resnet.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.resnet import ResNetBlockConfig, ResNetConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import Reduce
from einops_arch.torch.layers.sequential import Sequential

__all__ = ["BasicBlock", "Bottleneck", "ResNet"]


class ResNet(Pretrained, Sequential):
    """Classify images `b c h w` of any size; gives logits `b o`.

    The mean over space is a pattern, `b c h w -> b c`, and needs no flattening after it. `model[:-2]` is the network
    up to the feature map `b c h w`, which any layers can follow.

    Args:
        config: blocks and sizes; those of ResNet-50 if left out.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: He et al. 2015, arXiv:1512.03385. Names, layouts and initial distributions are torchvision's; the weights
    of `torchvision.models.resnet50` and its like load as they are, and so do timm's of the same names.

    >>> import torch
    >>> model = ResNet(ResNetConfig.tiny())
    >>> model(torch.zeros(2, 3, 32, 45)).shape
    torch.Size([2, 9])
    """

    def __init__(self, config: ResNetConfig | None = None) -> None:
        self.config = config = config or ResNetConfig()
        stem = config.stem_channels
        layers: dict[str, nn.Module] = {
            "conv1": _conv(config.in_channels, stem, kernel_size=7, stride=2),
            "bn1": nn.BatchNorm2d(stem, eps=1e-5, momentum=0.1),
            "relu": nn.ReLU(inplace=True),
            "maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        }
        for stage, blocks in enumerate(config.stages(), 1):
            layers[f"layer{stage}"] = nn.Sequential(*(_BLOCKS[block.kind](block) for block in blocks))
        layers["avgpool"] = Reduce("b c h w -> b c", "mean")
        layers["fc"] = nn.Linear(config.features, config.classes)
        super().__init__(layers)

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to logits `b o`."""
        self.config.check_inputs(image)
        return super().forward(image)


class BasicBlock(nn.Module):
    """Features `b c h w` to features: two 3x3 convolutions beside a shortcut.

    Args:
        config: sizes.
    """

    def __init__(self, config: ResNetBlockConfig) -> None:
        super().__init__()
        c, inner, out = config.in_channels, config.inner_channels, config.out_channels
        self.conv1 = _conv(c, inner, kernel_size=3, stride=config.stride)
        self.bn1 = nn.BatchNorm2d(inner, eps=1e-5, momentum=0.1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(inner, out, kernel_size=3)
        self.bn2 = nn.BatchNorm2d(out, eps=1e-5, momentum=0.1)
        self.downsample = _shortcut(config)

    def forward(self, features: Tensor) -> Tensor:
        """Features `b c h w` to features `b c h w`."""
        x = self.relu(self.bn1(self.conv1(features)))
        x = self.bn2(self.conv2(x))
        # In place is safe: the gradient of a norm does not need its result.
        x += self.downsample(features)
        return self.relu(x)


class Bottleneck(nn.Module):
    """Features `b c h w` to features: a 3x3 convolution between two of 1x1, beside a shortcut.

    Args:
        config: sizes.
    """

    def __init__(self, config: ResNetBlockConfig) -> None:
        super().__init__()
        c, inner, out = config.in_channels, config.inner_channels, config.out_channels
        self.conv1 = _conv(c, inner, kernel_size=1)
        self.bn1 = nn.BatchNorm2d(inner, eps=1e-5, momentum=0.1)
        self.conv2 = _conv(inner, inner, kernel_size=3, stride=config.stride, groups=config.groups)
        self.bn2 = nn.BatchNorm2d(inner, eps=1e-5, momentum=0.1)
        self.conv3 = _conv(inner, out, kernel_size=1)
        self.bn3 = nn.BatchNorm2d(out, eps=1e-5, momentum=0.1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(config)

    def forward(self, features: Tensor) -> Tensor:
        """Features `b c h w` to features `b c h w`."""
        x = self.relu(self.bn1(self.conv1(features)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        # In place is safe: the gradient of a norm does not need its result.
        x += self.downsample(features)
        return self.relu(x)


_BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


def _shortcut(config: ResNetBlockConfig) -> nn.Module:
    if not config.projects:
        return nn.Identity()
    return nn.Sequential(
        _conv(config.in_channels, config.out_channels, kernel_size=1, stride=config.stride),
        nn.BatchNorm2d(config.out_channels, eps=1e-5, momentum=0.1),
    )


def _conv(c_in: int, c_out: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Centred, with no bias as a norm follows, and with the initial distribution of He et al."""
    padding = kernel_size // 2
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
