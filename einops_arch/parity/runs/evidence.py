"""Which outputs are evidence: those that change when the inputs do. A constant proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import dtype_kind
from einops_arch.parity.report.verdicts import Array, is_exact, unit_roundoff, wide
from einops_arch.parity.runs.inputs import Arguments
from einops_arch.parity.runs.values import flatten, rebuild

__all__ = ["changes", "other_inputs"]

_KINDS = (("floating-point", "complex"), ("integer",), ("boolean",))
_ROUNDING = 16
"""A change of so many roundoffs may be no more than rounding."""
_SHRINK = 0.875
"""Keeps the numbers of a second draw in the range of the first."""


def changes(
    first: Sequence[Array], run: Callable[[Arguments], Sequence[Array] | None], arguments: Arguments
) -> list[bool]:
    """Whether each output changes with the inputs.

    Args:
        first: the outputs for the inputs that are compared.
        run: gives the outputs for others; None where the model cannot be run with them.
        arguments: the inputs that are compared.
    """
    varies = [False] * len(first)
    for inputs in other_inputs(arguments):
        second = run(inputs)
        if second is not None and len(second) == len(first):
            varies = [seen or _differ(*pair) for seen, *pair in zip(varies, first, second, strict=True)]
        elif second is not None:
            varies = [True] * len(first)
        if all(varies):
            break
    return varies


def other_inputs(arguments: Arguments) -> Iterator[Arguments]:
    """Further draws: of the numbers, of the integers, of the masks, of all together, and of integers in another order.

    That is over the array, and then in each column: an index that is none of those that are there may be out of the
    range of a table.
    """
    leaves = [array for part in arguments for _, array in flatten(part, _is_array)]
    present: list[tuple[str, ...]] = [
        kinds for kinds in _KINDS if any(dtype_kind(array.dtype) in kinds for array in leaves)
    ]
    if len(present) > 1:
        present.append(tuple(kind for kinds in _KINDS for kind in kinds))
    draws: list[tuple[tuple[str, ...], Callable[..., Array]]] = [(kinds, _redrawn) for kinds in present]
    if ("integer",) in present:
        draws += [(("integer",), _permuted), (("integer",), _permuted_rows)]
    for kinds, drawn in draws:
        generator = np.random.default_rng(0)

        def change(
            place: str, array: Array, kinds: Any = kinds, generator: Any = generator, drawn: Any = drawn
        ) -> Array:
            del place
            return drawn(array, generator) if dtype_kind(array.dtype) in kinds else array

        args, keywords = arguments
        yield rebuild(args, change, _is_array), rebuild(keywords, change, _is_array)


def _redrawn(array: Array, generator: np.random.Generator) -> Array:
    """Numbers of the same kind and range in another order; integers stay between zero and the largest one."""
    if not array.size:
        return array
    drawn = _permuted(array, generator)
    kind = dtype_kind(array.dtype)
    if kind == "boolean":
        return drawn if not np.array_equal(drawn, array) else ~array
    if kind == "integer":
        low, high = int(array.min()), int(array.max())
        return generator.integers(min(low, 0), max(high, 1) + 1, array.shape).astype(array.dtype)
    if not np.any(drawn):
        drawn = np.ones(array.shape)
    return (wide(drawn) * generator.uniform(_SHRINK, 1.0, array.shape)).astype(array.dtype)


def _permuted(array: Array, generator: np.random.Generator) -> Array:
    return generator.permutation(array.reshape(-1)).reshape(array.shape)


def _permuted_rows(array: Array, generator: np.random.Generator) -> Array:
    """Each column in another order: a column may be a category of its own, with a table of its own."""
    return generator.permuted(array, axis=0) if array.ndim else array


def _differ(first: Array, second: Array) -> bool:
    if first.shape != second.shape:
        return True
    if is_exact(first) or is_exact(second):
        return not np.array_equal(first, second)
    before, after = wide(first), wide(second)
    finite = np.isfinite(before) & np.isfinite(after)
    before, after = before[finite], after[finite]
    # By number: large constants, such as a mask's, are no reason to overlook the rest.
    sizes = np.maximum(np.abs(before), np.abs(after))
    return bool(np.any(np.abs(before - after) > _ROUNDING * unit_roundoff(first.dtype) * sizes))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
