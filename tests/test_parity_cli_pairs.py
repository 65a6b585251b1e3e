"""The commands about models of one's own: verify --against, capture, mutate."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
import rich.status
from typer.testing import CliRunner

from einops_arch.cli import output
from einops_arch.cli.app import app
from einops_arch.cli.declarations.examples import EXAMPLES

MODELS = """
import torch
from flax import nnx


class Stem(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = torch.nn.GroupNorm(2, 4)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class FlaxStem(nnx.Module):
    def __init__(self, rngs, padding=((1, 1), (1, 1))):
        self.conv = nnx.Conv(2, 4, (3, 3), strides=2, padding=padding, rngs=rngs)
        self.norm = nnx.GroupNorm(4, num_groups=2, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x)))


def same():
    return FlaxStem(nnx.Rngs(0), padding="SAME")
"""
SIZES = ("--input", "b c h w=2,2,6,8")
AGAINST = ("--against", "models_of_mine:FlaxStem")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def refused(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.removesuffix("\n")


@pytest.fixture(autouse=True)
def _models(tmp_path, monkeypatch):
    (tmp_path / "models_of_mine.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # The module that another test has imported is in another folder.
    monkeypatch.delitem(__import__("sys").modules, "models_of_mine", raising=False)


def test_two_models_of_ones_own_are_compared_and_the_page_is_written(tmp_path):
    result = invoke(
        "verify",
        "models_of_mine:Stem",
        "--against",
        "models_of_mine:FlaxStem",
        *SIZES,
        "--randomize",
        "--report",
        "r.html",
    )
    assert result.exit_code == 0, result.output
    assert "eval mode: same function" in result.stdout
    assert "train mode: same function" in result.stdout
    page = (tmp_path / "r.html").read_text()
    assert page.count("models_of_mine:Stem and models_of_mine:FlaxStem</p>") == 2


def test_a_difference_has_its_cause_and_exit_code_1():
    np.save("images.npy", np.random.default_rng(0).normal(size=(2, 2, 6, 8)).astype("float32"))
    arguments = ("verify", "models_of_mine:Stem", "--against", "models_of_mine:same()", "--mode", "eval", "--transfer")
    result = invoke(*arguments, "--input", "b c h w=images.npy", "--json")
    assert result.exit_code == 1
    (report,) = json.loads(result.stdout)["reports"]
    assert report["first_divergence"] == "conv"
    assert "padding" in report["cause"]


def test_probes_show_what_the_input_hides():
    """In a padding of SAME there is nothing wrong where sizes are odd."""
    odd = ("--input", "b c h w=2,2,7,9", "--mode", "eval", "--no-gradients", "--transfer", "--json")
    arguments = ("verify", "models_of_mine:Stem", "--against", "models_of_mine:same()", *odd)
    assert invoke(*arguments).exit_code == 0
    result = invoke(*arguments, "--probes")
    assert result.exit_code == 1
    (report,) = json.loads(result.stdout)["reports"]
    assert report["first_divergence"] == "sizes one smaller"
    detail = next(row["detail"] for row in report["probes"] if row["path"] == "sizes one smaller")
    assert "conv: would be explained by padding=((1, 1), (1, 1)), the Flax module has 'SAME'" in detail


def test_a_capture_is_verified_against_a_model_and_another_capture():
    made = invoke("capture", "models_of_mine:Stem", "torch", *SIZES, "--gradients", "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["files"] == ["torch.safetensors", "torch.json"]
    assert invoke("capture", "models_of_mine:same()", "flax", "--like", "torch").exit_code == 0
    for against in ("models_of_mine:same()", "flax.json"):
        result = invoke("verify", "torch", "--against", against)
        assert result.exit_code == 1, result.output
        assert "eval mode: semantic difference; first divergence at conv" in result.stdout
        assert "the weights are not the same bit for bit" in result.stdout


ON_A_TERMINAL = {"FORCE_COLOR": "1", "COLUMNS": "300", "TERM": "xterm"}


def test_what_is_being_done_is_said_on_a_terminal(monkeypatch):
    """And neither in a pipe, nor beside JSON."""
    monkeypatch.setattr(output, "_DELAY", 0.0)
    said = []

    class Status(rich.status.Status):
        def update(self, status=None, **keywords):
            said.append(status)
            super().update(status, **keywords)

    monkeypatch.setattr(rich.status, "Status", Status)
    arguments = ("verify", "models_of_mine:Stem", "--against", "models_of_mine:same()", "--mode", "eval", *SIZES)
    shown = CliRunner().invoke(app, [*arguments, "--transfer"], env=ON_A_TERMINAL)
    assert shown.exit_code == 1, shown.output
    assert "Comparing models_of_mine:Stem with models_of_mine:same()" in shown.stderr
    assert [one.partition("(): ")[2] for one in said][:4] == [
        "PyTorch in float64 ...",
        "Flax in float64 ...",
        "PyTorch in float32 ...",
        "Flax in float32 ...",
    ]
    assert any(one.partition("(): ")[2].startswith("cause 1 of conv: ") for one in said)
    assert CliRunner().invoke(app, [*arguments, "--transfer", "--json"], env=ON_A_TERMINAL).stderr == ""
    assert invoke(*arguments, "--transfer").stderr == ""


def test_every_fault_in_a_twin_is_caught():
    result = invoke(*shlex.split(EXAMPLES["mutate"][0])[1:], "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["all_caught"]
    assert len(found["mutants"]) > 2


def test_faults_are_put_in_without_x64_and_without_warnings():
    """And where one fault is none, because there is one colour, it is left out."""
    done = subprocess.run(
        [sys.executable, "-m", "einops_arch", "mutate", "super_resolution"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_ENABLE_X64": "0"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 of 5 faults were caught and located" in done.stdout
    assert "depth-to-space" not in done.stdout


def test_wrong_usage_is_one_message():
    assert refused("verify", "models_of_mine:Stem", *AGAINST) == (
        "error: expected --input for a model of one's own, such as --input 'b c h w=2,3,32,32'"
    )
    assert refused("verify", "convnet", *SIZES) == (
        "error: verify: --input, --layout, --path, --state, --key, --transfer, --randomize, --lift-casts go with two "
        "models, as nets:Net flax_nets:Net"
    )
    assert refused("verify", "convnet", "vgg16_features", *AGAINST).startswith("error: verify: expected one model and")
    assert refused("capture", "models_of_mine:Stem", "out") == (
        "error: capture: expected --input or --like, received neither"
    )
    assert "expected axes and as many sizes" in refused("verify", "models_of_mine:Stem", *AGAINST, "-i", "b c=2")
    assert "--layout: expected PATH=..., received 'conv'" in refused(
        "verify", "models_of_mine:Stem", *AGAINST, *SIZES, "--layout", "conv"
    )
    invoke("capture", "models_of_mine:Stem", "out", *SIZES)
    assert refused("capture", "models_of_mine:Stem", "out", *SIZES).endswith("a file of that name; likely fix: --force")
    assert "a capture has its weights and inputs" in refused("verify", "out", *AGAINST, "--transfer")
