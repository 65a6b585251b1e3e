"""Where two models part, and why.

The first divergence is the first module in call order that is over the limit while what goes into it is under. Where
what goes into the first module over the limit differs already, the difference arises between the modules, in the code
of one around them: the innermost that is wrong when it is given PyTorch's inputs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from einops_arch.parity.causes.magnified import magnified
from einops_arch.parity.causes.search import LocatedFault, Recorded, search
from einops_arch.parity.causes.statistics import explain_statistic
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Verdict
from einops_arch.parity.runs.axes import resolve, resolve_inputs
from einops_arch.parity.runs.free_memory import trim_memory
from einops_arch.parity.runs.inputs import Inputs

__all__ = ["diagnose"]


def diagnose(
    torch_side: Any,
    flax_side: Any,
    inputs: Inputs,
    two: RunPair,
    report: Report,
    known: Callable[..., Any],
    steps: int,
    say: Callable[[str], None] = lambda text: None,
    *,
    causes: bool = True,
) -> Report:
    """The report with the place and the cause of each divergence, and with rounding excused that the network magnifies.

    Args:
        torch_side: PyTorch's side.
        flax_side: Flax's side.
        inputs: the inputs of both.
        two: the runs behind the report.
        report: what they say.
        known: tells from a trace and the input tensors which layouts are said.
        steps: of training.
        say: told what is being tried.
        causes: False where no cause is wanted.
    """
    first = report.first_divergence
    wrong = {row.path: row.order for row in report.rows if row.verdict is Verdict.SEMANTIC}
    if first is None or two.torch.failure or two.flax.failure:
        return report
    # Behind a module of another shape, or a cast, there may be others that are wrong for other reasons.
    leads = first.verdict is Verdict.SEMANTIC
    if not leads and not wrong:
        return report
    if not causes:
        live = getattr(flax_side, "live", flax_side)
        if not leads or first not in report.rows or live is None:
            return report
        record = functools.partial(_recorded, torch_side, live, inputs, two, frozenset(wrong), known)
        return magnified(record, torch_side, inputs, report, lifted=two.lifted, say=say) or report
    if hasattr(flax_side, "record") and flax_side.live is None:
        words = "no cause was looked for: that takes a live Flax model, to be run with what went into PyTorch's modules"
        return dataclasses.replace(report, causes=(f"{first.path or 'the network'}: {words}",))
    flax_side = getattr(flax_side, "live", flax_side)
    faults: list[LocatedFault] = []
    if first in report.rows:
        recorded = _recorded(torch_side, flax_side, inputs, two, frozenset(wrong), known)
        faults, _ = search(recorded, wrong, say)
        if leads:
            excused = None
            if not faults:
                excused = magnified(lambda: recorded, torch_side, inputs, report, lifted=two.lifted, say=say)
            if excused is not None:
                return excused
            report = _moved(report, first, faults)
        if not faults and leads:
            words = "not explained: it cannot be run by itself with PyTorch's inputs"
            faults = [LocatedFault(first.path, f"{first.path or 'the network'}: {words}")]
    sentences = [*_sentences(faults), *_of_statistics(torch_side, flax_side, two, report, steps, alone=not faults)]
    if not sentences and first in report.gradients:
        sentences = [f"{first.path}: not explained: all values are the same, so it is in how they are differentiated"]
    paths = tuple(fault.path for fault in faults if fault.path or "the network" in fault.cause)
    return dataclasses.replace(report, causes=tuple(sentences), faults=paths)


def _recorded(
    torch_side: Any, flax_side: Any, inputs: Inputs, two: RunPair, wanted: frozenset[str], known: Callable[..., Any]
) -> Recorded:
    """PyTorch's run once more, with the inputs of the modules that differ, and the forms of Flax's."""
    wide_torch, wide_flax = Inputs.widened(inputs.torch), Inputs.widened(inputs.flax)
    run, trace, tensors = torch_side.run(*wide_torch, 1, double=True, lift=two.lifted, inputs_of=wanted)
    stated = known(trace, tensors)
    layouts = resolve(trace, two.flax_modules, stated) | dict(two.layouts)
    input_layouts = resolve_inputs(trace, two.flax_modules, stated, layouts)
    run.calls = [call if call.path in wanted else dataclasses.replace(call, arrays=()) for call in run.calls]
    del trace, tensors, stated
    trim_memory(torch_side)

    def values(path: str) -> Mapping[tuple[str, int], Any]:
        flax_run = flax_side.run(*wide_flax, 1, double=True, lift=two.lifted, inputs_of=frozenset([path]))
        return dict(flax_run.inputs)

    def rounding(path: str, nest: Any, fixed: Sequence[str]) -> Sequence[float]:
        measure = getattr(torch_side, "rounding", None)
        return () if measure is None or nest is None else list(measure(path, nest, fixed, lift=two.lifted))

    forms = flax_side.forms(*wide_flax, inputs_of=wanted)
    return Recorded(two.torch_modules, flax_side, run, layouts, input_layouts, forms, values, two.lifted, rounding)


def _sentences(faults: Sequence[LocatedFault]) -> list[str]:
    """One for each cause, the modules that have the same one together."""
    by_cause: dict[str, list[str]] = {}
    for fault in faults:
        name, colon, words = fault.cause.partition(": ")
        by_cause.setdefault(words if colon else "", []).append(name)
    sentences = []
    for words, names in by_cause.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        sentences.append(f"{shown}: {words}" if words else shown)
    return sentences


def _of_statistics(
    torch_side: Any, flax_side: Any, two: RunPair, report: Report, steps: int, *, alone: bool
) -> list[str]:
    """Causes of running statistics that differ; beside others, only where something explains them."""
    sentences: list[str] = []
    for row in report.statistics:
        if row.verdict is Verdict.SEMANTIC:
            sentence = explain_statistic(torch_side, flax_side, two, row.path, steps)
            if sentence not in sentences and ("not explained" not in sentence or (alone and not sentences)):
                sentences.append(sentence)
    return sentences


def _moved(report: Report, first: Row, faults: Sequence[LocatedFault]) -> Report:
    """The row that is named is that of the module in whose code the difference arises."""
    if not faults or faults[0].path == first.path:
        return report
    place = faults[0].path
    before = faults[0].before or first.path
    rows = tuple(
        dataclasses.replace(row, detail="what goes in differs already")
        if row.path == before
        else dataclasses.replace(row, detail=f"between its modules, before {before}")
        if row.path == place
        else row
        for row in report.rows
    )
    return dataclasses.replace(report, rows=rows, located=place)
