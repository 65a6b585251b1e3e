"""Every core has its place in the pages, under its own pattern."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from einops_arch import functional

DOCS = Path(__file__).resolve().parent.parent / "docs"

CORES = [name for name in functional.__all__ if callable(getattr(functional, name))]
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).resolve().parent.parent / "docs" / "cores").glob("*.md"))
}


@pytest.mark.parametrize("name", CORES)
def test_a_core_has_one_place(name):
    places = [page for page, text in PAGES.items() if f"\n::: einops_arch.{name}\n" in f"{text}\n"]
    assert len(places) == 1
    (row,) = [line for line in PAGES["index.md"].splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert f"]({places[0]}" in row


@pytest.mark.parametrize("name", ["gram_matrix", "channel_shuffle", "depth_to_space", "patchify", "split_heads"])
def test_the_table_shows_the_pattern_of_the_docstring(name):
    pattern = re.match(r"`([^`]+)`:", inspect.getdoc(getattr(functional, name)))[1]
    (row,) = [line for line in PAGES["index.md"].splitlines() if f"`{name}`" in line]
    assert f"`{pattern}`" in row


MARK = re.compile(r"^(?:<!-- .*-->|::: .*|--8<-- .*)$", re.MULTILINE)
OWN = re.compile(r"^(?:#|    options:)[^\n]*$|```.*?```", re.MULTILINE | re.DOTALL)
IN_A_CLONE = re.compile(
    r"^\*In a clone this page is .*: `nox -s docs` builds it, as `site/(.+)\.html`\.\*\n\n", re.MULTILINE
)
WRITTEN = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}


def test_a_page_that_is_a_sentence_in_a_clone_says_how_it_is_built():
    """Of those whose marks are filled in when the site is built."""
    sentences = {
        name
        for name, text in WRITTEN.items()
        if MARK.search(text) and len(OWN.sub("", MARK.sub("", text)).split()) < 80
    }
    saying = {name: IN_A_CLONE.findall(text) for name, text in WRITTEN.items() if IN_A_CLONE.search(text)}
    assert len(sentences) > 20
    assert sentences <= set(saying)
    assert saying == {name: [name.removesuffix(".md")] for name in saying}


def test_the_built_page_does_not_say_it():
    spec = importlib.util.spec_from_file_location("page_links", DOCS / "hooks" / "page_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = WRITTEN["api/flax-norms.md"]
    assert IN_A_CLONE.search(text)
    assert module.on_page_markdown(text) == IN_A_CLONE.sub("", text)
    assert module.on_page_markdown(WRITTEN["quickstart.md"]) == WRITTEN["quickstart.md"]
