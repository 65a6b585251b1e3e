"""The script for a machine with a GPU works: on a CPU, with small sizes, every part whole."""

from __future__ import annotations

import json
import subprocess
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_part_runs_and_is_written_down(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--seconds", "900", "--out"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((tmp_path / "gpu.json").read_text())
    assert run["quick"]
    assert run["device"] == "cpu"
    assert [part["name"] for part in run["parts"]][:3] == ["ports", "parity", "lowering"]
    for part in run["parts"]:
        assert part["ended"] == "whole", part
        assert part["rows"], part
    translated = run["parts"][6]["rows"][0]
    assert translated["difference"] < 1e-5, translated
    page = (tmp_path / "gpu.html").read_text()
    assert all(escape(part["what"]) in page for part in run["parts"])
    # What was not timed on a GPU has no verdict.
    assert all(row["holds"] is None for part in run["parts"][3:7] for row in part["rows"])


def test_time_that_is_over_is_said(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--seconds", "1", "--out"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not begun" in done.stdout
    run = json.loads((tmp_path / "gpu.json").read_text())
    assert {part["ended"] for part in run["parts"]} == {"not begun: no time was left"}
