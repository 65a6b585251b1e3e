"""The tables of the page on coverage, from what `nox -s tests-translate` wrote: no verdict is typed by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

PAGE = "translate/coverage.md"
STORED = Path(__file__).resolve().parents[1] / "translate" / "coverage.json"
MODELS = Path(__file__).resolve().parents[2] / "benchmarks" / "models.jsonl"
_MARK = re.compile(r"<!-- coverage: (\w+) -->")
_OWN = 12  # tests/own_models.py


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the tables in their places."""
    return _MARK.sub(lambda match: _PARTS[match[1]](stored()), markdown) if page.file.src_uri == PAGE else markdown


def stored() -> dict[str, Any]:
    """The results of the sweep."""
    return json.loads(STORED.read_text(encoding="utf-8"))


def summary(results: dict[str, Any]) -> str:
    """How many models of each set have which verdict."""
    entries = [json.loads(line) for line in MODELS.read_text(encoding="utf-8").splitlines()]
    totals = Counter(entry["set"] for entry in entries) | Counter(own=_OWN)
    lines = ["| set | models | same function | refused | not run | not in the table |", "|---|--:|--:|--:|--:|--:|"]
    for name, total in totals.items():
        counts = Counter(item["verdict"] for item in results["models"] if item["set"] == name)
        cells = [counts[verdict] for verdict in ("same function", "refused", "not run")]
        lines.append(f"| {name} | {total} | {' | '.join(map(str, cells))} | {total - sum(counts.values())} |")
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return "\n".join([*lines, "", f"With {versions}."])


def sets(results: dict[str, Any]) -> str:
    """One table for each set that has results."""
    names = dict.fromkeys(item["set"] for item in results["models"])
    return "\n\n".join(_table(name, [item for item in results["models"] if item["set"] == name]) for name in names)


def _table(name: str, items: Sequence[dict[str, Any]]) -> str:
    head = ["model", "verdict", "lines, original", "classes, original", "moves", "seconds", "reasons"]
    rows = [f"| {' | '.join(head)} |", "|---|---|--:|--:|--:|--:|---|"]
    for item in items:
        pairs = [_pair(item[key], item[f"original_{key}"]) for key in ("lines", "classes")]
        seconds = " + ".join(f"{value:g}" for value in (item["seconds"] or {}).values())
        moves = "" if item["moves"] is None else item["moves"]
        reasons = "<br>".join(escape(reason).replace("|", "\\|") for reason in item["reasons"])
        rows.append(f"| {item['model']} | {item['verdict']} | {' | '.join(pairs)} | {moves} | {seconds} | {reasons} |")
    return "\n".join([f"## {name}", "", *rows])


def _pair(number: int | None, original: int | None) -> str:
    return "" if number is None else f"{number}, {original}"


_PARTS = {"summary": summary, "sets": sets}
