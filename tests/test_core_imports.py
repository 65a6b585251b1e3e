"""What importing the framework-free parts loads, and what a missing framework says."""

from __future__ import annotations

import sys

import pytest
from imports import lay_traps, loaded, run

FRAMEWORKS = ("torch", "jax", "flax")


@pytest.fixture
def traps(tmp_path):
    return lay_traps(tmp_path, *FRAMEWORKS)


@pytest.mark.parametrize("statement", ["import einops_arch", "import einops_arch.functional, einops_arch.errors"])
def test_the_package_loads_nothing_that_einops_does_not(statement):
    extra = loaded(statement) - loaded("import einops") - sys.stdlib_module_names
    assert extra == {"einops_arch"}


@pytest.mark.parametrize(
    "statement",
    [
        "import einops_arch",
        "walk('einops_arch.functional')",
        "walk('einops_arch.architectures')",
        "import einops_arch.port",
        "walk('einops_arch.layouts')",
        "import einops_arch.cli",
    ],
)
def test_no_framework_is_loaded(statement, traps):
    assert loaded(statement, path=traps).isdisjoint(FRAMEWORKS)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_probe_notices_a_framework(framework, traps, tmp_path):
    (tmp_path / "innocent.py").write_text(f"import {framework}")
    assert loaded("import einops_arch, innocent", path=traps).intersection(FRAMEWORKS) == {framework}


def test_the_probe_looks_into_every_module_of_a_package(traps, tmp_path):
    (tmp_path / "parcel").mkdir()
    (tmp_path / "parcel" / "__init__.py").write_text("")
    (tmp_path / "parcel" / "inner.py").write_text("def f(): import torch\nimport jax")
    assert loaded("import parcel", path=traps).isdisjoint(FRAMEWORKS)
    assert loaded("walk('parcel')", path=traps).intersection(FRAMEWORKS) == {"jax"}
    assert loaded("walk('parcel', leave_out=['parcel.inner'])", path=traps).isdisjoint(FRAMEWORKS)


@pytest.mark.parametrize(
    ("module", "message", "extra"),
    [
        (
            "einops_arch.torch",
            "einops_arch.torch needs torch, which is not installed",
            "torch",
        ),
        (
            "einops_arch.flax",
            "einops_arch.flax needs jax and flax, which are not installed",
            "flax",
        ),
    ],
)
def test_a_missing_framework_names_the_extra(module, message, extra):
    _, error = run(f"import {module}", blocked=FRAMEWORKS)
    message = f'{message}; likely fix: pip install "einops-arch[{extra}]"'
    assert error == ["MissingFrameworkError", message]


def test_only_what_is_missing_is_named(traps):
    _, error = run("import einops_arch.flax", blocked=("flax",), path=traps)
    assert error == [
        "MissingFrameworkError",
        'einops_arch.flax needs flax, which is not installed; likely fix: pip install "einops-arch[flax]"',
    ]


def test_three_missing_modules_read_as_a_sentence():
    statement = "from einops_arch._frameworks import require; require('torch', 'jax', 'flax', extra='all', by='X')"
    _, error = run(statement, blocked=FRAMEWORKS)
    assert error == [
        "MissingFrameworkError",
        'X needs torch, jax and flax, which are not installed; likely fix: pip install "einops-arch[all]"',
    ]


def test_a_broken_framework_raises_its_own_error(tmp_path):
    (tmp_path / "torch.py").write_text("import a_library_that_torch_needs")
    _, error = run("import einops_arch.torch", path=tmp_path)
    assert error == ["ModuleNotFoundError", "No module named 'a_library_that_torch_needs'"]
