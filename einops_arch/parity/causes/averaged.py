"""Gradients over the limit by rounding alone: what is rounding averages out over inputs that are roundoffs apart.

A batch norm over few numbers magnifies rounding in gradients as well. What is rounding is drawn anew by every move of
the inputs; what is another function stays. So both gradients are taken at inputs that are moved, the same way on both
sides, until the mean of their difference is known well enough, and it is that mean which has to be within the limit.
No limit is wider than for other gradients. And PyTorch's own gradient has to move as much when noise of a few roundoffs
is put on what its layers give, or its operations.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.report import limits
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.rows import input_pairs, size_of_all
from einops_arch.parity.report.verdicts import Array, Pair, Verdict, rms
from einops_arch.parity.runs.inputs import Inputs

__all__ = ["Slopes", "with_averaged_gradients"]

# The gradients of both sides at inputs: of the parameters, and of the inputs.
Slopes = Callable[[Inputs], tuple[Sequence[Mapping[str, Array]], Sequence[Mapping[str, Array]]]]


def with_averaged_gradients(
    slopes: Slopes, torch_side: Any, inputs: Inputs, two: RunPair, report: Report, seed: int
) -> Report:
    """The report, with the gradients excused whose difference is rounding, and a note on what was measured.

    Args:
        slopes: the gradients of both sides, in float64.
        torch_side: PyTorch's side.
        inputs: the inputs of both.
        two: the runs behind the report.
        report: what they say.
        seed: of the projection.
    """
    over = [row for row in report.gradients if not row.verdict.passed]
    if not over or two.torch.failure or two.flax.failure or not hasattr(torch_side, "noise"):
        return report
    # More draws than are made would be needed to tell what of a larger difference is rounding.
    values = [row for row in (*report.rows, *report.outputs, *report.statistics) if row.verdict not in _ROUNDED]
    if any(row.verdict is not Verdict.SEMANTIC or (row.difference or math.inf) > _LARGEST for row in (*over, *values)):
        return report
    names = [row.path for row in over]
    first = _differences(slopes(inputs), inputs, names)
    noise = torch_side.noise(*Inputs.widened(inputs.torch), lift=two.lifted)
    grown = dict.fromkeys(names, 0.0)
    for operations in (False, True):
        for draw in range(_NOISY):
            how = {"operations": draw} if operations else {"noise": noise}
            noisy = torch_side.gradients(*Inputs.widened(inputs.torch), seed, lift=two.lifted, **how)
            for name in names:
                gap = rms(_named(noisy, name, inputs) - first.exact[name]) / first.scales[name]
                grown[name] = max(grown[name], gap)
        if all((row.difference or 0.0) <= limits.RATIO * grown[row.path] for row in over):
            break
    else:
        return report
    mean = _mean(_draws(slopes, inputs, names), first.scales)
    if mean is None:
        return report
    count, left = mean
    most = max(row.difference or 0.0 for row in over)
    words = (
        f"{len(over)} gradients differ in float64 by up to {most:.1e}; over {count} inputs that differ by roundoffs of "
        f"float32 the difference averages to {left:.1e}"
    )
    if left > limits.FLOAT64:
        return dataclasses.replace(report, notes=(*report.notes, f"{words}, so it is no rounding"))
    note = (
        f"{words}, which is within the limit; noise of {limits.NOISE:.1e} after each "
        f"{'operation' if operations else 'layer'} changes PyTorch's own gradients by up to {max(grown.values()):.1e}, "
        "so it is rounding that the network magnifies"
    )
    return dataclasses.replace(
        report,
        gradients=tuple(
            dataclasses.replace(row, verdict=Verdict.SAME_FUNCTION, detail="rounding, magnified")
            if row in over
            else row
            for row in report.gradients
        ),
        notes=(*report.notes, note),
    )


_MOVE = 2.0**-24
"""By how much of itself each number of the inputs is moved: a roundoff of float32 draws all roundoffs of float64 anew,
and changes what another function makes of the gradient by as little."""
_AT_ONCE, _DRAWS, _NOISY = 8, 1024, 3
_PATIENCE = 120.0
"""Seconds of CPU time after which no more inputs are tried."""
_LARGEST = limits.FLOAT64 * math.sqrt(_DRAWS)
_ROUNDED = (Verdict.BIT_EQUAL, Verdict.SAME_FUNCTION, Verdict.ROUNDING)


@dataclasses.dataclass(frozen=True)
class _Differences:
    """Of some gradients: the differences of Flax's from PyTorch's, PyTorch's own, and their scales."""

    gaps: dict[str, Array]
    exact: dict[str, Array]
    scales: dict[str, float]


def _differences(
    both: tuple[Sequence[Mapping[str, Array]], Sequence[Mapping[str, Array]]], inputs: Inputs, names: Sequence[str]
) -> _Differences:
    parameters, of_inputs = both
    every = size_of_all(parameters[0])
    pairs = {name: Pair(array, parameters[1][name]) for name, array in parameters[0].items() if name in names}
    pairs |= input_pairs((of_inputs[0], of_inputs[1]), inputs.layouts)
    pairs = {name: pairs[name] for name in names}
    return _Differences(
        {name: pair.flax - pair.torch for name, pair in pairs.items()},
        {name: pair.torch for name, pair in pairs.items()},
        {name: max(rms(pair.torch), every) or 1.0 for name, pair in pairs.items()},
    )


def _named(slopes: tuple[Mapping[str, Array], Mapping[str, Array]], name: str, inputs: Inputs) -> Array:
    """A gradient of PyTorch's by the name of its row, in Flax's layout where it is that of an input."""
    parameters, of_inputs = slopes
    if name in parameters:
        return parameters[name]
    return input_pairs((of_inputs, of_inputs), inputs.layouts)[name].torch


def _draws(slopes: Slopes, inputs: Inputs, names: Sequence[str]) -> Iterator[dict[str, Array]]:
    """The differences at inputs that are moved; none where the inputs hold no numbers that can be."""
    generator, deadline = np.random.default_rng(0), time.process_time() + _PATIENCE
    for _ in range(_DRAWS):
        moved = inputs.moved(generator, _MOVE)
        if moved is None or time.process_time() > deadline:
            return
        yield _differences(slopes(moved), inputs, names).gaps


def _mean(draws: Iterator[dict[str, Array]], scales: Mapping[str, float]) -> tuple[int, float] | None:
    """How many draws were made, and the largest mean difference of them; None where it is not known well enough.

    It is known where its standard error is half of the limit at most, or where it is over the limit by far more.
    """
    count, started = 0, time.process_time()
    sums: dict[str, Any] = dict.fromkeys(scales, 0.0)
    squares = dict.fromkeys(scales, 0.0)
    for gaps in draws:
        count += 1
        for name, gap in gaps.items():
            sums[name] = sums[name] + gap / scales[name]
            squares[name] += float(np.mean(np.square(np.abs(gap / scales[name]))))
        if count % _AT_ONCE:
            continue
        means = {name: rms(np.asarray(total) / count) for name, total in sums.items()}
        spread = {name: max(0.0, squares[name] / count - means[name] ** 2) for name in sums}
        errors = {name: math.sqrt(value / (count - 1)) for name, value in spread.items()}
        if any(means[name] > limits.FLOAT64 + 4 * errors[name] for name in means):
            return count, max(means.values())
        if all(means[name] <= limits.FLOAT64 and errors[name] <= limits.FLOAT64 / 2 for name in means):
            return count, max(means.values())
        if count >= 2 * _AT_ONCE and max(errors.values()) * math.sqrt(count / _DRAWS) > limits.FLOAT64:
            return None
        needed = (max(errors.values()) / (limits.FLOAT64 / 2)) ** 2
        if (time.process_time() - started) * needed > _PATIENCE:
            return None
    return None
