"""What the original reads in a statement: attributes of its module, and numbers made of them."""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from einops_arch.translation.constructors import PLAIN_FUNCTIONS, Environment, assignments

__all__ = ["held_numbers", "integers_of", "reads_of"]

_DEEPEST = 4
_ROOTS = ("math.sqrt", "sqrt", "np.sqrt", "numpy.sqrt")


@functools.cache
def reads_of(file: str, first: int, last: int) -> frozenset[str]:
    """Expressions of attributes of `self` and numbers alone that lines of a file have, the largest of them.

    A local name counts as what it was made of: `half` as `self.size // 2`, and of `x.shape[-1] // self.heads` the
    attribute. A root is written as a power.
    """
    try:
        function = _function_around(_parsed(file), first, last)
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    if function is None:
        return frozenset()
    texts: set[str] = set()
    pending = list(_outermost(function, first, last))
    made = _local_names(function)
    seen: set[str] = set()
    while pending:
        node = _Local(made).visit(copy.deepcopy(pending.pop()))
        for text in _pure_parts(node):
            texts.add(text)
        for name in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - seen:
            seen.add(name)
            pending += [value for value in made.get(name, ()) if _is_arithmetic(value)]
    return frozenset(text for text in texts if "self." in text)


@functools.cache
def integers_of(file: str, first: int, last: int) -> frozenset[int]:
    """The integers that lines of a file have as such."""
    try:
        function = _function_around(_parsed(file), first, last)
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    parts = _outermost(function, first, last) if function is not None else ()
    nodes = (node for part in parts for node in ast.walk(part) if isinstance(node, ast.Constant))
    return frozenset(node.value for node in nodes if type(node.value) is int)


@functools.cache
def _parsed(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def _function_around(tree: ast.Module, first: int, last: int) -> ast.FunctionDef | None:
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and _start(node) <= first and last <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno, default=None)


def _start(function: ast.FunctionDef) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _outermost(node: ast.AST, first: int, last: int) -> Iterator[ast.expr]:
    """The expressions that stand within lines, as large as they are there."""
    for part in ast.iter_child_nodes(node):
        # A question whether something is done says nothing about the numbers that it is done with.
        if isinstance(node, (ast.If, ast.While, ast.IfExp)) and part is node.test:
            continue
        if isinstance(part, ast.expr) and first <= part.lineno and (part.end_lineno or 0) <= last:
            yield part
        else:
            yield from _outermost(part, first, last)


def _local_names(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    """What is assigned to each local name."""
    made: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        for target, value in assignments(node):
            if isinstance(target, ast.Name):
                made.setdefault(target.id, []).append(value)
        if isinstance(node, (ast.For, ast.comprehension, ast.AugAssign)):
            for part in ast.walk(node.target):
                if isinstance(part, ast.Name):
                    made.setdefault(part.id, []).append(ast.Name("__unknown__", ast.Load()))
    return made


def _is_arithmetic(node: ast.expr) -> bool:
    """Whether an expression makes a number from others, and from sizes."""
    calls = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    return all(ast.unparse(call) in (*PLAIN_FUNCTIONS, *_ROOTS) for call in calls)


def _is_pure(node: ast.AST) -> bool:
    """Whether an expression is of attributes of `self` and numbers alone."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "self"
    if isinstance(node, ast.BinOp):
        return _is_pure(node.left) and _is_pure(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_pure(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _pure_parts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.Attribute, ast.BinOp)) and _is_pure(node):
        yield ast.unparse(node)
        return
    for part in ast.iter_child_nodes(node):
        if not isinstance(node, ast.IfExp) or part is not node.test:
            yield from _pure_parts(part)


class _Local(ast.NodeTransformer):
    """Local names that are made of attributes alone become that; roots become powers."""

    def __init__(self, made: Mapping[str, list[ast.expr]], depth: int = 0) -> None:
        self.made = made
        self.depth = depth

    def visit_Name(self, node: ast.Name) -> ast.expr:
        values = self.made.get(node.id, [])
        if len(values) != 1 or self.depth > _DEEPEST:
            return node
        value = _Local(self.made, self.depth + 1).visit(copy.deepcopy(values[0]))
        return value if _is_pure(value) else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if ast.unparse(node.func) in _ROOTS and len(node.args) == 1 and _is_pure(node.args[0]):
            return ast.BinOp(node.args[0], ast.Pow(), ast.Constant(0.5))
        return node


def held_numbers(module: Any, expressions: frozenset[str]) -> dict[str, Any]:
    """What expressions of a module's attributes are, where they are numbers."""
    held: dict[str, Any] = {}
    numbers = SimpleNamespace(**{name: item for name, item in vars(module).items() if type(item) in (int, float)})
    for text in sorted(expressions):
        value = Environment({"self": numbers}).value(ast.parse(text, mode="eval").body)
        if type(value) in (int, float):
            held[text] = value
    return held
