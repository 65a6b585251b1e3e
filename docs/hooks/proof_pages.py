"""The table of the guide to proofs, from what `nox -s tests-proof -- --store` counted: no figure is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "parity" / "proof.json"
PAGE = "guides/prove-that-they-agree.md"
MARK = "<!-- proof: counts -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the table in its place."""
    return markdown.replace(MARK, counts()) if page.file.src_uri == PAGE else markdown


def counts() -> str:
    """The counts, kind by kind and network by network; only what was counted is shown."""
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    if not stored:
        return "It prints a table, which is shown here once it was stored."
    lines = []
    if (pairs := stored.get("pairs")) is not None:
        lines += ["| | how many | not as they should be | kinds |", "|---|---|---|---|"]
        for section, name in (("wrong", "passed"), ("honest", "called different")):
            rows = pairs[section]
            kinds = ", ".join(f"{row['kind']} ({row['pairs']})" for row in rows)
            many, over = (sum(row[key] for row in rows) for key in ("pairs", name))
            lines.append(f"| {section} pairs | {many} | {over} {name} | {kinds} |")
        lines += [
            "",
            *(f"Called different: {pair['name']}: {pair['reason']}." for pair in pairs["called_different"]),
            "",
        ]
    if (faults := stored.get("faults")) is not None:
        lines += ["| faults in | faults | caught | located | explained rightly | explained wrongly |"]
        lines.append("|---|---|---|---|---|---|")
        keys = ("faults", "caught", "located", "right", "wrong")
        lines += [f"| {row['network']} | {' | '.join(str(row[key]) for key in keys)} |" for row in faults["networks"]]
        totals = [sum(row[key] for row in faults["networks"]) for key in keys]
        lines += [f"| all | {' | '.join(map(str, totals))} |", ""]
    made_with = (stored.get("pairs") or stored["faults"])["with"]
    versions = ", ".join(f"{name} {version}" for name, version in made_with.items() if name != "machine")
    return "\n".join([*lines, f"Counted with {versions} on {made_with['machine']}."])
