"""A network that is none of this package's: a small U-Net in plain PyTorch that takes noise out of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einops_arch.cli.demo.data import Array, Photograph
from einops_arch.cli.demo.train import Tick, train

__all__ = ["NOISE", "noisy", "train_denoiser", "unet"]

NOISE = 0.1
"""Standard deviation of the noise, of brightness from 0 to 1."""

_PATCHES, _PATCH = 8, 32


def unet(width: int = 8) -> Any:
    """The network, as anybody writes it; its sides must be divisible by four.

    Args:
        width: channels at full size.
    """
    import torch
    from torch import nn

    class Double(nn.Module):
        def __init__(self, c_in: int, c_out: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(c_out)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(c_out)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm1(self.conv1(x)))
            return torch.relu(self.norm2(self.conv2(x)))

    class UNet(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.enter = Double(1, width)
            self.down1 = Double(width, 2 * width)
            self.down2 = Double(2 * width, 4 * width)
            self.pool = nn.MaxPool2d(2)
            self.grow2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
            self.up2 = Double(4 * width, 2 * width)
            self.grow1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            self.up1 = Double(2 * width, width)
            self.noise = nn.Conv2d(width, 1, 1)

        def forward(self, x: Any) -> Any:
            full = self.enter(x)
            half = self.down1(self.pool(full))
            quarter = self.down2(self.pool(half))
            half = self.up2(torch.cat([self.grow2(quarter), half], dim=1))
            full = self.up1(torch.cat([self.grow1(half), full], dim=1))
            return x - self.noise(full)

    return UNet(width)


def noisy(image: Array, seed: int = 0) -> Array:
    """An image with noise, always the same for one seed."""
    return (image + NOISE * np.random.default_rng(seed).standard_normal(image.shape)).astype(np.float32)


def train_denoiser(photographs: Sequence[Photograph], steps: int, tick: Tick, width: int = 8) -> Any:
    """The network, trained on squares of the photographs with fresh noise on each.

    Args:
        photographs: to learn from.
        steps: how many.
        tick: called after each.
        width: channels of the network at full size.
    """
    import torch
    from torch.nn.functional import mse_loss

    torch.manual_seed(0)
    model = unet(width)
    numbers = np.random.default_rng(0)

    def loss() -> Any:
        squares = []
        for _ in range(_PATCHES):
            bright = photographs[int(numbers.integers(len(photographs)))].bright
            row, column = (int(numbers.integers(side - _PATCH + 1)) for side in bright.shape)
            squares.append(bright[row : row + _PATCH, column : column + _PATCH])
        clean = torch.from_numpy(np.stack(squares))[:, None]
        return mse_loss(model(clean + NOISE * torch.randn_like(clean)), clean)

    train(model, loss, steps, tick)
    return model
