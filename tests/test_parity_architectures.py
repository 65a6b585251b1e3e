"""Every registered architecture in both frameworks: the same function, and round trips that keep every bit."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from golden_values import CASES, config_of

from einops_arch import architectures
from einops_arch.flax.state import linen_variables, named_modules
from einops_arch.layouts.arrays import same_bits
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.port import to_flax, to_torch
from einops_arch.port.transfer import model_state

REPORTS = Path(__file__).resolve().parent.parent / "docs" / "parity"


@functools.cache
def twins(name, preset):
    """Both networks with the same weights, in which a mistake shows; nobody changes them."""
    model = architectures.get(name).torch_class()(config_of(name, preset))
    randomize(model)
    return model, to_flax(model)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_twins_compute_the_same_function(name, preset):
    torch_model, flax_model = twins(name, preset)
    report = compare(torch_model, flax_model, example_inputs(torch_model.config, batch=2), gradients=True)
    report.assert_same_function()
    assert len(report.rows) >= 3
    # The limit is not fitted: two decades at the least lie between it and what honest twins show.
    assert 0 < max(row.difference for row in report.rows if row.difference is not None) <= 1e-14
    if preset == "tiny":
        file = REPORTS / f"{name}.json"
        assert file.is_file(), f"no parity report of {name} is stored: run python docs/hooks/parity_reports.py {name}"
        stored = json.loads(file.read_text(encoding="utf-8"))
        modules = [(row["path"], row["torch"], row["flax"], row["shape"]) for row in stored["modules"]]
        rows = [(row.path, row.torch_type, row.flax_type, " ".join(map(str, row.shape))) for row in report.rows]
        assert modules == rows, f"the page of {name} is out of date: run python docs/hooks/parity_reports.py {name}"
        assert stored["gradients"]["count"] == len(report.gradients)


@pytest.mark.parametrize("name", architectures.names())
def test_twins_train_alike(name):
    torch_model, flax_model = twins.__wrapped__(name, "tiny")
    inputs = example_inputs(torch_model.config, batch=2)
    compare(torch_model, flax_model, inputs, mode="train", steps=3).assert_same_function()


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_round_trips_keep_every_bit(name, preset):
    torch_model, flax_model = twins(name, preset)
    first, second = model_state(torch_model), model_state(flax_model)
    third, fourth = model_state(to_torch(flax_model)), model_state(to_flax(to_torch(flax_model)))
    assert list(first) == list(second) == list(third) == list(fourth)
    for key, value in first.items():
        assert same_bits(value, second[key]), key
        assert same_bits(value, third[key]), key
        assert same_bits(value, fourth[key]), key


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_twins_read_alike(name, preset):
    """The same dotted paths, in both directions, for every module that holds numbers; and most others."""
    torch_model, flax_model = twins(name, preset)
    torch_paths = {path for path, _ in torch_model.named_modules()}
    flax_paths = {path for path, module in named_modules(flax_model) if not isinstance(module, nnx.List | nnx.Dict)}
    with_numbers = {path.rpartition(".")[0] for path in model_state(torch_model)}
    assert with_numbers <= torch_paths
    assert with_numbers <= flax_paths
    shared = torch_paths & flax_paths
    assert len(shared) >= 0.9 * max(len(torch_paths), len(flax_paths)), torch_paths ^ flax_paths


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", architectures.names())
def test_the_mode_is_ported_too(name, training):
    torch_model = architectures.get(name).torch_class()(architectures.get(name).config.tiny()).train(training)
    flax_model = to_flax(torch_model)
    modes = [
        getattr(module, attribute)
        for _, module in named_modules(flax_model)
        for attribute in ("deterministic", "use_running_average")
        if isinstance(getattr(module, attribute, None), bool)
    ]
    assert set(modes) <= {not training}
    if modes:
        assert to_torch(flax_model).training is training


def test_linen_variables_are_copies_of_nothing_but_state():
    _, flax_model = twins("convnet", "tiny")
    variables = linen_variables(flax_model)
    assert set(variables) == {"params"}
    kernel = variables["params"]["conv1"]["kernel"]
    assert same_bits(np.asarray(kernel), np.asarray(flax_model.conv1.kernel[...]))
