"""Clear words where the two models are something else than a model of each framework."""

from __future__ import annotations

import flax.linen
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.errors import ConfigError, ParityError, PatternError
from einops_arch.parity import compare
from einops_arch.port import transfer

ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def pair():
    models = torch.nn.Linear(4, 3), nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    transfer(*models)
    return models


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_models_may_come_in_either_order_and_wrapped():
    ours, theirs = pair()
    assert compare(theirs, ours, ROWS).passed
    assert compare(torch.nn.DataParallel(ours), theirs, ROWS).passed
    found = compare(torch.compile(ours), theirs, ROWS)
    assert found.passed
    assert [row.path for row in found.rows] == [""]


def test_what_is_no_pair_of_models_is_said():
    ours, theirs = pair()
    for others, words in (
        ((ours, ours), "the same PyTorch's Linear twice"),
        ((ours, torch.nn.ReLU()), "PyTorch's Linear and PyTorch's ReLU"),
        ((ours, None), "None"),
        ((ours, flax.linen.Dense(3)), "a Linen module .*ToNNX"),
        ((ours, np.tanh), "a function"),
        ((torch.nn.Linear, theirs), "the class Linear and no model"),
    ):
        with pytest.raises(ParityError, match=words):
            compare(*others, ROWS)


def test_settings_that_are_not_known_are_said():
    models = pair()
    with pytest.raises(ConfigError, match="'evl'"):
        compare(*models, ROWS, mode="evl")
    with pytest.raises(PatternError, match="expected the layout of 'x'"):
        compare(*models, ROWS, layouts={"x": (1, 0, 2)})
    with pytest.raises(PatternError, match="no module was called at 'fc'"):
        compare(*models, ROWS, layouts={"fc": "b c -> b c"})


class Fails(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(4, 3, rngs=nnx.Rngs(0))

    def __call__(self, x):
        raise ValueError("no such thing")


def test_a_model_that_raises_before_its_first_module_is_named_with_its_exception():
    class Torch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x)

    found = compare(Torch(), Fails(), ROWS)
    assert not found.passed
    assert found.outputs[0].detail == "ValueError in the network: no such thing (raised by Flax's model)"
    assert str(found).startswith(
        "ValueError in the network: no such thing (raised by Flax's model)\nverdict: missing\n"
    )


def test_a_module_may_be_left_out_and_layouts_have_wildcards():
    class Torch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = torch.nn.Linear(4, 3), torch.nn.ReLU()

        def forward(self, x):
            return self.fc(x).relu() + 0 * self.act(x).sum()

    class Flax(nnx.Module):
        def __init__(self):
            self.fc, self.act = nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Linear(4, 3, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return nnx.relu(self.fc(x)) + 0 * self.act(x).sum()

    ours, theirs = Torch(), Flax()
    transfer(ours.fc, theirs.fc)
    found = compare(ours, theirs, ROWS, paths={"act": None}, layouts={"f*": "b c -> b c"})
    assert found.passed, str(found)
    assert [row.path for row in found.rows] == ["fc", ""]
    assert any(one.startswith("act (ReLU)") for one in found.seen.not_seen)
