"""Concatenation and splitting along an axis: `pack` and `unpack`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import einops
import numpy as np

from einops_arch.discovery.result import Discovery
from einops_arch.discovery.solving.moves import index_map
from einops_arch.discovery.solving.sampling import Sizes
from einops_arch.discovery.solving.structure import NoPatternError
from einops_arch.discovery.solving.values import counted, normal, shapes_of
from einops_arch.discovery.tracing.arrays import Runner

__all__ = ["find_pack", "find_unpack"]


def find_pack(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes) -> Discovery | None:
    """The pattern of a concatenation of the inputs, in their order; None if it is none."""
    shapes = shapes_of(inputs, base)
    (output,) = runner(*counted(shapes))
    try:
        origin = index_map(output, sum(map(math.prod, shapes)))
    except NoPatternError:
        return None
    for axis in range(output.ndim):
        before, after = output.shape[:axis], output.shape[axis + 1 :]
        if any(shape[:axis] != before or shape[len(shape) - len(after) :] != after for shape in shapes):
            continue
        if any(len(shape) < len(before) + len(after) for shape in shapes):
            continue
        pattern = " ".join([*inputs[0][:axis], "*", *inputs[0][len(inputs[0]) - len(after) :]])
        if not _packs(runner, inputs, base, pattern):
            continue
        others = [{**base, name: base[name] + 1} for name in base]
        proven = [shapes, *(shapes_of(inputs, sizes) for sizes in others if _packs(runner, inputs, sizes, pattern))]
        letters = ", ".join(_letter(place) for place in range(len(inputs)))
        code = f'packed, shapes = pack([{letters}], "{pattern}")'
        return Discovery(
            "pack", pattern, {}, {}, shapes, tuple(proven), code, inverse=pattern, backend=str(runner.backend)
        )
    ends = np.cumsum([0, *map(math.prod, shapes)])
    if unused := [place for place, (low, high) in enumerate(pairwise(ends)) if not _any_of(origin, low, high)]:
        raise NoPatternError("unused", f"it gives nothing of its input '{' '.join(inputs[unused[0]])}'")
    if len(np.unique(origin)) == origin.size:
        raise NoPatternError("interleaves", "it puts the inputs together in another way than one after the other")
    return None


def _any_of(origin: Any, low: int, high: int) -> bool:
    return bool(((origin >= low) & (origin < high)).any())


def _packs(runner: Runner, inputs: tuple[tuple[str, ...], ...], sizes: Sizes, pattern: str) -> bool:
    values = normal(shapes_of(inputs, sizes), seed=5)
    try:
        (output,) = runner(*values)
        packed, _ = einops.pack(values, pattern)
    except Exception:  # noqa: BLE001 the function is anybody's: a size that it refuses is no news
        return False
    return bool(np.array_equal(packed, output))


def _letter(place: int) -> str:
    return "xyzuvw"[place] if place < 6 else f"x{place}"


def find_unpack(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes) -> Discovery | None:
    """The pattern of a split into consecutive parts of one axis; None if it is none."""
    (shape,) = shapes_of(inputs, base)
    (values,) = normal([shape], seed=5)
    outputs = runner(values)
    names = inputs[0]
    for axis, size in enumerate(shape):
        before, after = shape[:axis], shape[axis + 1 :]
        middles = []
        for output in outputs:
            if (
                output.shape[:axis] != before
                or output.shape[max(output.ndim - len(after), 0) :] != after
                or output.ndim < len(shape) - 1
            ):
                break
            middles.append(output.shape[axis : output.ndim - len(after)])
        if len(middles) != len(outputs) or sum(map(math.prod, middles)) != size:
            continue
        pattern = " ".join([*names[:axis], "*", *names[axis + 1 :]])
        packed = tuple(middles)
        parts = einops.unpack(values, [list(middle) for middle in middles], pattern)
        if not all(np.array_equal(a, b) for a, b in zip(parts, outputs, strict=True)):
            continue
        others = [{**base, name: base[name] + 1} for place, name in enumerate(names) if place != axis]
        proven = [
            (shape,),
            *(shapes_of(inputs, sizes) for sizes in others if _unpacks(runner, names, sizes, middles, pattern)),
        ]
        letters = ", ".join(_letter(place) for place in range(len(outputs)))
        code = f'{letters} = unpack(x, {[list(middle) for middle in packed]}, "{pattern}")'
        return Discovery(
            "unpack",
            pattern,
            {},
            {},
            (shape,),
            tuple(proven),
            code,
            packed=packed,
            inverse=pattern,
            backend=str(runner.backend),
        )
    return None


def _unpacks(runner: Runner, names: Sequence[str], sizes: Sizes, packed: Sequence[Sequence[int]], pattern: str) -> bool:
    (values,) = normal(shapes_of([names], sizes), seed=6)
    try:
        outputs = runner(values)
        parts = einops.unpack(values, [list(middle) for middle in packed], pattern)
    except Exception:  # noqa: BLE001 the function is anybody's: a size that it refuses is no news
        return False
    return len(parts) == len(outputs) and all(np.array_equal(a, b) for a, b in zip(parts, outputs, strict=True))
