"""Branches of a program that only warn: which of them it takes changes nothing that it gives."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["only_warns"]

_WARNS = frozenset(("print", "warn", "warning", "info", "debug", "warn_once", "warning_once", "info_once"))
_HOMES = ("logger", "logging", "log", "warnings")
_READS = frozenset(
    ("getattr", "str", "repr", "len", "int", "float", "format", "join", "item", "max", "min", "sum", "any", "all")
)


@functools.cache
def only_warns(file: str, line: int) -> bool:
    """Whether a line belongs to the question of an `if` in which, and behind which, there are only warnings.

    Args:
        file: of Python.
        line: where a question is asked.
    """
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return False
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for branch in _own_branches(function):
                if branch.test.lineno <= line <= (branch.test.end_lineno or line):
                    body = [*branch.body, *branch.orelse]
                    assigned = {name for statement in body for name in _assigned(statement)}
                    inside = {id(node) for statement in body for node in ast.walk(statement)}
                    return _harmless(body) and not any(
                        isinstance(node, ast.Name) and node.id in assigned and id(node) not in inside
                        for node in ast.walk(function)
                    )
    return False


def _own_branches(function: ast.AST) -> Iterator[ast.If]:
    """The `if`s of a function, those inside of others first; not those of functions in it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _own_branches(child)
            if isinstance(child, ast.If):
                yield child


def _harmless(body: Sequence[ast.stmt]) -> bool:
    return all(_is_harmless(statement) for statement in body)


def _is_harmless(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return _only_reads(statement.test) and _harmless(statement.body) and _harmless(statement.orelse)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        return _is_warning(call.func) and all(map(_only_reads, [*call.args, *(k.value for k in call.keywords)]))
    if isinstance(statement, (ast.Assign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(isinstance(target, ast.Name) for target in targets) and _only_reads(statement.value)
    return isinstance(statement, ast.Pass)


def _is_warning(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        home = function.value.id if isinstance(function.value, ast.Name) else ""
        return function.attr in _WARNS and home.strip("_").lower() in _HOMES
    return _name(function) in ("print", "warn")


def _only_reads(expression: ast.expr) -> bool:
    nodes = list(ast.walk(expression))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    changes = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
    return all(_name(call.func) in _READS for call in calls) and not any(isinstance(node, changes) for node in nodes)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
