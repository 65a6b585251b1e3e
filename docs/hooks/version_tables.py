"""The table of versions that were tested together, from what `nox -s tests-newest tests-oldest` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = "project/versions.md"
MARK = "<!-- versions -->"
COLUMNS = ("torch", "jax", "flax", "einops", "numpy", "ml_dtypes", "orbax-checkpoint")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the table in its place."""
    return markdown.replace(MARK, table()) if page.file.src_uri == PAGE else markdown


def table() -> str:
    """One row for each Python and session."""
    head = ["session", "Python", *COLUMNS, "tests"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for path in sorted((ROOT / "docs" / "versions").glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            session = f"`tests-{path.stem}`" + ("" if row["part"] == path.stem else f", {row['part']}")
            versions = [row["versions"].get(name, "") for name in COLUMNS]
            counts = f"{row['passed']:,} passed" + "".join(
                f", {row[kind]} {kind}" for kind in ("failed", "skipped") if row[kind]
            )
            lines.append(f"| {' | '.join([session, row['python'], *versions, counts])} |")
    return "\n".join(lines)
