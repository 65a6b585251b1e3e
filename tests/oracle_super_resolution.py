"""The super-resolution network as plain PyTorch code has it: the output keeps an axis for its one channel."""

from __future__ import annotations

import torch
from torch import nn


class OldSuperResolution(nn.Module):
    """Four convolutions and `nn.PixelShuffle`, for images of any number of channels."""

    def __init__(self, upscale_factor, channels=1, widths=(64, 64, 32)):
        super().__init__()
        first, second, third = widths
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, first, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(first, second, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(second, third, (3, 3), (1, 1), (1, 1))
        self.conv4 = nn.Conv2d(third, channels * upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        x = self.relu(self.conv3(x))
        return self.pixel_shuffle(self.conv4(x))
