"""A Flax model is captured where Flax is, and no PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx
from imports import loaded

from einops_arch.architectures import ShuffleUnitConfig
from einops_arch.errors import ParityError, PatternError, ShapeError
from einops_arch.flax import ShuffleUnit
from einops_arch.flax.layers import Conv
from einops_arch.parity import capture, example_inputs, read_capture
from einops_arch.parity.captures.record import digest

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype("float32")


def test_a_twin_is_captured_with_pytorchs_inputs(tmp_path):
    config = ShuffleUnitConfig.tiny()
    model = ShuffleUnit(config, rngs=nnx.Rngs(0))
    made = capture(model, example_inputs(config), tmp_path / "run", mode="train", gradients=True)
    read = read_capture(tmp_path / "run.json")
    assert repr(read) == repr(made)
    assert read.architecture == ("shuffle_unit", config.to_dict())
    (ours,), (theirs,) = read.inputs[0], read.flax_inputs[0]
    assert np.array_equal(ours.transpose(0, 2, 3, 1), theirs)
    assert read.gradients["float64"][0]["compress_conv1.weight"].ndim == 4
    assert set(read.runs) == {"float64", "own dtype"}
    assert "compress_bn1.running_mean" in read.runs["float64"].statistics


def test_weights_are_digested_in_pytorchs_layout(tmp_path):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    made = capture(model, np.ones((4, 3)), tmp_path / "run")
    assert made.weights["weight"] == digest(np.asarray(model.kernel[...]).T)


def test_axes_must_be_said_as_for_compare(tmp_path):
    model = Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ShapeError, match="expected to be told PyTorch's axes of input '0'"):
        capture(model, IMAGES, tmp_path / "run")
    capture(model, IMAGES, tmp_path / "run", axes="b c h w")
    assert capture(model, tmp_path / "run", tmp_path / "again").input_layouts == {"0": (0, 2, 3, 1)}


def test_gradients_need_to_know_how_outputs_lie(tmp_path):
    model = Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(PatternError, match="give the PyTorch capture as the inputs"):
        capture(model, IMAGES, tmp_path / "run", axes="b c h w", gradients=True)


def test_a_model_that_does_not_run_says_where(tmp_path):
    model = Conv(2, 4, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ParityError, match="runs with these inputs in float64: "):
        capture(model, IMAGES, tmp_path / "run", axes="b c h w")
    assert not list(tmp_path.iterdir())


def test_no_other_framework_is_needed(tmp_path):
    statement = (
        "from flax import nnx; import numpy; from einops_arch.parity import capture, read_capture;"
        f"capture(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), numpy.ones((4, 3)), {str(tmp_path / 'run')!r});"
        f"assert read_capture({str(tmp_path / 'run')!r}).framework == 'flax'"
    )
    names = loaded(statement)
    assert "jax" in names
    assert "torch" not in names
