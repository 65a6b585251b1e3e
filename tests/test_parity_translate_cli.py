"""The command `translate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from einops_arch.cli.app import app

MODEL = """
import torch


class Net(torch.nn.Module):
    def __init__(self, branch=False):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.branch = branch

    def forward(self, x):
        x = torch.tanh(self.fc(x))
        return x * 2 if self.branch and x.sum() > 0 else x


def refused():
    return Net(branch=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net_to_translate.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_model_is_written_proved_and_its_weights_are_saved(folder: Path) -> None:
    arguments = ["translate", "net_to_translate:Net()", "--input", "b 4=2,4", "-o", "twin.py"]
    arguments += ["--weights", "twin.safetensors", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["verdict"] == "same function"
    assert answer["classes"] == {"Net": 1}
    assert "class Net(nnx.Module)" in (folder / "twin.py").read_text()
    assert (folder / "twin.safetensors").exists()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0
    assert "--force" in again.output + str(again.exception)


def test_a_model_that_branches_on_values_is_refused_and_nothing_is_written(folder: Path) -> None:
    arguments = ["translate", "net_to_translate:refused()", "--input", "b 4=2,4", "-o", "twin.py"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "net_to_translate.py:13" in result.stdout
    assert "__bool__" in result.stdout
    assert not (folder / "twin.py").exists()


def test_of_a_twin_that_differs_nothing_is_written_unless_that_is_asked_for(folder: Path) -> None:
    (folder / "halves.py").write_text(
        "import torch\nfrom flax import nnx\n\n\n"
        "class Half(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return 0.5 * x\n\n\n"
        "class FlaxHalf(nnx.Module):\n"
        "    def __init__(self, *, rngs):\n"
        "        pass\n\n"
        "    def __call__(self, x):\n"
        "        return 0.6 * x\n\n\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(4, 3), Half())\n"
    )
    arguments = ["translate", "halves:make()", "--input", "b 4=2,4", "-o", "twin.py"]
    arguments += ["--leaf", "halves:Half=halves:FlaxHalf"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "wrote      nothing, as the proof did not pass; --partial writes the file all the same" in result.stdout
    assert not (folder / "twin.py").exists()
    result = CliRunner().invoke(app, [*arguments, "--partial"])
    assert result.exit_code == 1
    assert "wrote      twin.py" in result.stdout
    assert "nothing" not in result.stdout
    assert "FlaxHalf(" in (folder / "twin.py").read_text()


def test_weights_are_written_without_another_library_and_tied_ones_under_each_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tied_to_translate.py").write_text(
        "import torch\n\n\n"
        "class Tied(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.embed = torch.nn.Embedding(5, 4)\n"
        "        self.head = torch.nn.Linear(4, 5, bias=False)\n"
        "        self.head.weight = self.embed.weight\n\n"
        "    def forward(self, x):\n"
        "        return self.head(self.embed(x))\n"
    )
    arguments = ["translate", "tied_to_translate:Tied()", "--input", "b t=2,3 int<5", "-o", "tied.py"]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "safetensors", None)
        without.setitem(sys.modules, "safetensors.numpy", None)
        result = CliRunner().invoke(app, [*arguments, "--weights", "tied.safetensors", "--test", "test_tied.py"])
    assert result.exit_code == 0, result.output
    assert "safetensors.numpy" not in (folder / "test_tied.py").read_text()
    tensors = load_file("tied.safetensors")
    assert sorted(tensors) == ["embed.weight", "head.weight"]
    assert (tensors["embed.weight"] == tensors["head.weight"]).all()


def test_the_state_of_a_training_checkpoint_is_loaded_first(folder: Path) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4)
    state = {"net.fc.weight": weight.half(), "net.fc.bias": torch.ones(3)}
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": []}, "net.ckpt")
    arguments = ["translate", "net_to_translate:Net()", "--input", "b 4=2,4", "-o", "net.py"]
    result = CliRunner().invoke(app, [*arguments, "--state", "net.ckpt", "--weights", "net.safetensors"])
    assert result.exit_code == 0, result.output
    tensors = load_file("net.safetensors")
    assert tensors["fc.weight"].dtype == np.float32
    assert (tensors["fc.weight"] == weight.half().float().numpy()).all()
    torch.save({"net.fc.weight": weight}, "half.ckpt")
    result = CliRunner().invoke(app, [*arguments, "--state", "half.ckpt", "--force"])
    assert result.exit_code == 2
    assert "fc.bias: missing" in result.output
