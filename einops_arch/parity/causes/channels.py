"""Causes in the order of channels: a permutation is found by matching, and the pattern of the mistake is told."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.report.verdicts import Array, rms

__all__ = ["channel_hypotheses", "matching", "pattern_of"]


def channel_hypotheses(case: Case, outputs: Sequence[Any]) -> Iterator[Hypothesis]:
    """One of the outputs with one axis in another order."""
    arrays = [to_numpy(output) for output in outputs]
    if len(arrays) != len(case.target):
        return
    # What follows the outputs is what the replaced modules are given.
    count = len(case.output_places)
    for n, (target, array) in enumerate(zip(case.target[:count], arrays[:count], strict=True)):
        for axis in reversed(range(array.ndim)) if target.shape == array.shape else ():
            order = matching(target, array, axis)
            if order is not None:
                which = "the output" if count == 1 else f"output {n}"
                words = f"axis {axis} of {which} in another order: {pattern_of(order)}"
                yield words, functools.partial(_taken, arrays, n, order, axis)


def _taken(arrays: Sequence[Array], place: int, order: Sequence[int], axis: int) -> list[Array]:
    return [np.take(array, order, axis) if n == place else array for n, array in enumerate(arrays)]


def matching(target: Array, actual: Array, axis: int) -> list[int] | None:
    """For each slice of the target the nearest of what was found; None if that is no change of order.

    >>> target = np.random.default_rng(0).normal(size=(5, 4))
    >>> matching(target, target[:, [2, 0, 3, 1]], axis=1)
    [1, 3, 0, 2]
    """
    size = target.shape[axis]
    if size < 2 or size > 4096 or target.dtype.kind in "biu":
        return None
    expected, received = (np.moveaxis(array, axis, 0).reshape(size, -1) for array in (target, actual))
    scale = rms(expected) or 1.0
    expected, received = expected / scale, received / scale
    distance = np.square(expected).sum(1)[:, None] + np.square(received).sum(1)[None] - 2 * expected @ received.T
    order = [int(n) for n in distance.argmin(axis=1)]
    return order if sorted(order) == list(range(size)) and order != sorted(order) else None


def pattern_of(order: Sequence[int]) -> str:
    """The pattern of a change of order, if it is one of axes.

    >>> pattern_of([0, 3, 1, 4, 2, 5])
    "Flax has '(a b)' where PyTorch has '(b a)', with a=2, b=3"
    """
    size = len(order)
    for count in (2, 3):
        for sizes in _factors(size, count):
            names = "abc"[:count]
            for axes in itertools.permutations(range(count)):
                if list(np.arange(size).reshape(sizes).transpose(axes).ravel()) == list(order):
                    expected = " ".join(names[n] for n in axes)
                    lengths = ", ".join(f"{name}={length}" for name, length in zip(names, sizes, strict=True))
                    return f"Flax has '({' '.join(names)})' where PyTorch has '({expected})', with {lengths}"
    if list(order) == list(range(size))[::-1]:
        return "it is reversed"
    moved = sum(n != m for n, m in enumerate(order))
    return f"no pattern of axes; {moved} of {size} are at another place: {list(order)[:16]}"


def _factors(size: int, count: int) -> Iterator[tuple[int, ...]]:
    if count == 1:
        if size > 1:
            yield (size,)
        return
    for first in range(2, math.isqrt(size) * 2 + 2 if count == 3 else size):
        if size % first == 0:
            yield from ((first, *rest) for rest in _factors(size // first, count - 1))
