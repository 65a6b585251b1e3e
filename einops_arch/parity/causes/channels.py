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
    """The first output with one axis in another order."""
    arrays = [to_numpy(one) for one in outputs]
    if not arrays or arrays[0].shape != case.target[0].shape or len(arrays) != len(case.target):
        return
    for axis in reversed(range(arrays[0].ndim)):
        order = matching(case.target[0], arrays[0], axis)
        if order is not None:
            words = f"axis {axis} of the output in another order: {pattern_of(order)}"
            yield words, functools.partial(_taken, arrays, order, axis)


def _taken(arrays: Sequence[Array], order: Sequence[int], axis: int) -> list[Array]:
    return [np.take(arrays[0], order, axis), *arrays[1:]]


def matching(target: Array, found: Array, axis: int) -> list[int] | None:
    """For each slice of the target the nearest of what was found; None if that is no change of order.

    >>> target = np.random.default_rng(0).normal(size=(5, 4))
    >>> matching(target, target[:, [2, 0, 3, 1]], axis=1)
    [1, 3, 0, 2]
    """
    size = target.shape[axis]
    if size < 2 or size > 4096 or target.dtype.kind in "biu":
        return None
    one, two = (np.moveaxis(array, axis, 0).reshape(size, -1) for array in (target, found))
    scale = rms(one) or 1.0
    one, two = one / scale, two / scale
    distance = np.square(one).sum(1)[:, None] + np.square(two).sum(1)[None] - 2 * one @ two.T
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
                    ours = " ".join(names[n] for n in axes)
                    lengths = ", ".join(f"{name}={length}" for name, length in zip(names, sizes, strict=True))
                    return f"Flax has '({' '.join(names)})' where PyTorch has '({ours})', with {lengths}"
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
