"""Which steps of a call are needed: what nothing takes, such as a draw that decides nothing, is not written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from einops_arch.discovery.tracing.program import Node, Scope, Value
from einops_arch.discovery.tracing.sizes import Axis, Comparison, Size, SizeFloat, atoms, expression_of
from einops_arch.translation.agree import FreeSize

__all__ = ["needed"]


def needed(scope: Scope) -> list[Node]:
    """The steps on which the result depends, or something that is kept; calls and questions are kept in any case."""
    taken = set(_taken(scope.output))
    kept: list[Node] = []
    for node in reversed(scope.nodes):
        made = set(_taken(node.outputs))
        if node.kind == "operation" and node.writes is None and not made & taken:
            continue
        taken.update(_taken((node.args, node.kwargs, node.outputs, node.writes)))
        kept.append(node)
    return kept[::-1]


def _taken(tree: Any) -> Iterator[int]:
    """The values in a tree, and those of which a size in it is made."""
    if isinstance(tree, Value):
        yield id(tree)
    elif isinstance(tree, (FreeSize, Size, SizeFloat, Axis)):
        yield from _sized(tree if isinstance(tree, Axis) else tree.expression)
    elif isinstance(tree, Comparison):
        yield from _taken((tree.left, tree.right))
    elif isinstance(tree, slice):
        yield from _taken((tree.start, tree.stop, tree.step))
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from _taken(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _taken(item)


def _sized(expression: Any) -> Iterator[int]:
    for atom in atoms(expression):
        if isinstance(atom.value, Value):
            yield id(atom.value)
        elif isinstance(atom.value, (Size, SizeFloat)):
            yield from _sized(expression_of(atom.value))
