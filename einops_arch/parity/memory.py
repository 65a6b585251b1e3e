"""Memory between two runs."""

from __future__ import annotations

import ctypes
import gc

__all__ = ["give_back"]


def give_back() -> None:
    """Free what nothing refers to, and let the system have it.

    A copy of a model goes when its run has ended, but glibc keeps what was freed in pieces of up to 32 MB, and the
    copy that the other framework makes next does not fit into the holes. Elsewhere there is nothing to do.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
