"""Read a box of a tensor at its places in a file, without what lies between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from einops_arch.checkpoints.disk.blocks import BLOCK
from einops_arch.checkpoints.disk.pread import read_at
from einops_arch.checkpoints.tensors import Bits
from einops_arch.layouts.boxes import Box, sizes_of

__all__ = ["read_box"]

_SHORT = 512
"""Bytes of a piece under which its neighbours are read along: to ask for it alone takes as long as to read them."""


def read_box(file: int, start: int, shape: Sequence[int], box: Box, dtype: np.dtype[np.generic]) -> Bits:
    """A box of a tensor whose elements lie in C order from a place in a file.

    Only the pieces of the box are read; where they are very short, in blocks with their neighbours.

    Raises:
        CheckpointError: the file ends before, or the disk fails.
    """
    out: Bits = np.empty(sizes_of(box), dtype)
    if not out.size:
        return out
    shape, box = _merged(shape, box)
    into = out.reshape(sizes_of(box))
    steps = [dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    last = len(shape) - 1
    if last == 0 or into.shape[-1] * steps[-1] >= _SHORT:
        for index, place in _places(box[:last], steps):
            read_at(file, start + place + box[last][0] * steps[last], into[index])
        return out
    rows = max(1, BLOCK // steps[last - 1])
    first, end = box[last - 1]
    for index, place in _places(box[: last - 1], steps):
        for row in range(first, end, rows):
            lines: Bits = np.empty((min(rows, end - row), shape[last]), dtype)
            read_at(file, start + place + row * steps[last - 1], lines)
            into[index][row - first : row - first + len(lines)] = lines[:, slice(*box[last])]
    return out


def _merged(shape: Sequence[int], box: Box) -> tuple[tuple[int, ...], Box]:
    """The same box with few axes: one that is whole goes into the axis before."""
    sizes: list[int] = [1]
    ranges: list[tuple[int, int]] = [(0, 1)]
    for size, (start, stop) in zip(shape, box, strict=True):
        if (start, stop) == (0, size):
            sizes[-1] *= size
            ranges[-1] = (ranges[-1][0] * size, ranges[-1][1] * size)
        elif sizes[-1] == 1:
            sizes[-1], ranges[-1] = size, (start, stop)
        else:
            sizes.append(size)
            ranges.append((start, stop))
    return tuple(sizes), tuple(ranges)


def _places(box: Box, steps: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """The index of every row of the box, and where it begins."""
    for index in np.ndindex(*sizes_of(box)):
        yield index, sum((start + at) * step for (start, _), at, step in zip(box, index, steps, strict=False))
