"""The command line where its extra, or a framework, is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from einops_arch.cli import main

_BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from einops_arch.cli import main
sys.exit(main({arguments!r}))
"""


def command(*arguments, blocked=()):
    program = _BLOCKED.format(blocked=tuple(blocked), arguments=list(arguments))
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("arguments", [["list"], ["--version"], []])
def test_a_missing_extra_is_one_sentence(arguments):
    done = command(*arguments, blocked=["typer"])
    assert done.stderr == (
        'error: the command line needs typer, which is not installed; likely fix: pip install "einops-arch[cli]"\n'
    )
    assert (done.returncode, done.stdout) == (2, "")


def test_everything_missing_is_named():
    done = command("list", blocked=["typer", "rich"])
    assert done.stderr == (
        "error: the command line needs typer and rich, which are not installed; "
        'likely fix: pip install "einops-arch[cli]"\n'
    )


def test_main_gives_an_exit_code_and_raises_nothing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main(["list"]) == 2
    assert capsys.readouterr().err.startswith("error: the command line needs typer")
