"""A verdict rests on what was seen: outputs of any form, in every kind of number, that change with the inputs."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from proof_attacks import kept, packed
from proof_pairs import after_linear

from einops_arch.errors import ParityError
from einops_arch.parity import Verdict, compare, hidden
from einops_arch.parity.report.scales import fillers
from einops_arch.parity.report.verdicts import Pair, measure
from einops_arch.port import transfer

NUMBERS = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
WIDTH = 50
HIDDEN = torch.arange(WIDTH) > 30
MASK = np.asarray(HIDDEN)


class Torch(torch.nn.Module):
    """A layer, and what a function makes of it."""

    def __init__(self, function):
        super().__init__()
        self.fc = torch.nn.Linear(6, WIDTH)
        self.function = function

    def forward(self, x):
        return self.function(self.fc(x))


class Flax(nnx.Module):
    def __init__(self, function):
        self.fc = nnx.Linear(6, WIDTH, rngs=nnx.Rngs(0))
        self.function = function

    def __call__(self, x):
        return self.function(self.fc(x))


def report(torch_function, flax_function, inputs=NUMBERS, change=None, **keywords):
    models = Torch(torch_function), Flax(flax_function)
    transfer(*models)
    if change is not None:
        change(models[1])
    return compare(*models, inputs, causes=False, **keywords)


@dataclasses.dataclass
class TorchOut:
    values: torch.Tensor


@flax.struct.dataclass
class FlaxOut:
    values: jax.Array


class Plain:
    def __init__(self, values):
        self.values = values
        self.name, self.count = "an object", 3


class Pairs(NamedTuple):
    values: Any
    twice: Any


CONTAINERS = {
    "dataclasses": (TorchOut, FlaxOut),
    "an object with attributes": (Plain, Plain),
    "a dataclass and an object": (TorchOut, Plain),
    "a dataclass and a mapping": (TorchOut, lambda y: {"values": y}),
    "named tuples": (lambda y: Pairs(y, 2 * y), lambda y: Pairs(y, 2 * y)),
    "nested": (lambda y: [{"a": (TorchOut(y),)}], lambda y: [{"a": (FlaxOut(y),)}]),
    "an ordered mapping and a dict": (
        lambda y: OrderedDict(b=y, a=2 * y),
        lambda y: {"a": 2 * y, "b": y},
    ),
    "a scalar": (lambda y: y.square().mean(), lambda y: jnp.square(y).mean()),
    "a number of Python": (
        lambda y: {"size": float(y.shape[1]), "y": y},
        lambda y: {"size": float(y.shape[1]), "y": y},
    ),
    "none beside": (lambda y: (y, None, "word"), lambda y: (y, None, "word")),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_outputs_of_any_form_are_paired_and_compared(name):
    torch_form, flax_form = CONTAINERS[name]
    found = report(torch_form, flax_form)
    assert found.passed, str(found)
    assert found.seen.evidence
    assert found.seen.outputs >= 1
    assert not report(torch_form, lambda y: flax_form(y * 2)).passed


@pytest.mark.parametrize("opaque", [lambda y: {y.sum(), 1}, lambda y: iter([y]), lambda y: lambda: y])
def test_what_cannot_be_walked_is_an_error_that_says_so(opaque):
    with pytest.raises(ParityError, match=r"output of PyTorch's model is of type .* no arrays can be found"):
        report(opaque, lambda y: y)
    with pytest.raises(ParityError, match=r"output of Flax's model is of type"):
        report(lambda y: y, lambda y: iter([y]))


def test_another_number_of_outputs_is_no_pass():
    found = report(lambda y: (y, y), lambda y: y)
    assert found.verdict is Verdict.SHAPE
    assert "2 arrays in PyTorch" in found.outputs[0].detail


def test_complex_numbers_stay_complex():
    assert report(torch.fft.rfft, jnp.fft.rfft, gradients=True).passed
    wrong = report(torch.fft.rfft, lambda y: jnp.conj(jnp.fft.rfft(y)))
    assert wrong.verdict is Verdict.SEMANTIC
    assert wrong.outputs[0].difference > 0.5
    assert not report(torch.fft.rfft, lambda y: jnp.fft.rfft(y).real + 0j).passed


def test_complex_weights_and_inputs_are_widened():
    class TorchComplex(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(6, WIDTH)
            self.register_buffer("turn", torch.randn(WIDTH, dtype=torch.complex64))

        def forward(self, x, z):
            return self.fc(x) * self.turn * z

    class FlaxComplex(nnx.Module):
        def __init__(self, turn):
            self.fc = nnx.Linear(6, WIDTH, rngs=nnx.Rngs(0))
            self.turn = nnx.Variable(turn)

        def __call__(self, x, z):
            return self.fc(x) * self.turn[...] * z

    ours = TorchComplex()
    inputs = (NUMBERS, np.random.default_rng(1).normal(size=(4, 1, 2)).view(complex)[..., 0].astype("complex64"))
    for factor, passes in ((1, True), (1j, False), (-1, False)):
        theirs = FlaxComplex(jnp.asarray(ours.turn.numpy()) * factor)
        theirs.fc.kernel[...] = ours.fc.weight.detach().numpy().T
        theirs.fc.bias[...] = ours.fc.bias.detach().numpy()
        assert compare(ours, theirs, inputs, causes=False).passed is passes


def test_integers_are_compared_exactly():
    def count(offset):
        def flax_function(y):
            return jnp.sum(y > 0, axis=1).astype(jnp.int32) * 1_000_003 + offset

        return flax_function

    def torch_function(y):
        return (y > 0).sum(1) * 1_000_003

    assert report(torch_function, count(0)).passed
    assert not report(torch_function, count(1)).passed


@pytest.mark.parametrize("filler", [float(torch.finfo(torch.float32).min), -1e9, -1e6])
@pytest.mark.parametrize("wrong", [lambda y: 2 * y + 1, lambda y: y * (1 + 1e-6), lambda y: -y])
def test_a_filler_does_not_lend_its_size_to_the_rest(filler, wrong):
    def torch_function(y):
        return y.masked_fill(HIDDEN, filler)

    assert report(torch_function, lambda y: jnp.where(MASK, filler, y)).passed
    found = report(torch_function, lambda y: jnp.where(MASK, filler, wrong(y)))
    assert found.verdict is Verdict.SEMANTIC
    assert found.outputs[0].difference > 1e-7


def test_another_filler_or_mask_is_seen():
    def torch_function(y):
        return y.masked_fill(HIDDEN, -1e9)

    assert not report(torch_function, lambda y: jnp.where(MASK, -1e8, y)).passed
    assert not report(torch_function, lambda y: jnp.where(~MASK, -1e9, y)).passed


def test_a_large_channel_does_not_hide_a_small_one():
    scale = np.where(np.arange(WIDTH) < 5, 2e12, 1.0)
    torch_scale = torch.from_numpy(scale)
    assert report(lambda y: y * torch_scale, lambda y: y * scale).passed
    assert not report(lambda y: y * torch_scale, lambda y: jnp.where(scale > 1, y * scale, y * 1.5)).passed


def test_what_is_left_of_rounding_is_not_judged_by_its_own_size():
    one = np.array([1.0, 2.0, 1.5, 1e-17, -2e-17])
    assert measure([Pair(one, one + np.array([2e-16, 0, 0, 3e-17, 1e-17]))]).verdict.passed
    assert not fillers(one, one, []).any()


def test_infinities_and_nan_by_design_pass_and_are_named():
    for filler in (-np.inf, np.nan):
        found = report(lambda y, v=filler: y.masked_fill(HIDDEN, v), lambda y, v=filler: jnp.where(MASK, v, y))
        assert found.passed, str(found)
        assert ("-inf" if filler < 0 else "NaN") in found.outputs[0].detail
    shifted = np.roll(MASK, 1)
    found = report(lambda y: y.masked_fill(HIDDEN, -torch.inf), lambda y: jnp.where(shifted, -jnp.inf, y))
    assert found.verdict is Verdict.NAN
    other_sign = report(lambda y: y.masked_fill(HIDDEN, -torch.inf), lambda y: jnp.where(MASK, jnp.inf, y))
    assert other_sign.verdict is Verdict.NAN
    beside = report(lambda y: y.masked_fill(HIDDEN, -torch.inf), lambda y: jnp.where(MASK, -jnp.inf, y * 2))
    assert beside.verdict is Verdict.SEMANTIC


@pytest.mark.parametrize(
    ("torch_function", "flax_function", "inputs"),
    [
        (lambda y: y, lambda y: y * 2, NUMBERS[:0]),
        (lambda y: y * 0, lambda y: y * 0, NUMBERS),
        (lambda y: torch.ones(3), lambda y: jnp.ones(3), NUMBERS),
        (lambda y: torch.full_like(y, torch.nan), lambda y: y * jnp.nan, NUMBERS),
        (lambda y: {"size": y.shape[1]}, lambda y: {"size": y.shape[1]}, NUMBERS),
        (lambda y: (), lambda y: (), NUMBERS),
    ],
    ids=["no numbers", "zeros", "a constant", "all NaN", "a size", "nothing"],
)
def test_where_no_output_is_evidence_nothing_is_proved(torch_function, flax_function, inputs):
    found = report(torch_function, flax_function, inputs)
    assert found.verdict is Verdict.NO_EVIDENCE
    assert not found.passed
    assert not json.loads(found.to_json())["passed"]
    assert "randomize" in str(found)
    with pytest.raises(ParityError, match="no evidence"):
        found.assert_same_function()


def test_a_head_of_zeros_proves_nothing_of_what_is_before_it():
    models = Torch(lambda y: y), Flax(lambda y: y)
    torch.nn.init.zeros_(models[0].fc.weight)
    torch.nn.init.zeros_(models[0].fc.bias)
    transfer(*models)
    assert compare(*models, NUMBERS).verdict is Verdict.NO_EVIDENCE


def test_a_constant_output_beside_others_is_listed_as_not_seen():
    found = report(lambda y: (y, torch.zeros(3)), lambda y: (y, jnp.zeros(3)))
    assert found.passed
    assert found.seen.evidence == ("output 0",)
    assert any(one.startswith("output 1") for one in found.seen.not_seen)


def test_the_account_is_in_text_json_and_page():
    found = report(lambda y: y, lambda y: y)
    assert (found.seen.outputs, found.seen.numbers, found.seen.modules, found.seen.calls) == (1, 4 * WIDTH, 2, 2)
    assert "compared: 1 output" in str(found)
    assert json.loads(found.to_json())["seen"]["evidence"] == ["output"]
    assert "compared: 1 output" in found.to_html()


def test_without_runs_in_the_own_dtype_the_account_says_that_rounding_was_not_seen():
    models = Torch(lambda y: y), Flax(lambda y: y)
    transfer(*models)
    account = [compare(*models, NUMBERS, own_dtype=own_dtype).seen.not_seen for own_dtype in (True, False)]
    assert [any("own dtype" in reason for reason in reasons) for reasons in account] == [False, True]


@pytest.mark.parametrize(
    ("torch_function", "flax_function", "words"),
    [
        (lambda y: y.clamp(-50, 50), lambda y: jnp.clip(y, -60, 60), ("below -50", "above 50")),
        (torch.nn.functional.relu6, lambda y: jnp.clip(y, 0, 9), ("above 6",)),
        (lambda y: y.clamp_min(-1e3), lambda y: y, ("below -1000",)),
        (lambda y: torch.where(y > 1e3, y * 2, y), lambda y: y, ("never true",)),
        (lambda y: y.masked_fill(y > 1e3, 0), lambda y: y, ("masks nothing",)),
        (lambda y: torch.maximum(y, y - 1), lambda y: y, ("the second of two values",)),
    ],
)
def test_a_side_of_a_selection_that_no_value_takes_is_listed_as_not_seen(torch_function, flax_function, words):
    report = after_linear(torch_function, flax_function).report()
    report.assert_same_function()
    unseen = report.seen.not_seen
    assert all(any(word in reason for reason in unseen) for word in words), unseen


def test_a_selection_of_which_both_sides_are_taken_is_no_news():
    report = after_linear(
        lambda y: y.relu() + y.clamp(-0.1, 0.1), lambda y: nnx.relu(y) + jnp.clip(y, -0.1, 0.1)
    ).report()
    report.assert_same_function()
    assert not report.seen.not_seen


def test_what_a_packed_sequence_leaves_out_is_not_seen_where_nothing_reads_it():
    checked = packed(lambda m, x, n: m.rnn(x)[0] * kept(x, n)).report()
    assert checked.passed
    # 5 of 15 places of the outputs, and two of three rows of both final states, of 6 numbers each.
    assert "rnn: 54 of 126 values are others on the two sides, and nothing reads them" in checked.seen.not_seen
    row = next(row for row in checked.rows if row.path == "rnn")
    assert row.difference < 1e-15

    checked = packed(lambda m, x, n: m.rnn(x)[0]).report()
    assert not checked.passed
    assert not [words for words in checked.seen.not_seen if "nothing reads" in words]


def test_a_large_model_is_not_run_with_a_second_row_and_the_report_says_so(monkeypatch):
    def over_the_batch(y):
        return y - y.mean(0, keepdims=True) if y.shape[0] > 1 else y

    checked = report(lambda y: y, over_the_batch, NUMBERS[:1])
    assert not checked.passed
    assert "with a second row" in checked.first_divergence.path
    monkeypatch.setattr(hidden, "_LIGHT", 300)
    checked = report(lambda y: y, over_the_batch, NUMBERS[:1])
    assert checked.passed
    words = "its rows are all one, and a large model is not run with more; likely fix: larger inputs"
    assert [reason for reason in checked.seen.not_seen if words in reason]
