"""Rounding that a network magnifies: excused with full evidence only, and no further than it was seen to be magnified.

Every call of every module over the limit is run on PyTorch's inputs, with the modules over the limit inside of it
replaced by what PyTorch's gave; so the code between modules is run too. What cannot be run is not excused. And however
right all are by themselves, a difference far above what rounding was seen to do to PyTorch's own run is no rounding.

A module may magnify rounding by itself, as a norm of numbers far from zero does: then it need not give the same on the
same inputs, but has to come as near as PyTorch's does with noise on its inputs and operations, and no further off than
a fixed limit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.causes.case import Case
from einops_arch.parity.causes.stub_outputs import StubOutputs, replaced
from einops_arch.parity.report import limits
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Verdict
from einops_arch.parity.runs.axes import plain
from einops_arch.parity.runs.inputs import Arguments, Inputs
from einops_arch.parity.runs.values import in_order
from einops_arch.parity.teacher import in_flax_form

__all__ = ["magnified"]

_UNIT = 2.0**-24
"""The unit roundoff of float32: models that compute in less are not excused by its measure."""


def magnified(
    record: Callable[[], Any],
    torch_side: Any,
    inputs: Inputs,
    report: Report,
    *,
    lifted: bool,
    say: Callable[[str], None] = lambda text: None,
) -> Report | None:
    """The report with rounding excused; None where anything over the limit may be something else.

    Args:
        record: gives PyTorch's run with the inputs of the modules over the limit, as `search` takes it; called only
            where no difference is larger than the network makes of rounding.
        torch_side: PyTorch's side.
        inputs: the inputs of both.
        report: what was found.
        lifted: casts are lifted.
        say: told what is being done.
    """
    over = [row for row in (*report.rows, *report.outputs) if row.verdict is Verdict.SEMANTIC]
    wrong = {row.path for row in report.rows if row.verdict is Verdict.SEMANTIC}
    others = (*report.gradients, *report.statistics, *report.rates)
    if not wrong or any(not row.verdict.passed for row in others) or not hasattr(torch_side, "sensitivity"):
        return None
    say("how much PyTorch's own run magnifies rounding")
    grown: dict[str, float] = {}
    for operations in (False, True):
        measured = torch_side.sensitivity(*Inputs.widened(inputs.torch), lift=lifted, operations=operations)
        grown = {path: max(change, grown.get(path, 0.0)) for path, change in measured.items()}
        bounds = {path: limits.MAGNIFIED * change for path, change in grown.items()}
        if all((row.difference or 0.0) <= bounds.get(row.path if row in report.rows else "", 0.0) for row in over):
            break
    else:
        return None
    if not _Evidence(record(), wrong, say).is_full():
        return None
    most = max(over, key=lambda row: row.difference or 0.0)
    where = "operation" if operations else "layer"
    note = (
        f"{len(wrong)} modules are over the limit in float64, by up to {most.difference or 0:.1e}, and none is wrong: "
        f"with PyTorch's inputs each gives the same in every call, and so does the code between them; noise of "
        f"{limits.NOISE:.1e} after each {where} changes PyTorch's own run by up to {max(grown.values()):.1e}, so it is "
        "rounding that the network magnifies"
    )
    return dataclasses.replace(
        report,
        rows=_excused(report.rows, bounds),
        outputs=_excused(report.outputs, {row.path: bounds.get("", 0.0) for row in report.outputs}),
        maps=None,
        notes=(*report.notes, note),
    )


def _excused(rows: Sequence[Row], bounds: Mapping[str, float]) -> tuple[Row, ...]:
    def is_rounded_alike(row: Row) -> bool:
        # Two errors that are magnified by as much differ by the luck of their beginnings: each is held to the bound.
        errors = [error for error in (row.torch_error, row.flax_error) if error is not None]
        bound = bounds.get(row.path, 0.0) * _UNIT / limits.NOISE
        within = all(error <= bound for error in errors)
        return row.ratio is None or 1 / limits.RATIO <= row.ratio <= limits.RATIO or within

    return tuple(
        dataclasses.replace(
            row,
            verdict=Verdict.SAME_FUNCTION if is_rounded_alike(row) else Verdict.ROUNDING,
            detail="rounding, magnified",
        )
        if row.verdict is Verdict.SEMANTIC
        else row
        for row in rows
    )


class _Evidence:
    """Runs every call of every module over the limit, the innermost first."""

    def __init__(self, recorded: Any, wrong: set[str], say: Callable[[str], None]) -> None:
        self.recorded, self.wrong, self.say = recorded, wrong, say
        self._forms: dict[str, tuple[Any, list[str]]] = {}

    def is_full(self) -> bool:
        """All of them were run, and gave what PyTorch's gave."""
        from einops_arch.parity.runs.flax_run import precise

        with precise(double=True):
            return all(self._matches(path) for path in sorted(self.wrong, key=_depth, reverse=True))

    def _matches(self, path: str) -> bool:
        self.say(f"each call of {path or 'the network'} with PyTorch's inputs")
        indices = [call.index for call in self.recorded.run.calls if call.path == path]
        return bool(indices) and all(self._is_same(path, index) for index in indices)

    def _is_same(self, path: str, index: int) -> bool:
        case = self._case(path, index)
        if case is None:
            return False
        try:
            if not case.is_right:
                return False
        except Exception:  # noqa: BLE001 the module is any code at all; what cannot be run is not excused
            return False
        self._forms[path] = case.form, case.output_places
        return all(len(stub.received_inputs) == len(stub.arrays) for stub in case.stubs)

    def _case(self, path: str, index: int) -> Case | None:
        nest, target = self._inputs(path, index), self._outputs(path, index)
        if nest is None or target is None:
            return None
        stubs = [self._stub(child, path, index) for child in self._children(path)]
        module, inside = self.recorded.flax_side.copy_of(path), self.recorded.flax_side.paths_inside(path)
        kept: list[StubOutputs] = []
        for stub in stubs:
            if stub is None:
                return None
            if stub.arrays:
                if not replaced(module, inside.get(stub.path, ""), stub):
                    return None
                kept.append(stub)
        target += [array for stub in kept for array in stub.wanted]
        torch_module = self.recorded.torch_modules[path]
        arguments = self.recorded.run.inputs.get((path, index))
        return Case(
            path,
            torch_module,
            module,
            nest,
            target,
            self.recorded.lifted,
            index,
            kept,
            rounding=lambda: self.recorded.rounding(path, arguments, [stub.path for stub in kept]),
        )

    def _children(self, path: str) -> list[str]:
        start = f"{path}." if path else ""
        within = [other for other in self.wrong if other != path and other.startswith(start)]
        return [child for child in within if not any(child.startswith(f"{other}.") for other in within)]

    def _stub(self, path: str, outer: str, index: int) -> StubOutputs | None:
        """What a module has to give and to be given in one call of the module around it."""
        form, places = self._forms[path]
        calls, now = [], 0
        for call in self.recorded.run.calls:
            if call.path == outer:
                now += 1
            elif call.path == path and now == index:
                calls.append(call.index)
        nests, outputs = [self._inputs(path, n) for n in calls], [self._outputs(path, n) for n in calls]
        if any(nest is None for nest in (*nests, *outputs)):
            return None
        arrays = [dict(zip(places, output or [], strict=True)) for output in outputs]
        return StubOutputs(
            path, self.recorded.flax_side.modules[path], form, arrays, [in_order(nest, _is_array) for nest in nests]
        )

    def _inputs(self, path: str, index: int) -> Arguments | None:
        nest, form = self.recorded.run.inputs.get((path, index)), self.recorded.forms.get((path, index))
        if nest is None or form is None:
            return None
        moved = in_flax_form(nest, form, self.recorded.input_layouts.get((path, index), []))
        return None if isinstance(moved, str) else moved

    def _outputs(self, path: str, index: int) -> list[Array] | None:
        call = next((call for call in self.recorded.run.calls if (call.path, call.index) == (path, index)), None)
        if call is None:
            return None
        layouts = self.recorded.layouts
        return [
            array.transpose(layouts.get((path, index, n), plain(array.ndim))) for n, array in enumerate(call.arrays)
        ]


def _depth(path: str) -> int:
    return path.count(".") + bool(path)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
