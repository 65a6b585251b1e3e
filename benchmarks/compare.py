"""Two runs beside each other: what became slower by more than the spread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.table import ratio_text
from einops_arch.errors import ConfigError

__all__ = ["changes", "changes_table", "load"]

_KEY = ("name", "side", "size", "setting")


def load(path: Path) -> dict[str, Any]:
    """A run as it was written.

    Raises:
        ConfigError: there is no such file, or it is no run of the benchmark.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: expected JSON as `bench --json` writes it, received {error}") from None
    if not isinstance(result, Mapping) or not {"rows", "machine", "versions"} <= result.keys():
        raise ConfigError(f"{path}: expected the keys rows, machine and versions, as `bench --json` writes them")
    return dict(result)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of both runs whose ratios lie apart: the quartiles of one do not touch those of the other.

    Times of two runs say as much about the machine as about the code, so the ratios to the same peer are compared.

    Args:
        old: the run before.
        new: the run after.
    """
    before = {tuple(row[key] for key in _KEY): row for row in old["rows"] if "ratios" in row}
    found = []
    for row in new["rows"]:
        other = before.get(tuple(row[key] for key in _KEY))
        if other is None or "ratios" not in row:
            continue
        for peer in sorted(row["ratios"].keys() & other["ratios"].keys() - {"floor"}):
            was, now = other["ratios"][peer], row["ratios"][peer]
            change = "slower" if now["low"] > was["high"] else "faster" if now["high"] < was["low"] else ""
            if change:
                names = {key: row[key] for key in _KEY}
                found.append(names | {"peer": peer, "old": was, "new": now, "change": change})
    return sorted(found, key=lambda one: one["old"]["median"] / one["new"]["median"])


def changes_table(found: list[dict[str, Any]]) -> Table:
    """The changes, the worst first."""
    result = Table(header_style="bold")
    for name in ("what", "where", "size", "setting", "against", "old ratio", "new ratio", "change"):
        result.add_column(name, overflow="fold")
    for one in found:
        style = "red" if one["change"] == "slower" else "green"
        factor = one["new"]["median"] / one["old"]["median"]
        change = f"[{style}]{one['change']}, times {factor:.2f}[/]"
        result.add_row(*(one[key] for key in _KEY), one["peer"], ratio_text(one["old"]), ratio_text(one["new"]), change)
    return result
