"""Numbers in a body that the original reads from its module: `self.heads` instead of 3."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from einops_arch.translation.constructors import Environment
from einops_arch.translation.reads import held_numbers, integers_of, reads_of
from einops_arch.translation.writer import Statement

__all__ = ["with_fields"]

_PLACES = ("axis", "axes", "keepdims", "dtype", "source", "destination", "offset", "k")
_TRIVIAL = (0, 1, 0.0, 1.0)


def with_fields(statements: Sequence[Statement], module: Any) -> dict[str, Any]:
    """Write attributes of the module for the numbers that the statements of the original read from them.

    Args:
        statements: of a body, which are changed.
        module: the original.

    Returns:
        The attributes and their numbers.
    """
    used: dict[str, Any] = {}
    anywhere = held_numbers(module, _reads_of_forward(module))
    if not anywhere:
        return used
    for statement in statements:
        first, last = statement.source.statement
        there = held_numbers(module, reads_of(statement.source.file, first, last)) if statement.source.file else {}
        # Of an integer that stands there as such nobody can say that it is an attribute with the same value. A float is
        # what was computed, such as a root: an axis 2 in the same lines says nothing of it.
        plain = integers_of(statement.source.file, first, last) if there else frozenset()
        there = {name: value for name, value in there.items() if type(value) is not int or value not in plain}
        sizes = anywhere if statement.code.startswith(("rearrange(", "repeat(")) else {}
        if there or sizes:
            swap = _Fields(there, sizes)
            statement.code = ast.unparse(swap.visit(ast.parse(statement.code, mode="eval").body))
            used |= {name: vars(module)[name] for name in swap.used}
    return used


def _reads_of_forward(module: Any) -> frozenset[str]:
    try:
        lines, first = inspect.getsourcelines(type(module).forward)
        file = inspect.getsourcefile(type(module).forward)
    except (OSError, TypeError):
        return frozenset()
    return reads_of(file or "", first, first + len(lines) - 1)


class _Fields(ast.NodeTransformer):
    """Swaps numbers of operations, and sizes of patterns; places of axes and entries stay."""

    def __init__(self, there: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
        self.there = there
        self.sizes = sizes
        self.used: dict[str, None] = {}  # in the order of the text, whatever strings hash to

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        node.value = self.visit(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node.func = self.visit(node.func)
        node.args = [self.visit(item) for item in node.args]
        named = {word.arg for word in node.keywords if any(word.arg and word.arg in text for text in self.sizes)}
        for keyword in node.keywords:
            if keyword.arg in _PLACES and not self.sizes:
                continue
            if not self.sizes or not isinstance(keyword.value, ast.Constant):
                keyword.value = self.visit(keyword.value)
            elif keyword.arg in named or not named:
                keyword.value = self._field(keyword.value, self.sizes, keyword.arg or "")
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """An expression of numbers, such as a root, counts as the number that it is."""
        number = Environment({}).value(node) if not any(isinstance(part, ast.Name) for part in ast.walk(node)) else None
        if type(number) is float:
            field = self._field(ast.Constant(number), self.there, "")
            if not isinstance(field, ast.Constant):
                return field
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return self._field(node, self.there, "")

    def _field(self, node: ast.Constant, known: Mapping[str, Any], wanted: str) -> ast.expr:
        if type(node.value) not in (int, float) or node.value in _TRIVIAL:
            return node
        names = [name for name, value in known.items() if type(value) is type(node.value) and value == node.value]
        plain = [name for name in names if name.count("self.") == 1 and " " not in name]
        names = plain or names
        name = next((name for name in names if wanted and wanted in name), names[0] if len(names) == 1 else None)
        if name is None:
            return node
        expression = ast.parse(name, mode="eval").body
        self.used |= {item.attr: None for item in ast.walk(expression) if isinstance(item, ast.Attribute)}
        return expression
