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
from einops_arch.translation.collected import variable_of


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


class Numbered(nn.Module):
    """Children by number; the constructor has arguments of names that loops like to have."""

    def __init__(self, n: int, depth: int, index: int) -> None:
        super().__init__()
        self.depth = depth
        for i in range(depth):
            setattr(self, f"fc{i + 1}", nn.Linear(n, n))
        self.last = nn.Linear(n, index)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.depth):
            x = torch.tanh(getattr(self, f"fc{i + 1}")(x))
        return self.last(x)


class Rising(nn.Module):
    """The same, with another number for each child."""

    def __init__(self, n: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.count = len(widths)
        for i, width in enumerate(widths):
            setattr(self, f"fc{i + 1}", nn.Sequential(nn.Linear(n, width), nn.Tanh(), nn.Linear(width, n)))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.count):
            x = getattr(self, f"fc{i + 1}")(x)
        return x


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [Numbered(6, 2, 8), Numbered(8, 3, 5)],
        lambda: [Rising(6, (3, 7)), nn.Linear(6, 8), Rising(8, (4, 9, 5))],
    ],
    ids=["alike", "rising"],
)
def test_numbered_children_and_arguments_keep_their_names_apart(parts) -> None:
    model = nn.Sequential(*parts())
    translation = translate(lambda: model, torch.randn(2, 5, 6), axes="b t e", prove=False)
    translation_of_factory = translate(lambda: nn.Sequential(*parts()), torch.randn(2, 5, 6), axes="b t e", prove=False)
    x = torch.randn(3, 4, 6)
    np.testing.assert_allclose(translation.model(jnp.asarray(x)), model(x).detach(), atol=1e-5)
    assert "def __init__(self, n: int" in translation_of_factory.source
    assert set(state_dict(translation_of_factory.model)) == set(model.state_dict())


class Gated(nn.Module):
    """The variable of its loop would hide what a call takes, or a tensor of that name."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.way = way

    def forward(self, x: Tensor, block: Tensor) -> Tensor:
        if self.way == "argument":
            for item in self.blocks:
                x = item(x)
            return x * block
        if self.way == "argument between":
            for item in self.blocks:
                x = torch.tanh(item(x))
            x = x + block
            for item in self.blocks:
                x = item(x)
            return x * block
        rows = torch.stack([item(x) for item in self.blocks])
        return rows.sum(0) * block


@pytest.mark.parametrize("way", ["argument", "argument between", "list"])
def test_variable_of_a_loop_hides_nothing_that_is_read_after_it(way: str) -> None:
    model, inputs = Gated(way), (torch.randn(2, 5, 6), torch.randn(2, 5, 6))
    translation = translate(model, inputs, axes=("b t e", "b t e"), prove=False)
    assert "for block in" not in translation.source
    x, block = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    result = translation.model(jnp.asarray(x), jnp.asarray(block))
    np.testing.assert_allclose(result, model(x, block).detach(), atol=1e-5)


def test_loops_over_one_list_share_the_name_of_their_variable() -> None:
    lines = ["for block in self.blocks:\n    x = block(x)", "y = repeat(x, 'b -> b 2')", "x = self.blocks[0](y)"]
    assert variable_of(".blocks", lines, ["x"]) == "block"
    assert variable_of(".blocks", [*lines, "block = x"], ["x"]) == "block_module"
    assert variable_of(".repeats", lines, ["x"]) == "repeat_module"
