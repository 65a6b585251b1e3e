"""Values inside of a network that nothing reads, as those behind the end of a sequence may be.

Where both models give the same outputs, a module may still give other values at some places: PyTorch's packed sequences
leave out what Flax computes and masks later. Whether anything reads them is tried: in PyTorch's run other numbers are
put at these places, and nothing that the network gives may change. That is no proof for a module whose values nothing
reads at all, as behind a gate that is closed for these inputs; so a module has to give the same at the other places.
Final states of a packed sequence may be read nowhere, for they lie at the ends of its rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.report import limits
from einops_arch.parity.report.alignment import pairs_of_call
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Verdict, is_exact, rms, wide
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.run import Call, Run

__all__ = ["UNREAD", "without_unread"]

UNREAD = ", and nothing reads them"
"""What words on such values end in."""
_MOST = 16
"""So many modules are looked at; where more differ, it is no matter of the ends of sequences."""


@dataclasses.dataclass(frozen=True)
class _Place:
    """An output of a call on both sides, and where the two differ, as PyTorch's lies."""

    key: tuple[str, int]
    torch: int
    flax: int
    differs: Array


def without_unread(
    torch_side: Any, inputs: Inputs, two: RunPair, rows: Sequence[Row]
) -> tuple[RunPair, tuple[str, ...]]:
    """The runs, with PyTorch's values on both sides where they differ and nothing reads them; and words on these.

    Args:
        torch_side: PyTorch's side.
        inputs: the inputs of both.
        two: the runs, whose outputs are the same.
        rows: the modules.
    """
    wrong = [row.path for row in rows if row.path and row.verdict is Verdict.SEMANTIC]
    if not 0 < len(wrong) <= _MOST or not hasattr(torch_side, "ignores"):
        return two, ()
    words: list[str] = []
    for path in wrong:
        places = list(_places(two, path))
        if not places:
            continue
        masks = {(place.key[1], place.torch): place.differs for place in places}
        if torch_side.ignores(path, masks, *Inputs.widened(inputs.torch), lift=two.lifted):
            two = _with_torch_values(two, places)
            count = sum(int(place.differs.sum()) for place in places)
            size = sum(place.differs.size for place in places)
            words.append(f"{path}: {count} of {size} values are others on the two sides{UNREAD}")
    return two, tuple(words)


def _places(two: RunPair, path: str) -> Iterator[_Place]:
    others = {(call.path, call.index): call for call in two.flax.calls if call.path == path}
    for call in two.torch.calls:
        twin = others.get((call.path, call.index)) if call.path == path else None
        if twin is None:
            continue
        for n, m in pairs_of_call(call, twin, two.layouts):
            layout = two.layouts[call.path, call.index, n]
            moved, flax = call.arrays[n].transpose(layout), twin.arrays[m]
            if moved.shape == flax.shape and (differs := _differs(moved, flax)).any():
                yield _Place((call.path, call.index), n, m, differs.transpose(np.argsort(layout)))


def _differs(torch: Array, flax: Array) -> Array:
    if is_exact(torch) or is_exact(flax):
        return np.asarray(torch != flax)
    first, second = wide(torch), wide(flax)
    with np.errstate(invalid="ignore"):
        near = np.abs(first - second) <= limits.FLOAT64 * (rms(first) if math.isfinite(rms(first)) else 1.0)
    return ~(near | (first == second) | (np.isnan(first) & np.isnan(second)))


def _with_torch_values(two: RunPair, places: Sequence[_Place]) -> RunPair:
    """The runs, with the values of PyTorch's in the place of Flax's where these differ and are read nowhere."""
    by_call: dict[tuple[str, int], list[_Place]] = {}
    for place in places:
        by_call.setdefault(place.key, []).append(place)

    def changed(run: Run | None, like: Run | None) -> Run | None:
        if run is None or like is None:
            return run
        originals = {(call.path, call.index): call for call in like.calls if (call.path, call.index) in by_call}
        calls = [
            _exchanged(call, originals.get((call.path, call.index)), by_call[call.path, call.index], two.layouts)
            if (call.path, call.index) in by_call
            else call
            for call in run.calls
        ]
        return dataclasses.replace(run, calls=calls)

    flax, own = changed(two.flax, two.torch), changed(two.flax_own, two.torch_own)
    return two if flax is None else dataclasses.replace(two, flax=flax, flax_own=own)


def _exchanged(
    call: Call, original: Call | None, places: Sequence[_Place], layouts: Mapping[tuple[str, int, int], Any]
) -> Call:
    arrays = list(call.arrays)
    for place in places:
        if original is None or place.torch >= len(original.arrays) or place.flax >= len(arrays):
            continue
        layout = layouts[call.path, call.index, place.torch]
        moved = original.arrays[place.torch].transpose(layout)
        if moved.shape == arrays[place.flax].shape:
            arrays[place.flax] = np.where(place.differs.transpose(layout), moved, arrays[place.flax])
    return dataclasses.replace(call, arrays=tuple(arrays))
