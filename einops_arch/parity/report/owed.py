"""Errors that a network owes: where it magnifies rounding, the more exact side is no measure of the other.

An instance norm of nearly constant channels divides their rounding by their deviation. Whoever rounds less in the
layers before is far ahead, by luck or by the order of a sum. How much a network magnifies is measured on PyTorch's own
run, by noise on what those layers give that round, and an error within that of a few roundoffs is no fault of either
side. This holds as long as one error is at most the square of the largest ratio times the other: a layer that computes
in less, or a variance in one pass, is further off than that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from einops_arch.parity.report import limits
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Verdict
from einops_arch.parity.runs.inputs import Inputs

__all__ = ["with_owed_rounding"]


def with_owed_rounding(torch_side: Any, inputs: Inputs, two: RunPair, report: Report) -> Report:
    """The report, with rows that are over the ratio excused where both errors are within what the network owes.

    Args:
        torch_side: PyTorch's side.
        inputs: the inputs of both.
        two: the runs behind the report.
        report: what they say.
    """
    over = [row for row in (*report.rows, *report.outputs, *report.statistics) if row.verdict is Verdict.ROUNDING]
    failed = two.torch.failure or two.flax.failure
    if not over or failed or not two.roundoff or not hasattr(torch_side, "sensitivity"):
        return report
    grown = torch_side.sensitivity(*Inputs.widened(inputs.torch), lift=two.lifted)
    owed = {path: limits.FLOOR * two.roundoff * max(1.0, change / limits.NOISE) for path, change in grown.items()}
    # PyTorch may sum less exactly than its twin, as in a single layer, and what comes after magnifies that as well.
    summed = limits.SUMMED / limits.FLOOR if two.roundoff <= _UNIT else 1.0
    rows = _excused(report.rows, {row.path: owed.get(row.path, 0.0) for row in report.rows}, summed)
    outputs = _excused(report.outputs, {row.path: owed.get("", 0.0) for row in report.outputs}, summed)
    statistics = _excused(report.statistics, {row.path: owed.get(row.path, 0.0) for row in report.statistics}, summed)
    return dataclasses.replace(report, rows=rows, outputs=outputs, statistics=statistics)


_UNIT = 2.0**-24
"""The unit roundoff of float32."""


def _excused(rows: Sequence[Row], owed: Mapping[str, float], summed: float) -> tuple[Row, ...]:
    def allowance(row: Row) -> float:
        return owed[row.path] * (summed if (row.torch_error or 0.0) > (row.flax_error or 0.0) else 1.0)

    def is_owed(row: Row) -> bool:
        errors = [error for error in (row.torch_error, row.flax_error) if error is not None]
        if row.verdict is not Verdict.ROUNDING or not row.by_ratio or not errors:
            return False
        return max(errors) <= allowance(row) and max(errors) <= limits.RATIO**2 * min(errors)

    return tuple(
        dataclasses.replace(
            row,
            verdict=Verdict.SAME_FUNCTION,
            detail=f"both errors are within the {allowance(row):.1e} that the network makes of rounding",
        )
        if is_owed(row)
        else row
        for row in rows
    )
