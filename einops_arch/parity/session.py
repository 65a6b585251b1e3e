"""The pipeline behind `compare`: run both models, align what they gave, report."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.errors import ParityError
from einops_arch.parity.causes.averaged import with_averaged_gradients
from einops_arch.parity.causes.diagnosis import diagnose
from einops_arch.parity.causes.slopes import with_gradient_causes
from einops_arch.parity.options import Options, known_tensors, stated_outputs
from einops_arch.parity.report import limits
from einops_arch.parity.report.alignment import refined, reordered
from einops_arch.parity.report.error_maps import first_maps
from einops_arch.parity.report.module_rows import module_rows
from einops_arch.parity.report.owed import with_owed_rounding
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.rates import rate_rows
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.rows import gradient_rows, output_rows, statistic_rows
from einops_arch.parity.report.seen import Seen
from einops_arch.parity.report.text import RAISED, Row
from einops_arch.parity.report.unread import without_unread
from einops_arch.parity.report.verdicts import Array, Verdict, unit_roundoff
from einops_arch.parity.runs.axes import Layout, TraceCall, guessed, resolve
from einops_arch.parity.runs.axis_names import axis_names
from einops_arch.parity.runs.casts import Cast, same_casts
from einops_arch.parity.runs.constants import keeps_rounding, own_constants
from einops_arch.parity.runs.free_memory import trim_memory
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.run import Failure, Run
from einops_arch.parity.runs.tables import Tables
from einops_arch.parity.teacher import teacher_report
from einops_arch.parity.waiting import told_when_long

__all__ = ["compared"]

_Both: TypeAlias = tuple[Mapping[str, Array], Mapping[str, Array]]


def compared(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options) -> Report:
    """Run both sides, with the constants that each has in its own dtype, and say what was found; see `_compared`."""
    with own_constants(torch_side.dtype, flax_side.dtype):
        try:
            return _compared(torch_side, flax_side, inputs, options)
        finally:
            # They are those of these inputs.
            flax_side.tables = None


def _compared(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options) -> Report:
    """Run both sides and say what was found.

    Args:
        torch_side: PyTorch's side.
        flax_side: Flax's side.
        inputs: the inputs of both.
        options: what to compare.

    Raises:
        ParityError: neither model can be run with these inputs.
    """
    if options.teacher:
        return _teacher(torch_side, flax_side, inputs, options, "")
    two, options = _run_often_enough(torch_side, flax_side, inputs, options, lift=options.lift_casts is True)
    two, mixed = _without_mixed_dtypes(torch_side, flax_side, inputs, two, options)
    lift = two.lifted
    own: tuple[Run | None, ...] = (two.torch_own, two.flax_own)
    if (why := _cannot_be_wide(two)) is not None and all(run is not None and run.failure is None for run in own):
        return _teacher(torch_side, flax_side, inputs, options, why)
    if two.torch.failure is not None and two.flax.failure is not None:
        raise ParityError(
            f"{two.torch.failure} (raised by PyTorch's model)\n{two.flax.failure} (raised by Flax's model)\n"
            "compare: expected a model that runs with these inputs, received two that do not"
        ) from two.torch.failure.error
    may_lift = options.lift_casts is None and not lift and not (two.torch.failure or two.flax.failure)
    narrow = (_narrow(two.torch, torch_side), _narrow(two.flax, flax_side))
    if may_lift and (two.torch.casts or two.flax.casts) and same_casts(*narrow):
        two, report = _look_under(torch_side, flax_side, inputs, two, options)
    else:
        report = _report(torch_side, flax_side, inputs, two, options, lift=lift)
        report = dataclasses.replace(report, notes=(*report.notes, *mixed), lifted=report.lifted or bool(mixed))
        if may_lift and report.first_divergence is not None and (two.torch.casts or two.flax.casts):
            _, under = _look_under(torch_side, flax_side, inputs, two, options)
            report = _hidden_casts(report, under, two, narrow)
    report = with_owed_rounding(torch_side, inputs, two, report)
    # What is evidence is not known yet, and so no report passes here.
    if report.first_divergence is not None and options.lift_casts is None:
        two, report = _with_tables(torch_side, flax_side, inputs, two, report, options)
    if report.first_divergence is not None and options.lift_casts is None:
        two, report = _with_exact_constants(torch_side, flax_side, inputs, two, report, options)
    report = dataclasses.replace(report, casts=_said(two.torch.casts, "PyTorch") + _said(two.flax.casts, "Flax"))
    report = dataclasses.replace(report, maps=first_maps(two, report.first_divergence))
    report = _with_evidence(torch_side, inputs, two, report)
    slopes = functools.partial(_slopes, torch_side, flax_side, two, options=options, lift=two.lifted)
    report = with_averaged_gradients(slopes, torch_side, inputs, two, report, options.seed)
    if report.first_divergence is None:
        return report
    two = _slim(two)
    trim_memory(torch_side)

    def known(trace: Sequence[TraceCall], tensors: Sequence[tuple[str, Any]]) -> list[tuple[Any, Layout]]:
        return known_tensors(trace, tensors, inputs, options)

    diagnosed = functools.partial(diagnose, torch_side, flax_side, inputs, two, report, known, options.steps)
    if not options.causes:
        return diagnosed(options.say, causes=False)
    with told_when_long(options.say, "looking for the cause") as say:
        return with_gradient_causes(slopes, torch_side, inputs, diagnosed(say, causes=True))


def _with_tables(
    torch_side: Any, flax_side: Any, inputs: Inputs, two: RunPair, report: Report, options: Options
) -> tuple[RunPair, Report]:
    """The runs and the report with PyTorch's tables in the place of those of Flax's that only rounding tells apart."""
    if two.torch.failure or two.flax.failure or not (hasattr(torch_side, "tables") and hasattr(flax_side, "tables")):
        return two, report
    narrow = {(cast.path, cast.dtype) for cast in _narrow(two.torch, torch_side)}
    if narrow != {(cast.path, cast.dtype) for cast in _narrow(two.flax, flax_side)}:
        return two, report
    held = torch_side.tables(*Inputs.widened(inputs.torch))
    flax_side.tables = Tables(held, two.roundoff, flax_side.stored()) if held else None
    if not held or not flax_side.shares_tables(*Inputs.widened(inputs.flax)):
        flax_side.tables = None
        return two, report
    other, rounded = _look_under(torch_side, flax_side, inputs, two, options)
    note = (
        "tables that are the same in both models, but for their rounding, were taken from PyTorch's in the float64 run"
    )
    rounded = dataclasses.replace(rounded, notes=(*filter(None, rounded.notes), note), tables=True)
    return other, with_owed_rounding(torch_side, inputs, other, rounded)


def _with_exact_constants(
    torch_side: Any, flax_side: Any, inputs: Inputs, two: RunPair, report: Report, options: Options
) -> tuple[RunPair, Report]:
    """The same with constants as they were written down, where no more than their rounding tells the models apart.

    A number in a buffer of float32, or one that is computed in it, is another one than the same number in the code.
    """
    if keeps_rounding():
        return two, report
    wrong = [row for rows in report.sections.values() for row in rows if not row.verdict.passed]
    slight = all(row.verdict is Verdict.SEMANTIC and (row.difference or math.inf) <= _SLIGHT for row in wrong)
    if not wrong or not slight or report.lifted or two.torch.failure or two.flax.failure:
        return two, report
    narrow = {(cast.path, cast.dtype) for cast in _narrow(two.torch, torch_side)}
    if narrow != {(cast.path, cast.dtype) for cast in _narrow(two.flax, flax_side)}:
        return two, report
    other = _run_wide(torch_side, flax_side, inputs, options, lift=True)
    if _same_arrays(other.torch, two.torch) and _same_arrays(other.flax, two.flax):
        return two, report
    other, exact = _look_under(torch_side, flax_side, inputs, two, options, other)
    exact = with_owed_rounding(torch_side, inputs, other, exact)
    note = "the float64 run was made with constants as they were written down, and not as float32 rounds them"
    if exact.first_divergence is not None:
        return two, report
    return other, dataclasses.replace(exact, notes=(*exact.notes, note))


def _same_arrays(first: Run, second: Run) -> bool:
    """Whether every module gave the same in both runs."""
    return len(first.calls) == len(second.calls) and all(
        len(call.arrays) == len(again.arrays) and all(map(np.array_equal, call.arrays, again.arrays))
        for call, again in zip(first.calls, second.calls, strict=True)
    )


_SLIGHT = 1e-5
"""What float32's rounding of constants makes of a result is less, unless the network magnifies it."""


def _narrow(run: Run, side: Any) -> list[Cast]:
    """The casts to less than the model's own dtype; one to that or to a wider one loses nothing that a user has."""
    return [cast for cast in run.casts if unit_roundoff(np.dtype(_known_dtype(cast.dtype))) > unit_roundoff(side.dtype)]


def _known_dtype(name: str) -> Any:
    import ml_dtypes

    return getattr(ml_dtypes, name, name)


def _with_evidence(torch_side: Any, inputs: Inputs, two: RunPair, report: Report) -> Report:
    """The report with the names of the outputs that change with the inputs; those that do not were not seen."""
    seen = report.seen
    if seen is None or not report.outputs or two.torch.failure or two.flax.failure:
        return report
    run = two.torch_own or two.torch
    if run.failure is not None:
        return report
    wide = two.torch_own is None
    arrays = [array for _, array in run.outputs]
    varies = torch_side.varies(inputs.torch, arrays, double=wide, lift=wide and two.lifted)
    return _changing(report, seen, [row.path for row in report.outputs][: len(two.torch.outputs)], varies)


def _changing(report: Report, seen: Seen, names: Sequence[str], varies: Sequence[bool]) -> Report:
    evidence = tuple(name for name, changes in zip(names, varies, strict=False) if changes)
    constant = [name for name in names if name not in evidence]
    unseen = tuple(f"{name}: it does not change when the inputs do, or holds no numbers" for name in constant)
    return dataclasses.replace(
        report, seen=dataclasses.replace(seen, evidence=evidence, not_seen=(*unseen, *seen.not_seen))
    )


def _slim(two: RunPair) -> RunPair:
    """Drop the arrays of the modules, which the diagnosis does not need."""

    def kept(run: Run) -> Run:
        return dataclasses.replace(run, calls=[dataclasses.replace(call, arrays=()) for call in run.calls])

    return dataclasses.replace(two, torch=kept(two.torch), flax=kept(two.flax), torch_own=None, flax_own=None)


def _run_often_enough(
    torch_side: Any, flax_side: Any, inputs: Inputs, options: Options, *, lift: bool
) -> tuple[RunPair, Options]:
    """The runs; two calls of each model where PyTorch's keeps something of the first that changes the second."""
    two = _run(torch_side, flax_side, inputs, options, lift=lift)
    if not two.torch.remembers:
        return two, options
    options = dataclasses.replace(options, steps=2)
    return _run(torch_side, flax_side, inputs, options, lift=lift), options


def _run(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options, *, lift: bool) -> RunPair:
    two = _run_wide(torch_side, flax_side, inputs, options, lift=lift)
    if not options.own_dtype or {torch_side.dtype, flax_side.dtype} == {np.dtype(np.float64)}:
        return two
    options.say(f"PyTorch in {torch_side.dtype}")
    own = torch_side.run(*inputs.torch, options.steps, double=False)[0]
    trim_memory(torch_side)
    options.say(f"Flax in {flax_side.dtype}")
    other = flax_side.run(*inputs.flax, options.steps, double=False, statistics=_has_statistics(two))
    return dataclasses.replace(two, torch_own=own, flax_own=reordered(other, two.torch))


def _run_wide(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options, *, lift: bool) -> RunPair:
    wide_torch, wide_flax = Inputs.widened(inputs.torch), Inputs.widened(inputs.flax)
    how = " with casts lifted" if lift else ""
    options.say(f"PyTorch in float64{how}")
    run, trace, tensors = torch_side.run(*wide_torch, options.steps, double=True, lift=lift)
    stated = known_tensors(trace, tensors, inputs, options, complete=run.failure is None)
    known, guesses = resolve(trace, flax_side.modules, stated), guessed(trace, flax_side.modules, stated)
    known |= stated_outputs(trace, options.layouts)
    axes = axis_names(trace, tensors, inputs.names)
    # The trace holds PyTorch's copy in float64; it goes before Flax's comes.
    del trace, tensors, stated
    trim_memory(torch_side)
    statistics = options.training and bool(run.statistics)
    options.say(f"Flax in float64{how}")
    other = flax_side.run(*wide_flax, options.steps, double=True, statistics=statistics, lift=lift)
    trim_memory(torch_side)
    other = reordered(other, run)
    known = refined(run, other, known, guesses)
    roundoff = min(unit_roundoff(side.dtype) for side in (torch_side, flax_side))
    return RunPair(torch_side.modules, flax_side.modules, run, other, None, None, known, lift, roundoff, axes)


def _has_statistics(two: RunPair) -> bool:
    return bool(two.flax.statistics)


def _report(torch_side: Any, flax_side: Any, inputs: Inputs, two: RunPair, options: Options, *, lift: bool) -> Report:
    sides = (("PyTorch", two.torch), ("Flax", two.flax))
    failures = [(side, run.failure) for side, run in sides if run.failure is not None]
    for side, name in (("PyTorch", "torch_own"), ("Flax", "flax_own")):
        if (own := getattr(two, name)) is not None and own.failure is not None:
            failures += [] if failures else [(side, own.failure)]
            two = dataclasses.replace(two, torch_own=None, flax_own=None)
    rows, unseen = module_rows(two)
    if failures:
        # What comes after the exception is missing on one side: that says nothing of the modules.
        seen = Seen(
            modules=len(rows), calls=sum(row.calls for row in rows), not_seen=("what comes after the exception",)
        )
        return Report(_marked(rows, two), _failed(failures), mode=options.mode, seen=seen)
    names = [output.name for output in options.config.outputs()] if options.config else []
    outputs = output_rows(two, names, options.steps)
    if all(row.verdict.passed for row in outputs):
        two, words = without_unread(torch_side, inputs, two, rows)
        if words:
            rows, unseen = module_rows(two)
        unseen += words
        # The outputs agree, so an array of another form inside is the affair of that module.
        other = [row for row in rows if row.verdict is Verdict.SHAPE]
        rows = tuple(row for row in rows if row not in other)
        unseen += tuple(f"{row.path}: another form of what is computed inside: {row.detail}" for row in other)
    statistics = statistic_rows(two)
    if not options.training:
        changed = two.torch.changed | two.flax.changed
        statistics = tuple(row for row in statistics if row.path in changed)
    gradients = _gradients(torch_side, flax_side, two, inputs, options, lift=lift) if options.gradients else ()
    rates, unread = rate_rows(two, training=options.training)
    unseen += (*unread, *two.torch.untaken)
    if not options.own_dtype and {torch_side.dtype, flax_side.dtype} != {np.dtype(np.float64)}:
        unseen += ("how each rounds in its own dtype",)
    if drawing := torch_side.draws():
        unseen += (f"how random numbers are drawn: both sides got the same ones (PyTorch by {', '.join(drawing)})",)
    return Report(
        rows=rows,
        outputs=outputs,
        gradients=gradients,
        statistics=statistics,
        mode=options.mode,
        lifted=lift,
        rates=rates,
        seen=Seen(
            outputs=len([row for row in outputs if row.difference is not None]),
            numbers=sum(array.size for _, array in two.torch.outputs),
            modules=len(rows),
            calls=sum(row.calls for row in rows),
            buffers=len(statistics),
            gradients=len(gradients),
            not_seen=unseen,
        ),
    )


def _gradients(
    torch_side: Any, flax_side: Any, two: RunPair, inputs: Inputs, options: Options, *, lift: bool
) -> tuple[Row, ...]:
    # A projection of outputs that do not fit means nothing; their rows say what is wrong.
    if not two.outputs_fit:
        return ()
    slopes = _slopes(torch_side, flax_side, two, inputs, options, lift=lift)
    return gradient_rows(*slopes, inputs.layouts, torch_side.ties())


def _slopes(
    torch_side: Any, flax_side: Any, two: RunPair, inputs: Inputs, options: Options, *, lift: bool
) -> tuple[_Both, _Both]:
    """The gradients of the parameters of both sides, and of their inputs."""
    wide_torch, wide_flax = Inputs.widened(inputs.torch), Inputs.widened(inputs.flax)
    options.say("PyTorch's gradients")
    parameters, slopes = torch_side.gradients(*wide_torch, options.seed, lift=lift)
    options.say("Flax's gradients")
    order = list(two.flax.order) or None
    others, other_slopes = flax_side.gradients(*wide_flax, options.seed, two.output_layouts, order=order, lift=lift)
    return (parameters, others), (slopes, other_slopes)


def _look_under(
    torch_side: Any, flax_side: Any, inputs: Inputs, two: RunPair, options: Options, under: RunPair | None = None
) -> tuple[RunPair, Report]:
    """Run and report again with every cast lifted in float64, if it has not been run so already."""
    under = under or _run_wide(torch_side, flax_side, inputs, options, lift=True)
    under = dataclasses.replace(under, torch_own=two.torch_own, flax_own=two.flax_own)
    report = _report(torch_side, flax_side, inputs, under, options, lift=True)
    note = "; ".join(_lifted_casts(two, torch_side, flax_side))
    return under, dataclasses.replace(report, notes=(*report.notes, *filter(None, [note])), lifted=True)


def _lifted_casts(two: RunPair, torch_side: Any, flax_side: Any) -> Iterator[str]:
    """Say which casts were lifted."""
    if not two.torch.casts and not two.flax.casts:
        return
    if same_casts(two.torch.casts, two.flax.casts):
        paths = ", ".join(dict.fromkeys(cast.path or "the network" for cast in two.torch.casts))
        yield f"both models cast to a narrower type in {paths}; the float64 run was made with these casts lifted"
        return
    for name, run, side in (("PyTorch", two.torch, torch_side), ("Flax", two.flax, flax_side)):
        if run.casts:
            kinds = ", ".join(dict.fromkeys(cast.dtype for cast in run.casts))
            paths = ", ".join(dict.fromkeys(cast.path or "the network" for cast in run.casts))
            less = "both models have the narrowing ones" if _narrow(run, side) else f"no less than its own {side.dtype}"
            yield f"{name} casts to {kinds} in {paths} ({less}); the float64 run was made with these casts lifted"


def _hidden_casts(report: Report, under: Report, two: RunPair, narrow: tuple[Sequence[Cast], Sequence[Cast]]) -> Report:
    """Mark as a hidden cast each row that is over the limit only while casts are not lifted."""
    casts = [("PyTorch", cast) for cast in narrow[0]] + [("Flax", cast) for cast in narrow[1]]
    both = {(cast.path, cast.dtype) for cast in two.torch.casts} & {(cast.path, cast.dtype) for cast in two.flax.casts}
    casts = [(side, cast) for side, cast in casts if (cast.path, cast.dtype) not in both] or casts

    def renamed(rows: Sequence[Row], beneath: Sequence[Row]) -> tuple[Row, ...]:
        fine = {row.path for row in beneath if row.verdict is not Verdict.SEMANTIC}
        changed = []
        for row in rows:
            if row.verdict is Verdict.SEMANTIC and row.path in fine:
                side, cast = next(((side, cast) for side, cast in casts if _is_at(cast.path, row.path)), casts[0])
                words = f"{side}: {cast}"
                row = dataclasses.replace(row, verdict=Verdict.HIDDEN_CAST, detail=words)  # noqa: PLW2901
            changed.append(row)
        return tuple(changed)

    return dataclasses.replace(
        report,
        rows=renamed(report.rows, under.rows),
        outputs=renamed(report.outputs, under.outputs),
        gradients=renamed(report.gradients, under.gradients),
        statistics=renamed(report.statistics, under.statistics),
    )


def _is_at(path: str, module: str) -> bool:
    return path == module or path.startswith(f"{module}.")


def _teacher(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options, why: str) -> Report:
    options.say("each module with PyTorch's inputs")
    run, trace, tensors = torch_side.run(*inputs.torch, options.steps, double=False, inputs_of=None)
    if run.failure is not None:
        return Report((), _failed([("PyTorch", run.failure)]), mode=options.mode, seen=Seen())
    known = known_tensors(trace, tensors, inputs, options)
    forms = flax_side.run(*inputs.flax, options.steps, double=False, statistics=options.training, inputs_of=None)
    if forms.failure is not None:
        return Report((), _failed([("Flax", forms.failure)]), mode=options.mode, seen=Seen())
    lift = not why and _lifts(torch_side, flax_side, inputs, options)
    report = teacher_report(torch_side, flax_side, run, forms.inputs, trace, known, why, mode=options.mode, lift=lift)
    report = _with_state(torch_side, flax_side, run, forms, report, options)
    seen = report.seen
    if seen is None or not seen.outputs:
        return report
    varies = torch_side.varies(inputs.torch, [array for _, array in run.outputs], double=False)
    return _changing(report, seen, [f"output {place}".strip() for place, _ in run.outputs], varies)


def _with_state(torch_side: Any, flax_side: Any, run: Run, other: Run, report: Report, options: Options) -> Report:
    """The report with what calls change and with rates of dropout, which no module shows that is called by itself."""
    two = RunPair(torch_side.modules, flax_side.modules, run, other, None, None, {})
    # Each module before may be off by as much, and what is kept is no more exact than the model's own dtype.
    unit = max(unit_roundoff(side.dtype) for side in (torch_side, flax_side))
    statistics = statistic_rows(two, limit=limits.TEACHER * unit * max(1, len(run.calls)))
    changed = run.changed | other.changed
    statistics = tuple(row for row in statistics if row.path in changed)
    rates, unread = rate_rows(two, training=options.training)
    seen = report.seen or Seen()
    later = ("outputs of later steps: each module is called by itself",) if options.steps > 1 else ()
    seen = dataclasses.replace(seen, buffers=len(statistics), not_seen=(*seen.not_seen, *unread, *later))
    return dataclasses.replace(report, statistics=statistics, rates=rates, seen=seen)


def _lifts(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options) -> bool:
    """Whether casts are lifted in float64: where that was asked for, and where both models have the narrowing ones."""
    if options.lift_casts is not None:
        return options.lift_casts
    wide = torch_side.run(*Inputs.widened(inputs.torch), 1, double=True)[0]
    other = flax_side.run(*Inputs.widened(inputs.flax), 1, double=True)
    if wide.failure or other.failure or not (wide.casts or other.casts):
        return False
    return same_casts(_narrow(wide, torch_side), _narrow(other, flax_side))


def _without_mixed_dtypes(
    torch_side: Any, flax_side: Any, inputs: Inputs, two: RunPair, options: Options
) -> tuple[RunPair, tuple[str, ...]]:
    """The runs, with casts lifted where PyTorch's model makes float32 that does not go together with float64.

    Returns:
        The runs, and what is to be noted about them.
    """
    error = two.torch.failure.error if two.torch.failure is not None else None
    runs_in_own = two.torch_own is None or two.torch_own.failure is None
    if options.lift_casts is not None or not isinstance(error, RuntimeError) or not runs_in_own:
        return two, ()
    wide = _run_wide(torch_side, flax_side, inputs, options, lift=True)
    if wide.torch.failure is not None or wide.flax.failure is not None:
        return two, ()
    note = f"PyTorch does not run in float64 ({two.torch.failure}); that run was made with all casts lifted"
    return dataclasses.replace(wide, torch_own=two.torch_own, flax_own=two.flax_own), (note,)


def _cannot_be_wide(two: RunPair) -> str | None:
    failures = [f"{side}: {run.failure}" for side, run in (("PyTorch", two.torch), ("Flax", two.flax)) if run.failure]
    return "; ".join(failures) or None


def _failed(failures: Sequence[tuple[str, Failure]]) -> tuple[Row, ...]:
    words = "; ".join(f"{failure}{RAISED}{side}'s model)" for side, failure in failures)
    return (Row("outputs", "", "", (), None, None, None, None, Verdict.MISSING, detail=words),)


def _marked(rows: Sequence[Row], two: RunPair) -> tuple[Row, ...]:
    """Mark the module in which a run stopped, with the exception."""
    marked = list(rows)
    for side, run in (("PyTorch", two.torch), ("Flax", two.flax)):
        if run.failure is None:
            continue
        words = f"{run.failure}{RAISED}{side}'s model)"
        for n, row in enumerate(marked):
            if row.path == run.failure.path:
                marked[n] = dataclasses.replace(row, verdict=Verdict.MISSING, detail=words)
                break
        else:
            path = run.failure.path
            sides = (two.torch_modules, two.flax_modules)
            torch_type, flax_type = (type(side[path]).__name__ if path in side else "" for side in sides)
            marked.append(
                Row(path, torch_type, flax_type, (), None, None, None, None, Verdict.MISSING, len(marked), 0, words)
            )
    return tuple(marked)


def _said(casts: Sequence[Cast], side: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{side}: {cast}" for cast in casts))


def ran(run: Run | None) -> bool:
    """It came to its end."""
    return run is not None and run.failure is None
