"""Run the parts one after another, and write `gpu.json` and `gpu.html` after each."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.page import html_page
from benchmarks.gpu.plan import PARTS, TOTAL
from benchmarks.gpu.process import about, rows

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say.

    Args:
        arguments: without the name of the program; those of the process if left out.

    Returns:
        The exit code: 0 if every row holds, 1 if one does not or a part was cut short.
    """
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where the arrays live")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where gpu.json and gpu.html go")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="which parts (default: all)")
    parser.add_argument("--seconds", type=float, default=TOTAL, help=f"for everything (default: {TOTAL:.0f})")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rows: whether it works, not how fast")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    parts: list[dict[str, Any]] = []
    result: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%d"),
        "device": options.device,
        "quick": options.quick,
        "about": about(options.device),
        "parts": parts,
    }
    planned = sum(part.seconds for part in PARTS if part.name in options.parts)
    for part in PARTS:
        if part.name not in options.parts:
            continue
        left = options.seconds - (time.monotonic() - start)
        part_start = time.monotonic()
        entry: dict[str, Any] = {
            "name": part.name,
            "what": part.what,
            "rows": [],
            "ended": "not begun: no time was left",
        }
        if left > 5:
            # What is left, shared out as planned: what an early part did not need goes to those after it.
            limit = left * part.seconds / planned
            entry["rows"], entry["ended"] = rows(part, options.device, quick=options.quick, seconds=limit)
        planned -= part.seconds
        entry["seconds"] = round(time.monotonic() - part_start, 1)
        parts.append(entry)
        result["seconds"] = round(time.monotonic() - start, 1)
        (options.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (options.out / "gpu.html").write_text(html_page(result), encoding="utf-8")
        sys.stdout.write(_line(entry))
        sys.stdout.flush()
    held = all(row["holds"] is not False for entry in parts for row in entry["rows"])
    return 0 if held and all(entry["ended"] == "whole" for entry in parts) else 1


def _line(entry: dict[str, Any]) -> str:
    bad = [row for row in entry["rows"] if row["holds"] is False]
    lines = [
        f"{entry['name']:9} {entry['seconds']:6.1f} s  {len(entry['rows'])} rows, {len(bad)} not held, {entry['ended']}"
    ]
    return "\n".join([*lines, *(f"          {row['name']}: {row['text']}" for row in bad)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
