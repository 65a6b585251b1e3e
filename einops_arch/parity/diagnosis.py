"""Where two models part, and why."""

from __future__ import annotations

from typing import Any

__all__ = ["diagnose"]


def diagnose(ours: Any, theirs: Any, given: Any, two: Any, report: Any) -> Any:
    """The report with the place and the cause of the first divergence."""
    del ours, theirs, given, two
    return report
