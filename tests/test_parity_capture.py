"""A capture compared with a capture, or with a live model, gives the report of both models in one process."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from flax import nnx
from imports import run

from einops_arch import architectures
from einops_arch.errors import ParityError
from einops_arch.flax import layers
from einops_arch.parity import capture, compare, compare_captures, example_inputs, randomize, read_capture
from einops_arch.port import to_flax, transfer


class Stem(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, padding=1)
        self.norm = torch.nn.GroupNorm(2, 4)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class FlaxStem(nnx.Module):
    def __init__(self, norm="norm"):
        rngs = nnx.Rngs(0)
        self.conv = layers.Conv(2, 4, (3, 3), padding=1, rngs=rngs)
        self.name = norm
        setattr(self, norm, layers.GroupNorm(4, num_groups=2, rngs=rngs))

    def __call__(self, x):
        return nnx.relu(getattr(self, self.name)(self.conv(x)))


IMAGES = np.random.default_rng(0).normal(size=(3, 2, 5, 7)).astype("float32")


@pytest.fixture
def pair():
    ours, theirs = Stem(), FlaxStem()
    randomize(ours)
    transfer(ours, theirs)
    return ours, theirs


def _rows(report):
    """All rows; a ratio may differ in its last digits where a program was compiled for another form of the inputs."""
    return {
        name: [dataclasses.replace(row, flax_error=None, ratio=None) for row in rows]
        for name, rows in report.sections.items()
    }


@pytest.mark.parametrize("name", ["shuffle_unit", "language_model"])
def test_two_captures_give_the_report_of_two_models(name, tmp_path):
    architecture = architectures.get(name)
    config = architecture.config.tiny()
    ours = architecture.torch_class()(config)
    randomize(ours)
    theirs = to_flax(ours)
    inputs, settings = example_inputs(config), {"mode": "train", "steps": 2, "gradients": True}
    # Each has made its own inputs from the config, as on two machines.
    capture(ours, inputs, tmp_path / "torch", **settings)
    capture(theirs, inputs, tmp_path / "flax", **settings)
    report = compare(tmp_path / "torch", tmp_path / "flax")
    report.assert_same_function()
    assert _rows(report) == _rows(compare(ours, theirs, inputs, **settings))
    assert report.notes[-1].startswith("captured with einops-arch ")


class Named(torch.nn.Module):
    """Gives a mapping whose order is not that of its names."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 5)

    def forward(self, x):
        return {"z": self.fc(x), "a": torch.tanh(self.fc(x))}


class FlaxNumbered(nnx.Module):
    """Gives the same as a tuple."""

    def __init__(self):
        self.fc = nnx.Linear(6, 5, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.fc(x), nnx.tanh(self.fc(x))


def test_outputs_without_common_names_keep_their_order_in_a_capture(tmp_path):
    models = Named(), FlaxNumbered()
    transfer(*models)
    rows = np.random.default_rng(1).normal(size=(4, 6)).astype("float32")
    for name, model in zip(("torch", "flax"), models, strict=True):
        capture(model, rows, tmp_path / name)
    assert compare(*models, rows).passed
    assert compare(tmp_path / "torch", tmp_path / "flax").passed


def test_a_capture_of_either_side_and_a_live_model_are_compared(pair, tmp_path):
    ours, theirs = pair
    expected = _rows(compare(ours, theirs, IMAGES, axes="b c h w", gradients=True))
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w", gradients=True)
    assert _rows(compare(tmp_path / "torch", theirs)) == expected
    capture(theirs, tmp_path / "torch", tmp_path / "flax", gradients=True)
    assert _rows(compare(ours, tmp_path / "flax", gradients=True)) == expected


def test_a_difference_is_found_and_mapped(pair, tmp_path):
    ours, theirs = pair
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w")
    theirs.norm.epsilon = 1e-3
    report = compare(tmp_path / "torch", theirs)
    assert report.first_divergence.path == "norm"
    assert str(report.verdict) == "semantic difference"
    assert report.maps.path == "norm"


def test_a_live_flax_model_and_a_capture_are_enough_for_the_cause(pair, tmp_path):
    ours, theirs = pair
    theirs.norm.epsilon = 1e-3
    theirs.conv.padding = ((0, 2), (1, 1))
    expected = (
        "conv: would be explained by padding=((1, 1), (1, 1)), the Flax module has ((0, 2), (1, 1))",
        "norm: would be explained by epsilon=1e-5, the Flax module has 0.001",
    )
    assert compare(ours, theirs, IMAGES, axes="b c h w").causes == expected
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w")
    assert compare(tmp_path / "torch", theirs).causes == expected
    assert compare(tmp_path / "torch", theirs, causes=False).causes == ()
    # A capture of Flax cannot be run with anything.
    capture(theirs, tmp_path / "torch", tmp_path / "flax")
    for torch_side in (tmp_path / "torch", ours):
        said = compare(torch_side, tmp_path / "flax").cause
        assert said.startswith("conv: no cause was looked for: that takes a live Flax model, to be run with what")


def test_the_cause_of_a_statistic_is_found_with_a_capture(tmp_path):
    ours, theirs = torch.nn.BatchNorm2d(2), nnx.BatchNorm(2, momentum=0.8, use_fast_variance=False, rngs=nnx.Rngs(0))
    randomize(ours)
    transfer(ours, theirs)
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w", mode="train", steps=2)
    assert compare(tmp_path / "torch", theirs).cause == (
        "the network: would be explained by momentum=0.1 as the weight of the new batch, the Flax module moves by 0.2"
        " and the variance divided by n - 1, the Flax module divides by n (n=105)"
    )


def test_other_paths_are_matched(pair, tmp_path):
    ours, _ = pair
    other = FlaxStem(norm="gn")
    # The weights by name, as their owner would carry them.
    state = {name.replace("norm.", "gn."): value for name, value in ours.state_dict().items()}
    transfer(state, other)
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w", gradients=True)
    report = compare(tmp_path / "torch", other, paths={"norm": "gn"}, gradients=True)
    report.assert_same_function()
    assert [row.path for row in report.rows] == ["conv", "norm", ""]


def test_no_framework_is_needed_to_compare(pair, tmp_path):
    ours, theirs = pair
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w", gradients=True)
    theirs.conv.bias[...] += 1
    capture(theirs, tmp_path / "torch", tmp_path / "flax", gradients=True)
    statement = (
        "from einops_arch.parity import compare;"
        f"report = compare({str(tmp_path / 'torch')!r}, {str(tmp_path / 'flax')!r}, gradients=True);"
        "assert report.first_divergence.path == 'conv', report;"
        "assert 'conv' in report.to_html()"
    )
    names, error = run(statement, blocked=("torch", "jax", "flax", "ml_dtypes"))
    assert error is None, error
    assert names.isdisjoint({"torch", "jax"})


def test_weights_that_are_not_the_same_are_named(pair, tmp_path):
    ours, theirs = pair
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w")
    theirs.conv.bias[...] += 1
    notes = compare(tmp_path / "torch", theirs).notes
    assert notes[-1] == "the weights are not the same bit for bit: 1 of 4 arrays differ: conv.bias"


def test_captures_that_do_not_belong_together_are_refused(pair, tmp_path):
    ours, theirs = pair
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w")
    capture(theirs, IMAGES, tmp_path / "train", axes="b c h w", mode="train")
    capture(theirs, IMAGES + 1, tmp_path / "flax", axes="b c h w")
    with pytest.raises(ParityError, match="expected the same mode, received 'eval' of PyTorch and 'train' of Flax"):
        compare(tmp_path / "torch", tmp_path / "train")
    with pytest.raises(ParityError, match="expected the same inputs, received others at 0"):
        compare(tmp_path / "torch", tmp_path / "flax")
    with pytest.raises(ParityError, match="expected a side of torch and a side of flax, received flax and flax"):
        compare(tmp_path / "flax", tmp_path / "flax")
    with pytest.raises(ParityError, match="expected a capture, received two models"):
        compare_captures(ours, theirs)
    with pytest.raises(ParityError, match="a capture brings its inputs, received others"):
        compare(tmp_path / "torch", theirs, IMAGES)


def test_what_a_capture_does_not_hold_is_said(pair, tmp_path):
    ours, theirs = pair
    capture(ours, IMAGES, tmp_path / "torch", axes="b c h w")
    with pytest.raises(ParityError, match="the capture of Stem has no gradients; likely fix: capture"):
        compare(tmp_path / "torch", theirs, gradients=True)


def test_a_bfloat16_model_is_captured_bit_for_bit(pair, tmp_path):
    ours, theirs = pair
    ours = ours.bfloat16()
    transfer(ours, theirs)
    made = capture(ours, IMAGES, tmp_path / "torch", axes="b c h w")
    read = read_capture(tmp_path / "torch")
    for one, other in zip(made.runs["own dtype"].calls, read.runs["own dtype"].calls, strict=True):
        assert other.arrays[0].dtype == one.arrays[0].dtype == "bfloat16"
        assert other.arrays[0].tobytes() == one.arrays[0].tobytes()
    compare(tmp_path / "torch", theirs).assert_same_function()
