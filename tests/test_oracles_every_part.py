"""Every architecture passes the parts of a comparison that take long: probes, the same inputs for all, and training."""

from __future__ import annotations

import pytest

from einops_arch import architectures
from einops_arch.parity import compare, compare_training, example_inputs, randomize
from einops_arch.port import to_flax
from einops_arch.port.optimizer import specs as optimizers


def twins(name):
    model = architectures.get(name).torch_class()(architectures.get(name).config.tiny())
    randomize(model)
    # A batch norm over a handful of values magnifies rounding, in statistics and gradients too.
    statistics = any(key.endswith("running_var") for key in model.state_dict())
    inputs = example_inputs(model.config, sizes={"h": 64, "w": 96} if statistics else None)
    return model, to_flax(model), inputs


@pytest.mark.parametrize("name", architectures.names())
def test_probes(name):
    report = compare(*twins(name), probes=True, jit=False)
    report.assert_same_function()
    assert "random state" in [row.path for row in report.probes]


@pytest.mark.parametrize("name", architectures.names())
def test_each_module_with_the_same_inputs(name):
    report = compare(*twins(name), teacher=True)
    report.assert_same_function()
    assert len(report.rows) > 2


@pytest.mark.parametrize("name", architectures.names())
def test_steps_of_an_optimiser(name):
    description = optimizers.SGD(lr=0.01, momentum=0.9, nesterov=True)
    report = compare_training(*twins(name), description, steps=3)
    report.assert_same_function()
    assert len(report.training) > 2
