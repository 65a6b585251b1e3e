"""Translations at sizes that were not recorded: the twin gives what PyTorch gives, or says which size it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from einops_arch.errors import ShapeError
from einops_arch.flax import load_state_dict
from einops_arch.translation import TranslationError, translate

TABLE = [1.0, 2.0, 3.0, 4.0]


class _Net(torch.nn.Module):
    """A layer, and what a function makes of it and the input."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc(x), x)


def _steps(y: Tensor, count: int) -> Tensor:
    for _ in range(count):
        y = y + torch.tanh(y)
    return y


# Each takes a number from a size in a way that says nothing of it afterwards, alike at 4 and at the second size or not.
TAKEN = {
    "int of a share": (lambda y, x: y[:, : max(1, int(x.shape[1] * 0.25))].mean(1), 12),
    "turns of a loop": (lambda y, x: _steps(y, x.shape[1] // 8), 8),
    "steps of a loop": (lambda y, x: torch.cat([y[:, a : a + 8].softmax(1) for a in range(0, x.shape[1], 8)], 1), 12),
    "a dict": (lambda y, x: y * {64: 2.0, 10: 3.0}.get(x.shape[1], 1.0), 10),
    "a set": (lambda y, x: y * (2 if x.shape[1] in {12, 24} else 1), 12),
    "a list": (lambda y, x: y * TABLE[x.shape[1] // 8], 10),
    "a root": (lambda y, x: y * int(math.sqrt(x.shape[1])), 9),
    "a logarithm": (lambda y, x: _steps(y, int(math.log2(x.shape[1]))), 8),
    "a number of numpy": (lambda y, x: y * np.float32(len(range(x.shape[1]))), 9),
    "an integer of numpy": (lambda y, x: y * np.int64(x.shape[1]), 9),
    "a bit": (lambda y, x: y.flip(1) if x.shape[1] & 1 else y, 5),
    "shifted bits": (lambda y, x: y * (1 + (x.shape[1] >> 3)), 9),
    "a division with rest": (lambda y, x: y * (1 + divmod(x.shape[1], 8)[0]), 9),
    "a rounded number": (lambda y, x: y * round(x.shape[1] / 8 + 0.6), 12),
    "a text": (lambda y, x: y * (2 if f"{x.shape[1]:02d}".startswith("1") else 1), 12),
    "a repeated list": (lambda y, x: y * len([0] * (1 + x.shape[1] // 8)), 12),
    "whether sizes are alike": (lambda y, x: y * 2 if torch.is_same_size(x[:, :8], x) else y * 1, 12),
    "the number of parts": (lambda y, x: torch.stack([part.mean(1) for part in y.split(8, 1)]).sum(0), 12),
    "a view by groups": (lambda y, x: y.view(len(x), (x.shape[1] + 7) // 8, -1, 3).mean(2).amax(1), 16),
    "a strided pool": (lambda y, x: F.max_pool1d(y.mT, 4).sum(2) / F.max_pool1d(y.mT, 4).shape[2], 9),
    "an axis of one": (lambda y, x: y.squeeze(1) * 2, 1),
    "a list that far sizes leave": (lambda y, x: y * TABLE[x.shape[1] // 20], 25),
    "a part of a list": (lambda y, x: y * sum(TABLE[: 1 + x.shape[1] // 20]), 25),
    "the number of wide parts": (lambda y, x: torch.stack([part.mean(1) for part in y.split(20, 1)]).sum(0), 25),
    "a wide step": (lambda y, x: y.mean(1) * torch.arange(0, x.shape[1], 20).numel(), 25),
    "a pooled axis of one": (lambda y, x: F.max_pool1d(y.mT, 4).squeeze(), 12),
}


# Those that are written with the size; the twin asks for that of the others.
WRITTEN = {
    *("a root", "a rounded number", "a division with rest", "shifted bits"),
    *("a view by groups", "a strided pool"),
}


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_size_taken_as_a_plain_number_is_written_or_asked_for(name: str) -> None:
    function, size = TAKEN[name]
    model = _Net(function)
    outcome = _what_other_sizes_give(model, torch.randn(2, 4, 3), "b t 3", torch.randn(2, size, 3))
    assert outcome == ("agrees" if name in WRITTEN else "asks")


def _what_other_sizes_give(model: torch.nn.Module, x: Tensor, axes: str, other: Tensor) -> str:
    """Whether the twin is right at the other size or asks for the recorded one, where it is right."""
    translation = translate(model, x, axes=axes, prove=False)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    _agrees(translation.model, model, x)
    try:
        _agrees(translation.model, model, other)
    except ShapeError as error:
        assert "shape[" in str(error)  # noqa: PT017
        return "asks"
    return "agrees"


def _agrees(twin: Any, model: torch.nn.Module, tensor: Tensor) -> None:
    received = np.asarray(twin(jnp.asarray(tensor.numpy())))
    np.testing.assert_allclose(received, model.eval()(tensor).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_the_number_of_a_loops_turns_is_a_question_with_its_line() -> None:
    twin = translate(_Net(TAKEN["turns of a loop"][0]), torch.randn(2, 4, 3), axes="b t 3", prove=False)
    assert not twin.fixed
    assert twin.model(jnp.ones((5, 7, 3))).shape == (5, 7, 3)
    with pytest.raises(ShapeError, match=r"x.shape\[1\] // 8 <= 0.*test_parity_translate_sizes.py:\d+"):
        twin.model(jnp.ones((2, 8, 3)))


def test_the_length_of_a_batch_fixes_it_and_says_so() -> None:
    twin = translate(_Net(lambda y, x: y * (2.0 if len(x) // 4 else 1.0)), torch.randn(2, 3), axes="b 3", prove=False)
    assert set(twin.fixed) == {"b"}
    assert "Axis b is fixed" in twin.source
    with pytest.raises(ShapeError, match=r"shape\[0\] == 2"):
        twin.model(jnp.ones((4, 3)))


@pytest.mark.parametrize(("shape", "axes", "other"), [((2, 3, 4), None, (2, 3, 8)), ((2, 5), "b 5", (2, 7))])
def test_an_axis_that_was_not_varied_is_asked_for(
    shape: tuple[int, ...], axes: str | None, other: tuple[int, ...]
) -> None:
    class Mean(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(-1) / x.shape[-1]

    twin = translate(Mean(), torch.randn(shape), axes=axes, prove=False)
    with pytest.raises(ShapeError, match="received"):
        twin.model(jnp.ones(other))


def test_channels_that_were_not_varied_are_asked_for() -> None:
    class Mean(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / x.shape[1]

    twin = translate(Mean(), torch.randn(2, 3, 4, 4), axes="b c h w", prove=False)
    np.testing.assert_allclose(np.asarray(twin.model(jnp.ones((1, 6, 5, 3)))), np.ones((1, 6, 5)), rtol=1e-6)
    with pytest.raises(ShapeError, match=r"shape\[3\] == 3"):
        twin.model(jnp.ones((2, 4, 4, 5)))


def test_an_axis_that_a_stride_made_equal_by_chance_stays_free() -> None:
    class Strided(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv1d(3, 4, 3, stride=4, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y.sum(2) / y.shape[2]

    model = Strided()
    twin = translate(model, torch.randn(2, 3, 5), axes="b c t", prove=False)
    load_state_dict(twin.model, model.state_dict())
    for length in (9, 13, 30):
        x = torch.randn(1, 3, length)
        received = twin.model(jnp.asarray(np.moveaxis(x.numpy(), 1, 2)))
        np.testing.assert_allclose(np.asarray(received), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_third_size_of_a_proof_is_odd_and_far_away() -> None:
    twin = translate(_Net(lambda y, x: y), torch.randn(2, 4, 3), axes="b t 3")
    assert twin.passed, twin.report
    report = next(item for name, item in twin.report.reports.items() if "not recorded" in name)
    assert report.outputs[0].shape == (1, 17, 3)


def test_tensors_that_a_model_makes_by_itself_are_recorded_in_both_dtypes() -> None:
    def function(y: Tensor, x: Tensor) -> Tensor:
        return F.prelu(torch.zeros(2, 3).scatter(1, torch.tensor([[0, 2, 1], [2, 1, 0]]), y[:2]), torch.tensor([0.3]))

    assert _what_other_sizes_give(_Net(function), torch.randn(2, 3), "b 3", torch.randn(2, 3)) == "agrees"


@pytest.mark.parametrize("inputs", [([torch.ones(2, 3)],), (torch.ones(2, 3), 2), {"x": {"a": torch.ones(2, 3)}}])
def test_inputs_that_have_no_axes_are_refused_by_name(inputs: object) -> None:
    with pytest.raises(TranslationError, match=r"input \w+.*(list|it is 2|dict)"):
        translate(_Net(lambda y, x: y), inputs)


# Questions about a free size and an expression of one that the weights fix, which is 3, and how the twin says it.
ASKED = {
    "a multiple": (lambda n: n * 4, "12"),
    "a part": (lambda n: n / 2 + 5, r"x\.shape\[-1\] / 2 \+ 5"),
    "a whole part and a rest": (lambda n: n // 2 + n % 2 + 5, "7"),
    "a power and a difference": (lambda n: n**2 - 1, "8"),
    "a size below zero": (lambda n: -n + 10, "7"),
    "rounded numbers": (lambda n: math.ceil(n / 2) + math.floor(n / 2) + round(n / 2) + 4, "9"),
    "an amount": (lambda n: abs(n - 10), "7"),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_question_about_an_expression_of_fixed_sizes_is_asked_by_the_twin(name: str) -> None:
    made, number = ASKED[name]
    model = _Net(lambda y, x: y + 1 if y.shape[1] < made(y.shape[-1]) else y)
    translation = translate(model, torch.randn(2, 4, 3), axes="b t e", prove=False)
    assert "None" not in translation.source.partition("def __call__")[2]
    small, large = torch.randn(2, 6, 3), torch.randn(2, 14, 3)
    np.testing.assert_allclose(translation.model(jnp.asarray(small)), model(small).detach(), atol=1e-6)
    with pytest.raises(ShapeError, match=rf"shape\[1\] < {number}\b"):
        translation.model(jnp.asarray(large))


def test_numbers_in_float32_by_name_are_proved_with_their_casts_lifted() -> None:
    def function(y: Tensor, x: Tensor) -> Tensor:
        rates = torch.exp(-math.log(10000) * torch.arange(0, 3, dtype=torch.float32) / 3)
        steps = torch.arange(x.shape[1] - 1, -1, -1.0)
        return y + F.linear(torch.sin(steps[:, None].float() * rates), torch.eye(3) + y.mean((0, 1)))

    twin = translate(_Net(function), torch.randn(2, 4, 3), axes="b t 3")
    assert twin.passed, twin.report
    assert "jnp.arange(0, 3, dtype=jnp.float32)" in twin.source


def test_weights_outside_of_the_model_are_no_casts() -> None:
    weight = torch.randn(3, 3)
    with pytest.raises(TranslationError, match="does not run in float64"):
        translate(_Net(lambda y, x: F.linear(y, weight)), torch.randn(2, 3), axes="b 3")


# What an argument or a width of padding makes of a size.
SIZES_AS_ARGUMENTS = {
    "groups for each sample": lambda y, x: F.conv1d(
        y.reshape(1, -1, 3), y.mean(2)[..., None].reshape(-1, 1, 1), groups=x.shape[0] * x.shape[1]
    ).view(x.shape),
    "a width below zero": lambda y, x: F.pad(y, (0, 0, 0, 10 - x.shape[1])),
    "the same on both sides": lambda y, x: F.pad(y, (0, 0, (8 - x.shape[1]) // 2, 8 - x.shape[1]), value=0.5),
    "steps of a slice": lambda y, x: y[:, :: max(1, x.shape[1] // 10)],
}


@pytest.mark.parametrize("name", SIZES_AS_ARGUMENTS)
def test_a_size_in_an_argument_is_written(name: str) -> None:
    model = _Net(SIZES_AS_ARGUMENTS[name])
    assert _what_other_sizes_give(model, torch.randn(2, 4, 3), "b t 3", torch.randn(3, 13, 3)) == "agrees"


def test_an_argument_that_no_row_writes_from_sizes_is_refused_with_them() -> None:
    net = _Net(lambda y, x: F.layer_norm(y, (3,), eps=1 / x.shape[1]))
    with pytest.raises(TranslationError, match=r"layer_norm: an argument that depends on a size \(0\.25 at one"):
        translate(net, torch.randn(2, 4, 3), axes="b t 3", prove=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_memory_that_runs_out_is_no_refusal_and_fixes_no_size(dtype: torch.dtype) -> None:
    def full(y: Tensor, x: Tensor) -> Tensor:
        if x.dtype == dtype and (dtype == torch.float64 or x.shape[1] != 4):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes")
        return y

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        translate(_Net(full), torch.randn(2, 4, 3), axes="b t 3")


class _Grid(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(width, width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        grid = x.unflatten(1, size)
        return self.mix(grid + grid.flip(1)).flatten(1, 2)


class _FreeAndFixedGrids(torch.nn.Module):
    """One grid has the size of the image, the other that of a pooling: one class is called with and without a size."""

    def __init__(self) -> None:
        super().__init__()
        self.image = _Grid(4)
        self.small = _Grid(1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.adaptive_avg_pool2d(x.mean(1, keepdim=True), (3, 5))
        image = self.image(x.flatten(2).mT, (x.shape[2], x.shape[3]))
        small = self.small(y.flatten(2).mT, (y.shape[2], y.shape[3]))
        return image.mean(1) + small.mean(1)


def test_a_size_that_is_fixed_where_a_module_is_called_is_no_argument_there() -> None:
    translation = translate(_FreeAndFixedGrids(), torch.randn(2, 4, 6, 10), axes="b 4 h w")
    assert translation.passed, translation.report
    assert 'self.small(rearrange(y, "b h w 1 -> b (h w) 1"))' in translation.source
