"""The report as tables of `rich`, for the command line."""

from __future__ import annotations

from typing import Any

from einops_arch._text import printable
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import cells, columns
from einops_arch.parity.report.verdicts import Verdict

__all__ = ["rich_tables"]

_STYLES = {
    Verdict.BIT_EQUAL: "green",
    Verdict.SAME_FUNCTION: "green",
    Verdict.ROUNDING: "yellow",
    Verdict.HIDDEN_CAST: "yellow",
    Verdict.MISSING: "yellow",
}

_WIDE = 100
"""Columns that all of a row takes."""
_NARROW = (0, 4, 7, 8)
"""The name, the difference in float64, the ratio and the verdict."""


def rich_tables(report: Report, *, width: int = _WIDE) -> list[Any]:
    """One `rich.table.Table` for each section that has rows.

    Args:
        report: what to show.
        width: columns of the screen; a narrow one gets the path, the figures that decide, and the verdict.

    Raises:
        MissingFrameworkError: rich is not installed.
    """
    from einops_arch._frameworks import require

    require("rich", extra="cli", by="the parity table")
    from rich.table import Table
    from rich.text import Text

    tables = []
    for name, rows in report.sections.items():
        if not rows:
            continue
        table = Table(title=f"{name} ({report.mode} mode)", title_justify="left")
        lines = [cells(row) for row in rows]
        names = columns(name)
        fitting = range(len(names)) if width >= _WIDE else _NARROW
        shown = [n for n in fitting if any(line[n] for line in lines)]
        for n in shown:
            table.add_column(names[n], justify="right" if 3 <= n <= 7 else "left", overflow="fold")
        for row, line in zip(rows, lines, strict=True):
            texts = [Text(printable(line[n], "")) for n in shown]
            texts[-1].stylize(_STYLES.get(row.verdict, "bold red"))
            table.add_row(*texts)
        tables.append(table)
    return tables
