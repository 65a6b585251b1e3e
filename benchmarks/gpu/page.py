"""The page of a run, without a script and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

__all__ = ["html_page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2327; --soft: #5d6a70; --line: #dfe3e4; --good: #11705f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaeb; --soft: #9aa7ac; --line: #313a3e; --good: #5fd0b7; --bad: #ff8a80; } }
body { max-width: 60em; margin: 0 auto; padding: 1em; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; } td { padding: 3px 10px 3px 0; border-bottom: 1px solid var(--line); }
td { vertical-align: top; overflow-wrap: anywhere; } .soft { color: var(--soft); }
.held { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
"""


def html_page(run: dict[str, Any]) -> str:
    """The page.

    Args:
        run: in the form of `gpu.json`.
    """
    about = run["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = about.get("gpu", "no GPU")
    quick = "; small sizes: whether it works, not how fast" if run["quick"] else ""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>einops_arch on {escape(run['device'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>On {escape(run['device'])}</h1>",
            f'<p class="soft">{escape(machine)}; Python {about["python"]}, {escape(versions)}; ',
            f"{escape(run['when'])}, {run['seconds']:.0f} s{quick}.</p>",
            *(line for part in run["parts"] for line in _part(part)),
            "</body></html>",
            "",
        ]
    )


def _part(part: dict[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(part['what'])}</h2>"
    ended = "" if part["ended"] == "whole" else f'; <span class="missed">{escape(part["ended"])}</span>'
    yield f'<p class="soft">{len(part["rows"])} rows in {part["seconds"]:.0f} s{ended}</p><table>'
    for row in part["rows"]:
        word, kind = {True: ("held", "held"), False: ("missed", "missed"), None: ("", "")}[row["holds"]]
        yield (f'<tr><td>{escape(row["name"])}</td><td>{escape(row["text"])}</td><td class="{kind}">{word}</td></tr>')
    yield "</table>"
