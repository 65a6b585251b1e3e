"""What the commands print: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console

__all__ = ["byte_count", "console", "print_json", "progress"]

_WIDE = 200
"""Columns of a page when the output goes to a file or a pipe: a table must not be folded for a screen it never sees."""


def console() -> Console:
    """A console on stdout as it is now; colours are there on a terminal only, and not where NO_COLOR is set."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console(highlight=False)
    return Console(highlight=False, width=_WIDE)


def print_json(value: Any) -> None:
    """Print JSON and nothing else on stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Say on stderr what is being done, if it takes more than a second; on a terminal only."""
    with contextlib.ExitStack() as stack:
        screen = Console(stderr=True, highlight=False)
        status = screen.status(f"{text} ...")
        timer = threading.Timer(0.8, status.start)
        if screen.is_terminal:
            timer.daemon = True
            timer.start()
            stack.callback(status.stop)
            stack.callback(timer.join)
            stack.callback(timer.cancel)
        yield


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
