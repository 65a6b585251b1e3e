"""Which axes a function reduces, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import einops
import numpy as np

from einops_arch.discovery.solving.sampling import Sizes
from einops_arch.discovery.solving.structure import COMPUTES, Groups, NoPatternError, Structure, decompose
from einops_arch.discovery.solving.values import close, normal, shapes_of
from einops_arch.discovery.tracing.arrays import Runner

__all__ = ["REDUCTIONS", "Reductions", "find_reduction", "reduced_structure"]

REDUCTIONS = ("mean", "sum", "max", "min", "prod")

_Run: TypeAlias = Callable[[Any], Any]
_Factors: TypeAlias = list[tuple[int, bool]]
"""The parts of one axis as (size, whether it is reduced), outermost first."""


@dataclass
class Reductions:
    """Reads a function of one input as a reduction; `name` is set by the first call.

    Args:
        runner: the function; its output is one array.
        inputs: the names of the input's axes.
    """

    runner: Runner
    inputs: tuple[tuple[str, ...], ...]
    name: str | None = None

    def __call__(self, sizes: Sizes) -> Structure:
        """The structure at these sizes.

        Raises:
            NoPatternError: no reduction that einops has.
        """
        (shape,) = shapes_of(self.inputs, sizes)
        structure = reduced_structure(lambda x: self.runner(x)[0], shape, precise=self.runner.dtype == "float64")
        if not structure.gone or structure.new:
            raise NoPatternError("computes", COMPUTES)
        return structure


def reduced_structure(run: _Run, shape: Sequence[int], *, precise: bool) -> Structure:
    """The elementary axes of a reduction, followed by a move or a repetition.

    A function that takes a mean, sum, maximum, minimum or product is a move on arrays that are constant along what it
    reduces; with zeros and ones the five are the same up to a factor.

    Args:
        run: one array to one array.
        shape: of the input.
        precise: the function computes in float64.

    Raises:
        NoPatternError: it is nothing of that kind.
    """
    (values,) = normal([shape], seed=2)
    values = np.abs(values) + 0.1
    result = run(values)
    factors = [_factors(run, values, result, axis, precise=precise) for axis in range(len(shape))]
    kept = [size for axis in factors for size, gone in axis if not gone]
    total = math.prod(kept)
    origin = _by_number(run, total, factors, shape)
    if origin is None:
        origin = _by_bits(run, total, factors, shape)
    if origin.shape != result.shape:
        raise NoPatternError("computes", "the shape of its result depends on the values")
    if origin.size and origin.max(initial=0) >= max(total, 1):
        raise NoPatternError("computes", COMPUTES)
    counts = np.bincount(origin.reshape(-1), minlength=total)
    if not counts.all():
        raise NoPatternError("computes", COMPUTES)
    try:
        inner = decompose(origin, kept)
    except NoPatternError:
        raise NoPatternError("computes", COMPUTES) from None
    return _joined(inner, factors)


def _by_number(run: _Run, total: int, factors: Sequence[_Factors], shape: Sequence[int]) -> Any:
    """Which kept element is where, from one run on their numbers; None for a product, or where it has to be rounded."""
    indices = np.arange(1, total + 1)
    once = run(np.ones(shape))
    reached = run(_spread(indices, factors, shape))
    if reached.shape != once.shape or not once.all():
        return None
    numbers = reached / once
    origin = np.rint(numbers)
    if not np.isfinite(origin).all() or np.abs(numbers - origin).max(initial=0) > 1e-3 or (origin < 1).any():
        return None
    return origin.astype(np.int64) - 1 if origin.max(initial=1) <= total else None


def _by_bits(run: _Run, total: int, factors: Sequence[_Factors], shape: Sequence[int]) -> Any:
    """The same, from one run for each bit of the numbers: zero and more than zero look the same in all reductions."""
    indices = np.arange(total)
    origin: Any = 0
    for bit in range(max(total - 1, 1).bit_length()):
        reached = run(_spread(indices >> bit & 1, factors, shape))
        if bit and reached.shape != origin.shape:
            raise NoPatternError("computes", "the shape of its result depends on the values")
        origin = origin + ((reached != 0).astype(np.int64) << bit)
    return origin


def _factors(run: _Run, values: Any, result: Any, axis: int, *, precise: bool) -> _Factors:
    size = values.shape[axis]
    if size == 1:
        return []
    along = [1] * values.ndim
    along[axis] = size
    # Close to 1, so that products stay finite.
    ramp = 1 + (1e-3 if precise else 1.0) * np.arange(size).reshape(along) / size
    answer = np.ravel(run(np.broadcast_to(ramp, values.shape)))
    if not answer.size or not np.isfinite(answer).all():
        raise NoPatternError("computes", "its result is empty or not finite")
    order = np.sort(answer)
    step = (1e-9 if precise else 1e-5) * max(abs(order[-1]), 1e-30)
    count = 1 + int((np.diff(order) > step).sum())
    if count == size:
        return [(size, False)]
    if size % count:
        raise NoPatternError("computes", COMPUTES)
    run_length = size // count
    for inner in (n for n in range(1, count + 1) if count % n == 0):
        parts = (count // inner, run_length, inner)
        split = (*values.shape[:axis], *parts, *values.shape[axis + 1 :])
        rolled = np.roll(values.reshape(split), 1, axis + 1).reshape(values.shape)
        again = run(rolled)
        if np.allclose(again, result, rtol=1e-9 if precise else 1e-4, atol=0):
            flags = (False, True, False)
            return [(part, gone) for part, gone in zip(parts, flags, strict=True) if part > 1]
    raise NoPatternError("computes", COMPUTES)


def _spread(kept: Any, factors: Sequence[_Factors], shape: Sequence[int]) -> Any:
    """An array of the input's shape that is constant along the reduced parts."""
    flat = [part for axis in factors for part in axis]
    small = kept.reshape([1 if gone else size for size, gone in flat])
    return np.broadcast_to(small, [size for size, _ in flat]).astype(np.float64).reshape(shape)


def _joined(inner: Structure, factors: Sequence[_Factors]) -> Structure:
    """Number the kept and the reduced parts together, in the order of the input."""
    sizes: list[int] = []
    numbers: dict[int, int] = {}
    left: list[tuple[int, ...]] = []
    groups = iter(inner.left[0])
    for axis in factors:
        group: list[int] = []
        for size, gone in axis:
            if gone:
                sizes.append(size)
                group.append(len(sizes) - 1)
                continue
            for number in next(groups):
                sizes.append(inner.sizes[number])
                numbers[number] = len(sizes) - 1
                group.append(len(sizes) - 1)
        left.append(tuple(group))
    for number in inner.new:
        sizes.append(inner.sizes[number])
        numbers[number] = len(sizes) - 1
    right: Groups = tuple(tuple(numbers[number] for number in group) for group in inner.right)
    return Structure((tuple(left),), right, tuple(sizes))


def find_reduction(
    run: _Run, values: Any, pattern: str, sizes: Sizes, *, dtype: str | None, only: Collection[str] = ()
) -> str | None:
    """Which of einops' reductions a function is, None if it is none of them."""
    result = run(values)
    for name in only or REDUCTIONS:
        if close(result, einops.reduce(values.astype(result.dtype), pattern, name, **sizes), dtype):
            return name
    return None
