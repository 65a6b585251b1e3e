"""One class of the twin for each class of the original: arguments, children that are absent, conditions."""

from __future__ import annotations

import copy
import math

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor, nn

from einops_arch.flax import load_state_dict, state_dict
from einops_arch.parity import randomize
from einops_arch.translation import translate


class Block(nn.Module):
    """As torchvision's BasicBlock: a child that is there or None, and a stride."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.norm(self.conv(x))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return torch.relu(out)


class Stage(nn.Module):
    """A child that is a convolution or nothing, by a condition on arguments, and a list of it."""

    def __init__(self, inplanes: int, planes: int, depth: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inplanes, planes, 1) if inplanes != planes else nn.Identity()
        self.blocks = nn.ModuleList([Block(planes, planes) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        for block in self.blocks:
            x = block(x)
        return x


def _shrink(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, 2 * width, 1, 2), nn.BatchNorm2d(2 * width))


class Network(nn.Module):
    def __init__(self, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.first = Block(width, 2 * width, 2, _shrink(width))
        self.second = Block(2 * width, 2 * width)
        self.stage1 = Stage(2 * width, 3 * width, 2)
        self.stage2 = Stage(3 * width, 3 * width, 2)
        self.fc = nn.Linear(3 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.stage1(self.second(self.first(x))))
        return self.fc(x.mean((2, 3)))


def test_classes_merge_over_absent_children_conditions_and_arguments() -> None:
    torch.manual_seed(0)
    made: list[Network] = []

    def make() -> Network:
        made.append(Network())
        return made[0]

    translation = translate(make, torch.randn(2, 4, 8, 12), axes="b c h w", prove=False)
    assert translation.classes == {"Block": 6, "Stage": 2, "Network": 1}
    for line in (
        "self, inplanes: int, planes: int, stride: int = 1, downsample: bool = False, *, rngs: nnx.Rngs",
        "for block in self.blocks:",
        "self.conv = Conv(inplanes, planes, (3, 3), strides=stride, padding=1, use_bias=False, rngs=rngs)",
        "if inplanes != planes else Identity()",
        "self.blocks = nnx.List([Block(planes, planes, rngs=rngs) for _ in range(depth)])",
        # The one shrinking layer is written with its numbers, so no other width makes the original's weights.
        "Written for width=4: ",
        "self.stage1 = Stage(8, 12, 2, rngs=rngs)",
        "self.fc = Linear(12, classes, rngs=rngs)",
    ):
        assert line in translation.source, translation.source
    model = copy.deepcopy(made[0])
    randomize(model)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    x = torch.randn(3, 4, 14, 6)
    received = np.asarray(translation.model(jnp.asarray(x.numpy().transpose(0, 2, 3, 1))))
    expected = model.eval()(x).detach().numpy()
    np.testing.assert_allclose(received, expected, rtol=2e-4, atol=2e-4 * float(np.abs(expected).max()))


class Scaled(nn.Module):
    """Numbers of the module in its forward: one that differs, and an expression of two."""

    def __init__(self, heads: int, groups: int, scale: float) -> None:
        super().__init__()
        self.heads, self.groups, self.scale = heads, groups, scale

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        x = x.reshape(b, n, self.heads, -1).repeat_interleave(self.heads // self.groups, dim=2)
        return x.flatten(2) * self.scale


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = Scaled(6, 2, 0.3)
        self.two = Scaled(12, 3, 0.7)
        self.fc = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.fc(self.one(x)[..., :12]))


def test_numbers_that_a_forward_reads_from_its_module_are_attributes() -> None:
    model = Twice().eval()
    translation = translate(model, torch.randn(2, 5, 12), axes="b t 12", prove=False)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    x = torch.randn(3, 7, 12)
    received = translation.model(jnp.asarray(x.numpy()))
    np.testing.assert_allclose(received, model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


class Positions(nn.Module):
    """Buffers that a constructor computes: of known forms, of a few numbers, and of many."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.register_buffer("rates", 10000.0 ** (-torch.arange(0, size, 2).float() / size))
        self.register_buffer("rates_by_inverse", 1.0 / (500.0 ** (torch.arange(0, 12, 2).float() / 12)))
        self.register_buffer("index", torch.arange(size)[None])
        self.register_buffer("triangle", torch.tril(torch.ones(size, size)))
        self.register_buffer("means", torch.tensor([0.485, 0.456, 0.406]))
        self.register_buffer("levels", torch.tensor([3, 1, 2]))
        self.register_buffer("table", torch.sin(torch.arange(24.0)).reshape(3, size))
        self.register_buffer("places", torch.arange(40).mul(7).remainder(11).reshape(5, 8))
        positions = torch.arange(9.0)[:, None]
        rates = torch.exp(torch.arange(0, size, 2).float() * (-math.log(10000.0) / size))
        turns = torch.zeros(9, size)
        turns[:, 0::2], turns[:, 1::2] = torch.sin(positions * rates), torch.cos(positions * rates)
        self.register_buffer("turns", turns)
        halves = torch.cat([torch.sin(positions * rates), torch.cos(positions * rates)], 1)
        self.register_buffer("halves", halves[None])
        self.weight = nn.Parameter(torch.randn(size))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.weight + self.triangle.sum(0) + self.index[0] + self.table.sum(0)
        x = x + self.places.sum(0) + self.turns.sum(0) + self.halves[0].sum(0)
        few = self.rates.sum() + self.rates_by_inverse.sum() + self.means.sum() + self.levels.sum()
        return x + few


def test_buffers_that_a_constructor_computes_are_there_without_weights() -> None:
    model = Positions()
    translation = translate(model, torch.randn(3, 8), axes="b 8", prove=False)
    fresh = translation.module.Positions(rngs=nnx.Rngs(0))
    state = state_dict(fresh)
    for name, buffer in model.named_buffers():
        if name != "table":
            np.testing.assert_allclose(np.asarray(state[name]), buffer.numpy(), rtol=2e-6, atol=2e-6, err_msg=name)
    assert list(translation.constants) == ["places"]
    # What is not computed is not taken for a number either.
    assert np.isnan(np.asarray(state["table"])).all()
    assert np.isnan(np.asarray(fresh(jnp.ones((3, 8))))).all()
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(x))
    load_state_dict(fresh, model.state_dict())
    np.testing.assert_allclose(np.asarray(fresh(jnp.asarray(x))), expected.numpy(), rtol=1e-5)


class Grouped(torch.nn.Module):
    def __init__(self, width: int, groups: int | None = None) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(width, width, 3, padding=1, groups=groups or 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x  # noqa: RET504 such code is what is tested


def test_a_name_that_is_only_returned_is_not_given() -> None:
    class Blocks(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Grouped(6)
            self.second = Grouped(6, groups=3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    twin = translate(Blocks, torch.randn(2, 6, 5, 7), axes="b 6 h w", prove=False)
    assert "return self.conv(x)" in twin.source
    assert "groups: int | None = None" in twin.source or "groups: int = 1" in twin.source, twin.source


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        return self.fc(x).reshape(b, n, 2, 3).transpose(1, 2).reshape(b, 2 * n, 3).reshape(b, n, 6)


def test_moves_are_counted_as_they_stand_in_the_file_and_not_for_each_block() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Heads() for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    twin = translate(Layers, torch.randn(2, 5, 6), axes="b n 6", prove=False)
    lines = [line for line in twin.source.splitlines() if "import" not in line]
    assert twin.classes["Heads"] == 3
    assert twin.moves == sum(line.count("rearrange(") for line in lines) > 0


class _Halves(nn.Module):
    """As ShuffleNet writes its units: what is done depends on a setting, and one kind has no first branch."""

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = oup // 2
        if self.stride > 1:
            self.branch1 = nn.Sequential(nn.Conv2d(inp, inp, 3, stride, 1, groups=inp), nn.Conv2d(inp, half, 1))
        else:
            self.branch1 = nn.Sequential()
        self.branch2 = nn.Sequential(nn.Conv2d(inp if stride > 1 else half, half, 1), nn.ReLU(), nn.AvgPool2d(stride))

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            kept, rest = x.chunk(2, dim=1)
            out = torch.cat((kept, self.branch2(rest)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return torch.channel_shuffle(out, 2)


class _Shortcut(nn.Module):
    def __init__(self, inp: int, oup: int) -> None:
        super().__init__()
        self.use_shortcut = inp == oup
        self.conv = nn.Conv2d(inp, oup, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.use_shortcut:
            y = y + x
        return y.relu()


class _Ways(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Sequential(_Halves(4, 8, 2), _Halves(8, 8, 1), _Halves(8, 16, 2))
        self.tops = nn.Sequential(_Shortcut(16, 16), _Shortcut(16, 12), _Shortcut(12, 12))

    def forward(self, x: Tensor) -> Tensor:
        return self.tops(self.units(x))


def test_bodies_that_a_setting_tells_apart_are_one_class_that_asks_it() -> None:
    model = _Ways()
    twin = translate(_Ways, torch.randn(2, 4, 16, 24), axes="b 4 h w", prove=False)
    assert dict(twin.classes) == {"Halves": 3, "Shortcut": 3, "Ways": 1}
    assert "if self.stride == 1:" in twin.source
    assert "if self.use_shortcut:" in twin.source
    # The two groups are no stride, though one kind of unit has the stride 2.
    assert "g=2)" in twin.source
    assert "g=self.stride" not in twin.source
    load_state_dict(twin.model, model.state_dict())
    x = torch.randn(3, 4, 20, 12)
    received = np.asarray(twin.model(jnp.asarray(np.moveaxis(x.numpy(), 1, -1))))
    np.testing.assert_allclose(np.moveaxis(received, -1, 1), model(x).detach().numpy(), rtol=1e-5, atol=1e-5)


class _Mixed_5b(nn.Module):  # noqa: N801 as public models name theirs
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


class tiny_net(nn.Module):  # noqa: N801 as public models name theirs
    def __init__(self) -> None:
        super().__init__()
        self.mixed = _Mixed_5b()

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(x) + x


def test_classes_of_the_twin_are_named_as_python_names_classes() -> None:
    translation = translate(tiny_net(), torch.randn(2, 3), axes="b 3", prove=False)
    assert list(translation.classes) == ["Mixed5b", "TinyNet"]
    assert "class Mixed5b(nnx.Module):" in translation.source
