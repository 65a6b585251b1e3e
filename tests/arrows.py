"""Every import of the package, read from its source: which file imports which, and where."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "einops_arch"


@dataclass(frozen=True)
class Arrow:
    """One import: the module that holds it, the module it reaches, and its line."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} (line {self.line})"


def modules(root: Path) -> dict[str, Path]:
    """The modules of the package in `root`, by their dotted names."""
    out = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return out


def arrows(root: Path) -> list[Arrow]:
    """All imports between modules of the package, those inside functions, under TYPE_CHECKING and in strings too."""
    known = modules(root)
    return [
        Arrow(source, target, line)
        for source, path in known.items()
        for name, line in _imported(ast.parse(path.read_text()), source, is_package=path.name == "__init__.py")
        for target in _reached(name, known)
        if target != source
    ]


def _imported(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[str, int]]:
    """The dotted names that a module imports; `*` stands for what an f-string leaves open."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=is_package)
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and _name(node.func) in {"import_module", "__import__"}:
            yield from ((name, node.lineno) for name in _strings(node.args[0], module))


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _strings(node: ast.expr, module: str) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value)
            if isinstance(part, ast.Constant)
            else module
            if isinstance(part, ast.FormattedValue) and getattr(part.value, "id", "") == "__name__"
            else "*"
            for part in node.values
        )
    elif isinstance(node, ast.IfExp):
        yield from _strings(node.body, module)
        yield from _strings(node.orelse, module)


def _reached(name: str, known: dict[str, Path]) -> Iterator[str]:
    """The modules that importing a dotted name reaches: the longest prefix that is a module, or all that fit a `*`."""
    parts = name.split(".")
    if "*" in parts:
        fits = [module for module in known if len(module.split(".")) == len(parts) and fnmatch.fnmatch(module, name)]
        assert fits, f"cannot tell what {name!r} imports"
        yield from fits
        return
    for n in range(len(parts), 0, -1):
        if ".".join(parts[:n]) in known:
            yield ".".join(parts[:n])
            return
