"""Copies of both models, trained with the same optimiser, become the same; with another they do not."""

from __future__ import annotations

import numpy as np
import optax
import pytest
import torch
from flax import nnx

from einops_arch.architectures import ShuffleUnitConfig
from einops_arch.flax import layers
from einops_arch.parity import compare_training, example_inputs, randomize
from einops_arch.port import to_flax, transfer
from einops_arch.port.optimizer import specs as optimizers
from einops_arch.port.transfer import model_state
from einops_arch.torch import ShuffleUnit

DESCRIPTIONS = [
    optimizers.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    optimizers.SGD(lr=0.1, momentum=0.9, nesterov=True, schedule=lambda step: 1 / (1 + step)),
    optimizers.AdamW(lr=0.01, decay=optimizers.matrices),
    optimizers.RMSprop(lr=0.01, momentum=0.9),
]


def _pair():
    """A norm between two layers: the bias of the first has no effect, and a gradient of rounding alone."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    rngs = nnx.Rngs(0)
    twin = layers.Sequential(
        layers.Linear(3, 5, rngs=rngs), layers.BatchNorm(5, rngs=rngs), layers.ReLU(), layers.Linear(5, 2, rngs=rngs)
    )
    randomize(model)
    transfer(model, twin)
    return model, twin, np.random.default_rng(0).normal(size=(7, 3))


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=lambda one: type(one).__name__)
def test_the_same_optimiser_makes_the_same_model(description):
    report = compare_training(*_pair(), description)
    report.assert_same_function()
    names = [row.path for row in report.training]
    assert names[0] == "loss"
    assert {"0.weight", "1.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked", "3.bias"} <= {*names}


def test_a_twin_is_trained_with_its_axes_moved_and_stays_as_it_is():
    config = ShuffleUnitConfig.tiny()
    model = ShuffleUnit(config)
    randomize(model)
    twin = to_flax(model)
    before = {name: array.copy() for name, array in model_state(model).items()}
    compare_training(model, twin, example_inputs(config), optimizers.Adam(lr=0.01)).assert_same_function()
    for each in (model, twin):
        after = model_state(each)
        assert all(np.array_equal(after[name], array) for name, array in before.items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "transformation"),
    [
        (lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3), optax.adamw(1e-3)),
        (lambda model: torch.optim.RMSprop(model.parameters(), lr=1e-3), optax.rmsprop(1e-3, decay=0.99)),
    ],
    ids=["AdamW's weight decay", "RMSprop's eps"],
)
def test_defaults_that_differ_are_seen(make, transformation):
    report = compare_training(*_pair(), (make, transformation))
    assert str(report.verdict) == "semantic difference"
    assert not next(row for row in report.training if row.path == "3.weight").verdict.passed


def test_another_momentum_of_the_statistics_is_seen_in_them_alone():
    model, twin, x = _pair()
    twin[1].momentum = 0.2
    report = compare_training(model, twin, x, optimizers.SGD(lr=0.1))
    assert {row.path for row in report.training if not row.verdict.passed} == {"1.running_mean", "1.running_var"}


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="expected steps to be at least 1, received 0"):
        compare_training(*_pair(), optimizers.SGD(lr=0.1), steps=0)
