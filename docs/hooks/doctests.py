"""A griffe extension: doctests in docstrings become blocks of code, which Markdown would take for quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

# A paragraph that begins with `>>>`, which ends at an empty line as a doctest does.
_DOCTEST = re.compile(r"^(?P<indent> *)>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


def fence(docstring: str) -> str:
    """The docstring with a fence around each doctest."""
    return _DOCTEST.sub(lambda found: f"{found['indent']}```pycon\n{found[0]}\n{found['indent']}```", docstring)


class Doctests(griffe.Extension):
    """Fence the doctests of everything that has a docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object once it has been loaded."""
        if obj.docstring and ">>>" in obj.docstring.value:
            obj.docstring.value = fence(obj.docstring.value)
