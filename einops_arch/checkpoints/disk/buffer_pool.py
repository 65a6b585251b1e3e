"""Memory that is used again: what is freed and asked for anew costs a page fault for every page, each time."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["POOL", "Pool"]

_SMALL = 1 << 20
_MOST = 4
_UNUSED = 2
"""References to an array that only the pool holds: the pool's own and the one of the question."""


class Pool:
    """Gives arrays, and gives the memory of one again as soon as nobody holds the array or a view of it."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray[Any, Any]] = []
        self._lock = threading.Lock()
        self._users = 0

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep memory while this lasts; otherwise every array is new."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._arrays = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """An array whose values are anything, as of `numpy.empty`."""
        size = math.prod(shape) * dtype.itemsize
        if size < _SMALL or not self._users:
            return np.empty(shape, dtype)
        with self._lock:
            return self._take(size)[:size].view(dtype).reshape(shape)

    def _take(self, size: int) -> np.ndarray[Any, Any]:
        free = [index for index in range(len(self._arrays)) if sys.getrefcount(self._arrays[index]) <= _UNUSED]
        large = [index for index in free if self._arrays[index].size >= size]
        if large:
            return self._arrays[min(large, key=lambda index: self._arrays[index].size)]
        # What is free and too small makes room.
        self._arrays = [array for index, array in enumerate(self._arrays) if index not in free][-_MOST:]
        new = np.empty(size, np.uint8)
        self._arrays.append(new)
        return new


POOL = Pool()
"""The pool of everything that is written."""
