"""Memory between two runs."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

__all__ = ["trim_memory"]


# Below this many weights there is nothing to gain, and the search for what is free takes longer than a run.
_LARGE = 40_000_000


def trim_memory(side: Any) -> None:
    """Return freed memory to the system after a run of a large model.

    A copy of a model goes when its run has ended, but glibc keeps what was freed in pieces of up to 32 MB, and the
    copy that the other framework makes next does not fit into the holes. Elsewhere there is nothing to do.
    """
    model = getattr(side, "model", None)  # a run that was read from a file has none
    if model is None or sum(parameter.numel() for parameter in model.parameters()) < _LARGE:
        return
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
