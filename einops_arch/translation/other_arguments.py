"""Arguments of the whole model, tried with other numbers: those that the twin would follow otherwise are literals.

What was recorded is one model. An expression of arguments that gives its sizes may give others than the original's once
the arguments are others: a table that was made for one width, a block of which there are as many as there were.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from einops_arch.translation.flax_class import FlaxClass

__all__ = ["fixed_arguments", "with_literals"]

_TRIES = 2
"""Other numbers that are tried of each argument."""

_Shapes = dict[str, tuple[int, ...]]


def fixed_arguments(model: Any, known: Mapping[str, Any], root: FlaxClass, flax_class: Any) -> dict[str, str]:
    """Arguments with which the original's state has other names or shapes than the twin's, each with its value as code.

    Args:
        model: of PyTorch.
        known: what its constructor was called with, empty where that was not seen.
        root: of the whole model.
        flax_class: the same, imported.
    """
    if not known:
        return {}
    original = _Original(type(model), known)
    if original.shapes({}) != _shapes_of(model):
        # Something was changed after it was made, or made from more than is known.
        return {}
    result = {}
    for argument in root.arguments:
        name = next((name for name in known if name.lower() == argument.name.lower()), None)
        if name is None or argument.default is None:
            continue
        tried = 0
        for value in _other_values(ast.literal_eval(argument.default)):
            shapes = original.shapes({name: value})
            if shapes is None:
                continue
            if shapes != _shapes_of_twin(flax_class, {argument.name: value}):
                result[argument.name] = argument.default
                break
            tried += 1
            if tried == _TRIES:
                break
    return result


def with_literals(root: FlaxClass, values: Mapping[str, str]) -> FlaxClass:
    """A class in which some arguments of the constructor are literals.

    Args:
        root: the class.
        values: by argument, its value as code.
    """
    if not values:
        return root
    written = _Literals(values).code
    return replace(
        root,
        arguments=[argument for argument in root.arguments if argument.name not in values],
        attributes=[(name, written(code)) for name, code in root.attributes],
        settings={name: written(code) for name, code in root.settings.items()},
    )


@dataclass(frozen=True)
class _Original:
    """The original's class, and the arguments that the model was made with."""

    kind: Any
    known: Mapping[str, Any]

    def shapes(self, changed: Mapping[str, Any]) -> _Shapes | None:
        """Names and shapes of the state with other arguments; None where it cannot be made with them."""
        import torch

        # Without numbers it takes neither time nor memory, but a constructor that computes needs them.
        for device in ("meta", "cpu"):
            try:
                with torch.random.fork_rng(devices=[]), torch.device(device):
                    return _shapes_of(self.kind(**{**self.known, **changed}))
            except Exception:  # noqa: BLE001, S112 a constructor may raise anything
                continue
        return None


def _shapes_of(model: Any) -> _Shapes:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _shapes_of_twin(flax_class: Any, changed: Mapping[str, Any]) -> _Shapes | None:
    from einops_arch.flax._build import abstract
    from einops_arch.port.expected import expected_shapes

    def make(rngs: Any) -> Any:
        return flax_class(**changed, rngs=rngs)

    try:
        return expected_shapes(abstract(make), "torch")[0]
    except Exception:  # noqa: BLE001 it cannot be made where the original can
        return None


def _other_values(value: Any) -> Iterator[Any]:
    """Numbers beside one that a constructor may take: multiples first, which heads and groups divide."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (other for other in (2 * value, value // 2, value + 1, value - 1, 3 * value) if 0 < other != value)
    elif isinstance(value, float):
        yield from (value / 2, 2 * value) if value else (0.5,)
    elif isinstance(value, tuple) and value and all(type(item) is int for item in value):
        yield tuple(2 * item for item in value)
        yield (*(item + 1 for item in value[:1]), *value[1:])
        yield (*value[:-1], value[-1] + 1)


class _Literals(ast.NodeTransformer):
    """Puts values in the place of arguments, and works out what is made of numbers alone."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def code(self, code: str) -> str:
        """The code with values; as it was where it has none of the arguments."""
        tree = ast.parse(code, mode="eval").body
        if not any(isinstance(node, ast.Name) and node.id in self.values for node in ast.walk(tree)):
            return code
        return ast.unparse(self.visit(tree))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.values[node.id], mode="eval").body if node.id in self.values else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not all(isinstance(side, ast.Constant) for side in (node.left, node.right)):
            return node
        # An argument's own number times another one: plain arithmetic, of the same kinds as in the constructor.
        value = eval(ast.unparse(node), {"__builtins__": {}})  # noqa: S307 two literals
        return ast.parse(repr(value), mode="eval").body
