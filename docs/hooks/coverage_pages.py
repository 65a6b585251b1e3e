"""The tables of the layers of public models, from what `python -m benchmarks.layers --json FILE` wrote."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the benchmark is no part of the package: it is imported from the repository

from benchmarks.layers import by_type  # noqa: E402

FILE = ROOT / "docs" / "coverage" / "layers.json"
PAGE = "guides/layers-of-public-models.md"
_MARK = re.compile(r"<!-- coverage: (\w+) -->")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the tables in their places."""
    return _MARK.sub(lambda match: _PARTS[match[1]](), markdown) if page.file.src_uri == PAGE else markdown


def stored() -> dict[str, Any]:
    """What was counted."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def summary() -> str:
    """How many models are whole, and of which versions."""
    content = stored()
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    rows, models, whole = content["rows"], content["models"], content["whole"]
    lacking = sum("missing" in row for row in rows)
    return (
        f"{models} models have {len(rows)} types and settings of layers of `torch.nn`; {len(rows) - lacking} of those "
        f"have a counterpart. In {whole} models ({whole / models:.1%}) every layer of `torch.nn` has one. "
        f"{len(content['not built'])} models could not be built. Counted with {versions}."
    )


def types() -> str:
    """One line for each type."""
    head = ["| torch.nn | einops_arch.flax | models | settings | largest difference | missing |", "|---" * 6 + "|"]
    lines = []
    for entry in by_type(stored()):
        difference = "" if entry["difference"] is None else f"{entry['difference']:.1e}"
        missing = ", ".join(f"`{text}`" for text in entry["missing"])
        counterpart = f"`{entry['flax']}`" if entry["flax"] else ""
        columns = (f"`{entry['type']}`", counterpart, entry["models"], entry["settings"], difference, missing)
        lines.append(f"| {' | '.join(map(str, columns))} |")
    return "\n".join(head + lines)


def incomplete() -> str:
    """The models that lack something, and what."""
    lines = [
        f"- {name}: {', '.join(f'`{text}`' for text in missing)}" for name, missing in stored()["incomplete"].items()
    ]
    return "\n".join(lines) or "None."


def other() -> str:
    """The most frequent classes of the libraries themselves."""
    names = list(stored()["other classes"].items())[:20]
    return ", ".join(f"`{name}` ({count})" for name, count in names) + "."


_PARTS = {"summary": summary, "types": types, "incomplete": incomplete, "other": other}
