"""Children that repeat: lists of other lengths are one class, results that go into one list are a loop."""

from __future__ import annotations

import copy

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from einops_arch.flax import load_state_dict, state_dict
from einops_arch.parity import randomize
from einops_arch.translation import Translation, translate


class DenseLayer(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, growth, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.conv(torch.relu(self.norm(torch.cat(features, 1))))


class DenseBlock(nn.ModuleDict):
    """Children by number, each on all results so far; the list grows from turn to turn."""

    def __init__(self, depth: int, width: int, growth: int) -> None:
        super().__init__()
        for n in range(depth):
            self.add_module(f"layer{n + 1}", DenseLayer(width + n * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Unit(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


class Stage(nn.Module):
    """A list whose length and whose first entry differ from stage to stage."""

    def __init__(self, c_in: int, c_out: int, depth: int) -> None:
        super().__init__()
        self.units = nn.ModuleList([Unit(c_in if n == 0 else c_out, c_out, 2 if n == 0 else 1) for n in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x)
        return x


class Heads(nn.Module):
    """Results beside each other, in one list."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(width, 5, size) for size in sizes])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.relu(conv(x)).mean(2) for conv in self.convs], 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense1, self.dense2 = DenseBlock(2, 3, 4), DenseBlock(4, 11, 4)
        self.stage1, self.stage2, self.stage3 = Stage(27, 6, 2), Stage(6, 7, 3), Stage(7, 8, 1)
        self.heads = Heads(8, (2, 3, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.dense2(self.dense1(x)))))
        return self.heads(x.flatten(2))


def _agrees(model: nn.Module, translation: Translation, x: Tensor, moved: tuple[int, ...] | None = None) -> None:
    model = copy.deepcopy(model)
    randomize(model)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    array = x.numpy() if moved is None else x.numpy().transpose(moved)
    received = np.asarray(translation.model(jnp.asarray(array)))
    expected = model.eval()(x).detach().numpy()
    assert float(np.abs(expected).std()) > 0
    np.testing.assert_allclose(received, expected, rtol=2e-4, atol=2e-4 * float(np.abs(expected).max()))


def test_lists_of_other_lengths_are_one_class() -> None:
    torch.manual_seed(0)
    made: list[Net] = []

    def make() -> Net:
        made.append(Net())
        return made[0]

    translation = translate(make, torch.randn(2, 3, 32, 24), axes="b c h w", prove=False)
    expected = {"DenseLayer": 6, "DenseBlock": 2, "Unit": 6, "Stage": 3, "Heads": 1, "Net": 1}
    assert translation.classes == expected, translation.source
    for line in (
        "for n in range(depth):",
        'setattr(self, f"layer{n + 1}", DenseLayer(width + n * growth, growth, rngs=rngs))',
        ".append(layer(tuple(",
        "for unit in self.units:",
        "for conv in self.convs]",
    ):
        assert line in translation.source, translation.source
    _agrees(made[0], translation, torch.randn(3, 3, 40, 32), (0, 2, 3, 1))
    # The names and numbers of the state stay PyTorch's.
    expected_state = {key: item.numpy() for key, item in made[0].state_dict().items()}
    load_state_dict(translation.model, made[0].state_dict())
    received_state = state_dict(translation.model)
    assert set(received_state) == set(expected_state)
    for key, item in expected_state.items():
        np.testing.assert_array_equal(np.asarray(received_state[key]), item)


class Crossed(nn.Module):
    """Results that look like a run, but in which a turn takes an earlier result, or a result is used by itself."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.layers[0](x))
        b = torch.relu(self.layers[1](a if self.way == "chained" else x))
        c = torch.relu(self.layers[2](x))
        if self.way == "turned":
            return torch.cat([b, a, c], -1)
        if self.way == "alone":
            return torch.cat([a, b, c], -1) + torch.cat([b, b, b], -1)
        if self.way == "twice":
            return torch.cat([a, b, c, a], -1)
        return torch.cat([a, b, c], -1)


@pytest.mark.parametrize("way", ["plain", "chained", "turned", "alone", "twice"])
def test_what_only_looks_like_a_run_is_written_out(way: str) -> None:
    torch.manual_seed(0)
    model = Crossed(way)
    translation = translate(model, torch.randn(2, 4), axes="b 4", prove=False)
    assert (" for layer in self.layers]" in translation.source) == (way == "plain"), translation.source
    _agrees(model, translation, torch.randn(5, 4))
