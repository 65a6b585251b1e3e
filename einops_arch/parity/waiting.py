"""A line on the terminal while the search for causes goes on; nothing in a pipe, a file or a notebook."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator

from einops_arch._text import printable

__all__ = ["silent", "told_when_long"]

_DELAY = 4.0
"""Seconds of silence that nobody takes for a program that hangs."""


def silent(text: str) -> None:
    """Say nothing: what `progress` is where the caller has none."""


@contextlib.contextmanager
def told_when_long(say: Callable[[str], None], text: str) -> Iterator[Callable[[str], None]]:
    """Say on the stderr of a terminal what is being tried, once it has gone on for some seconds; then take it off.

    Args:
        say: the caller's own function; where it is not `silent`, all goes to it and nothing to the terminal.
        text: what is being done.

    Yields:
        A function that takes what is being done of it, in a few words.
    """
    say(text)
    if say is not silent or not _is_terminal():
        yield say
        return
    line = _Line(text)
    timer = threading.Timer(_DELAY, line.begin)
    timer.daemon = True
    timer.start()
    try:
        yield line.update
    finally:
        timer.cancel()
        timer.join()
        line.end()


class _Line:
    """A line that is written over itself."""

    def __init__(self, text: str) -> None:
        self._text, self._part, self._shown = text, "", False
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._shown = True
            self._write()

    def update(self, part: str) -> None:
        with self._lock:
            self._part = part
            if self._shown:
                self._write()

    def end(self) -> None:
        if self._shown:
            self._text = self._part = ""
            self._write()
            self._put("\r")

    def _write(self) -> None:
        text = ": ".join(filter(None, (self._text, self._part)))
        width = shutil.get_terminal_size().columns - 1
        self._put(f"\r{printable(text and f'{text} ...', '')[:width].ljust(width)}")

    def _put(self, text: str) -> None:
        # The terminal may be gone, and the comparison goes on.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _is_terminal() -> bool:
    with contextlib.suppress(AttributeError, ValueError):
        return sys.stderr.isatty()
    return False
