"""A slice of a tensor of one layout, made of slices of the tensor of the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import Bits
from einops_arch.layouts.boxes import Box, slices
from einops_arch.layouts.patterns import LayoutPattern, Sizes

__all__ = ["part_through"]

Ranges = dict[str, tuple[int, int]]
"""Where each axis of a pattern begins and ends."""


def part_through(
    pattern: LayoutPattern, shape: Sequence[int], box: Box, sizes: Sizes, read: Callable[[Box], Bits]
) -> Bits:
    """A box of what a pattern makes of a tensor.

    Args:
        pattern: from the tensor's layout to the box's.
        shape: the tensor's.
        box: in the layout that the pattern makes.
        sizes: sizes of axes that the shape does not tell.
        read: gives a box of the tensor.

    >>> x = np.arange(6).reshape(2, 3)
    >>> part_through(LayoutPattern.parse("o i -> i o"), x.shape, ((1, 3), (0, 1)), {}, lambda box: x[slices(box)])
    array([[1],
           [2]])
    """
    if pattern.is_identity:
        return read(box)
    expanded, bound = pattern.bind(shape, sizes)
    ranges: Ranges = {}
    cut = []
    for item, wanted in zip(expanded.right, box, strict=True):
        ranges |= (covered := _cover(_group(item), wanted, bound))
        begin = _offset(_group(item), covered, bound)
        cut.append(slice(wanted[0] - begin, wanted[1] - begin))
    pieces = [_pieces(_group(item), ranges, bound) for item in expanded.left]
    moved = expanded.apply(_gather(pieces, read), {name: stop - start for name, (start, stop) in ranges.items()})
    result: Bits = moved[tuple(cut)]
    return result


def _group(item: str | tuple[str, ...]) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else item


def _cover(names: tuple[str, ...], wanted: tuple[int, int], bound: Mapping[str, int]) -> Ranges:
    """The narrowest ranges of the axes of a group that hold a range of the group, in one run."""
    start, stop = wanted
    ranges: Ranges = {}
    for number, name in enumerate(names):
        inner = math.prod(bound[name] for name in names[number + 1 :])
        if start >= stop or not inner:
            # Nothing is wanted: nothing of one axis is enough.
            return ranges | {other: (0, 0) if other == name else (0, bound[other]) for other in names[number:]}
        first, last = start // inner, -(-stop // inner)
        ranges[name] = (first, last)
        if last - first > 1:
            return ranges | {name: (0, bound[name]) for name in names[number + 1 :]}
        start, stop = start - first * inner, stop - first * inner
    return ranges


def _offset(names: tuple[str, ...], ranges: Ranges, bound: Mapping[str, int]) -> int:
    """Where a run of a group begins."""
    place = 0
    for name in names:
        place = place * bound[name] + ranges[name][0]
    return place


def _pieces(names: tuple[str, ...], ranges: Ranges, bound: Mapping[str, int]) -> list[tuple[int, int]]:
    """The runs of a group that are the ranges of its axes, in order."""
    parts = [number for number, name in enumerate(names) if ranges[name] != (0, bound[name])]
    last = parts[-1] if parts else 0
    outer = [range(*ranges[name]) for name in names[:last]]
    inner = math.prod(bound[name] for name in names[last + 1 :])
    start, stop = ranges[names[last]] if names else (0, 1)
    runs = []
    for index in itertools.product(*outer):
        place = 0
        for name, at in zip(names, index, strict=False):
            place = place * bound[name] + at
        place *= bound[names[last]] if names else 1
        runs.append(((place + start) * inner, (place + stop) * inner))
    return runs


def _gather(pieces: Sequence[list[tuple[int, int]]], read: Callable[[Box], Bits]) -> Bits:
    """The pieces of all axes beside one another."""
    if all(len(runs) == 1 for runs in pieces):
        return read(tuple(runs[0] for runs in pieces))
    places = [list(itertools.accumulate((stop - start for start, stop in runs), initial=0)) for runs in pieces]
    out: Any = None
    for index in itertools.product(*(range(len(runs)) for runs in pieces)):
        box = tuple(runs[at] for runs, at in zip(pieces, index, strict=True))
        part = read(box)
        if out is None:
            out = np.empty([ends[-1] for ends in places], part.dtype)
        target = tuple((ends[at], ends[at + 1]) for ends, at in zip(places, index, strict=True))
        out[slices(target)] = part
    # A range without an index has no runs, and nothing to be read.
    return read(tuple((0, 0) for _ in pieces)).reshape([ends[-1] for ends in places]) if out is None else out
