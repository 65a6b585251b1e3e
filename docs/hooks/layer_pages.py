"""The Flax layers on several pages, each layer once: a page names the files whose layers it shows."""

from __future__ import annotations

import re
from typing import Any

import einops_arch.flax.functional
import einops_arch.flax.layers

PREFIX = "api/flax"
_MARK = re.compile(r"<!-- (?P<module>layers|functional): (?P<files>[\w ]+) -->")
_MODULES = {"layers": einops_arch.flax.layers, "functional": einops_arch.flax.functional}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the layers in their places."""
    return shown(markdown) if page.file.src_uri.startswith(PREFIX) else markdown


def shown(markdown: str) -> str:
    """The page, with the reference of each layer or function in the place of the mark that names its file."""
    return _MARK.sub(lambda match: _references(match["module"], match["files"].split()), markdown)


def _references(name: str, files: list[str]) -> str:
    module = _MODULES[name]
    places = {entry: getattr(module, entry).__module__.rpartition(".")[2] for entry in module.__all__}
    entries = [entry for file in files for entry in module.__all__ if places[entry] == file]
    # Without the source, a page of a phone's patience.
    options = "    options: {show_source: false}"
    return "\n\n".join(f"::: {module.__name__}.{entry}\n{options}" for entry in entries)
