"""A search for causes that takes long is told on a terminal, and nowhere else."""

from __future__ import annotations

import io
import json
import sys
import threading

import pytest
import torch
from flax import nnx
from typer.testing import CliRunner

from einops_arch.cli.app import app
from einops_arch.parity import compare, waiting
from einops_arch.port import transfer


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def pair():
    """A norm whose eps differs."""
    torch_model, flax_model = torch.nn.LayerNorm(6), nnx.LayerNorm(6, epsilon=1e-2, rngs=nnx.Rngs(0))
    transfer(torch_model, flax_model)
    return torch_model, flax_model


def stderr_of(pair, monkeypatch, stream, **options):
    """What a comparison writes to stderr, and what a terminal shows in the end."""
    monkeypatch.setattr(sys, "stderr", stream)
    report = compare(*pair, torch.randn(5, 6), axes="b c", **options)
    assert not report.passed
    monkeypatch.undo()
    return stream.getvalue()


def test_the_line_says_what_is_tried_and_goes_in_the_end(pair, monkeypatch):
    monkeypatch.setattr(waiting, "_DELAY", 0)
    threads = threading.active_count()
    monkeypatch.setenv("COLUMNS", "60")
    text = stderr_of(pair, monkeypatch, Terminal())
    lines = [line.strip() for line in text.split("\r")]
    assert lines[0] == ""
    assert any(line.startswith("looking for the cause: cause ") for line in lines), lines
    assert max(map(len, text.split("\r"))) == 59
    assert lines[-2:] == ["", ""]  # written over with blanks, and the cursor at the beginning
    assert "\n" not in text
    assert threading.active_count() == threads


def test_nothing_is_said_before_some_seconds_have_gone(pair, monkeypatch):
    assert waiting._DELAY > 2
    assert stderr_of(pair, monkeypatch, Terminal()) == ""


@pytest.mark.parametrize("options", [{"progress": lambda text: None}, {"causes": False}, {}])
def test_nothing_is_said_elsewhere(options, pair, monkeypatch):
    """Not where the caller has a function for it, not where no cause is looked for, and not in a pipe."""
    monkeypatch.setattr(waiting, "_DELAY", 0)
    assert stderr_of(pair, monkeypatch, Terminal() if options else io.StringIO(), **options) == ""


def test_a_line_does_not_write_what_a_name_has_of_controls(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    line = waiting._Line("looking")
    line.begin()
    line.update("at \x1b[2J\n")
    assert "\x1b" not in stream.getvalue()
    assert r"at \x1b[2J\n ..." in stream.getvalue()


def test_the_command_says_nothing_in_json(pair, monkeypatch, tmp_path):
    """It has a line of its own, which is quiet there."""
    monkeypatch.setattr(waiting, "_DELAY", 0)
    monkeypatch.setattr(waiting, "_is_terminal", lambda: True)
    (tmp_path / "normed.py").write_text(
        "import torch\nfrom flax import nnx\n\n\ndef torch_norm():\n    return torch.nn.LayerNorm(6)\n\n\n"
        "def flax_norm():\n    return nnx.LayerNorm(6, epsilon=1e-2, rngs=nnx.Rngs(0))\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["verify", "normed.py:torch_norm()", "normed.py:flax_norm()", "--input", "b c=5,6", "--randomize"]
    result = CliRunner().invoke(app, [*arguments, "--mode", "eval", "--json"])
    assert result.exit_code == 1, result.output
    assert result.stderr == ""
    assert json.loads(result.stdout)["passed"] is False
