"""Expressions of the original in the form that a careful person would give them."""

from __future__ import annotations

import ast
import copy

__all__ = ["negated", "plainly"]

_OPPOSITES = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}
_WHOLE = ("int", "len", "round")


def negated(test: ast.expr) -> str:
    """The question whose answer is the other one.

    >>> negated(ast.parse("stride == 2", mode="eval").body), negated(ast.parse("not bias", mode="eval").body)
    ('stride != 2', 'bias')
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return ast.unparse(test.operand)
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _OPPOSITES:
        return ast.unparse(ast.Compare(test.left, [_OPPOSITES[type(test.ops[0])]()], test.comparators))
    return ast.unparse(ast.UnaryOp(ast.Not(), test))


def plainly(expression: ast.expr) -> str:
    """The code of an expression, without casts to int of what is an int.

    >>> plainly(ast.parse("int(round(width / 4))", mode="eval").body)
    'round(width / 4)'
    """
    return ast.unparse(_Plainer().visit(copy.deepcopy(expression)))


class _Plainer(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        inner = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if not isinstance(inner, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "int":
            return node
        whole = isinstance(inner.func, ast.Name) and inner.func.id in _WHOLE and len(inner.args) == 1
        return inner if whole and not inner.keywords else node
