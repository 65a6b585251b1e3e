"""Where elements went, read as axes: an index map becomes elementary axes, or the reason why it cannot.

Each output axis, walked alone, steps through the input in a mixed radix. Its runs of equal stride, cut at the
boundaries of the input's axes and of each other, are the elementary axes that a pattern names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

__all__ = ["COMPUTES", "Groups", "NoPatternError", "Structure", "decompose", "strides_of"]

COMPUTES = "it computes new values"
"""What is said of a function when nothing more is known of it."""

Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""For each axis of an array the elementary axes in it, outermost first; the empty tuple for an axis of size 1."""


class NoPatternError(Exception):
    """An index map that no pattern makes; `kind` is one word for it, `runs` two run lengths that do not fit."""

    def __init__(self, kind: str, reason: str, runs: tuple[int, ...] = ()) -> None:
        super().__init__(reason)
        self.kind = kind
        self.runs = runs


@dataclass(frozen=True)
class Structure:
    """A pattern without names.

    Args:
        left: the elementary axes of every input, by number.
        right: the elementary axes of the output. One that no input has is repeated, one that only an input has is
            reduced.
        sizes: the size of each elementary axis.
    """

    left: tuple[Groups, ...]
    right: Groups
    sizes: tuple[int, ...]

    @property
    def signature(self) -> tuple[tuple[Groups, ...], Groups]:
        """What is the same at every size."""
        return self.left, self.right

    @property
    def inputs(self) -> set[int]:
        """The elementary axes that an input has."""
        return {axis for groups in self.left for group in groups for axis in group}

    @property
    def new(self) -> list[int]:
        """The elementary axes that the output alone has."""
        return [axis for group in self.right for axis in group if axis not in self.inputs]

    @property
    def gone(self) -> list[int]:
        """The elementary axes that the output does not have."""
        kept = {axis for group in self.right for axis in group}
        return sorted(self.inputs - kept)


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """How far apart two neighbours along each axis are, counted in elements of a contiguous array.

    >>> strides_of((2, 3, 5))
    (15, 5, 1)
    """
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def decompose(origin: Any, shape: Sequence[int]) -> Structure:
    """Read an index map as elementary axes.

    Args:
        origin: for each element of the output, the flat index of the input's element that is there.
        shape: of the input.

    Raises:
        NoPatternError: no pattern of einops makes this map.

    >>> import numpy as np
    >>> decompose(np.arange(6).reshape(2, 3).T, (2, 3))
    Structure(left=(((0,), (1,)),), right=((1,), (0,)), sizes=(2, 3))
    """
    pieces = [_pieces(_line(origin, axis)) for axis in range(origin.ndim)]
    steps = list(_steps(pieces))
    if origin.size and (origin.flat[0] != 0 or not _same(origin, pieces)):
        raise NoPatternError("no mixed radix", "its steps through the input are not those of split and merged axes")
    bounds = sorted(
        {1, *strides_of(shape), math.prod(shape)} | {b for size, step in steps for b in (step, step * size)}
    )
    for small, large in pairwise(bounds):
        if large % small:
            reason = f"runs of {small} elements do not fit into runs of {large}"
            raise NoPatternError("crosses", reason, (small, large))
    lows = bounds[-2::-1]
    sizes = [high // low for low, high in zip(lows, bounds[:0:-1], strict=True)]

    def axes_between(step: int, size: int) -> tuple[int, ...]:
        return tuple(n for n, low in enumerate(lows) if step <= low < step * size)

    left = tuple(axes_between(step, size) for step, size in zip(strides_of(shape), shape, strict=True))
    right, used = [], set[int]()
    for axis_pieces in pieces:
        group: list[int] = []
        for size, step in axis_pieces:
            if step:
                group += axes_between(step, size)
            else:
                sizes.append(size)
                group.append(len(sizes) - 1)
        if used.intersection(group):
            raise NoPatternError("diagonal", "one axis of the input runs along two axes of the output")
        used.update(group)
        right.append(tuple(group))
    if not used.issuperset(range(len(lows))):
        raise NoPatternError("slice", "a part of the input is left out")
    return Structure((left,), tuple(right), tuple(sizes))


def _line(origin: Any, axis: int) -> Any:
    """The map along one axis, from the first element."""
    return origin[tuple(slice(None) if n == axis else 0 for n in range(origin.ndim))] - origin.flat[0]


def _pieces(line: Any) -> list[tuple[int, int]]:
    """A walk as (size, step) of nested runs, outermost first."""
    pieces: list[tuple[int, int]] = []
    while len(line) > 1:
        step = int(line[1])
        breaks = np.flatnonzero(line != step * np.arange(len(line)))
        run = int(breaks[0]) if len(breaks) else len(line)
        if step < 0 or len(line) % run:
            raise NoPatternError("no mixed radix", "it steps backwards, or in runs of unequal length")
        pieces.append((run, step))
        line = line[::run]
    return pieces[::-1]


def _steps(pieces: list[list[tuple[int, int]]]) -> Iterator[tuple[int, int]]:
    return ((size, step) for axis in pieces for size, step in axis if step)


def _same(origin: Any, pieces: list[list[tuple[int, int]]]) -> bool:
    """Whether the walks along the axes alone tell the whole map."""
    rebuilt = np.zeros((), origin.dtype)
    for axis in pieces:
        line = np.zeros(1, origin.dtype)
        for size, step in axis:
            line = (line[:, None] + step * np.arange(size, dtype=origin.dtype)).reshape(-1)
        rebuilt = rebuilt[..., None] + line
    return bool(np.array_equal(rebuilt, origin))
