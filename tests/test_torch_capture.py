"""A PyTorch model is captured where PyTorch is, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from imports import run

from einops_arch.errors import CheckpointError, ParityError
from einops_arch.parity import capture, read_capture


class Anyone(torch.nn.Module):
    """A model of somebody's: shared layers, a dict as output, an argument by name."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, x, *, scale):
        x = self.norm(self.conv(x))
        return {"features": x, "mean": self.norm(x * scale).mean((2, 3))}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Anyone().train()


INPUTS = {"x": np.random.default_rng(0).normal(size=(2, 2, 5, 7)).astype("float32"), "scale": np.float32([2.0])}


def test_everything_that_was_captured_is_read_back(model, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = capture(model, INPUTS, tmp_path / "run", axes={"x": "b c h w"}, mode="train", steps=2, gradients=True)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    read = read_capture(tmp_path / "run")
    assert repr(read) == repr(made)
    assert [call.path for call in read.runs["float64"].calls] == ["conv", "norm", "norm", ""]
    assert read.input_layouts["x"] == (0, 2, 3, 1)
    for name, one in made.runs.items():
        other = read.runs[name]
        for ours, theirs in zip(one.calls, other.calls, strict=True):
            assert all(np.array_equal(*pair) for pair in zip(ours.arrays, theirs.arrays, strict=True))
        assert [place for place, _ in other.outputs] == ["features", "mean"]
        for key, value in one.statistics.items():
            assert value.shape == other.statistics[key].shape
            assert np.array_equal(value, other.statistics[key])
    for ours, theirs in zip(made.gradients["float64"], read.gradients["float64"], strict=True):
        assert all(np.array_equal(value, theirs[name]) for name, value in ours.items())
    assert np.array_equal(read.inputs[1]["x"], INPUTS["x"])
    assert read.trace == list(made.trace)


def test_the_tree_can_be_read_by_a_person(model, tmp_path):
    capture(model, INPUTS, tmp_path / "run")
    tree = json.loads((tmp_path / "run.json").read_text())
    assert (tree["framework"], tree["model"], tree["dtype"]) == ("torch", "Anyone", "float32")
    assert tree["modules"]["norm"]["called"] == [1, 2]
    assert tree["modules"]["conv"]["types"][0] == "torch.nn.modules.conv.Conv2d"
    call = tree["runs"]["float64"]["calls"][0]
    assert (call["path"], call["outputs"][0]["shape"], call["outputs"][0]["dtype"]) == ("conv", [2, 4, 5, 7], "float64")
    assert len(tree["weights"]["digest"]) == 64
    assert set(tree["versions"]) == {"einops-arch", "numpy", "torch"}


def test_the_digest_is_of_every_bit(model, tmp_path):
    first = capture(model, INPUTS, tmp_path / "one")
    assert capture(model, tmp_path / "one", tmp_path / "two").digest == first.digest
    with torch.no_grad():
        model.conv.bias[0] = torch.nextafter(model.conv.bias[0], torch.tensor(9.0))
    assert capture(model, tmp_path / "one", tmp_path / "three").digest != first.digest


def test_a_file_is_not_replaced_without_being_told_to(model, tmp_path):
    capture(model, INPUTS, tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"run\.safetensors: there is a file of that name"):
        capture(model, INPUTS, tmp_path / "run")
    capture(model, INPUTS, tmp_path / "run", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.safetensors"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), "expected a capture, received No such file"),
        (lambda folder: (folder / "run.json").write_text("{"), "expected a capture, received no JSON"),
        (
            lambda folder: (folder / "run.json").write_text('{"format": 7}'),
            "a capture of format 2, received 7",
        ),
        (lambda folder: (folder / "run.json").write_text('{"format": 2}'), "damaged: KeyError: 'arrays'"),
        (
            lambda folder: (folder / "run.safetensors").write_bytes(b"nothing of the kind"),
            "not a whole safetensors file",
        ),
    ],
)
def test_a_damaged_capture_is_named(change, message, model, tmp_path):
    capture(model, INPUTS, tmp_path / "run")
    change(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read_capture(tmp_path / "run")


def test_a_model_that_does_not_run_says_where(model, tmp_path):
    with pytest.raises(ParityError, match="runs with these inputs in float64: RuntimeError in conv: "):
        capture(model, {"x": torch.ones(2, 3, 5, 7), "scale": torch.ones(1)}, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_modes_and_steps_are_checked(model, tmp_path):
    with pytest.raises(ValueError, match="received mode='eval' and steps=3"):
        capture(model, INPUTS, tmp_path / "run", steps=3)


def test_no_other_framework_is_needed(tmp_path):
    statement = (
        "import torch; from einops_arch.parity import capture, read_capture;"
        f"capture(torch.nn.Linear(3, 2), torch.ones(4, 3), {str(tmp_path / 'run')!r}, gradients=True);"
        f"assert read_capture({str(tmp_path / 'run')!r}).framework == 'torch'"
    )
    names, error = run(statement, blocked=("jax", "flax", "ml_dtypes"))
    assert error is None, error
    assert "torch" in names
