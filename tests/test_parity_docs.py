"""Every block of Python in the pages and in the README runs, and an architecture needs no edit to get its page."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import typer
from code_blocks import command_lines, run_page
from safetensors.torch import save_file

import einops_arch
from einops_arch import architectures
from einops_arch.cli.app import app
from einops_arch.flax import functional, layers
from einops_arch.torch import ConvNet

ROOT = Path(__file__).resolve().parent.parent
# The files that this page shows are in no checkout: test_parity_recipe.py runs it where they are.
RECIPE = ROOT / "docs" / "guides" / "add-an-architecture.md"
# Whole trainings, and what the README shows too: `nox -s docs` runs them and sets the variable.
LONG = {ROOT / "docs" / "index.md", *(ROOT / "docs" / "cookbook").glob("*.md")}
LEFT_OUT = {RECIPE, *(set() if os.environ.get("EINOPS_ARCH_COOKBOOK") else LONG)}
README = ROOT / "README.md"
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page not in LEFT_OUT)
# `nox -s demo` runs the one; test_oracles_translate.py the other, which needs torchvision and transformers.
ELSEWHERE = {"quickstart.md": {"demo"}, "translate-a-model.md": {"translate"}}
MADE = ("nets", "unet", "unet_flax", "llama", "llama_flax", "old_layers", "models")


def hook(name):
    """A module that writes pages; its neighbours can be imported, as mkdocs has it."""
    sys.path.insert(0, str(ROOT / "docs/hooks"))
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/hooks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "docs/hooks"))
    return module


@pytest.fixture(scope="module")
def pages():
    """The module that writes the pages of the architectures."""
    return hook("architecture_pages")


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
    if page.name == "quickstart.md":  # A plain file, as users have it: nothing in it says which network it is.
        save_file(ConvNet().state_dict(), "weights.safetensors")
    if page.name == "prove-that-they-agree.md":  # What the page calls models.py: its two classes.
        first = re.search(r"^```python\n(.*?)^ours, theirs", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        Path("models.py").write_text(first[1], encoding="utf-8")
    assert run_page(page, elsewhere=ELSEWHERE.get(page.name, ())) == len(blocks(page))


def test_every_line_of_the_readme_runs_and_prints_what_it_shows(folder):
    text = README.read_text(encoding="utf-8")
    assert run_page(README) == len(blocks(README))
    written = (folder / "unet.py").read_text(encoding="utf-8")
    assert written.partition("class UNet")[2].strip() in text
    # The two commands make environments, which is what CI does with them; here: there are such sessions.
    sessions = re.findall(r'^@nox.session\(name="([\w-]+)|^def (\w+)', (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    for line in re.findall(r"nox -s ([\w -]+)", text):
        assert set(line.split()) <= {name for pair in sessions for name in pair}


LINES = [(path, line) for path in (README, *(ROOT / "docs").rglob("*.md")) for line in command_lines(path)]


def test_every_command_of_a_page_has_its_options():
    """Those too that need weights of the hub, or a package of the reader's."""
    assert len(LINES) > 25
    group = typer.main.get_command(app)
    for path, line in LINES:
        program, name, *arguments = shlex.split(line.partition(" > ")[0], comments=True)
        assert (program, name in group.commands) == ("einops-arch", True), f"{path.name}: {line}"
        command = group.commands[name]
        with command.make_context(name, arguments, parent=group.make_context("einops-arch", [name])) as context:
            assert context.params, f"{path.name}: {line}"


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


def test_every_flax_layer_and_function_has_one_place_in_the_reference():
    written = [hook("layer_pages").shown(path.read_text()) for path in sorted((ROOT / "docs/api").glob("flax*.md"))]
    places = re.findall(r"^::: einops_arch\.flax\.(\w+\.\w+)$", "\n".join(written), re.MULTILINE)
    expected = [
        f"{module.__name__.rpartition('.')[2]}.{name}" for module in (layers, functional) for name in module.__all__
    ]
    assert sorted(places) == sorted(expected)


def test_the_reference_of_the_command_line_has_every_command_and_option():
    text = hook("command_pages").commands()
    for name, command in typer.main.get_command(app).commands.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert f"$ einops-arch {name}" in section
        assert "\n| argument or option | what it is |\n|---|---|\n| `" in section
        assert section.count("\n| `") == len(command.params)
        for option in (name for parameter in command.params for name in parameter.opts if name.startswith("--")):
            assert option in section


def test_numbers_of_arxiv_become_links_but_not_in_code_or_twice():
    linked = hook("page_links").linked
    link = '<a href="https://arxiv.org/abs/1707.01083">arXiv:1707.01083</a>'
    assert linked("<p>see arXiv:1707.01083, Table 1</p>") == f"<p>see {link}, Table 1</p>"
    for text in ("<code>arXiv:1707.01083</code>", f"<p>{link}</p>", "<pre><span>arXiv:1707.01083</span></pre>"):
        assert linked(text) == text


def test_links_to_the_source_are_left_out_while_there_is_no_address():
    features = ["content.action.edit", "content.code.copy"]
    for url, left in (("", features[1:]), ("https://example.org/x", features)):
        config = types.SimpleNamespace(
            repo_url=url, edit_uri="edit/main/docs/", extra={}, theme={"features": [*features]}
        )
        hook("page_links").on_config(config)
        assert config.theme["features"] == left
        assert (config.edit_uri is None) == (not url)
        assert einops_arch.__version__ in config.copyright


def test_the_home_page_has_the_numbers_that_are_stored():
    text = hook("home_page").numbers()
    models = json.loads((ROOT / "docs/translate/coverage.json").read_text())["models"]
    same = sum(model["verdict"] == "same function" for model in models)
    assert f"| {same} of {len(models)} |" in text
    stored = json.loads((ROOT / "docs/coverage/layers.json").read_text())
    assert f"| {stored['whole']} of {stored['models']} |" in text


def test_links_that_lead_nowhere_are_seen(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">x</a><a href="c.html">y</a><a href="https://x.org">z</a>')
    (tmp_path / "b.html").write_text('<h1 id="there"></h1><a href="a.html">x</a><a href="#there">y</a>')
    assert list(hook("look").broken_links(tmp_path)) == [
        "a.html: b.html#here: the page has no such place",
        "a.html: c.html: there is no such file",
    ]


def test_pages_of_the_layers_that_are_too_heavy_are_seen(tmp_path):
    look = hook("look")
    (tmp_path / "api").mkdir()
    for name, size in (("flax-norms", look.HEAVIEST), ("flax-space", look.HEAVIEST + 1), ("port", 2 * look.HEAVIEST)):
        (tmp_path / "api" / f"{name}.html").write_text("x" * size)
    assert list(look.heavy_pages(tmp_path)) == ["api/flax-space.html: expected at most 120,000 bytes, received 120,001"]
