"""Run plain jax functions in numpy, where compiling for one more shape would take longer than all the rest.

What is asked about is always run by jax itself; this is for the other shapes that a function is tried at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

__all__ = ["Quick"]


class _UnknownError(Exception):
    """An operation that is left to jax."""


def _reshape(x: Any, *, new_sizes: Sequence[int], dimensions: Any = None, **_: Any) -> Any:
    if dimensions is not None:
        raise _UnknownError
    return x.reshape(new_sizes)


def _broadcast(x: Any, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: Any) -> Any:
    sizes = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(x.reshape(sizes), shape)


def _slice(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> Any:
    steps = strides or [1] * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _dot(x: Any, y: Any, *, dimension_numbers: Any, **_: Any) -> Any:
    (summed, summed_y), (batch, batch_y) = dimension_numbers
    right = list(range(x.ndim, x.ndim + y.ndim))
    for axis, axis_y in zip((*batch, *summed), (*batch_y, *summed_y), strict=True):
        right[axis_y] = axis
    own = [axis for axis in range(x.ndim) if axis not in (*batch, *summed)]
    return np.einsum(x, list(range(x.ndim)), y, right, [*batch, *own, *(axis for axis in right if axis >= x.ndim)])


_RULES: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "transpose": lambda x, permutation, **_: x.transpose(permutation),
    "squeeze": lambda x, dimensions, **_: x.squeeze(tuple(dimensions)),
    "rev": lambda x, dimensions, **_: np.flip(x, dimensions),
    "concatenate": lambda *xs, dimension, **_: np.concatenate(xs, dimension),
    "copy": lambda x, **_: x,
    "copy_p": lambda x, **_: x,
    "convert_element_type": lambda x, new_dtype, **_: x.astype(new_dtype),
    "reduce_sum": lambda x, axes, **_: x.sum(tuple(axes)),
    "reduce_prod": lambda x, axes, **_: x.prod(tuple(axes)),
    "reduce_max": lambda x, axes, **_: x.max(tuple(axes)),
    "reduce_min": lambda x, axes, **_: x.min(tuple(axes)),
    "dot_general": _dot,
    "mul": lambda x, y, **_: x * y,
    "div": lambda x, y, **_: x / y if np.result_type(x, y).kind == "f" else _left_to_jax(),
}
_INNER = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"}


def _left_to_jax() -> Any:
    raise _UnknownError


class Quick:
    """A function of jax arrays, traced once for each shape.

    Args:
        function: takes arrays and gives one, or a tuple or list of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.traced: dict[Any, Any] = {}

    def __call__(self, values: Sequence[Any]) -> tuple[Any, ...] | None:
        """The outputs, None if jax has to run it."""
        key = tuple((value.shape, value.dtype) for value in values)
        if key not in self.traced:
            self.traced[key] = self._trace(values)
        closed = self.traced[key]
        if closed is None:
            return None
        try:
            return tuple(_evaluate(closed.jaxpr, closed.consts, values))
        except _UnknownError:
            self.traced[key] = None
            return None

    def _trace(self, values: Sequence[Any]) -> Any:
        try:
            closed, shapes = jax.make_jaxpr(self.function, return_shape=True)(*values)
        except Exception:  # noqa: BLE001 the function is anybody's: jax itself says what is wrong with it
            return None
        several = shapes if isinstance(shapes, tuple | list) else [shapes]
        return closed if all(hasattr(shape, "dtype") for shape in several) else None


def _evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return np.asarray(variable.val) if hasattr(variable, "val") else values[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        name = equation.primitive.name
        if name in _INNER:
            inner = equation.params[_INNER[name]]
            outputs = _evaluate(inner.jaxpr, inner.consts, operands)
        elif name in _RULES:
            outputs = [_RULES[name](*operands, **equation.params)]
        else:
            raise _UnknownError
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]
