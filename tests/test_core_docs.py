"""Every core has its place in the pages, under its own pattern."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from einops_arch import functional

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
