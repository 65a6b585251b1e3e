"""Every import of a package, read from its source: which file imports which; and the circles among them."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Arrow:
    """One import: the module that holds it, the module that it reaches, and its line."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source} imports {self.target} in line {self.line}"


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package, by their dotted names."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def arrows(package: Path) -> list[Arrow]:
    """All imports between modules of a package, those in functions, under TYPE_CHECKING and in strings as well."""
    known = modules(package)
    return [
        Arrow(source, target, line)
        for source, path in known.items()
        for name, line in _imported(ast.parse(path.read_text(encoding="utf-8")), source, path.name == "__init__.py")
        for target in _reached(name, known, source)
        if target != source
    ]


def circles(edges: Iterable[Arrow]) -> list[list[str]]:
    """The groups of modules of which each reaches each (Tarjan's strongly connected components of more than one)."""
    graph: dict[str, set[str]] = {}
    for arrow in edges:
        graph.setdefault(arrow.source, set()).add(arrow.target)
        graph.setdefault(arrow.target, set())
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            at = stack.index(module)
            groups.append(sorted(stack[at:]))
            del stack[at:]

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return [group for group in groups if len(group) > 1]


def _imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """The dotted names that a module imports; a part of an f-string that is not known is `*`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in {"import_module", "__import__"}:
            yield from ((name, node.lineno) for name in _texts(node.args[0], module))


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(node: ast.expr, module: str) -> Iterator[str]:
    """What an argument can be, as far as the source says it: a literal, an f-string, or one of two."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(_piece(value, module) for value in node.values)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, module)
        yield from _texts(node.orelse, module)


def _piece(value: ast.expr, module: str) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    inner = value.value if isinstance(value, ast.FormattedValue) else value
    return module if getattr(inner, "id", "") == "__name__" else "*"


def _reached(name: str, known: dict[str, Path], source: str) -> Iterator[str]:
    """The longest part of a dotted name that is a module; all modules that fit where a part of it is open."""
    parts = name.split(".")
    if "*" in name:
        fits = [module for module in known if module.count(".") == name.count(".") and fnmatch.fnmatch(module, name)]
        is_inside = parts[0] in {source.partition(".")[0], "*"}
        assert fits or not is_inside, f"{source}: nothing says what {name!r} imports"
        yield from fits
        return
    longest = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in known), 0)
    if longest:
        yield ".".join(parts[:longest])
