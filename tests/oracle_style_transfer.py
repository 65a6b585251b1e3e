"""Style transfer as plain PyTorch code has it: gram matrix, image-transformation network, VGG-16, losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def old_gram_matrix(features):
    """Divides by the channels too, which the definition does not."""
    b, c, h, w = features.size()
    flat = features.view(b, c, h * w)
    return flat.bmm(flat.transpose(1, 2)) / (c * h * w)


def old_style_loss(features, grams):
    """The loss of pytorch/examples, for a painting that stands once for each image."""
    return sum(F.mse_loss(old_gram_matrix(one), gram) for one, gram in zip(features, grams, strict=True))


class Padded(nn.Module):
    """A convolution after an optional enlargement and a reflection, under the names of the published weights."""

    def __init__(self, inputs, outputs, side, stride=1, enlarge=None):
        super().__init__()
        self.enlarge = enlarge
        self.reflection_pad = nn.ReflectionPad2d(side // 2)
        self.conv2d = nn.Conv2d(inputs, outputs, side, stride)

    def forward(self, x):
        if self.enlarge:
            x = F.interpolate(x, scale_factor=self.enlarge, mode="nearest")
        return self.conv2d(self.reflection_pad(x))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = Padded(width, width, 3)
        self.in1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = Padded(width, width, 3)
        self.in2 = nn.InstanceNorm2d(width, affine=True)

    def forward(self, x):
        return self.in2(self.conv2(torch.relu(self.in1(self.conv1(x))))) + x


class OldTransformerNet(nn.Module):
    def __init__(self, widths=(32, 64, 128), blocks=5, side=9):
        super().__init__()
        full, half, quarter = widths
        self.conv1 = Padded(3, full, side)
        self.in1 = nn.InstanceNorm2d(full, affine=True)
        self.conv2 = Padded(full, half, 3, stride=2)
        self.in2 = nn.InstanceNorm2d(half, affine=True)
        self.conv3 = Padded(half, quarter, 3, stride=2)
        self.in3 = nn.InstanceNorm2d(quarter, affine=True)
        self.blocks = blocks
        for number in range(1, blocks + 1):
            setattr(self, f"res{number}", Residual(quarter))
        self.deconv1 = Padded(quarter, half, 3, enlarge=2)
        self.in4 = nn.InstanceNorm2d(half, affine=True)
        self.deconv2 = Padded(half, full, 3, enlarge=2)
        self.in5 = nn.InstanceNorm2d(full, affine=True)
        self.deconv3 = Padded(full, 3, side)

    def forward(self, x):
        x = torch.relu(self.in1(self.conv1(x)))
        x = torch.relu(self.in2(self.conv2(x)))
        x = torch.relu(self.in3(self.conv3(x)))
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"res{number}")(x)
        x = torch.relu(self.in4(self.deconv1(x)))
        x = torch.relu(self.in5(self.deconv2(x)))
        return self.deconv3(x)


# The numbers that torchvision gives the convolutions of each block of `vgg16().features`.
VGG16_CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def torchvision_state(channels, widths, *, dtype=torch.float64):
    """Random weights under the names of torchvision's `vgg16`, those of the classifier included (but smaller)."""
    state = {}
    for width, block in zip(widths, VGG16_CONVOLUTIONS, strict=True):
        for number in block:
            scale = (2 / (9 * channels)) ** 0.5
            state[f"features.{number}.weight"] = scale * torch.randn(width, channels, 3, 3, dtype=dtype)
            state[f"features.{number}.bias"] = 0.1 * torch.randn(width, dtype=dtype)
            channels = width
    for number in (0, 3, 6):
        state[f"classifier.{number}.weight"] = torch.randn(2, 3, dtype=dtype)
        state[f"classifier.{number}.bias"] = torch.randn(2, dtype=dtype)
    return state


def vgg16_relus(state, x, deepest):
    """The result of each ReLU by its usual name, from torchvision's state, up to the deepest."""
    results = {}
    for block, numbers in enumerate(VGG16_CONVOLUTIONS, start=1):
        for convolution, number in enumerate(numbers, start=1):
            name = f"features.{number}"
            x = torch.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
            results[f"relu{block}_{convolution}"] = x
            if deepest in results:
                return results
        x = F.max_pool2d(x, 2)
    raise AssertionError(deepest)
