"""Every block of Python in the pages and in the README runs, and an architecture needs no edit to get its page."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import types
from pathlib import Path

import pytest
from code_blocks import run_page
from safetensors.torch import save_file

from einops_arch import architectures
from einops_arch.torch import ConvNet

ROOT = Path(__file__).resolve().parent.parent
# The files that this page shows are in no checkout: test_parity_recipe.py runs it where they are.
RECIPE = ROOT / "docs" / "guides" / "add-an-architecture.md"
# Whole trainings, and what the README shows too: `nox -s docs` runs them and sets the variable.
LONG = {ROOT / "docs" / "index.md", *(ROOT / "docs" / "cookbook").glob("*.md")}
LEFT_OUT = {RECIPE, *(set() if os.environ.get("EINOPS_ARCH_COOKBOOK") else LONG)}
README = ROOT / "README.md"
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page not in LEFT_OUT)
WEIGHTS = {"quickstart.md": ["weights.safetensors"]}


MADE = ("nets", "unet", "unet_flax", "llama", "llama_flax")


@pytest.fixture(scope="module")
def pages():
    """The module that writes the pages of the architectures; its neighbours can be imported, as mkdocs has it."""
    sys.path.insert(0, str(ROOT / "docs/hooks"))
    spec = importlib.util.spec_from_file_location("architecture_pages", ROOT / "docs/hooks/architecture_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "docs/hooks"))
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, from which modules can be imported; those that pages write are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in MADE:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def blocks(page):
    return re.findall(r"^\s*```(?:python|pycon)$", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_the_code_of_a_page_runs(page, folder):
    # A plain file, as users have it: nothing in it says which network it is.
    for name in WEIGHTS.get(page.name, ()):
        save_file(ConvNet().state_dict(), name)
    assert run_page(page, commands=page in LONG) == len(blocks(page))


def test_every_line_of_the_readme_runs_and_prints_what_it_shows(folder):
    text = README.read_text(encoding="utf-8")
    assert run_page(README, commands=True) == len(blocks(README))
    written = (folder / "unet.py").read_text(encoding="utf-8")
    assert written.partition("class UNet")[2].strip() in text
    # The two commands make environments, which is what CI does with them; here: there are such sessions.
    sessions = re.findall(r'^@nox.session\(name="([\w-]+)|^def (\w+)', (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    for line in re.findall(r"nox -s ([\w -]+)", text):
        assert set(line.split()) <= {name for pair in sessions for name in pair}


def _page(folder, text):
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_blocks_run_in_order_in_one_namespace(tmp_path):
    text = "```python\nx = 2\n```\n\n- item\n\n    ```python\n    x += 1\n    ```\n\n```pycon\n>>> x\n3\n```\n"
    assert run_page(_page(tmp_path, text)) == 3


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        ("```python\n1 / 0\n```", ZeroDivisionError, "division by zero"),
        ("```pycon\n>>> 1 / 4\n0.26\n```", AssertionError, "did not evaluate as expected"),
        ("```python hl_lines='1'\n1 / 0\n```", ValueError, "expected blocks of 'python' or 'pycon'"),
        ("```py\n1 / 0\n```", ValueError, "expected blocks of 'python' or 'pycon', received 'py'"),
        ("```pycon\n1 / 0\n```", ValueError, "without '>>>'"),
    ],
)
def test_a_block_that_is_wrong_fails(block, error, message, tmp_path):
    with pytest.raises(error, match=message):
        run_page(_page(tmp_path, block))


def test_an_architecture_gets_its_page_from_the_registry(pages, monkeypatch):
    monkeypatch.setitem(architectures._REGISTRY, "another", architectures.ConvNetConfig)
    for framework in ("torch", "flax"):
        twin = importlib.import_module(f"einops_arch.{framework}.convnet")
        monkeypatch.setitem(sys.modules, f"einops_arch.{framework}.another", twin)
    config = types.SimpleNamespace(nav=[{"Home": "index.md"}, {"Architectures": ["architectures/index.md"]}])

    assert pages.on_config(config).nav[1]["Architectures"][-1] == {"another": "architectures/another.md"}
    assert "[another](another.md)" in pages.table()
    page = pages.write("another", f"## Before\n\n{pages.TWINS}\n\n## After\n")
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert headings == [
        "Sizes",
        "Before",
        "The twins",
        "The patterns",
        "After",
        "The parity report",
        "The config",
        "The parameters",
        "Reference",
    ]
    for text in (
        "self.config.check_inputs(image, channels_last=True)",
        "| `conv1.weight` | `3 2 3 3` | `conv1.kernel` | `3 3 2 3` | `o i *k -> *k i o` |",
        "| `hidden` | features between the linear layers. | `50` |",
        "::: einops_arch.flax.another.ConvNet",
        "| `mnist` | 21,840 | 480 k |",
        "`b c h w -> b (c h w)`; in Flax `b h w c -> b (c h w)`: `flatten`",
        "| `conv1` | Conv2d | Conv | `2 3 15 10` |",
    ):
        assert text in page
