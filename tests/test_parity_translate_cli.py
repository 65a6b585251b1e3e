"""The command `translate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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
