"""Bring arrays of both sides together: by place, by axes whose order was guessed only, and by axes that are merged."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Array, is_exact, rms, wide
from einops_arch.parity.runs.axes import Layout, channels_last, plain
from einops_arch.parity.runs.run import Call, Run
from einops_arch.parity.runs.values import matched

__all__ = ["merged", "pairs_of_call", "refined", "reordered", "splits"]

_LOOK = 512
"""So many numbers tell whether a guess fits."""
_RANK = 5


def reordered(run: Run, like: Run) -> Run:
    """A run of Flax with its outputs in the order of PyTorch's, by their places."""
    places, others = ([place for place, _ in side.outputs] for side in (like, run))
    order = matched(places, others)
    if (
        order is not None
        and set(places) != set(others)
        and {*places} == {*like.sequence}
        and {*others} == {*run.sequence}
    ):
        # What has a name of its own on each side is the same in the order in which the models give it.
        firsts, seconds = (
            [place for place in each.sequence if place not in set(places) & set(others)] for each in (like, run)
        )
        twins = dict(zip(firsts, seconds, strict=True))
        order = [others.index(twins.get(place, place)) for place in places]
        calls = [_in_order(call, order) if not call.path else call for call in run.calls]
        run = dataclasses.replace(run, calls=calls)
    if order is None:
        return run
    last = [run.last[n] for n in order] if len(run.last) == len(order) else run.last
    between = [[outputs[n] for n in order] if len(outputs) == len(order) else outputs for outputs in run.between]
    first = [run.outputs[n] for n in order]
    return dataclasses.replace(run, outputs=first, last=last, between=between, order=tuple(order))


def _in_order(call: Call, order: Sequence[int]) -> Call:
    if len(call.arrays) != len(order) or len(call.places) != len(order):
        return call
    arrays, places = tuple(call.arrays[n] for n in order), tuple(call.places[n] for n in order)
    return dataclasses.replace(call, arrays=arrays, places=places)


def pairs_of_call(
    torch_call: Call, flax_call: Call, layouts: Mapping[tuple[str, int, int], Layout]
) -> list[tuple[int, int]]:
    """Which output of a module belongs to which of its twin: by place or number; where they are not as many, by fit."""
    places = [list(call.places) or [str(n) for n in range(len(call.arrays))] for call in (torch_call, flax_call)]
    order = matched(*places)
    if order is not None:
        return list(enumerate(order))
    pairs: list[tuple[int, int]] = []
    free = list(range(len(torch_call.arrays)))
    for m, array in enumerate(flax_call.arrays):
        fits = [
            n
            for n in free
            if _moved(torch_call.arrays[n], layouts[torch_call.path, torch_call.index, n]).shape == array.shape
        ]
        if fits:
            best = min(
                fits,
                key=lambda n: _gap(_moved(torch_call.arrays[n], layouts[torch_call.path, torch_call.index, n]), array),
            )
            pairs.append((best, m))
            free.remove(best)
    return pairs


def refined(
    torch_run: Run,
    flax_run: Run,
    layouts: Mapping[tuple[str, int, int], Layout],
    guesses: frozenset[tuple[str, int, int]],
) -> dict[tuple[str, int, int], Layout]:
    """The layouts, where a guess does not bring equal values together but another order of axes does.

    A permutation under which two results agree to the float64 limit is no chance. Where none does, an order that gives
    Flax's shape takes the place of a guess that does not. Of the network's own output only the channels may stand
    elsewhere than was guessed, in a network where channels move at all: any other order would be part of what it
    computes.

    Args:
        torch_run: PyTorch's run.
        flax_run: Flax's.
        layouts: as they were resolved.
        guesses: of them, those that nothing tells for certain.
    """
    others = {(call.path, call.index): call for call in flax_run.calls}
    moves = any(layout != plain(len(layout)) for layout in layouts.values())
    better: dict[tuple[str, int, int], Layout] = {}
    for call in torch_run.calls:
        twin = others.get((call.path, call.index))
        if twin is None:
            continue
        for n, m in _by_number(call, twin):
            key = (call.path, call.index, n)
            if key not in guesses or not (call.path or moves):
                continue
            if _agree(call.arrays[n], twin.arrays[m], layouts[key]):
                continue
            torch, flax = call.arrays[n], twin.arrays[m]
            fitting = list(_other_layouts(torch, flax, layouts[key], root=not call.path))
            likely = fitting[:1] if _moved(torch, layouts[key]).shape != flax.shape else []
            agreeing = next((layout for layout in fitting if _agree(torch, flax, layout)), None)
            if agreeing is not None or likely:
                better[key] = agreeing or likely[0]
    return {**layouts, **better}


def merged(torch: Array, flax: Array, layout: Layout) -> Array | None:
    """PyTorch's numbers in the shape of Flax's, where one side has several axes as one, such as heads; or None.

    >>> merged(np.arange(6.0).reshape(1, 6), np.arange(6.0).reshape(1, 2, 3), (0, 1)).shape
    (1, 2, 3)
    """
    if torch.size != flax.size or torch.shape == flax.shape or not torch.size:
        return None
    for moved in (torch.transpose(layout), torch):
        whole, parts = sorted((moved.shape, flax.shape), key=len)
        if splits(whole, parts) and _gap(candidate := moved.reshape(flax.shape), flax) <= limits.FLOAT64:
            return candidate
        for order in itertools.permutations(range(flax.ndim)) if flax.ndim <= _RANK else ():
            shape = tuple(flax.shape[axis] for axis in order)
            if not splits(*sorted((moved.shape, shape), key=len)):
                continue
            candidate = moved.reshape(shape).transpose(np.argsort(order))
            if _gap(candidate, flax) <= limits.FLOAT64:
                return candidate
    if torch.ndim == flax.ndim <= _RANK:
        for order in itertools.permutations(range(torch.ndim)):
            if (candidate := torch.transpose(order)).shape == flax.shape and _gap(candidate, flax) <= limits.FLOAT64:
                return candidate
    return None


def splits(whole: Sequence[int], parts: Sequence[int]) -> bool:
    """Each axis of the first is one or several neighbours of the second."""
    rest = list(parts)
    for size in whole:
        product = 1
        while rest and product < size:
            product *= rest.pop(0)
        if product != size:
            return False
    return math.prod(rest) == 1


def _by_number(torch_call: Call, flax_call: Call) -> Iterator[tuple[int, int]]:
    places = [list(call.places) or [str(n) for n in range(len(call.arrays))] for call in (torch_call, flax_call)]
    order = matched(*places)
    if order is None:
        order = list(range(min(len(torch_call.arrays), len(flax_call.arrays))))
    yield from enumerate(order)


def _other_layouts(torch: Array, flax: Array, guess: Layout, *, root: bool) -> Iterator[Layout]:
    rank = torch.ndim
    if flax.ndim != rank or rank > _RANK:
        return
    near = [plain(rank), *(channels_last(rank, axis) for axis in range(rank))]
    every: list[Layout] = [*near, *itertools.permutations(range(rank))]
    if root:
        every = [plain(rank), channels_last(rank, 1)]
    for layout in dict.fromkeys(every):
        if layout != guess and torch.transpose(layout).shape == flax.shape:
            yield layout


def _agree(torch: Array, flax: Array, layout: Layout) -> bool:
    moved = _moved(torch, layout)
    if moved.shape != flax.shape:
        return False
    step = max(1, moved.size // _LOOK)
    left, right = moved.reshape(-1)[::step], flax.reshape(-1)[::step]
    return _gap(left, right) <= limits.FLOAT64 and (step == 1 or _gap(moved, flax) <= limits.FLOAT64)


def _moved(array: Array, layout: Layout) -> Array:
    return array.transpose(layout) if len(layout) == array.ndim else array


def _gap(torch: Array, flax: Array) -> float:
    if is_exact(torch) or is_exact(flax):
        return float(not np.array_equal(torch, flax))
    expected, actual = wide(torch), wide(flax)
    finite = np.isfinite(expected) & np.isfinite(actual)
    if not np.array_equal(np.isfinite(expected), np.isfinite(actual)) or not finite.any():
        return math.inf
    gap, size = rms(expected[finite] - actual[finite]), rms(expected[finite])
    return gap / size if size else (math.inf if gap else 0.0)
