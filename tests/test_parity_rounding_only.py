"""What is zero in exact arithmetic is rounding on both sides, and no difference; a fault in it still is one."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.flax import layers as flax_layers
from einops_arch.parity import Verdict, compare, compare_training
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer
from einops_arch.port.optimizer import specs as optimizers

NN = torch.nn
RNGS = nnx.Rngs(0)
IMAGE = random_numbers("image", (4, 3, 8, 6)).astype(np.float32)


def fresh(second=None):
    """Two norms, one after the other, as they are made: what the second is given is centred already."""
    models = (
        NN.Sequential(NN.BatchNorm2d(3), NN.BatchNorm2d(3)),
        flax_layers.Sequential(flax_layers.BatchNorm(3, rngs=RNGS), second or flax_layers.BatchNorm(3, rngs=RNGS)),
    )
    transfer(*models)
    return models


def trained(models):
    return compare(*models, IMAGE, axes="b c h w", mode="train", steps=2, gradients=True)


def test_a_mean_that_is_zero_but_for_rounding_is_the_same():
    models = fresh()
    report = trained(models)
    report.assert_same_function()
    (mean,) = (row for row in report.statistics if row.path == "1.running_mean")
    assert mean.difference < 1e-15
    # It is what cancels: beside the numbers that were averaged there is nothing left of it.
    stepped = models[0].double().train()
    stepped(torch.from_numpy(IMAGE).double())
    assert stepped[1].running_mean.abs().max() < 1e-15 < stepped[1].running_var.min()


def test_and_after_steps_of_an_optimiser():
    compare_training(*fresh(), IMAGE, optimizers.SGD(lr=0.0), axes="b c h w", steps=2).assert_same_function()


class MeanIsOff(flax_layers.BatchNorm):
    def __call__(self, x):
        result = super().__call__(x)
        self.mean[...] += 1e-10
        return result


class SlopeIsOff(flax_layers.BatchNorm):
    """The right values; and of its scale's gradient, which is small, a hundred-thousandth is wrong."""

    def __call__(self, x):
        result = super().__call__(x)
        return result + 1e-5 * (result - jax.lax.stop_gradient(result))


@pytest.mark.parametrize(
    ("layer", "section", "path"),
    [
        (MeanIsOff, "statistics", "1.running_mean"),
        (SlopeIsOff, "gradients", "0.weight"),
        (lambda *_, **keywords: flax_layers.BatchNorm(3, momentum=0.1001, **keywords), "statistics", "1.running_var"),
    ],
)
def test_a_fault_in_it_is_seen(layer, section, path):
    report = trained(fresh(layer(3, rngs=RNGS)))
    assert report.verdict is Verdict.SEMANTIC
    assert path in [row.path for row in report.sections[section] if not row.verdict.passed]
    assert all(row.verdict.passed for row in (*report.rows, *report.outputs))


def test_the_norm_of_a_constant_is_zero_but_for_rounding():
    constant = np.full_like(IMAGE, 0.3)
    models = NN.BatchNorm2d(3), flax_layers.BatchNorm(3, rngs=RNGS)
    transfer(*models)
    settings = {"axes": "b c h w", "mode": "train"}
    assert compare(*models, constant, **settings).passed

    class Off(flax_layers.BatchNorm):
        def __call__(self, x):
            return super().__call__(x) + 1e-10

    assert not compare(models[0], Off(3, rngs=RNGS), constant, **settings).passed


class TorchMap(NN.Module):
    """The logistic map, which makes twice as much of an error in every second step."""

    def forward(self, x):
        return 3.9 * x * (1 - x)


class FlaxMap(nnx.Module):
    rate = 3.9

    def __call__(self, x):
        return self.rate * x * (1 - x)


def magnifying():
    return (
        NN.Sequential(NN.Sigmoid(), *(TorchMap() for _ in range(40))),
        flax_layers.Sequential(flax_layers.Sigmoid(), *(FlaxMap() for _ in range(40))),
    )


ROWS = random_numbers("rows", (600, 2))


def test_rounding_that_the_network_magnifies_is_no_difference():
    models = magnifying()
    # The verdict is the same, whether causes are looked for or not.
    for causes in (True, False):
        report = compare(*models, ROWS, causes=causes)
        report.assert_same_function()
        assert report.rows[-1].difference > 1e-11
        assert report.rows[-1].detail == "rounding, magnified"
        assert report.notes[-1].endswith("it is rounding that the network magnifies")


def test_a_fault_in_such_a_network_is_still_one():
    models = magnifying()
    models[1][20].rate = 3.9 * (1 + 1e-11)
    assert compare(*models, ROWS, causes=False).verdict is Verdict.SEMANTIC
    report = compare(*models, ROWS)
    assert report.verdict is Verdict.SEMANTIC
    assert [cause.partition(":")[0] for cause in report.causes] == ["20"]


def test_a_fault_between_the_modules_of_such_a_network_is_still_one():
    models = magnifying()

    class Between(type(models[1])):
        def __call__(self, x):
            for n, layer in enumerate(self):
                x = layer(x * (1 + 1e-11) if n == 35 else x)
            return x

    report = compare(models[0], Between(*models[1]), ROWS)
    assert report.verdict is Verdict.SEMANTIC
    assert [one.partition(":")[0] for one in report.causes] == ["the network"]


# Gradients: a batch norm over few numbers that differ little magnifies rounding.

NARROW = (1 + 1e-3 * random_numbers("x", (5, 6))).astype(np.float32)


class Backwards(nnx.Linear):
    """The same function, summed in the other order."""

    def __call__(self, x):
        return x[..., ::-1] @ self.kernel[...][::-1] + self.bias[...]


class FewNumbers(flax_layers.BatchNorm):
    """A norm whose gradient, or setting, is off by a little."""

    fault = staticmethod(lambda result, x: result)

    def __call__(self, x):
        return self.fault(super().__call__(x), x)


def over_few(linear=nnx.Linear, **changes):
    torch.manual_seed(0)
    layers, others = [], []
    for _ in range(2):
        layers += [NN.Linear(6, 6), NN.BatchNorm1d(6), NN.Tanh()]
        others += [linear(6, 6, rngs=RNGS), FewNumbers(6, rngs=RNGS), flax_layers.Tanh()]
    models = NN.Sequential(*layers, NN.Linear(6, 3)), flax_layers.Sequential(*others, nnx.Linear(6, 3, rngs=RNGS))
    transfer(*models)
    for name, value in changes.items():
        setattr(models[1][4], name, value)
    return compare(*models, NARROW, mode="train", gradients=True, causes=False)


@pytest.mark.parametrize("linear", [nnx.Linear, Backwards])
def test_rounding_that_is_magnified_in_gradients_is_no_difference(linear):
    report = over_few(linear)
    report.assert_same_function()
    excused = [row for row in report.gradients if row.difference > 1e-12]
    assert excused
    assert all(row.detail == "rounding, magnified" for row in excused)
    (note,) = (note for note in report.notes if "gradients" in note)
    assert "averages to" in note
    assert note.endswith("it is rounding that the network magnifies")


def stopped(part):
    return lambda result, x: result * (1 - part) + part * jax.lax.stop_gradient(result)


@pytest.mark.parametrize(
    "changes",
    [
        {"fault": stopped(1e-11)},
        {"fault": stopped(1e-9)},
        {"fault": lambda result, x: result + 3e-11 * (x - jax.lax.stop_gradient(x))},
        {"epsilon": 1e-5 * (1 + 1e-6)},
        {"epsilon": 1e-5 + 1e-12},
        {"momentum": 0.9 + 1e-9},
    ],
)
def test_a_gradient_that_is_wrong_by_little_more_than_rounding_is_still_wrong(changes):
    report = over_few(**changes)
    assert report.verdict is Verdict.SEMANTIC
    assert not any("is within the limit" in note for note in report.notes)


def test_a_difference_that_stays_when_inputs_are_moved_is_said_to_be_no_rounding():
    report = over_few(fault=stopped(4e-12))
    assert report.verdict is Verdict.SEMANTIC
    assert any(note.endswith("so it is no rounding") for note in report.notes)
    # The values are the same, so nothing else tells.
    assert all(row.verdict.passed for row in (*report.rows, *report.outputs, *report.statistics))
