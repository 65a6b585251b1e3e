"""The page of translated models beside their originals: the golden files of the tests, and nothing typed by hand."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

PAGE = "translate/examples.md"
MARK = "<!-- examples -->"
_TESTS = Path(__file__).resolve().parents[2] / "tests"
GOLDEN = _TESTS / "golden" / "translate"
ORIGINALS = _TESTS / "own_models.py"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the examples in their place."""
    return markdown.replace(MARK, examples()) if page.file.src_uri == PAGE else markdown


def examples() -> str:
    """A section for each file, the original on the left."""
    originals = classes_of(ORIGINALS)
    return "\n\n".join(_section(path, originals) for path in sorted(GOLDEN.glob("*.py")))


def classes_of(path: Path) -> dict[str, str]:
    """The classes of a file, by name, without docstrings."""
    text = path.read_text(encoding="utf-8")
    return {node.name: _code(text, node) for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


def stands_for(path: Path) -> list[str]:
    """The originals of the classes of a translated file, each once."""
    docstrings = (
        ast.get_docstring(node) or ""
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    return list(dict.fromkeys(match[1] for text in docstrings if (match := re.match(r"`own_models\.(\w+)`", text))))


def _code(text: str, node: ast.ClassDef) -> str:
    lines: list[str | None] = list(text.splitlines())
    for part in ast.walk(node):
        if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part) is not None:
            first = part.body[0]
            last = first.end_lineno or first.lineno
            lines[first.lineno - 1 : last] = [None] * (last - first.lineno + 1)
            if lines[last] == "":
                lines[last] = None
    return "\n".join(line for line in lines[node.lineno - 1 : node.end_lineno] if line is not None)


def _section(path: Path, originals: dict[str, str]) -> str:
    twin = classes_of(path)
    sides = {
        "PyTorch": "\n\n\n".join(originals[name] for name in stands_for(path)),
        "Flax, as translate writes it": "\n\n\n".join(twin.values()),
    }
    tabs = [f'=== "{label}"\n\n    ```python\n{_indented(code)}\n    ```' for label, code in sides.items()]
    title = list(twin)[-1]
    return f'## {title}\n\n<div class="twins" markdown>\n\n' + "\n\n".join(tabs) + "\n\n</div>"


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in code.splitlines())
