"""backends/ is data, every environment is well formed, and the wheel holds the package and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import environments
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ROOT / "backends"
PINNED = ["bench-cpu", "jax-cpu", "jax-cuda", "numpy", "oracles-cpu", "parity-cpu", "parity-cuda"]
PINNED += ["torch-cpu", "torch-cuda"]
NAMES = sorted([*PINNED, "newest-cpu", "oldest-cpu"])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
GROUP = {Requirement(line).name for line in PYPROJECT["dependency-groups"]["test"]}


def requirements(name: str) -> dict[str, Requirement]:
    lines = (BACKENDS / name / "requirements.txt").read_text(encoding="utf-8").splitlines()
    parsed = {}
    for line in lines:
        if line.startswith("-r "):
            parsed |= requirements(line.removeprefix("-r ../").removesuffix("/requirements.txt"))
        elif line and not line.startswith("#"):
            each = Requirement(line)
            parsed[canonicalize_name(each.name)] = each
    return parsed


def pin(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is no exact pin"
    return specifier.version


def ranges(extras: tuple[str, ...]) -> list[Requirement]:
    """What the package with these extras, and the test group, ask for."""
    todo, found = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["test"]], []
    todo += [line for extra in extras for line in EXTRAS[extra]]
    for line in todo:
        requirement = Requirement(line)
        if requirement.name == "einops-arch":
            todo += [each for extra in requirement.extras for each in EXTRAS[extra]]
        else:
            found.append(requirement)
    return found


def test_backends_is_data_only():
    files = {path.relative_to(BACKENDS) for path in BACKENDS.rglob("*") if path.is_file()}
    files = {path for path in files if "__pycache__" not in path.parts}
    assert {path.name for path in files} == {"README.md", "requirements.txt", "env.toml", "notes.md"}
    assert sorted({path.parts[0] for path in files if len(path.parts) > 1}) == NAMES
    first_line = (BACKENDS / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith("Data only, never imported")
    assert "einops_arch/" in first_line


def test_nothing_imports_backends():
    code = [*ROOT.glob("*.py"), *(ROOT / "einops_arch").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    pattern = re.compile(r"^\s*(import|from)\s+backends\b", re.MULTILINE)
    assert len(code) > 5
    assert [path.name for path in code if pattern.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_is_well_formed(name):
    environment = environments.read(name)
    kind, _, device = name.partition("-")
    assert environment.device == (device or "cpu")
    assert set(environment.extras) <= set(EXTRAS)
    assert set(environment.prefixes) <= {"core", "torch", "flax", "parity", "oracles", "bench"}
    assert set(environment.frameworks).isdisjoint(environment.absent)
    assert all(isinstance(value, str) for value in environment.variables.values())
    exact = "jax" in environment.frameworks and kind != "bench"  # what users run is measured, and that is float32
    assert environment.variables.get("JAX_ENABLE_X64") == ("1" if exact else None)
    assert ("notes.md" in {path.name for path in (BACKENDS / name).iterdir()}) == (device == "cuda")
    frameworks = {"torch", "jax", "flax"}
    assert frameworks == set(environment.frameworks) - {"numpy"} | (frameworks & set(environment.absent))
    assert kind in {"numpy", "torch", "jax", "parity", "oracles", "bench", "newest", "oldest"}


@pytest.mark.parametrize("name", NAMES)
def test_a_known_failure_names_a_test_and_says_why(name):
    for failure in environments.read(name).known_failures:
        file, function = re.fullmatch(r"(tests/test_\w+\.py)::(\w+)(\[.*\])?", failure.test).group(1, 2)
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")
        assert failure.reason
        assert failure.link.startswith("https://")


@pytest.mark.parametrize("name", PINNED)
def test_every_range_of_the_package_is_pinned_inside_the_range(name):
    pins = requirements(name)
    for wanted in ranges(environments.read(name).extras):
        given = pins[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(pin(given)), f"{given} is outside {wanted}"


def test_all_environments_pin_the_same_versions():
    versions: dict[str, set[str]] = {}
    for name in PINNED:
        for project, requirement in requirements(name).items():
            versions.setdefault(project, set()).add(pin(requirement))
    assert {project: found for project, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("kind", ["torch", "jax", "parity"])
def test_cpu_and_cuda_differ_in_the_build_only(kind):
    assert requirements(f"{kind}-cpu").keys() == requirements(f"{kind}-cuda").keys()


def test_the_newest_versions_are_not_pinned():
    assert all(not requirement.specifier for requirement in requirements("newest-cpu").values())


def test_the_oldest_versions_are_the_floors_of_the_package():
    pins = requirements("oldest-cpu")
    floors = {
        canonicalize_name(wanted.name): wanted.specifier
        for wanted in ranges(environments.read("oldest-cpu").extras)
        if wanted.name not in GROUP
    }
    assert floors
    for project, floor in floors.items():
        (lowest,) = floor
        assert lowest.operator == ">="
        assert Version(lowest.version) == Version(pin(pins[project])), project


def test_absent_frameworks_are_not_pinned():
    for name in NAMES:
        assert requirements(name).keys().isdisjoint(environments.read(name).absent)


def test_base_dependencies_are_einops_and_numpy():
    assert {Requirement(line).name for line in PYPROJECT["project"]["dependencies"]} == {"einops", "numpy"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    version = wheel.name.split("-")[1]
    assert {name.partition("/")[0] for name in names} == {"einops_arch", f"einops_arch-{version}.dist-info"}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "einops_arch").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert "einops_arch/py.typed" in names
    assert f"einops_arch-{version}.dist-info/licenses/LICENSE" in names


def test_the_sdist_holds_what_the_tests_need(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("noxfile.py", "pyproject.toml", "backends/numpy/env.toml", "tests/conftest.py", "LICENSE"):
        assert needed in names
    assert {name.partition("/")[0] for name in names if "/" in name} <= {
        "einops_arch",
        "backends",
        "benchmarks",
        "docs",
        "tests",
    }
