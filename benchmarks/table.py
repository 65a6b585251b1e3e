"""The rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

__all__ = ["cells", "growth_table", "ratio_text", "summary", "table", "time_text"]

_STYLES = {"held": "green", "same program": "green", "level": "yellow", "missed": "bold red", "wrong": "bold red"}
_COLUMNS = ("what", "where", "size", "setting", "ours", "peer", "theirs", "ratio (quartiles)", "floor", "bar")
_NUMBERS = {"ours", "theirs", "floor", "bar"}


def time_text(seconds: float) -> str:
    """A time with three digits and a unit.

    >>> time_text(0.00123456)
    '1.23 ms'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError(seconds)


def ratio_text(ratio: dict[str, float]) -> str:
    """The median and the quartiles."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row; a row that went wrong says what instead of its times."""
    head = [row["name"], row["side"], row["size"], row["setting"]]
    if "error" in row:
        return [*head, "", row["error"], "", "", "", "", row["verdict"]]
    peer = row["against"]
    if "bytes" in row:
        ours, theirs = (f"{row['bytes'][name] / 2**20:.0f} MiB" for name in ("ours", peer))
    else:
        ours, theirs = (time_text(row["seconds"][name]) for name in ("ours", peer))
    floor = f"{row['ratios']['floor']['median']:.2f}" if "floor" in row["ratios"] else ""
    bar = f"{row['bar']['limit']:g}" if row["bar"] else ""
    return [*head, ours, peer, theirs, ratio_text(row["ratios"][peer]), floor, bar, row["verdict"]]


def table(rows: Sequence[dict[str, Any]], title: str = "") -> Table:
    """Ours and the quickest of the peers that the bar names, one row each."""
    result = Table(title=title or None, title_justify="left", header_style="bold")
    for name in (*_COLUMNS, "verdict"):
        result.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for row in rows:
        if "growth" not in row:
            values = cells(row)
            style = _STYLES.get(row["verdict"], "")
            result.add_row(*values[:-1], f"[{style}]{values[-1]}[/]" if style else values[-1])
    return result


def growth_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The exponents."""
    result = Table(title="How the time grows", title_justify="left", header_style="bold")
    for name in ("what", "where", "sizes", "times", "exponent", "bytes or operations"):
        result.add_column(name, overflow="fold")
    for row in rows:
        if "growth" in row:
            times = ", ".join(map(time_text, row["growth"]["seconds"]))
            result.add_row(
                row["name"], row["side"], row["size"], times, f"{row['exponent']:.2f}", row["growth"]["expected"]
            )
    return result


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """How many bars hold, in one sentence."""
    barred = [row for row in rows if row["bar"] or row["verdict"] == "wrong"]
    counts = {name: sum(row["verdict"] == name for row in barred) for name in _STYLES}
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    return f"{len(barred)} bars: {', '.join(parts) or 'none run'}"
