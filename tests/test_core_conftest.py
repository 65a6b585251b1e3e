"""What tests/conftest.py promises, on a small project: nothing is skipped, known failures are strict."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import environments
import pytest
import selection

ROOT = Path(__file__).resolve().parent.parent
ENTRY = '{ test = "tests/test_core_a.py::test_known", reason = "a bug elsewhere", link = "https://a.b/1" }'


@pytest.fixture
def project(tmp_path):
    """A project with this one's conftest and environments, and its own tests."""
    (tmp_path / "tests").mkdir()
    for name in ("conftest.py", "environments.py", "selection.py", "array_backends.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    shutil.copytree(ROOT / "backends", tmp_path / "backends")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    return tmp_path


def run(project: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", *arguments],
        cwd=project,
        env=environment | {"CI": "true"} | variables,  # whole lines, however wide the terminal is
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_files_run_by_prefix_and_a_known_failure_is_strict(project):
    (project / "tests" / "test_core_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('fails', [True, False])\n"
        "def test_known(fails): assert not fails\n"
        "def test_known_too(): pass\n"
        "def test_backends(xp): assert xp.name == 'numpy'\n"
    )
    for prefix in ("torch", "flax", "parity"):
        (project / "tests" / f"test_{prefix}_a.py").write_text("raise RuntimeError('imported')\n")
    env = project / "backends" / "numpy" / "env.toml"
    env.write_text(env.read_text().replace("known_failures = []", f"known_failures = [{ENTRY}]"))

    code, output = run(project, "--backend", "numpy")
    assert code == 1
    assert "environment: numpy; device: cpu; numpy " in output
    assert "XFAIL tests/test_core_a.py::test_known[True] - a bug elsewhere (https://a.b/1)" in output
    assert "FAILED tests/test_core_a.py::test_known[False]" in output
    assert "[XPASS(strict)] a bug elsewhere" in output
    assert "1 failed, 2 passed, 1 xfailed" in output


def test_an_unknown_prefix_is_an_error(project):
    (project / "tests" / "test_cores.py").write_text("def test_a(): pass\n")
    code, output = run(project, "--backend", "numpy")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert (
        "test_cores.py: the prefix 'cores' is none of core, torch, flax, parity, oracles, bench;"
        " name the file test_<prefix>_<topic>.py"
    ) in output


def test_a_missing_framework_ends_the_run(project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    (folder / "torch.py").write_text("raise ImportError('no torch here')\n")
    (project / "tests" / "test_core_a.py").write_text("def test_a(): pass\n")
    code, output = run(project, "--backend", "torch", PYTHONPATH=str(folder))
    assert code == pytest.ExitCode.USAGE_ERROR
    assert (
        "torch-cpu needs torch, which cannot be imported (no torch here);"
        " install it, or say what is at hand with --backend numpy|torch|jax"
    ) in output
    assert "passed" not in output


def test_a_device_that_the_backend_has_not_ends_the_run(project):
    code, output = run(project, "--backend", "numpy", "--device", "cuda")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert ("--backend numpy has no device 'cuda'; leave out --device, or choose another backend") in output


@pytest.mark.parametrize(
    ("nodeid", "covered"),
    [("t.py::a", True), ("t.py::a[1-x]", True), ("t.py::a::b", True), ("t.py::ab", False), ("t.py", False)],
)
def test_a_known_failure_covers_a_test_and_its_cases(nodeid, covered):
    assert environments.KnownFailure("t.py::a", "r", "l").covers(nodeid) is covered


def test_all_is_the_union():
    union = environments.choose("all", "cpu")
    assert set(union.frameworks) == {"numpy", "torch", "jax", "flax"}
    assert set(union.prefixes) == {"core", "torch", "flax", "parity"}
    assert union.variables["JAX_ENABLE_X64"] == "1"


def imports(tree: ast.AST) -> set[str]:
    """The packages that a file imports, those inside functions as well."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name.partition(".")[0] for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
    return names


def test_no_test_imports_what_its_environment_must_not_have():
    absent = {
        kind: set(tomllib.loads((ROOT / "backends" / folder / "env.toml").read_text(encoding="utf-8"))["absent"])
        for kind, folder in [("core", "numpy"), ("torch", "torch-cpu"), ("flax", "jax-cpu"), ("parity", "parity-cpu")]
    }
    assert absent["parity"] >= {"torchvision", "timm", "transformers"}
    wrong = {
        path.name: sorted(imports(ast.parse(path.read_text(encoding="utf-8"))) & absent[kind])
        for kind in absent
        for path in sorted((ROOT / "tests").glob(f"test_{kind}_*.py"))
    }
    # Inside `if xp.name == "jax"`: the array backends that a test is run with are those of its environment.
    assert wrong.pop("test_core_functional.py") == ["jax"]
    assert not {name: packages for name, packages in wrong.items() if packages}


def test_no_test_is_skipped_for_want_of_a_package():
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py")}
    assert [name for name, text in texts.items() if "import" + "orskip(" in text] == []


def test_doctests_of_the_ground_import_no_framework():
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "einops_arch").rglob("*.py"))
        if selection.needs(path) == "core"
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s+(>>>|\.\.\.) (from|import) (einops_arch\.)?(torch|flax|jax|port|parity|discovery)\b", line)
    ]
    assert not wrong
