"""Two networks, trained in PyTorch as one always does; nothing here knows of Flax."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.architectures import ConvNetConfig, SuperResolutionConfig
from einops_arch.cli.demo.data import Array, Digits, Photograph

__all__ = ["Tick", "train", "train_convnet", "train_super_resolution"]

Tick: TypeAlias = Callable[[], None]
"""Called after each step."""

_BATCH = 64
_PATCHES, _PATCH = 8, 20
"""So many squares in a step, of so many pixels of the small image a side."""


def train_convnet(digits: Digits, config: ConvNetConfig, steps: int, tick: Tick) -> Any:
    """A ConvNet that tells the digits apart."""
    import torch
    from torch.nn.functional import nll_loss

    from einops_arch.torch.convnet import ConvNet

    torch.manual_seed(0)
    model = ConvNet(config)
    images, labels = torch.from_numpy(digits.train), torch.from_numpy(digits.train_labels)

    def loss() -> Any:
        chosen = torch.randint(len(images), (_BATCH,))
        return nll_loss(model(images[chosen]), labels[chosen])

    train(model, loss, steps, tick)
    return model


def train_super_resolution(
    photographs: Sequence[Photograph], config: SuperResolutionConfig, steps: int, tick: Tick
) -> Any:
    """A network that enlarges brightness, from squares of the photographs, turned and mirrored."""
    import torch
    from torch.nn.functional import mse_loss

    from einops_arch.torch.super_resolution import SuperResolution

    torch.manual_seed(0)
    model = SuperResolution(config).to(memory_format=torch.channels_last)
    squares = _squares(photographs, config.factor, np.random.default_rng(0))

    def loss() -> Any:
        pairs = [next(squares) for _ in range(_PATCHES)]
        small, large = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
        return mse_loss(model(small[:, None]), large)

    train(model, loss, steps, tick)
    return model


def train(model: Any, loss: Callable[[], Any], steps: int, tick: Tick) -> None:
    """Adam with one cycle of learning rates; the model is in evaluation mode afterwards.

    Args:
        model: of PyTorch.
        loss: of a batch that it draws.
        steps: how many.
        tick: called after each.
    """
    import torch

    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.1)
    threads = torch.get_num_threads()
    # The networks are so small that two threads wait for each other more than they compute.
    torch.set_num_threads(1)
    try:
        model.train()
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
            schedule.step()
            tick()
    finally:
        torch.set_num_threads(threads)
    model.eval()


def _squares(
    photographs: Sequence[Photograph], factor: int, numbers: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Squares of the small images, and what they should become; larger photographs come up more often."""
    areas = np.array([photograph.small.size for photograph in photographs], float)
    while True:
        photograph = photographs[numbers.choice(len(photographs), p=areas / areas.sum())]
        row, column = (int(numbers.integers(side - _PATCH + 1)) for side in photograph.small.shape)
        small = photograph.small[row : row + _PATCH, column : column + _PATCH]
        row, column, side = row * factor, column * factor, _PATCH * factor
        large = photograph.bright[row : row + side, column : column + side]
        turns, mirrored = int(numbers.integers(4)), bool(numbers.integers(2))
        small, large = (np.rot90(each.T if mirrored else each, turns) for each in (small, large))
        yield small, large
