"""Copies of permuted arrays that stay in the processor's cache, in numpy alone.

numpy copies a transposed array element by element of the destination, so nearly every element that it reads is in
another cache line. Here a copy is cut into pieces: a few lines of the source wide, long where the source is
contiguous, so that each line is read once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einops_arch.checkpoints.disk.buffer_pool import POOL
from einops_arch.checkpoints.tensors import Bits

__all__ = ["BLOCK", "blocks", "contiguous"]

BLOCK = 8 << 20
"""Bytes that are passed on at a time."""

# Measured for 2, 4 and 8 bytes, on two processors: 16 by 1024 is the best or near it for every shape that was tried.
_WIDE, _LONG = 16, 1024
_SMALL = 1 << 16
_LINE = 64
"""Bytes of a cache line: elements closer than that come along with their neighbours anyway."""


def contiguous(array: Bits) -> Bits:
    """The array itself if its elements lie in C order, and a copy that does otherwise."""
    if array.flags.c_contiguous:
        return array
    copy = POOL.empty(array.shape, array.dtype)
    _copy(copy, array)
    return copy


def blocks(array: Bits) -> Iterator[Bits]:
    """The bytes of an array in C order, a block at a time."""
    flat = contiguous(array).reshape(-1).view(np.uint8)
    for start in range(0, flat.size, BLOCK):
        yield flat[start : start + BLOCK]


def _copy(target: Bits, source: Bits) -> None:
    """`target[...] = source`; the target's elements lie in C order."""
    last = source.ndim - 1
    strides = [
        (abs(stride), axis)
        for axis, (stride, size) in enumerate(zip(source.strides, source.shape, strict=True))
        if size > 1
    ]
    _, near = min(strides, default=(0, last))
    if near == last or abs(source.strides[last]) < _LINE or source.nbytes <= _SMALL:
        np.copyto(target, source)
        return
    # The axis to cut long is the widest of those that lie next to each other in the source; a kernel's are short.
    step, long = source.strides[near] * source.shape[near], near
    for stride, axis in sorted(strides):
        if axis != last and stride == abs(step) and source.shape[long] < _LONG:
            step, long = stride * source.shape[axis], axis
    pick: list[slice] = [slice(None)] * source.ndim
    for start in range(0, source.shape[last], _WIDE):
        pick[last] = slice(start, start + _WIDE)
        for at in range(0, source.shape[long], _LONG):
            pick[long] = slice(at, at + _LONG)
            index = tuple(pick)
            np.copyto(target[index], source[index])
