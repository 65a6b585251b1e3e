"""Twins are clean under the rules of this project, whatever the original is called and does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from einops_arch.errors import ShapeError
from einops_arch.flax import load_state_dict
from einops_arch.translation import translate

ROOT = Path(__file__).parents[1]


class LongNames(nn.Module):
    """Capital letters, names that fill lines, and a dropout at no rate before the end."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.randn(6))
        self.dropout = nn.Dropout(0.0)

    def forward(
        self, the_states_of_the_hidden_layer_before: Tensor, further_states_of_the_hidden_layer: Tensor
    ) -> Tensor:
        if the_states_of_the_hidden_layer_before.shape[1] > 1 and further_states_of_the_hidden_layer.shape[2] > 1:
            the_states_of_the_hidden_layer_before = the_states_of_the_hidden_layer_before.tanh()
        A, a = -torch.exp(self.A_log), self.A_log.sin()  # noqa: N806 what it is about
        states_B = the_states_of_the_hidden_layer_before * A + further_states_of_the_hidden_layer.mean(-2) * a  # noqa: N806
        states_B = states_B + A  # noqa: N806
        states_B = self.dropout(states_B)  # noqa: N806
        return states_B  # noqa: RET504


class SamePadding(nn.Module):
    """Padding by sizes that were made plain numbers of, as in networks that came from TensorFlow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = int(image.shape[-2]), int(image.shape[-1])
        below, right = max(3 - (rows % 2 or 2), 0), max(3 - (columns % 2 or 2), 0)
        half = int(columns * 0.5)
        image = nn.functional.pad(image, (0, right, 0, below))
        return self.conv(image) * 1.0 + (torch.arange(half) + 0).sum()


class Outer(nn.Module):
    """Many inputs, so that the axes of all do not fit into a line."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LongNames()

    def forward(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
        return self.inner(a, b) + c.mean((1, 2)) + d.mean((1, 2)) + e.mean((1, 2))


@pytest.fixture(scope="module")
def twin():
    shapes = ((2, 3, 6), (2, 3, 5, 6), (2, 3, 5, 3, 6), (2, 4, 5, 3, 6), (2, 4, 7, 3, 6))
    axes = ("b t 6", "b t n 6", "b t n 3 6", "b m n 3 6", "b m k 3 6")
    torch.manual_seed(0)
    return translate(Outer, tuple(torch.randn(shape) for shape in shapes), axes=axes, name="Outer")


def test_long_names_capital_letters_and_idle_last_lines_are_written_cleanly(twin) -> None:
    name = str(ROOT / "einops_arch" / "flax" / "twin.py")
    for command in (["check", "--output-format", "concise"], ["format", "--diff"]):
        options = ["--config", str(ROOT / "pyproject.toml"), "--stdin-filename", name, "-"]
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options],
            input=twin.source,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    assert max(map(len, twin.source.splitlines())) <= 120


def test_two_names_that_differ_in_capitals_alone_stay_two_variables(twin) -> None:
    assert twin.passed, twin.report
    assert not re.search(r"\bA\b|states_B", twin.source)


def test_a_size_that_passes_through_int_stays_free() -> None:
    twin = translate(SamePadding, torch.randn(2, 3, 16, 20), axes="b 3 h w", name="SamePadding")
    assert twin.passed, twin.report
    assert not twin.fixed
    assert "* 1.0" not in twin.source
    assert "+ 0" not in twin.source
    model, image = SamePadding().eval(), torch.randn(3, 3, 36, 50)
    load_state_dict(twin.model, model.state_dict())
    received = twin.model(jnp.asarray(image.permute(0, 2, 3, 1).numpy()))
    np.testing.assert_allclose(received.transpose(0, 3, 1, 2), model(image).detach(), rtol=1e-5, atol=1e-4)
    with pytest.raises(ShapeError):
        twin.model(jnp.ones((2, 15, 20, 3)))


class Expanded(nn.Module):
    """An argument that may be left out, and is not."""

    def __init__(self, features: int, hidden: int = None) -> None:  # noqa: RUF013 as it is often written
        super().__init__()
        self.first = nn.Linear(features, hidden or features)
        self.second = nn.Linear(hidden or features, features)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def test_an_argument_that_is_never_left_out_has_no_default_of_none() -> None:
    twin = translate(
        lambda: nn.Sequential(Expanded(3, 5), Expanded(3, 7)), torch.randn(2, 3), axes="b 3", prove=False, name="Net"
    )
    assert "hidden: int" in twin.source
    assert "= None" not in twin.source


class Stacked(nn.Module):
    """A loop that begins with another name and ends in a field of what is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.layers = nn.ModuleList([Expanded(6, 4) for _ in range(3)])

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        embedded = self.embed(ids)
        h = embedded
        for layer in self.layers:
            h = layer(h)
        return {"last": h, "first": embedded}


def test_a_loop_begins_and_ends_with_the_names_of_the_original() -> None:
    twin = translate(Stacked, torch.randint(0, 11, (2, 5)), axes="b t", name="Stacked")
    assert twin.passed, twin.report
    assert "for layer in self.layers:\n            h = layer(h)" in twin.source
    assert "h = embedded\n" in twin.source
    assert "self.layers[" not in twin.source


class _ManySteps(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for n in range(60):
            x = x * getattr(torch, ("sin", "cos", "tanh")[n * n % 7 % 3])(x)
        return x


def test_a_call_of_many_steps_says_so_to_linters() -> None:
    note = "# ruff: noqa: PLR0915"
    assert note in translate(_ManySteps(), torch.randn(2, 3), axes="b 3", prove=False).source
    assert note not in translate(nn.Linear(3, 3), torch.randn(2, 3), axes="b 3", prove=False).source
