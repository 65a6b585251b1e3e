"""What the commands print: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from einops_arch._text import printable
from einops_arch.errors import ConfigError

__all__ = [
    "Page",
    "PatientStream",
    "byte_count",
    "byte_size",
    "bytes_bar",
    "console",
    "echo",
    "print_json",
    "progress",
    "raised",
    "screen",
]

_HERE = Path(__file__).resolve().parent

_WIDE = 200
"""Columns of a page when the output goes to a file or a pipe: a table must not be folded for a screen it never sees."""

_DELAY = 0.8
"""Seconds after which it is worth saying what is being done."""


class PatientStream:
    """A stream for text whose reader may leave: what is written after that goes nowhere, and nothing is raised.

    Args:
        stream: the stream, of a file or a pipe.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or pretend to."""
        with self._leaving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or pretend to."""
        with self._leaving():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _leaving(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Python flushes once more at its end, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


class Page(Console):
    """A console on which names from files and models cannot move the cursor, clear the screen or turn text round."""

    is_wide = False
    """The output goes to no screen, so that lines are not wrapped for it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed passes here: controls and bidirectional marks become escapes."""
        if isinstance(renderable, Text) and not renderable.plain.isprintable():
            renderable = renderable.copy()
            renderable.plain = printable(renderable.plain)
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def console() -> Page:
    """A console on stdout as it is now; colours are there on a terminal only, and not where NO_COLOR is set."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Page(highlight=False)
    page = Page(highlight=False, width=_WIDE)
    page.is_wide = True
    return page


def screen() -> Console:
    """A console on stderr, for what is being done."""
    return Page(stderr=True, highlight=False)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print plain text, with controls and bidirectional marks as escapes."""
    typer.echo(printable(text), err=err, nl=nl)


def print_json(value: Any) -> None:
    """Print JSON and nothing else on stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def raised(error: BaseException) -> str:
    """An exception of the user's own code in one line: its type, its words, and the line of code that raised it."""
    words = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ImportError | SyntaxError) or not frames or Path(frames[-1].filename).parent == _HERE:
        return text
    return f"{text} (at {Path(frames[-1].filename).name}:{frames[-1].lineno})"


@contextlib.contextmanager
def progress(text: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is being done, if it takes more than a second; on a terminal only.

    Args:
        text: what it is.
        quiet: say nothing, on a terminal either.

    Yields:
        A function that takes what is being done of it, in a few words.
    """
    with contextlib.ExitStack() as stack:
        page = screen()
        text = escape(printable(text, ""))
        status = page.status(f"{text} ...")
        timer = threading.Timer(_DELAY, status.start)
        if page.is_terminal and not quiet:
            timer.daemon = True
            timer.start()
            stack.callback(status.stop)
            stack.callback(timer.join)
            stack.callback(timer.cancel)
        yield lambda part: status.update(f"{text}: {escape(printable(part, ''))} ...")


@contextlib.contextmanager
def bytes_bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with bytes, rate and time left, moved by the function that it gives; on a terminal only."""
    from rich import progress as rich_progress

    page = screen()
    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    bar = rich_progress.Progress(*columns, console=page, transient=True, disable=not page.is_terminal)
    with bar:
        task = bar.add_task(printable(text, ""), total=total)
        yield lambda count: bar.advance(task, count)


def byte_size(text: str) -> int:
    """A number of bytes as a person writes it.

    Raises:
        ConfigError: it is none.

    >>> byte_size("5GB"), byte_size("64 MiB"), byte_size("1000")
    (5000000000, 67108864, 1000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[bB]?\s*", text)
    size = 0
    if match:
        number, unit, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** "_KMGT".index(unit.upper() or "_"))
    if size <= 0:
        raise ConfigError(f"expected a size such as 5GB or 500MiB, received {text!r}")
    return size


def byte_count(number: int) -> str:
    """A number of bytes as a person reads it.

    >>> byte_count(87_400)
    '87.4 kB'
    """
    size = float(number)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{number} bytes"
        size /= 1000
    return f"{size:.3g} GB"
