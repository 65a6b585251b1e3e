"""Causes of gradients that differ where all values are the same: a row without a gradient, parameters that are tied."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.parity.causes.averaged import Slopes
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.rows import size_of_all
from einops_arch.parity.report.verdicts import Array, Pair, measure
from einops_arch.parity.runs.inputs import Inputs

__all__ = ["with_gradient_causes"]


def with_gradient_causes(slopes: Slopes, torch_side: Any, inputs: Inputs, report: Report) -> Report:
    """The report, with a sentence for each gradient whose difference a change of it makes vanish.

    Args:
        slopes: the gradients of both sides, in float64.
        torch_side: PyTorch's side.
        inputs: the inputs of both.
        report: what was found; where values differ it is left as it is.
    """
    wrong = [row.path for row in report.gradients if not row.verdict.passed]
    if not wrong or not all(row.verdict.passed for row in (*report.rows, *report.outputs)):
        return report
    (own, flax), _ = slopes(inputs)
    scale = size_of_all(own)

    def is_same(array: Array, other: Array) -> bool:
        return array.shape == other.shape and measure([Pair(array, other)], scale=scale).verdict.passed

    sentences = []
    for name in wrong:
        if name in own and name in flax:
            causes = [
                words
                for words, array, other in _tried(name, own, flax, torch_side)
                if is_same(array, other) and not is_same(own[name], flax[name])
            ]
            if causes:
                sentences.append(f"{name}: would be explained by {', or by '.join(causes)}")
    if not sentences:
        return report
    kept = tuple(text for text in report.causes if "not explained" not in text)
    return dataclasses.replace(report, causes=(*kept, *sentences))


def _tried(
    name: str, own: Mapping[str, Array], flax: Mapping[str, Array], torch_side: Any
) -> Iterator[tuple[str, Array, Array]]:
    """What may be the cause, PyTorch's gradient, and Flax's; the one of both that is changed is as if it were so."""
    module = torch_side.modules.get(name.rpartition(".")[0])
    row = getattr(module, "padding_idx", None)
    if row is not None:
        without = np.array(flax[name])
        without[row] = 0
        yield f"padding_idx={row}, a row without a gradient in PyTorch", own[name], without
    tied = [other for other, first in torch_side.ties().items() if first == name and other in flax]
    if tied:
        words = f"{' and '.join([name, *tied])} as one parameter, the Flax module has {len(tied) + 1}"
        yield words, own[name], sum((flax[other] for other in tied), flax[name])
    for other, array in own.items():
        if other not in flax and array.shape == own[name].shape:
            yield f"{name} and {other} as two parameters, the Flax module has one", own[name] + array, flax[name]
