"""Run the code of a Markdown page: its blocks of Python in order, in one namespace, and lines of a shell."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import types
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sybil import Document
from sybil.evaluators.doctest import NUMBER, DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sybil import Region

# NUMBER: a number agrees to the digits that the page shows.
_CONSOLE = DocTestEvaluator(NORMALIZE_WHITESPACE | ELLIPSIS | NUMBER)
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,}) *(?P<info>\{? *\.?py[^\n]*)$", re.MULTILINE)

_QUICK = frozenset({"port", "list", "show", "inspect"})
"""Commands that need no network, no training and no other package."""
_FILE = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def run_page(path: Path, *, commands: bool = False) -> int:
    """Run the `python` and `pycon` blocks of a page, indented ones too, and count them; and quick commands.

    Args:
        path: the page.
        commands: also write the files that it shows, run every `einops-arch` of its `console` blocks, and hold what is
            printed against what the page shows.

    Raises:
        ValueError: a block of Python that would not be run.
        Exception: whatever a block raises; the traceback has the page's line.
        SybilFailure: a `pycon` block does not print what it shows.
    """
    parsers = [CodeBlockParser("python", PythonEvaluator()), _console]
    parsers += [CodeBlockParser("bash", _shell), CodeBlockParser("console", _session if commands else _shell)]
    for name, text in files_of(path).items() if commands else ():
        Path(name).write_text(text, encoding="utf-8")
    document = Document.parse(str(path), *parsers)
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


def _shell(example: Any) -> None:
    """Run what of a block is quick; what a port replaces is what a block before wrote."""
    from einops_arch.cli import main

    for line in example.parsed.splitlines():
        command = shlex.split(line.removeprefix("$ "), comments=True)
        if command[:1] != ["einops-arch"] or command[1] not in _QUICK:
            continue
        if command[1] == "port":
            target = Path(command[3])
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(command[1:]) == 0, line


def command_lines(path: Path) -> list[str]:
    """Every line of a page's shells that begins with `einops-arch`."""
    blocks = re.findall(
        r"^([ \t]*)```(?:bash|console)\n(.*?)^\1```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = [line.strip().removeprefix("$ ") for _, block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("einops-arch ")]


def _session(example: Any) -> None:
    """Run the commands of a block, each with exit code 0, and compare what they print."""
    from einops_arch.cli import main

    for part in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        program, *arguments = shlex.split(line)
        assert program == "einops-arch", line
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(arguments) == 0, line
        checker = OutputChecker()
        assert checker.check_output(expected, printed.getvalue(), NORMALIZE_WHITESPACE | ELLIPSIS), printed.getvalue()


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
