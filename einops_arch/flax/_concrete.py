"""Whether the values of an array may be looked at."""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["is_concrete"]


def is_concrete(x: Any) -> bool:
    """Whether a check may read values: outside of `jax.jit` and other traces, with all of the array here."""
    return not isinstance(x, jax.core.Tracer) and getattr(x, "is_fully_addressable", True)
