"""The logger of the package: names from files and models in its messages are escaped in one place."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from einops_arch._text import printable

__all__ = ["LOG", "Lines"]


class Lines:
    """Texts of a message that stand below it, each in a line of its own.

    Args:
        texts: one for each line; a line break inside of one is escaped.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)

    def __str__(self) -> str:
        return "".join(f"\n  {printable(text, '')}" for text in self._texts)


class _Harmless(logging.Filter):
    """Writes controls, bidirectional marks and line breaks of what a message tells as escapes, whoever handles it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                value if isinstance(value, Lines | int | float) else printable(str(value), "") for value in record.args
            )
        record.msg, record.args = printable(record.getMessage()), ()
        return True


LOG = logging.getLogger("einops_arch")
LOG.addFilter(_Harmless())
