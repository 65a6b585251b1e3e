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
    """The counts, kind by kind and network by network."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    lines = ["| pairs | kinds | pairs | of these |", "|---|---|---|---|"]
    for section, name, words in (("wrong", "passed", "passed"), ("honest", "called different", "called different")):
        rows = stored[section]
        kinds = ", ".join(f"{row['kind']} ({row['pairs']})" for row in rows)
        pairs, over = (sum(row[key] for row in rows) for key in ("pairs", name))
        lines.append(f"| {section} | {kinds} | {pairs} | {over} {words} |")
    lines += ["", "| faults in | faults | caught | located | explained rightly | explained wrongly |"]
    lines.append("|---|---|---|---|---|---|")
    keys = ("faults", "caught", "located", "right", "wrong")
    lines += [f"| {row['network']} | {' | '.join(str(row[key]) for key in keys)} |" for row in stored["faults"]]
    totals = [sum(row[key] for row in stored["faults"]) for key in keys]
    lines.append(f"| all | {' | '.join(map(str, totals))} |")
    lines += [
        "",
        *(f"Called different: {pair['name']}, because {pair['reason']}." for pair in stored["called_different"]),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in stored["with"].items() if name != "machine")
    return "\n".join([*lines, "", f"Counted with {versions} on {stored['with']['machine']}."])
