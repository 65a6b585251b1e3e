"""Run a recording again, at other sizes: what it gives tells whether its steps hold there."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from einops_arch.discovery.tracing.program import Node, Scope, Value, map_tree, values_in
from einops_arch.discovery.tracing.sizes import Axis, Expression, Operation, expression_of
from einops_arch.discovery.tracing.torch_program import tensors_in
from einops_arch.discovery.tracing.torch_state import copy_of_model

__all__ = ["holds", "replay"]

_SIGNS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": lambda *sides: operator.sub(*sides) if len(sides) == 2 else -sides[0],
    "*": operator.mul,
    "//": operator.floordiv,
    "/": operator.truediv,
    "%": operator.mod,
    "**": operator.pow,
    "ceil": math.ceil,
    "floor": math.floor,
    "int": int,
    "round": round,
    "abs": abs,
}


def replay(scope: Scope, model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the recorded steps give for these inputs; questions about sizes are not asked again.

    Args:
        scope: the call of the whole model.
        model: whose parameters, buffers and layers are used; layers and buffers may change as in any run.
        args: by position.
        kwargs: by name.

    Raises:
        Exception: whatever a step raises that does not take these sizes.
    """
    player = _Player(model)
    player.bind((scope.args, scope.kwargs), (tuple(args), dict(kwargs)))
    player.play(scope)
    return player.tree(scope.output)


def holds(scope: Scope, model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the recorded steps give for these inputs what the model gives."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            torch.manual_seed(0)
            expected = list(tensors_in(copy_of_model(model)(*args, **kwargs)))
            torch.manual_seed(0)
            received = list(tensors_in(replay(scope, copy_of_model(model), args, kwargs)))
        except Exception:  # noqa: BLE001 whatever it is, these steps are not for this size
            return False
    return len(expected) == len(received) and all(
        left.shape == right.shape and torch.allclose(left, right, rtol=1e-4, atol=1e-6, equal_nan=True)
        for left, right in zip(expected, received, strict=True)
    )


class _Player:
    def __init__(self, model: torch.nn.Module) -> None:
        self.modules = dict(model.named_modules())
        self.state = model.state_dict(keep_vars=True)
        self.tensors: dict[int, torch.Tensor] = {}

    def bind(self, values: Any, tensors: Any) -> None:
        """From here on these values are these tensors."""
        pairs = zip(values_in(values), _tensors(tensors), strict=True)
        self.tensors |= {id(value): tensor for value, tensor in pairs}

    def play(self, scope: Scope) -> None:
        for node in scope.nodes:
            if node.kind == "call" and node.scope is not None:
                self.call(node, node.scope)
            elif node.kind == "operation":
                self.bind(node.outputs, self.operate(node))

    def call(self, node: Node, inner: Scope) -> None:
        args, kwargs = self.tree(node.args), self.tree(node.kwargs)
        if inner.leaf:
            self.bind(node.outputs, self.modules[inner.path](*args, **kwargs))
            return
        self.bind((inner.args, inner.kwargs), (args, kwargs))
        self.play(inner)
        self.bind(node.outputs, self.tree(inner.output))

    def operate(self, node: Node) -> Any:
        args, kwargs = self.tree(node.args), self.tree(node.kwargs)
        if node.function is None:
            return args[0].detach()
        result = node.function(*args, **kwargs)
        return self.leaf(node.writes) if node.writes is not None else result

    def tree(self, tree: Any) -> Any:
        return map_tree(tree, self.leaf)

    def leaf(self, item: Any) -> Any:
        if isinstance(item, Value):
            if id(item) not in self.tensors:
                self.tensors[id(item)] = self.state[item.path[0]] if item.origin == "state" else item.data
            return self.tensors[id(item)]
        if hasattr(item, "expression"):
            return self.number(item.expression)
        return item

    def number(self, expression: Expression) -> Any:
        if isinstance(expression, Axis):
            if expression.axis is None:
                return self.number(expression_of(expression.value))
            return int(self.leaf(expression.value).shape[expression.axis])
        if isinstance(expression, Operation):
            return _SIGNS[expression.sign](*map(self.number, expression.operands))
        return expression


def _tensors(tree: Any) -> list[torch.Tensor]:
    tensors: list[torch.Tensor] = []
    map_tree(tree, lambda leaf: tensors.append(leaf) if isinstance(leaf, torch.Tensor) else None)
    return tensors
