"""Where two models part, and why.

The first divergence is the first module in call order that is over the limit while what goes into it is under. Where
what goes into the first module over the limit differs already, the difference arises between the modules, in the code
of one around them: the innermost whose own inputs are under.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from einops_arch.parity import limits
from einops_arch.parity.causes import Case, explain
from einops_arch.parity.causes_statistics import explain_statistic
from einops_arch.parity.inputs import Inputs
from einops_arch.parity.layouts import Layout, plain, resolve_inputs
from einops_arch.parity.memory import give_back
from einops_arch.parity.report import Report, Row
from einops_arch.parity.rows import Two
from einops_arch.parity.teacher import in_order
from einops_arch.parity.verdicts import Pair, Verdict, measure

__all__ = ["diagnose"]


def diagnose(
    ours: Any, theirs: Any, given: Inputs, two: Two, report: Report, known: Callable[..., Any], steps: int
) -> Report:
    """The report with the place and the cause of the first divergence.

    Args:
        ours: PyTorch's side.
        theirs: Flax's side.
        given: the inputs of both.
        two: the runs behind the report.
        report: what they say.
        known: tells from a trace and the input tensors which layouts are said.
        steps: of training.
    """
    first = report.first_divergence
    if first is None or first.verdict is not Verdict.SEMANTIC:
        return report
    if first in report.statistics:
        return dataclasses.replace(report, cause=explain_statistic(ours, theirs, two, first.path, steps))
    if first not in report.rows or two.torch.failure or two.flax.failure:
        return report
    call = two.torch.calls[first.order]
    place, nest, gap = _located(ours, theirs, given, two, call.path, call.index, known)
    if nest is None:
        return report
    index = call.index if place == call.path else 0
    if place != call.path:
        report = _moved(report, first, place, gap)
    target = _target(two, place, index)
    case = Case(place, two.torch_modules[place], theirs.copy_of(place), nest, target, lifted=two.lifted)
    return dataclasses.replace(report, cause=explain(case))


def _located(
    ours: Any, theirs: Any, given: Inputs, two: Two, path: str, index: int, known: Callable[..., Any]
) -> tuple[str, Any, float]:
    """The innermost module around a call whose inputs are under the limit; what Flax's is given; and the gap before."""
    parts = path.split(".") if path else []
    around = [".".join(parts[:count]) for count in range(len(parts), -1, -1)]
    wanted = frozenset(one for one in around if one in two.flax_modules)
    wide_torch, wide_flax = Inputs.widened(given.torch), Inputs.widened(given.flax)
    run, trace, tensors = ours.run(*wide_torch, 1, double=True, lift=two.lifted, inputs_of=wanted)
    layouts = resolve_inputs(trace, two.flax_modules, known(trace, tensors))
    del trace, tensors
    give_back(ours)
    other = theirs.run(*wide_flax, 1, double=True, lift=two.lifted, inputs_of=wanted)
    gap = 0.0
    for one in around:
        key = (one, index if one == path else 0)
        if key not in run.inputs or key not in other.inputs:
            continue
        found = _gap(run.inputs[key], other.inputs[key], layouts.get(key, []))
        if found is None or found <= limits.FLOAT64:
            return one, other.inputs[key], gap
        gap = gap or found
    return path, None, gap


def _gap(nest: Any, other: Any, layouts: Sequence[Layout | None]) -> float | None:
    """The largest difference between the inputs of both; None where they cannot be held against each other."""
    ours, theirs = in_order(nest, _is_array), in_order(other, _is_array)
    if len(ours) != len(theirs):
        return None
    pairs = []
    for one, two, layout in zip(ours, theirs, [*layouts, *[None] * len(ours)], strict=False):
        moved = one if layout is None or len(layout) != one.ndim else one.transpose(layout)
        if moved.shape != two.shape:
            return None
        pairs.append(Pair(moved, two))
    return measure(pairs).difference or 0.0


def _target(two: Two, path: str, index: int) -> list[Any]:
    call = next(one for one in two.torch.calls if (one.path, one.index) == (path, index))
    return [
        array.transpose(two.layouts.get((path, index, n), plain(array.ndim))) for n, array in enumerate(call.arrays)
    ]


def _moved(report: Report, first: Row, place: str, gap: float) -> Report:
    """The row that is named is that of the module in whose code the difference arises."""
    said = f"what goes in differs already, by {gap:.1e}"
    rows = tuple(
        dataclasses.replace(row, detail=said)
        if row.path == first.path
        else dataclasses.replace(row, detail=f"between its modules, before {first.path}")
        if row.path == place
        else row
        for row in report.rows
    )
    return dataclasses.replace(report, rows=rows, located=place)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
