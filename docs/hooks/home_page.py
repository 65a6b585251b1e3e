"""The numbers of the home page, from the repository's own JSON, and the README's table of other tools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from einops_arch import architectures

DOCS = Path(__file__).resolve().parents[1]
PAGE = "index.md"
MARK = "<!-- numbers -->"
TOOLS = "guides/other-tools.md"
FIELD = "<!-- field -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the numbers and the table in their places."""
    if page.file.src_uri == TOOLS:
        return markdown.replace(FIELD, field())
    return markdown.replace(MARK, numbers()) if page.file.src_uri == PAGE else markdown


def field() -> str:
    """The table of other tools, as the README has it."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    return text.partition(FIELD)[2].partition("<!-- end of field -->")[0].strip().replace("](docs/", "](../")


def numbers() -> str:
    """What was measured, each with the page that tells how."""
    rows = [
        "| what was measured | result | how |",
        "|---|---|---|",
        *_layers(),
        *_translation(),
        *_proof(),
        *_networks(),
    ]
    return "\n".join(rows)


def _layers() -> list[str]:
    stored = _read("coverage/layers.json")
    what = "public models of torchvision, timm and transformers whose layers of `torch.nn` all have a Flax counterpart"
    return [f"| {what} | {stored['whole']} of {stored['models']} | [layers](guides/layers-of-public-models.md) |"]


def _translation() -> list[str]:
    verdicts = Counter(model["verdict"] for model in _read("translate/coverage.json")["models"])
    what = "models that were translated to Flax source and proved, of those that were run"
    return [f"| {what} | {verdicts['same function']} of {verdicts.total()} | [translate](translate/coverage.md) |"]


def _proof() -> list[str]:
    stored, rows = _read("parity/proof.json"), []
    how = "[proofs](guides/prove-that-they-agree.md)"
    if pairs := stored.get("pairs"):
        wrong, passed = (sum(row[key] for row in pairs["wrong"]) for key in ("pairs", "passed"))
        honest, refused = (sum(row[key] for row in pairs["honest"]) for key in ("pairs", "called different"))
        rows.append(f"| wrong pairs, made to slip past the comparison, that did | {passed} of {wrong} | {how} |")
        rows.append(
            f"| honest pairs, hard in their numerics, that it called different | {refused} of {honest} | {how} |"
        )
    if faults := stored.get("faults"):
        caught, total = (sum(row[key] for row in faults["networks"]) for key in ("caught", "faults"))
        rows.append(f"| faults of one line in a twin that it caught | {caught} of {total} | {how} |")
    return rows


def _networks() -> list[str]:
    reports = [_read(path) for name in architectures.names() if (DOCS / (path := f"parity/{name}.json")).is_file()]
    largest = max(row["float64"] or 0 for report in reports for row in report["modules"])
    modules = sum(len(report["modules"]) for report in reports)
    what = f"largest float64 difference between PyTorch and Flax over {modules:,} modules of {len(reports)} networks"
    return [f"| {what} | {largest:.1e} | [architectures](architectures/index.md) |"]


def _read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DOCS / path).read_text(encoding="utf-8"))
    return content
