"""Tensors, sizes and calls in what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from einops_arch.discovery.tracing.program import Scope, Value
from einops_arch.translation.agree import FreeSize

__all__ = ["all_scopes", "argument_values", "leaf_values", "sizes_in"]


def leaf_values(tree: Any) -> Iterator[Value]:
    """The tensors in a tree."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from leaf_values(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from leaf_values(item)


def sizes_in(tree: Any) -> Iterator[FreeSize]:
    """The sizes in a tree."""
    if isinstance(tree, FreeSize):
        yield tree
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from sizes_in(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from sizes_in(item)


def argument_values(scope: Scope) -> Iterator[Value]:
    """The tensors that go into a call."""
    yield from leaf_values((scope.args, scope.kwargs))


def all_scopes(scope: Scope) -> Iterator[Scope]:
    """A call and all calls inside of it."""
    yield scope
    for node in scope.nodes:
        if node.scope is not None:
            yield from all_scopes(node.scope)
