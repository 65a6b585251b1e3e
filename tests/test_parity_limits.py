"""The numbers that decide are no fit: what is honest and what is wrong lie decades away from them, on both sides."""

from __future__ import annotations

import pytest
import torch
from flax import nnx
from proof_conditioned import flax_norm, functional, layer_norm, torch_norm

from einops_arch import architectures
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report import limits
from einops_arch.port import to_flax, transfer


@pytest.mark.parametrize("name", ["vgg16_features", "shuffle_unit"])
def test_modules_that_are_given_the_same_inputs_are_half_the_limit_apart_at_most(name):
    """In float32: what is left to see without float64."""
    model = architectures.get(name).torch_class()(architectures.get(name).config.tiny())
    randomize(model)
    report = compare(model, to_flax(model), example_inputs(model.config), teacher=True)
    report.assert_same_function()
    paths = [row.path for row in report.rows]
    leaves = [row for row in report.rows if row.path and not any(path.startswith(f"{row.path}.") for path in paths)]
    worst = max(row.torch_error + row.flax_error for row in leaves)
    assert 2.0**-24 < worst < limits.TEACHER / 2 * 2.0**-24


def test_the_ratio_lies_between_honest_norms_and_a_variance_in_one_pass():
    ratios = []
    for fast in (False, True):
        pair = torch.nn.LayerNorm(40), nnx.LayerNorm(40, epsilon=1e-5, use_fast_variance=fast, rngs=nnx.Rngs(0))
        randomize(pair[0])
        transfer(*pair)
        (row,) = compare(*pair, 30 + random_numbers("features", (60, 40))).rows
        ratios.append(row.ratio)
    assert ratios[0] < limits.RATIO / 2
    assert ratios[1] > limits.RATIO * 2


def test_every_number_has_its_measurement():
    for limit in limits.LIMITS:
        assert any(sign.isdigit() for sign in limit.measured), limit.name


def test_what_is_conditioned_lies_between_norms_far_from_zero_and_another_eps():
    honest = [functional(layer_norm, flax_norm, shift).report(causes=True) for shift in (1e4, 1e5)]
    for report, row in ((report, report.outputs[0]) for report in honest):
        assert report.passed
        assert limits.FLOAT64 < row.difference < limits.CONDITIONED / 2
        assert "noise of 8.9e-16 after each operation" in report.notes[-1]
    other = functional(torch_norm, lambda x: flax_norm(x, 1.001e-5), 1e5).report(causes=True)
    assert other.outputs[0].difference > limits.CONDITIONED * 10
    assert not other.passed
    assert "1.001e-5" in " ".join(other.causes)


def test_no_limit_is_wider_where_nothing_is_magnified():
    report = functional(torch_norm, lambda x: flax_norm(x, 1e-5 * (1 + 1e-6)), 0.0).report()
    assert limits.FLOAT64 < report.outputs[0].difference < limits.CONDITIONED
    assert not report.passed
