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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sybil import Document
from sybil.evaluators.doctest import NUMBER, DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sybil import Region

# NUMBER: a number agrees to the digits that the page shows.
_CONSOLE = DocTestEvaluator(NORMALIZE_WHITESPACE | ELLIPSIS | NUMBER)
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,}) *(?P<info>\{? *\.?py[^\n]*)$", re.MULTILINE)

_EXIT = re.compile(r"# exit code (\d)")
_FILE = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def run_page(path: Path, *, elsewhere: Collection[str] = ()) -> int:
    """Run a page: its files are written, then its blocks run in order; those of Python, indented ones too, are counted.

    Of `bash` and `console` blocks every line of `einops-arch` is run, and what `console` shows is held against what is
    printed.

    Args:
        path: the page.
        elsewhere: commands, such as `demo`, that are run in another place.

    Raises:
        ValueError: a block of Python that would not be run.
        Exception: whatever a block raises; the traceback has the page's line.
        SybilFailure: a `pycon` block does not print what it shows.
    """
    parsers = [CodeBlockParser("python", PythonEvaluator()), _console]
    parsers += [CodeBlockParser(language, partial(_shell, elsewhere=elsewhere)) for language in ("bash", "console")]
    for name, text in files_of(path).items():
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


def _shell(example: Any, elsewhere: Collection[str]) -> None:
    """Run each line, and compare what it prints where the page shows that.

    A comment says which exit code is meant if it is another than 0, and `> FILE` keeps the output out of the terminal.
    """
    for line, expected in _lines(example.parsed):
        command, _, target = line.partition(" > ")
        words = shlex.split(command, comments=True)
        if words[:1] != ["einops-arch"] or words[1] in elsewhere:
            continue
        name, arguments = words[1], words[2:]
        if name == "port":  # What it replaces is what a block before wrote.
            output = Path(arguments[1])
            shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
        code, printed = _run([name, *arguments], target)
        assert code == (int(stated[1]) if (stated := _EXIT.search(line)) else 0), f"{line}\n{printed}"
        if expected.strip():
            assert OutputChecker().check_output(expected, printed, NORMALIZE_WHITESPACE | ELLIPSIS), printed


def _lines(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a block, and what is shown to be printed by each."""
    if not block.startswith("$ "):
        yield from ((line, "") for line in block.splitlines())
        return
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        yield line, expected


def _run(arguments: list[str], target: str) -> tuple[int, str]:
    """The exit code, and what a terminal shows."""
    from einops_arch.cli import main

    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(arguments)
    if target:
        Path(target).write_text(output.getvalue(), encoding="utf-8")
        return code, errors.getvalue()
    return code, output.getvalue() + errors.getvalue()


def command_lines(path: Path) -> list[str]:
    """Every line of a page's shells that begins with `einops-arch`."""
    blocks = re.findall(
        r"^([ \t]*)```(?:bash|console)\n(.*?)^\1```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = [line.strip().removeprefix("$ ") for _, block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("einops-arch ")]


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
