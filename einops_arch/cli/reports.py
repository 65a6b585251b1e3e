"""How reports of a comparison are printed: verdict, first divergence and causes first, then rows, then the account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from rich.text import Text

from einops_arch._text import printable
from einops_arch.cli.output import Page

__all__ = ["Rows", "print_lines", "print_reports"]


class Rows(StrEnum):
    """Which rows of a report are printed."""

    WRONG = "wrong"
    ALL = "all"


def print_reports(page: Page, parts: Sequence[tuple[str, Any]], rows: Rows) -> None:
    """Print reports, each with what it is about.

    Args:
        page: where to.
        parts: what was compared, in a few words, and the report.
        rows: those that are wrong by themselves, or the table of all.
    """
    from einops_arch.parity.report.summary import account, headline, summary
    from einops_arch.parity.report.table import rich_tables

    for part, report in parts:
        for line in headline(report, part, options=True):
            style = "green" if report.passed else "bold red"
            print_lines(page, [line], style=style if line.startswith(f"{part}: ") else "")
    for part, report in parts:
        if rows is Rows.ALL:
            for table in rich_tables(report, width=page.width):
                page.print(table)
        elif short := list(summary(report)):
            print_lines(page, ["", f"wrong by themselves, {part}"], style="bold")
            print_lines(page, short)
    seen = [(part, list(account(report)) + list(report.casts)) for part, report in parts]
    for part, lines in seen:
        if lines:
            print_lines(page, ["", f"{part}, what was seen" if len(seen) > 1 else "what was seen"], style="bold")
            print_lines(page, lines)


def print_lines(page: Page, lines: Iterable[str], style: str = "") -> None:
    """Print sentences, wrapped between words, further lines of one indented; a line break in a name is an escape."""
    for line in (printable(line, "") for line in lines):
        body = line.lstrip(" ")
        indent = len(line) - len(body)
        if page.width >= len(line) or page.is_wide:
            page.print(Text(line, style), soft_wrap=True)
            continue
        wrapped = Text(body, style).wrap(page, page.width - indent - 2)
        for n, piece in enumerate(wrapped):
            page.print(Text(" " * (indent + 2 * (n > 0))) + piece, soft_wrap=True)
