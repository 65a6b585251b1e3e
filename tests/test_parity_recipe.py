"""The guide to adding an architecture, followed to the letter in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from code_blocks import files_of

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "guides" / "add-an-architecture.md"
REGISTRY = "einops_arch/architectures/__init__.py"
NAME = "patch_classifier"

# What the page says beside its commands: its other blocks, `list`, `show`, and the list of the benchmark.
LOOK = f"""
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from code_blocks import run_page
from einops_arch import architectures
from einops_arch.cli import main
from benchmarks import jax_networks, torch_networks
from benchmarks.networks import NETWORKS

assert run_page(Path("docs/guides/add-an-architecture.md")) >= 3
assert main(["show", "{NAME}"]) == 0
assert main(["list"]) == 0
assert "{NAME}" in {{network.name for network in NETWORKS}}
(case, *_) = (case for case in jax_networks.cases("cpu") if case.name == "{NAME}")
work = case.build()
assert work.same(work.ours(), next(iter(work.peers.values()))()) is None
"""


def run(folder, *command):
    arguments = [sys.executable, *command]
    result = subprocess.run(
        arguments, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


def _environment(folder):
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with what the guide says, and nothing else."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("einops_arch", "benchmarks", "tests", "docs", "backends", "pyproject.toml", "README.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.npz.tmp"))
        else:
            shutil.copy(ROOT / name, folder / name)
    files = files_of(GUIDE)
    assert list(files) == [f"einops_arch/{room}/{NAME}.py" for room in ("architectures", "torch", "flax")]
    for path, text in files.items():
        assert not (folder / path).exists()
        (folder / path).write_text(text, encoding="utf-8")
    (folder / REGISTRY).write_text(_registered((ROOT / REGISTRY).read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def _registered(source):
    """The registry with the two lines of the guide's difference."""
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    imported, entry = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    before, opening, after = source.partition("_REGISTRY: dict[str, type[Config]] = {\n")
    last = "from einops_arch.errors import"
    assert opening
    assert before.count(last) == 1
    inside, closing, rest = after.partition("}\n")
    return before.replace(last, f"{imported}\n{last}") + opening + inside + f"{entry}\n" + closing + rest


def test_the_commands_of_the_guide_run(copy):
    commands = re.findall(r"^python (\S+) (\S+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for _, name in commands} == {NAME}
    for script, name in commands:
        run(copy, script, name)
    assert (copy / "tests" / "golden" / f"{NAME}.tiny.npz").is_file()
    assert (copy / "docs" / "parity" / f"{NAME}.json").is_file()
    assert NAME in run(copy, "-c", LOOK)


def test_the_generic_tests_are_green_on_the_new_network(copy):
    files = [f"tests/test_{room}_architectures.py" for room in ("torch", "flax", "parity")]
    options = ("--backend", "parity", "-q", "-p", "no:cacheprovider", "-k", NAME)
    summary = run(copy, "-m", "pytest", *options, *files).splitlines()[-1]
    assert int(re.search(r"(\d+) passed", summary)[1]) > 20
    assert "failed" not in summary
