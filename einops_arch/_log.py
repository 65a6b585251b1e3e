"""The logger of the package: names from files and models in its messages are escaped in one place."""

from __future__ import annotations

import logging

from einops_arch._text import printable

__all__ = ["LOG"]


class _Harmless(logging.Filter):
    """Writes controls and bidirectional marks of a message as escapes, whoever handles it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        return True


LOG = logging.getLogger("einops_arch")
LOG.addFilter(_Harmless())
