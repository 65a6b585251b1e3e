"""What a map is that no pattern of einops makes: slices, flips, rolls, padding, and reshapes across axes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from einops_arch.discovery.solving.structure import NoPatternError, strides_of

__all__ = ["explain"]


def explain(origin: Any, shape: Sequence[int], names: Sequence[str], error: NoPatternError) -> NoPatternError:
    """Say in the words of the input's axes why a map is no pattern.

    Args:
        origin: the index map, -1 where the output holds a constant.
        shape: of the input.
        names: of the input's axes.
        error: what the decomposition said.
    """
    reasons, kinds = [], []
    if (origin < 0).any():
        kept, padded = _crop(origin)
        if kept is None:
            return NoPatternError("mask", "it writes constants between the elements")
        kinds.append("padding")
        reasons.append(f"it pads the output: {padded}")
        origin = kept
    walks = _walks(origin, shape)
    if walks is not None:
        for name, size, walk in zip(names, shape, walks, strict=True):
            if (described := _describe(name, size, walk)) is not None:
                kinds.append(described[0])
                reasons.append(described[1])
    elif (pair := _diagonal(origin, shape, names)) is not None:
        return NoPatternError("diagonal", f"it takes the diagonal of axes {pair[0]} and {pair[1]}")
    elif not np.bincount(origin.reshape(-1), minlength=int(np.prod(shape))).all():
        kinds.append("slice")
        reasons.append("it leaves out a part of the input")
    if kinds:
        return NoPatternError(kinds[0], " and ".join(reasons))
    if origin.size > np.prod(shape):
        return NoPatternError("overlap", "it repeats some elements more often than others, as windows that overlap do")
    return _crossing(origin, shape, names) or _cut(shape, names, error)


def _crop(origin: Any) -> tuple[Any, str]:
    """The part without constants and how wide the constants around it are, None if they are not around it."""
    inside, parts = [], []
    for axis, size in enumerate(origin.shape):
        rows = np.flatnonzero((origin >= 0).any(axis=tuple(n for n in range(origin.ndim) if n != axis)))
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        inside.append(slice(first, last))
        if (first, last) != (0, size):
            parts.append(f"axis {axis} by {first} before and {size - last} after")
    kept = origin[tuple(inside)]
    return (None if (kept < 0).any() or not kept.size else kept), ", ".join(parts)


def _walks(origin: Any, shape: Sequence[int]) -> list[Any] | None:
    """For each axis of the input the indices that are read along the one output axis that runs along it."""
    walks = []
    used: set[int] = set()
    for stride, size in zip(strides_of(shape), shape, strict=True):
        index = origin // stride % size
        along = [axis for axis in range(origin.ndim) if (index != index.take([0], axis)).any()]
        if len(along) > 1 or used.intersection(along):
            return None
        used.update(along)
        start = tuple(slice(None) if axis in along else 0 for axis in range(origin.ndim))
        walks.append(np.atleast_1d(index[start]))
    return walks


def _diagonal(origin: Any, shape: Sequence[int], names: Sequence[str]) -> tuple[str, str] | None:
    """Two axes of which the same index is read everywhere."""
    indices = [origin // stride % size for stride, size in zip(strides_of(shape), shape, strict=True)]
    moving = [(name, index) for name, index in zip(names, indices, strict=True) if np.ptp(index)]
    return next(((a, b) for (a, first), (b, other) in combinations(moving, 2) if np.array_equal(first, other)), None)


def _describe(name: str, size: int, walk: Any) -> tuple[str, str] | None:
    length = len(walk)
    if np.array_equal(walk, np.arange(size)):
        return None
    if length == 1:
        return "slice", f"it takes index {walk[0]} of axis {name} of size {size}"
    if np.array_equal(walk, np.arange(size)[::-1]):
        return "flip", f"it turns axis {name} round"
    if length == size and np.array_equal(walk, (np.arange(size) + walk[0]) % size):
        return "roll", f"it rolls axis {name} by {(size - walk[0]) % size}"
    steps = np.diff(walk)
    if (steps == steps[0]).all() and steps[0]:
        step = int(steps[0])
        end = walk[-1] + step if 0 <= walk[-1] + step < size else ""
        return "slice", f"it takes {walk[0]}:{end}{f':{step}' if step != 1 else ''} of axis {name} of size {size}"
    if set(walk.tolist()) == set(range(size)) and length > size:
        return "gather", f"it repeats the indices of axis {name} in an order of its own"
    return "gather", f"it picks indices {', '.join(map(str, walk[:6]))}{', ...' if length > 6 else ''} of axis {name}"


def _crossing(origin: Any, shape: Sequence[int], names: Sequence[str]) -> NoPatternError | None:
    """The first row of the output that holds elements of two rows of the input, but neither whole."""
    if not shape or origin.ndim == 0:
        return None
    rows = (origin // strides_of(shape)[0]).reshape(len(origin), -1)
    mixed = np.flatnonzero(rows.min(axis=1) != rows.max(axis=1))
    if not len(mixed):
        return None
    row = int(mixed[0])
    first, last = rows[row, 0], rows[row].max()
    place = np.unravel_index(int(np.argmax(rows[row] != first)), origin.shape[1:])
    zero = (row, *(0 for _ in origin.shape[1:]))
    other = (row, *(int(n) for n in place))
    return NoPatternError(
        "crosses",
        f"in row {row} of the output element {zero} comes from {names[0]}={first} and element {other} from "
        f"{names[0]}={rows[row][np.argmax(rows[row] != first)] if last == first else last}: "
        f"the reshape crosses {names[0]}",
    )


def _cut(shape: Sequence[int], names: Sequence[str], error: NoPatternError) -> NoPatternError:
    """Which axis of the input a run of elements ends inside of."""
    for runs in (error.runs, error.runs[::-1]) if error.runs else ():
        for name, stride in zip(names, strides_of(shape), strict=True):
            if stride == runs[0]:
                reason = f"the output is cut every {runs[1]} elements, but one step along {name} is {runs[0]} elements"
                return NoPatternError("crosses", f"{reason}: the reshape crosses {name}")
    return error
