"""Imports run down the floors of the house, and in no circle; what is meant to be otherwise stands here by name."""

from __future__ import annotations

import fnmatch
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from arrows import Arrow, arrows, circles

from benchmarks import worker

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "einops_arch"

# What a process of the benchmark measures, by the name of the file.
SUITES = {f"benchmarks.{name}" for names in worker.SUITES.values() for name in names}

# From the ground up. A folder imports from the floors below its own.
FLOORS = (
    ("errors", "_version", "_text"),
    (),  # `_frameworks` and its like: private files that need no more than the errors
    ("functional", "layouts"),
    ("_layer_checks", "architectures", "checkpoints"),
    ("torch", "flax"),
    ("port",),
    ("discovery", "parity"),
    ("translation",),
    ("cli",),
    ("", "__main__"),  # the package itself, which hands on the cores, the errors and `discover`
)
FLOOR = {folder: number for number, floor in enumerate(FLOORS) for folder in floor}
BELOW_THE_GROUND = 1  # a private file beside the folders, such as `_frameworks`, that no floor names

# What imports upwards, and why: one importing module, the modules that it may reach, the reason.
MEANT = {
    ("einops_arch.architectures", "einops_arch.torch.*"): "the registry loads a network by its name",
    ("einops_arch.architectures", "einops_arch.flax.*"): "the registry loads a network by its name",
    ("einops_arch.checkpoints._models", "einops_arch.port.models.*"): "hands on load, save_pretrained, push_to_hub",
    ("einops_arch.torch._hub", "einops_arch.port.models.folder_torch"): "hands on from_pretrained",
    ("einops_arch.flax._hub", "einops_arch.port.models.folder_flax"): "hands on from_pretrained",
}


def folder(module: str) -> str:
    """The folder or file of the package that a module belongs to; empty for the package itself."""
    return [*module.split("."), ""][1]


def floor(name: str) -> int:
    return FLOOR.get(name, BELOW_THE_GROUND) if name.startswith("_") else FLOOR[name]


def is_meant(arrow: Arrow) -> bool:
    return any(arrow.source == source and fnmatch.fnmatch(arrow.target, target) for source, target in MEANT)


def upward(edges: Sequence[Arrow]) -> list[Arrow]:
    """The arrows that run up the floors."""
    return [arrow for arrow in edges if floor(folder(arrow.source)) < floor(folder(arrow.target))]


def both_ways(edges: Sequence[Arrow]) -> set[tuple[str, str]]:
    """Two folders of one floor that import each other."""
    pairs = {(folder(arrow.source), folder(arrow.target)) for arrow in edges}
    return {(a, b) for a, b in pairs if a < b and (b, a) in pairs and floor(a) == floor(b)}


@pytest.fixture(scope="module")
def edges():
    return [arrow for arrow in arrows(PACKAGE) if not is_meant(arrow)]


def test_every_folder_has_a_floor():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    files = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_")}
    assert folders | files <= set(FLOOR)


def test_imports_run_down_the_floors(edges):
    assert [str(arrow) for arrow in upward(edges)] == []


def test_two_folders_of_one_floor_import_one_way_only(edges):
    assert both_ways(edges) == set()


def test_no_files_import_each_other_in_a_circle(edges):
    assert circles(edges) == []


def test_the_benchmark_has_no_circle_either():
    edges = arrows(ROOT / "benchmarks")
    # The worker loads its suites by name, and nothing else.
    assert circles(arrow for arrow in edges if arrow.source != "benchmarks.worker" or arrow.target in SUITES) == []


def test_what_is_meant_is_still_there():
    """A name that no import needs any more goes from the list."""
    every = arrows(PACKAGE)
    for source, target in MEANT:
        assert any(arrow.source == source and fnmatch.fnmatch(arrow.target, target) for arrow in every), source


WAYS = {
    "at the top": "from einops_arch.port import transfer",
    "in a function": "def f():\n    from einops_arch.port.transfer import transfer",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import einops_arch.port.transfer",
    "from the folder": "from einops_arch.port import transfer as t",
    "relative": "from ..port import transfer",
    "as a string": "import importlib\nimportlib.import_module('einops_arch.port.transfer')",
    "as one of two": "from importlib import import_module\nimport_module('os' if 1 else 'einops_arch.port.transfer')",
    "as an f-string": "import importlib\ndef f(x):\n    importlib.import_module(f'einops_arch.port.{x}')",
    "as two open parts": "import importlib\ndef f(x, y):\n    importlib.import_module(f'einops_arch.{y}.{x}')",
    "by the built-in": "__import__('einops_arch.port.transfer')",
}


@pytest.fixture
def house(tmp_path):
    """A small package with three floors, to build mistakes into."""

    def build(**files):
        for name, text in {"__init__": "", "torch/__init__": "", "port/__init__": "", "port/transfer": ""}.items():
            path = tmp_path / "einops_arch" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, text in files.items():
            (tmp_path / "einops_arch" / f"{name.replace('__', '/')}.py").write_text(textwrap.dedent(text))
        return arrows(tmp_path / "einops_arch")

    return build


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_an_arrow_up_is_noticed_however_it_is_written(text, house):
    reached = {arrow.target for arrow in upward(house(torch__network=text))}
    assert "einops_arch.port.transfer" in reached


def test_an_arrow_down_is_none_up(house):
    edges = house(port__load="from einops_arch.torch import network", torch__network="import os\nimport einops")
    assert [str(arrow) for arrow in edges] == ["einops_arch.port.load imports einops_arch.torch.network in line 1"]
    assert upward(edges) == []


def test_a_string_that_says_nothing_is_an_error(house):
    with pytest.raises(AssertionError, match=r"einops_arch.\*.elsewhere"):
        house(torch__network="import importlib\ndef f(x):\n    importlib.import_module(f'einops_arch.{x}.elsewhere')")


@pytest.mark.parametrize("length", [2, 3])
def test_a_circle_is_noticed(length, house):
    names = ["first", "second", "third"][:length]
    texts = {
        f"port__{name}": f"def f():\n    from einops_arch.port import {names[(n + 1) % length]}"
        for n, name in enumerate(names)
    }
    assert circles(house(**texts)) == [sorted(f"einops_arch.port.{name}" for name in names)]


def test_a_line_of_imports_is_no_circle(house):
    texts = {"port__first": "import einops_arch.port.second", "port__second": "import einops_arch.port.third"}
    assert circles(house(**texts, port__third="")) == []


def test_folders_of_one_floor_that_import_each_other_are_noticed(house):
    (edge,) = house(torch__network="import einops_arch.port.transfer")
    there = Arrow("einops_arch.torch.a", "einops_arch.flax.b", 1)
    back = Arrow("einops_arch.flax.c", "einops_arch.torch", 2)
    assert both_ways([edge, there]) == set()
    assert both_ways([there, back]) == {("flax", "torch")}
