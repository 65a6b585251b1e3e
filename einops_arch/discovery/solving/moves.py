"""Where a function puts each element: moves and repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from einops_arch.discovery.solving.refusals import explain
from einops_arch.discovery.solving.sampling import Sizes
from einops_arch.discovery.solving.structure import COMPUTES, NoPatternError, Structure, decompose
from einops_arch.discovery.solving.values import counted, scattered, shapes_of
from einops_arch.discovery.tracing.arrays import Runner

__all__ = ["Moves", "index_map", "moved"]


def index_map(output: Any, total: int) -> Any:
    """The map that counted elements tell: which one is where, -1 for anything else.

    Raises:
        NoPatternError: the output holds values that are none of the input's, and that are not all the same.
    """
    if not output.size:
        raise NoPatternError("slice", "its output is empty")
    if output.dtype.kind not in "fiu":
        raise NoPatternError("computes", f"it computes new values, of dtype {output.dtype}")
    if output.dtype.kind == "f" and output.dtype.itemsize < 4:
        raise NoPatternError("computes", f"it rounds to {output.dtype}, which is too coarse to number elements with")
    if output.dtype.kind == "f" and not (finite := np.isfinite(output)).all():
        odd = output[~finite]
        if not (np.isnan(odd).all() or (odd == odd[0]).all()):
            raise NoPatternError("computes", COMPUTES)
        output = np.where(finite, output, 0)
    rounded = np.rint(output) if output.dtype.kind == "f" else output
    if not (np.abs(rounded) < 2**53).all() or not np.array_equal(rounded, output):
        raise NoPatternError("computes", COMPUTES)
    origin = rounded.astype(np.int64) - 1
    outside = (origin < 0) | (origin >= total)
    if outside.any():
        if outside.all() or np.ptp(origin[outside]):
            raise NoPatternError("computes", COMPUTES)
        origin[outside] = -1
    return origin


def moved(arrays: Sequence[Any], origin: Any) -> Any:
    """The values that a map takes from arrays; NaN where it takes none."""
    values = np.concatenate([*(np.ravel(array).astype(np.float64) for array in arrays), [np.nan]])
    return values[origin]


def _only_moved(moved: Any, values: Sequence[Any]) -> bool:
    """Whether an output holds nothing but elements of the inputs, which are whole numbers."""
    # Larger numbers, as products are, fit no integer.
    if not (np.abs(moved) < 2**53).all() or not np.array_equal(moved, np.rint(moved)):
        return False
    # Whole numbers of a small range are looked up in a table.
    taken = np.concatenate([np.ravel(value) for value in values]).astype(np.int64)
    whole = np.ravel(moved).astype(np.int64)
    return bool(np.isin(whole[:100], taken).all() and np.isin(whole, taken).all())


@dataclass
class Moves:
    """Reads a function as a move of the elements of its one input.

    Args:
        runner: the function; its output is one array.
        inputs: the names of the input's axes.
    """

    runner: Runner
    inputs: tuple[tuple[str, ...], ...]

    def origin(self, sizes: Sizes) -> Any:
        """The index map at these sizes, proven on random values of both signs."""
        shapes = shapes_of(self.inputs, sizes)
        (output,) = self.runner(*counted(shapes))
        origin = index_map(output, sum(map(math.prod, shapes)))
        # Backwards first: whatever looks for the largest, the smallest or the middle one finds another one now.
        for values in ([-array for array in counted(shapes)], scattered(shapes, seed=1)):
            (received,) = self.runner(*values)
            if received.shape != origin.shape or not ((received == moved(values, origin)) | (origin < 0)).all():
                if _only_moved(received, values):
                    raise NoPatternError("values", "where it puts an element depends on the values")
                raise NoPatternError("computes", COMPUTES)
        return origin

    def __call__(self, sizes: Sizes) -> Structure:
        """The structure at these sizes.

        Raises:
            NoPatternError: no pattern does it; the reason is in words of the input's axes.
        """
        (shape,) = shapes_of(self.inputs, sizes)
        origin = self.origin(sizes)
        counts = np.bincount(np.maximum(origin, 0).reshape(-1), minlength=math.prod(shape))
        try:
            if not counts.all() or (origin < 0).any():
                raise NoPatternError("slice", "a part of the input is left out")
            return decompose(origin, shape)
        except NoPatternError as error:
            raise explain(origin, shape, self.inputs[0], error) from None
