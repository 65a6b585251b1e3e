"""Rows for what drops values in training: at which rates, by a module or by a call of a function."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from einops_arch.parity.report.pair import RunPair, types_of
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Verdict
from einops_arch.parity.runs.randomness import (
    dropped_axes,
    dropped_together,
    drops,
    keeps_variance,
    kind_of,
    moments,
    rate_of,
)

__all__ = ["rate_rows"]

_RATES = 1e-6
"""Rates that are written down once as float32 differ by less."""


def rate_rows(two: RunPair, *, training: bool) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Rows for the rates of dropout that differ or agree, and words on those that one side alone tells.

    A module that has a rate on both sides has a row. A rate that is in use on one side has one too where the other side
    has no such rate at all: at another path, or in a function, it may be as it should be. In eval mode nothing drops,
    and what does has a row.

    Args:
        two: both models.
        training: the mode of the comparison.
    """
    if not training:
        return tuple(
            _row(two, path, (rate, 0.0), "PyTorch drops in eval mode, too") for path, rate in two.torch.dropped
        ), ()
    rows: list[Row] = []
    unseen: list[str] = []
    known = [_known(side) for side in (two.torch_modules, two.flax_modules)]
    known[0] += [rate for _, rate in two.torch.dropped]
    used = [_used(two.torch_modules, two.torch.calls), _used(two.flax_modules, two.flax.calls)]
    used[0] |= dict(two.torch.dropped)
    for path in dict.fromkeys([*two.torch_modules, *two.flax_modules]):
        rates = [rate_of(side.get(path)) for side in (two.torch_modules, two.flax_modules)]
        if rates[0] is not None and rates[1] is not None:
            row = _row(two, path, (rates[0], rates[1]), "")
            if row.verdict.passed and (words := _called_on_one_side(two, path) or _other_kind(two, path)):
                row = dataclasses.replace(row, verdict=Verdict.SEMANTIC, detail=words)
            rows.append(row)
            continue
        for here, there in ((0, 1), (1, 0)):
            rate = used[here].get(path) or (rates[here] if rates[there] is None else None)
            if not rate:
                continue
            if path in used[here] and not any(_same(rate, other) for other in known[there]):
                pair = (rate, 0.0) if here == 0 else (0.0, rate)
                rows.append(_row(two, path, pair, f"no such rate in {_SIDES[there]}"))
            else:
                unseen.append(
                    f"{path or 'the network'}: drops at a rate of {rate:g} in {_SIDES[here]}; no rate to be read there "
                    f"in {_SIDES[there]}"
                )
    return (*rows, *_of_others(two)), tuple(unseen)


def _of_others(two: RunPair) -> Iterator[Row]:
    """Rows for layers of dropout of Flax's that drop, at a rate of PyTorch's functions, none of what those drop."""
    drawn = list(two.torch.drawn_from)
    for call in two.torch.calls:
        module = two.torch_modules.get(call.path)
        if drops(module) and (rate := rate_of(module)) and rate_of(two.flax_modules.get(call.path)) is None:
            drawn.append((rate, moments(call.arrays[0]) if call.arrays else None, kind_of(module)))
    for call in two.flax.calls:
        module = two.flax_modules.get(call.path)
        rate = rate_of(module) if drops(module) else None
        if not rate or rate_of(two.torch_modules.get(call.path)) is not None or not call.arrays:
            continue
        values, others = moments(call.arrays[0]), [entry for entry in drawn if _same(rate, entry[0])]
        if values is None or not others or any(numbers is None for _, numbers, _ in others):
            continue
        kinds = [kind for _, numbers, kind in others if numbers is not None and _are_same(values, numbers)]
        own = kind_of(module)
        if not kinds:
            words = f"what is dropped at a rate of {rate:g} is other numbers in Flax than any in PyTorch"
        elif own is not None and None not in kinds and own not in kinds:
            words = f"{_in_words(kinds[0])} in PyTorch, {_in_words(own)} in Flax"
        else:
            continue
        yield dataclasses.replace(_row(two, call.path, (rate, rate), ""), verdict=Verdict.SEMANTIC, detail=words)


def _in_words(kind: tuple[bool, bool] | None) -> str:
    together, keeps = kind or (False, False)
    return f"{'whole channels' if together else 'single values'} are dropped{', the variance kept' * keeps}"


def _are_same(values: tuple[float, ...], others: tuple[float, ...]) -> bool:
    # The sum of values may be what is left of others that cancel.
    least = _RATES * math.sqrt(values[0] * values[2])
    return all(
        math.isclose(*pair, rel_tol=_RATES, abs_tol=least * (n == 1))
        for n, pair in enumerate(zip(values, others, strict=True))
    )


_SIDES = ("PyTorch", "Flax")


def _called_on_one_side(two: RunPair, path: str) -> str:
    """Words on a layer of dropout that one side alone calls, where no calls of Flax's are hidden."""
    called = [{call.path for call in run.calls} for run in (two.torch, two.flax)]
    is_called = [path in paths for paths in called]
    visible = all(
        name in called[1] for name in called[0] if name in two.flax_modules and not drops(two.torch_modules[name])
    )
    if is_called[0] is is_called[1] or not visible or not rate_of(two.torch_modules[path]):
        return ""
    return f"{_SIDES[is_called[1]]}'s is called, {_SIDES[is_called[0]]}'s is not"


def _other_kind(two: RunPair, path: str) -> str:
    """Words on two layers of dropout that drop at one rate, but not the same."""
    torch_module, flax_module = two.torch_modules[path], two.flax_modules[path]
    pair = [dropped_together(module) for module in (torch_module, flax_module)]
    if None not in pair and pair[0] is not pair[1]:
        kinds = [("whole channels" if together else "single values") for together in pair]
        return f"{kinds[0]} are dropped in PyTorch, {kinds[1]} in Flax; likely fix: nnx.Dropout(broadcast_dims=...)"
    axes = _dropped_axes(two, path)
    if axes is not None and axes[0] != axes[1]:
        words = f"what is dropped is the same along axes {axes[0]} in PyTorch, {axes[1]} of the same in Flax"
        return f"{words}; likely fix: nnx.Dropout(broadcast_dims=...)"
    alpha = [keeps_variance(module) for module in (torch_module, flax_module)]
    if None not in pair and alpha[0] is not alpha[1]:
        return f"{type(torch_module).__name__} in PyTorch, {type(flax_module).__name__} in Flax"
    return ""


def _known(modules: Mapping[str, Any]) -> list[float]:
    return [rate for module in modules.values() if (rate := rate_of(module))]


def _dropped_axes(two: RunPair, path: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The axes along which values are dropped together, both in PyTorch's order; None where they are not known."""
    array = next((call.arrays[0] for call in two.torch.calls if call.path == path and call.arrays), None)
    layout = two.layouts.get((path, 0, 0))
    flax_module = two.flax_modules[path]
    if array is None or layout is None or not getattr(flax_module, "broadcast_dims", ()):
        return None
    own, other = dropped_axes(two.torch_modules[path], array.ndim), dropped_axes(flax_module, array.ndim)
    if own is None or other is None:
        return None
    other = tuple(sorted(layout[axis] for axis in other))
    # An axis of one entry is dropped with itself.
    kept = [tuple(axis for axis in axes if array.shape[axis] > 1) for axes in (own, other)]
    return kept[0], kept[1]


def _used(modules: Mapping[str, Any], calls: Iterable[Any]) -> dict[str, float]:
    """The rates of modules that drop values and were called."""
    called = {call.path for call in calls}
    return {path: rate for path in called if drops(modules.get(path)) and (rate := rate_of(modules[path]))}


def _same(rate: float, other: float) -> bool:
    return math.isclose(rate, other, rel_tol=_RATES)


def _row(two: RunPair, path: str, rates: tuple[float, float], why: str) -> Row:
    same = _same(*rates)
    words = "" if same else f"rate {rates[0]:g} in PyTorch, {rates[1]:g} in Flax" + (f": {why}" if why else "")
    verdict = Verdict.BIT_EQUAL if same else Verdict.SEMANTIC
    return Row(path, *types_of(two, path), (), abs(rates[0] - rates[1]), None, None, None, verdict, 0, 1, words)
