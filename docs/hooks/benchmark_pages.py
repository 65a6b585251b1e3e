"""The figures of the guide to speed, from what `nox -s bench -- --json FILE` wrote: no figure is typed by hand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the benchmark is no part of the package: it is imported from the repository

from benchmarks.page import html_page  # noqa: E402
from benchmarks.table import ratio_text, summary, time_text  # noqa: E402

FOLDER = ROOT / "docs" / "benchmarks"
PAGE = "guides/speed.md"
BACK = ("../guides/speed.html", "Speed, side by side")
_MARK = re.compile(r"<!-- benchmark: (\w+) -->")


def on_files(files: Any, config: Any) -> Any:
    """Give every stored run its page with charts."""
    from mkdocs.structure.files import File  # noqa: PLC0415  (the tests have no mkdocs)

    for path in sorted(FOLDER.glob("*.json")):
        content = html_page(json.loads(path.read_text(encoding="utf-8")), BACK)
        files.append(File.generated(config, f"benchmarks/{path.stem}.html", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the figures in their places."""
    return _MARK.sub(lambda match: _PARTS[match[1]](), markdown) if page.file.src_uri == PAGE else markdown


def runs() -> list[dict[str, Any]]:
    """The stored runs, the first first."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("cpu-*.json"))]


def machine() -> str:
    """What ran them, and how to see all rows."""
    found = runs()
    facts, options = found[0]["machine"], found[0]["options"]
    versions = ", ".join(f"{name} {version}" for name, version in found[0]["versions"].items())
    said = [
        f"[run {number}](../benchmarks/cpu-{number}.html), {run['when']}, {run['took'] / 60:.0f} minutes: "
        f"{summary(run['rows'])}"
        for number, run in enumerate(found, 1)
    ]
    return (
        f"{facts['processor']}, {options['threads']} threads; {versions}. With charts and all rows: {'; '.join(said)}."
    )


def bars() -> str:
    """Every row with a bar, in every run."""
    first, *others = (_rows(run) for run in runs())
    names = [f"run {number}" for number in range(1, 2 + len(others))]
    lines = [f"| what | size, setting | against | at most | {' | '.join(names)} |", "|---" * (4 + len(names)) + "|"]
    for key, row in first.items():
        if row["bar"]:
            found = [row, *(other.get(key) for other in others)]
            said = " | ".join(_ratio(one) if one else "" for one in found)
            bar = f"{row['against']} | {row['bar']['limit']:g}"
            lines.append(f"| {key[0]}, {key[1]} | {key[2]}; {key[3]} | {bar} | {said} |")
    return "\n".join(lines)


def growth() -> str:
    """The exponents of the first run."""
    lines = ["| what | sizes | times | exponent | bytes or operations |", "|---|---|---|---|---|"]
    for row in runs()[0]["rows"]:
        if "growth" in row:
            times = ", ".join(map(time_text, row["growth"]["seconds"]))
            name = f"{row['name']}, {row['side']}"
            lines.append(f"| {name} | {row['size']} | {times} | {row['exponent']:.2f} | {row['growth']['expected']} |")
    return "\n".join(lines)


def memory() -> str:
    """Peaks of the super-resolution network."""
    head = ["| | ours | the old network | the old one with ReLU in place |", "|---|---|---|---|"]
    peaks = {row["setting"]: row["bytes"].values() for row in runs()[0]["rows"] if "bytes" in row}
    lines = [f"| {name} | " + " | ".join(f"{n / 2**20:.0f} MiB" for n in each) + " |" for name, each in peaks.items()]
    return "\n".join(head + lines)


def _rows(run: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(row[key] for key in ("name", "side", "size", "setting")): row for row in run["rows"]}


def _ratio(row: dict[str, Any]) -> str:
    return f"{ratio_text(row['ratios'][row['against']])}, {row['verdict']}"


_PARTS = {"machine": machine, "bars": bars, "growth": growth, "memory": memory}
