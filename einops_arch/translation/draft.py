"""What is known of one module of the original: what its constructor makes, and what a call of it computes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Body", "Draft", "Order", "without_children"]


Order = tuple[int, ...]


@dataclass
class Body:
    """The lines of a call in one mode, and the orders of what it gives."""

    lines: list[str]
    orders: list[Order | None]
    names: list[list[str]]
    structure: Any = None
    finished: Callable[[Callable[[str], str]], list[str]] | None = None


def without_children(body: Body, names: Sequence[str]) -> list[str] | None:
    """The lines of a body in which calls of some children give what they take; None where that cannot be said."""

    class Skip(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            called = ast.unparse(node.func)
            if called.removeprefix("self.") in names and called.startswith("self.") and len(node.args) == 1:
                return node.args[0]
            return node

    def skipped(code: str) -> str:
        return ast.unparse(Skip().visit(ast.parse(code, mode="eval").body))

    return body.finished(skipped) if body.finished is not None else None


@dataclass
class Draft:
    """One module of the original.

    Args:
        module: of PyTorch.
        path: its path.
        number: in the order of first use.
        arguments: names of what a call takes.
        orders: of each tensor that goes in.
        bodies: by mode, `"eval"` and `"train"`.
        attributes: what the constructor makes: name and code.
        imports: that it needs.
        layers: layers that stand for functions of the original.
        fields: numbers of the module that its call reads.
        borders: of each argument, the orders of its tensors.
        kinds: types of arguments, and of what is returned, that are dataclasses.
        series: how many children stand in a list that is one for the time of merging, by its name.
        casts: whether what it gives has still to be cast to the dtype of the run.
    """

    module: Any
    path: str
    number: int
    arguments: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    constants: Any = None
    bodies: dict[str, Body] = field(default_factory=dict)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    layers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    chain: list[str] | None = None
    borders: dict[str, tuple[Order, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    series: dict[str, int] = field(default_factory=dict)
    casts: bool = False
    refused: bool = False

    @property
    def original(self) -> type:
        return type(self.module)
