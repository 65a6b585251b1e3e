"""Run the Python code of a Markdown page: all its blocks in order, in one namespace, as if it were one module."""

from __future__ import annotations

import re
import sys
import types
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from typing import TYPE_CHECKING

from sybil import Document
from sybil.evaluators.doctest import NUMBER, DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sybil import Region

# NUMBER: a number agrees to the digits that the page shows.
_CONSOLE = DocTestEvaluator(NORMALIZE_WHITESPACE | ELLIPSIS | NUMBER)
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,}) *(?P<info>\{? *\.?py[^\n]*)$", re.MULTILINE)

_FILE = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def run_page(path: Path) -> int:
    """Run the `python` and `pycon` blocks of a page, indented ones too, and count them.

    Raises:
        ValueError: a block of Python that would not be run.
        Exception: whatever a block raises; the traceback has the page's line.
        SybilFailure: a `pycon` block does not print what it shows.
    """
    document = Document.parse(str(path), CodeBlockParser("python", PythonEvaluator()), _console)
    fences = [found["info"].strip() for found in _FENCE.finditer(document.text)]
    # A block with a title is a file, which `files_of` gives.
    fences = [info for info in fences if not info.startswith('python title="')]
    if odd := sorted(set(fences) - {"python", "pycon"}):
        raise ValueError(f"{path}: expected blocks of 'python' or 'pycon', received {', '.join(map(repr, odd))}")
    # A module, so that what the page defines can be found by its name: dataclasses and layout rules do that.
    module = types.ModuleType("page_" + re.sub(r"\W", "_", path.stem))
    document.namespace = module.__dict__
    sys.modules[module.__name__] = module
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        del sys.modules[module.__name__]
    return len(fences)


def _console(document: Document) -> Iterator[Region]:
    for block in CodeBlockParser("pycon", _CONSOLE)(document):
        regions = list(DocTestStringParser(_CONSOLE)(block.parsed, document.path))
        if not regions:
            raise ValueError(f"{document.path}: a block of 'pycon' without '>>>':\n{block.parsed}")
        for region in regions:
            region.adjust(block, block.parsed)
            yield region


def files_of(path: Path) -> dict[str, str]:
    """The files that a page shows, each a block whose title is its path."""
    return dict(_FILE.findall(path.read_text(encoding="utf-8")))
