"""Arguments that a finished module was constructed with, from what it holds and from what its children hold."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from einops_arch.translation.constructors import Constructor, constructor_of, holds_argument

__all__ = ["inferred_arguments"]


def inferred_arguments(model: Any) -> dict[int, dict[str, Any]]:
    """By id of the module, what can be read from it: of `nn.Linear(width, 3)` the layer knows the width."""
    result: dict[int, dict[str, Any]] = {}
    for module in reversed(list(model.modules())):  # children before their parents
        kind: Any = type(module)
        constructor = constructor_of(kind)
        arguments: dict[str, Any] = {}
        for name, value in (*_held(module, constructor), *_of_children(module, constructor, result)):
            if type(value) in (bool, int, float, str) and name in constructor.defaults:
                arguments.setdefault(name, value)
        result[id(module)] = arguments
    return result


def _held(module: Any, constructor: Constructor) -> Iterator[tuple[str, Any]]:
    """Arguments that stand in attributes, under their own name or another."""
    for name in constructor.defaults:
        if holds_argument(type(module), name):
            yield name, vars(module).get(name)
    for key, value in constructor.definitions.items():
        if key.startswith("self.") and isinstance(value, ast.Name) and value.id not in constructor.definitions:
            yield value.id, vars(module).get(key.removeprefix("self."))


def _of_children(module: Any, constructor: Constructor, known: dict[int, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Arguments that were handed on as they are."""
    children = dict(module.named_children())
    for attribute, values in constructor.made.items():
        child = children.get(attribute)
        call = values[0]
        if child is None or len(values) != 1 or not isinstance(call, ast.Call):
            continue
        if ast.unparse(call.func).rpartition(".")[2] != type(child).__name__:
            continue
        named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
        try:
            bound = inspect.signature(type(child)).bind_partial(*call.args, **named)
        except TypeError:
            continue
        # A layer of PyTorch holds its arguments under their names; of any other class that is known for some alone.
        held = {**(vars(child) if type(child).__module__.startswith("torch.nn.") else {}), **known[id(child)]}
        for parameter, node in bound.arguments.items():
            if isinstance(node, ast.Name) and node.id not in constructor.definitions:
                yield node.id, held.get(parameter)
