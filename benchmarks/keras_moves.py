"""A pattern by way of `keras.ops`, as Keras code has it: reshape, transpose, reshape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einops.parsing import ParsedExpression

__all__ = ["move"]


def move(ops: Any, pattern: str, x: Any, *, sizes: Mapping[str, int]) -> Any:
    """Apply a pattern that moves or repeats, with three calls.

    Args:
        ops: the module `keras.ops`.
        pattern: of einops.
        x: the input.
        sizes: of the axes that the input does not tell.
    """
    split, order, repeats, joined = plan(pattern, tuple(x.shape), tuple(sorted(sizes.items())))
    x = ops.transpose(ops.reshape(x, split), order)
    if repeats:
        shape = list(x.shape)
        for position, count in repeats:
            x = ops.expand_dims(x, position)
            shape.insert(position, count)
            x = ops.broadcast_to(x, shape)
    return ops.reshape(x, joined)


_PLANS: dict[Any, Any] = {}


def plan(pattern: str, shape: tuple[int, ...], sizes: tuple[tuple[str, int], ...]) -> Any:
    """The arguments of the calls, worked out once, as a person would who writes them down."""
    key = (pattern, shape, sizes)
    if key not in _PLANS:
        _PLANS[key] = _plan(*key)
    return _PLANS[key]


def _plan(pattern: str, shape: tuple[int, ...], sizes: tuple[tuple[str, int], ...]) -> Any:
    left, right = (ParsedExpression(side).composition for side in pattern.split("->"))
    known = dict(sizes)
    for names, size in zip(left, shape, strict=True):
        missing = next((name for name in names if name not in known), None)
        rest = 1
        for name in names:
            rest *= known.get(name, 1)
        if missing is not None:
            known[missing] = size // rest
    inputs = [name for names in left for name in names]
    outputs = [name for names in right for name in names]
    order = [inputs.index(name) for name in outputs if name in inputs]
    repeats = [(position, known[name]) for position, name in enumerate(outputs) if name not in inputs]
    joined = []
    for names in right:
        size = 1
        for name in names:
            size *= known[name]
        joined.append(size)
    return tuple(known[name] for name in inputs), tuple(order), repeats, tuple(joined)
