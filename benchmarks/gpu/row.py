"""A row of a part: what was seen, and whether a bar holds."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Job", "guarded", "held", "seen"]


@dataclass(frozen=True)
class Job:
    """What a part is asked for.

    Args:
        device: `"cuda"` or `"cpu"`.
        quick: small sizes, few rows.
        seconds: what it may take.
    """

    device: str
    quick: bool
    seconds: float


def held(name: str, holds: bool, text: str, **more: Any) -> dict[str, Any]:
    """A row with a bar: whether it holds, and in words what was seen."""
    return {"name": name, "holds": bool(holds), "text": text, **more}


def seen(name: str, text: str, **more: Any) -> dict[str, Any]:
    """A row without a bar."""
    return {"name": name, "holds": None, "text": text, **more}


def guarded(name: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row that a call gives; an exception is a row as well, and costs no other."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 the next row is another matter
        traceback.print_exc()
        return held(name, holds=False, text=f"{type(error).__name__}: {error}"[:500])
