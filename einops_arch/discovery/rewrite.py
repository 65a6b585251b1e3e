"""A diff that puts `rearrange` where a model's chains are. It is only ever shown, never applied.

A chain is rewritten where its source is plain to see: calls on one another in one expression, or in assignments that
follow each other; and where each size that the pattern needs stands in the old code as exactly one expression.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from einops_arch.discovery.chains import Chain

__all__ = ["diff", "rewrite"]

_PROPERTIES = {"T", "mT"}
_VIEWS = {"view", "reshape"}


@dataclass(frozen=True)
class _Edit:
    first: ast.stmt
    """The statement that the chain begins in: it and all before `last` go away."""
    last: ast.stmt
    expression: ast.expr
    text: str


@dataclass
class _Link:
    """One operation in the source: the expression, what it is called on, and its arguments."""

    node: ast.expr
    receiver: ast.expr
    arguments: list[ast.expr]


def diff(chains: Sequence[Chain]) -> str:
    """One unified diff over all files that have a chain to rewrite; empty if none has."""
    by_file: dict[str, list[Chain]] = defaultdict(list)
    for chain in chains:
        if chain.steps and Path(chain.steps[0].file).is_file():
            by_file[chain.steps[0].file].append(chain)
    pages = []
    for file, group in by_file.items():
        old = Path(file).read_text(encoding="utf-8")
        new = rewrite(old, group)
        lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), file, file)
        pages.append("".join(lines))
    return "".join(pages)


def rewrite(source: str, chains: Sequence[Chain]) -> str:
    """The source of one file with the chains that are sure rewritten.

    Args:
        source: Python.
        chains: all that the file ran; a place that ran as two patterns is left alone.
    """
    tree = ast.parse(source)
    sites: dict[tuple[tuple[str, int], ...], list[Chain]] = defaultdict(list)
    for chain in chains:
        sites[tuple((step.operation, step.line) for step in chain.steps)].append(chain)
    edits: list[_Edit] = []
    for group in sites.values():
        found = _edit(tree, source, group)
        if found is not None and not any(_overlap(found, other) for other in edits):
            edits.append(found)
    if not edits:
        return source
    lines = source.splitlines(keepends=True)
    for edit in sorted(edits, key=lambda edit: edit.last.lineno, reverse=True):
        _splice(lines, edit)
    return _with_import("".join(lines), tree)


def _edit(tree: ast.Module, source: str, group: Sequence[Chain]) -> _Edit | None:
    chain = group[0]
    patterns = {one.discovery.pattern if one.discovery else None for one in group}
    if len(patterns) > 1 or chain.discovery is None or chain.discovery.operation != "rearrange":
        return None
    left, right = (side.split() for side in chain.discovery.pattern.split("->"))
    if left == right:
        return None
    if len({step.file for step in chain.steps}) > 1 or ("1" in left and "squeeze" not in chain.operations):
        return None
    for block in _blocks(tree):
        for place, statement in enumerate(block):
            if statement.lineno <= chain.steps[-1].line <= (statement.end_lineno or 0):
                found = _match(block, place, chain)
                if found is not None:
                    return _written(source, block, found, group)
    return None


def _match(block: Sequence[ast.stmt], place: int, chain: Chain) -> tuple[int, int, list[_Link]] | None:
    """The first and last statement of the chain and its operations in order."""
    links: list[_Link] = []
    wanted = list(chain.steps)
    at, node = place, _outermost(block[place], wanted[-1].operation, wanted[-1].line)
    while node is not None and wanted:
        link = _link(node, wanted[-1].operation)
        if link is None:
            if not isinstance(node, ast.Name) or at == 0 or not _assigns(block[at - 1], node.id):
                return None
            at -= 1
            node = block[at].value  # type: ignore[attr-defined]
            continue
        links.append(link)
        wanted.pop()
        node = link.receiver
    return (at, place, links[::-1]) if not wanted else None


def _outermost(statement: ast.stmt, operation: str, line: int) -> ast.expr | None:
    if any(isinstance(child, ast.stmt) for child in ast.iter_child_nodes(statement)):
        return None  # its body is a block of its own
    for node in ast.walk(statement):
        if isinstance(node, ast.expr) and _link(node, operation) and node.lineno <= line <= (node.end_lineno or 0):
            return node
    return None


def _link(node: ast.expr, operation: str) -> _Link | None:
    if isinstance(node, ast.Attribute) and node.attr == operation in _PROPERTIES:
        return _Link(node, node.value, [])
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == operation):
        return None
    if isinstance(node.func.value, ast.Name) and node.func.value.id in {"torch", "F", "np", "jnp"}:
        return _Link(node, node.args[0], node.args[1:]) if node.args else None
    return _Link(node, node.func.value, node.args)


def _assigns(statement: ast.stmt, name: str) -> bool:
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    target = statement.targets[0]
    return isinstance(target, ast.Name) and target.id == name


def _written(
    source: str, block: Sequence[ast.stmt], found: tuple[int, int, list[_Link]], group: Sequence[Chain]
) -> _Edit | None:
    first, last, links = found
    discovery = group[0].discovery
    if discovery is None:
        return None
    between = {statement.targets[0].id for statement in block[first:last]}  # type: ignore[attr-defined]
    if between and not _overwritten(block[last], between):
        return None
    words = _words(source, links, group, between)
    if words is None:
        return None
    root = ast.get_source_segment(source, links[0].receiver)
    text = f'rearrange({root}, "{discovery.pattern}"{words})'
    return _Edit(block[first], block[last], links[-1].node, text)


def _overwritten(statement: ast.stmt, names: set[str]) -> bool:
    """Whether nothing can read the values in between: the last statement gives their one name a new value."""
    if isinstance(statement, ast.Return):
        return True
    return len(names) == 1 and _assigns(statement, next(iter(names)))


def _words(source: str, links: Sequence[_Link], group: Sequence[Chain], between: set[str]) -> str | None:
    """The sizes that the pattern needs in the old code's own words, None if there is a doubt.

    Of each parenthesis one axis is left out: the one that the old code leaves open, or else the one that it takes the
    most words for.
    """
    sizes = [_all_sizes(chain) for chain in group]
    if _unaccounted(links, sizes):
        return None
    discovery = group[0].discovery
    words = []
    for names in _parentheses(discovery.pattern.partition("->")[0]) if discovery else []:
        found = {name: _expression(source, name, links, group, sizes, between) for name in names}
        unclear = [name for name, text in found.items() if text is None]
        left_out = unclear or [max(names, key=lambda name: len(found[name] or ""))]
        if len(left_out) != 1:
            return None
        words += [f", {name}={text}" for name, text in found.items() if name != left_out[0]]
    return "".join(words)


def _all_sizes(chain: Chain) -> dict[str, int]:
    """The size of every axis of the pattern."""
    sizes: dict[str, int] = {}
    if chain.discovery is None:
        return sizes
    sizes.update(chain.discovery.sizes)
    words = re.findall(r"\([^)]*\)|\w+", chain.discovery.pattern.partition("->")[0])
    for word, size in zip(words, chain.shapes[0], strict=True):
        names = word.strip("()").split()
        open_ones = [name for name in names if name not in sizes]
        known = math.prod(sizes[name] for name in names if name in sizes)
        sizes.update(dict.fromkeys(open_ones, size // known))
    return sizes


def _parentheses(side: str) -> list[list[str]]:
    return [group.split() for group in re.findall(r"\(([^)]*)\)", side)]


def _unaccounted(links: Sequence[_Link], sizes: Sequence[Mapping[str, int]]) -> bool:
    """Whether a number stands in a view that is no size of the pattern: it may hold at this shape only."""
    return any(
        isinstance(one, ast.Constant)
        and isinstance(one.value, int)
        and one.value > 1
        and not all(one.value in each.values() for each in sizes)
        for link in links
        if _name(link) in _VIEWS
        for one in ast.walk(ast.Tuple(link.arguments, ast.Load()))
    )


def _expression(
    source: str,
    name: str,
    links: Sequence[_Link],
    group: Sequence[Chain],
    sizes: Sequence[Mapping[str, int]],
    between: set[str],
) -> str | None:
    """The one expression in the arguments of the views whose value is the size of an axis, in every run."""
    texts = set()
    for place, link in enumerate(links):
        arguments = link.arguments
        if len(arguments) == 1 and isinstance(arguments[0], ast.Tuple | ast.List):
            arguments = arguments[0].elts
        if _name(link) not in _VIEWS:
            continue
        if any(len(chain.steps[place].sizes) != len(arguments) for chain in group):
            return None  # a star, or a shape by name
        for position, argument in enumerate(arguments):
            if all(chain.steps[place].sizes[position] == each[name] for chain, each in zip(group, sizes, strict=True)):
                names = {node.id for node in ast.walk(argument) if isinstance(node, ast.Name)}
                texts.add(None if place and names & between else ast.get_source_segment(source, argument))
    found = texts.pop() if len(texts) == 1 else None
    return None if found == "-1" else found


def _name(link: _Link) -> str:
    return link.node.func.attr if isinstance(link.node, ast.Call) else ""  # type: ignore[attr-defined]


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield block


def _overlap(one: _Edit, other: _Edit) -> bool:
    return one.first.lineno <= (other.last.end_lineno or 0) and other.first.lineno <= (one.last.end_lineno or 0)


def _splice(lines: list[str], edit: _Edit) -> None:
    node = edit.expression
    start, end = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    # Columns are counted in bytes.
    head = lines[start].encode()[: node.col_offset].decode()
    tail = lines[end].encode()[node.end_col_offset :].decode()
    lines[start : end + 1] = [head + edit.text + tail]
    del lines[edit.first.lineno - 1 : edit.last.lineno - 1]


def _with_import(source: str, tree: ast.Module) -> str:
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imports:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "einops"
            and any(a.name == "rearrange" for a in node.names)
        ):
            return source
    lines = source.splitlines(keepends=True)
    # Imports stand before what is rewritten, so their lines have not moved.
    after = max((node.end_lineno or 0 for node in imports), default=0)
    lines.insert(after, "from einops import rearrange\n")
    return "".join(lines)
