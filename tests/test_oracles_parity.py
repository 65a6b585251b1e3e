"""What parity reads in other libraries' own types: their outputs, and their stochastic depth."""

from __future__ import annotations

import numpy as np
import oracle_checks  # noqa: F401 it makes torchvision importable
import pytest
import timm
import torch
import torchvision
from flax import nnx
from transformers.modeling_outputs import BaseModelOutputWithPooling

from einops_arch.parity import Verdict, compare
from einops_arch.parity.runs.randomness import rate_of
from einops_arch.port import transfer

ROWS = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


class Torch(torch.nn.Module):
    """A layer, and what a module or a function makes of its values."""

    def __init__(self, last):
        super().__init__()
        self.fc, self.last = torch.nn.Linear(6, 50), last

    def forward(self, x):
        return self.last(self.fc(x))


class Flax(nnx.Module):
    def __init__(self, last):
        self.fc, self.last = nnx.Linear(6, 50, rngs=nnx.Rngs(0)), last

    def __call__(self, x):
        return self.last(self.fc(x))


def report(torch_last, flax_last, **keywords):
    models = Torch(torch_last), Flax(flax_last)
    transfer(*models)
    return compare(*models, ROWS, causes=False, **keywords)


@pytest.mark.parametrize("layer", [torchvision.ops.StochasticDepth(0.4, "row"), timm.layers.DropPath(0.4)])
def test_stochastic_depth_of_others_is_stopped(layer):
    assert rate_of(layer) == 0.4
    assert report(layer, lambda y: y + 0, mode="train").passed


def test_the_output_of_transformers_is_walked():
    def output(y):
        return BaseModelOutputWithPooling(last_hidden_state=y, pooler_output=2 * y)

    assert report(output, lambda y: {"pooler_output": 2 * y, "last_hidden_state": y}).passed
    swapped = report(output, lambda y: {"pooler_output": y, "last_hidden_state": 2 * y})
    assert swapped.verdict is Verdict.SEMANTIC
    # Against a tuple the order in which the fields are declared counts.
    assert report(output, lambda y: (y, 2 * y)).passed
