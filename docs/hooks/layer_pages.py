"""The Flax layers on several pages, each layer once: a page names the files whose layers it shows.

One page of each kind names `others` as well: what stands in a file that no page names, such as a new one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import einops_arch.flax.functional
import einops_arch.flax.layers

PREFIX = "api/flax"
FOLDER = Path(__file__).resolve().parents[1] / "api"
_MARK = re.compile(r"<!-- (?P<module>layers|functional): (?P<files>[\w ]+) -->")
_MODULES = {"layers": einops_arch.flax.layers, "functional": einops_arch.flax.functional}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the layers in their places."""
    return shown(markdown) if page.file.src_uri.startswith(PREFIX) else markdown


def shown(markdown: str) -> str:
    """The page, with the reference of each layer or function in the place of the mark that names its file."""
    return _MARK.sub(lambda match: _references(match["module"], match["files"].split()), markdown)


def _named(name: str) -> set[str]:
    """The files that any page names."""
    texts = (path.read_text(encoding="utf-8") for path in FOLDER.glob("flax*.md"))
    return {
        file
        for text in texts
        for mark in _MARK.finditer(text)
        if mark["module"] == name
        for file in mark["files"].split()
    }


def _references(name: str, files: list[str]) -> str:
    module = _MODULES[name]
    places = {entry: getattr(module, entry).__module__.rpartition(".")[2] for entry in module.__all__}
    if "others" in files:
        files = [*files, *sorted(set(places.values()) - _named(name))]
    entries = [entry for file in files for entry in module.__all__ if places[entry] == file]
    # Without the source, a page of a phone's patience.
    options = "    options: {show_source: false}"
    return "\n\n".join(f"::: {module.__name__}.{entry}\n{options}" for entry in entries)
