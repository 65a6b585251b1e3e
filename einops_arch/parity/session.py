"""One comparison from the first run to the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.architectures.config import Config
from einops_arch.errors import ParityError, PatternError
from einops_arch.parity.causes.diagnosis import diagnose
from einops_arch.parity.report.error_maps import first_maps
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.rows import Two, gradient_rows, module_rows, output_rows, statistic_rows
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Verdict
from einops_arch.parity.runs.axes import Layout, TraceCall, from_axes, from_pattern, resolve
from einops_arch.parity.runs.casts import Cast, same_casts
from einops_arch.parity.runs.free_memory import give_back
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.torch_run import Failure, Run
from einops_arch.parity.teacher import teacher_report

__all__ = ["Options", "compared"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What `compare` was asked for, apart from the models and the inputs."""

    config: Config | None = None
    layouts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    training: bool = False
    gradients: bool = False
    steps: int = 1
    seed: int = 0
    teacher: bool = False
    lift_casts: bool | None = None
    causes: bool = True
    say: Callable[[str], None] = lambda text: None

    @property
    def mode(self) -> str:
        """In the words of `compare`."""
        return "train" if self.training else "eval"


def compared(ours: Any, theirs: Any, given: Inputs, options: Options) -> Report:
    """Run both sides and say what was found.

    Args:
        ours: PyTorch's side.
        theirs: Flax's side.
        given: the inputs of both.
        options: what to compare.

    Raises:
        ParityError: neither model can be run with these inputs.
    """
    if options.teacher:
        return _teacher(ours, theirs, given, options, "")
    lift = options.lift_casts is True
    two = _run(ours, theirs, given, options, lift=lift)
    own: tuple[Run | None, ...] = (two.torch_own, two.flax_own)
    if (why := _cannot_be_wide(two)) is not None and all(one is not None and one.failure is None for one in own):
        return _teacher(ours, theirs, given, options, why)
    if two.torch.failure is not None and two.flax.failure is not None:
        raise ParityError(
            "compare: expected a model that runs with these inputs, received two that do not:\n"
            f"  PyTorch: {two.torch.failure}\n  Flax: {two.flax.failure}"
        ) from two.torch.failure.error
    report = _report(ours, theirs, given, two, options, lift=lift)
    casts = two.torch.casts + two.flax.casts
    if casts and options.lift_casts is None and not (two.torch.failure or two.flax.failure):
        if same_casts(two.torch.casts, two.flax.casts):
            two, report = _look_under(ours, theirs, given, two, options)
        elif not report.passed:
            _, under = _look_under(ours, theirs, given, two, options)
            report = _hidden_casts(report, under, two)
    report = dataclasses.replace(report, casts=_said(two.torch.casts, "PyTorch") + _said(two.flax.casts, "Flax"))
    report = dataclasses.replace(report, maps=first_maps(two, report.first_divergence))
    if not options.causes or report.passed:
        return report
    two, own = _slim(two), ()
    give_back(ours)
    options.say("looking for the cause")

    def known(trace: Sequence[TraceCall], tensors: Sequence[tuple[str, Any]]) -> list[tuple[Any, Layout]]:
        return known_tensors(trace, tensors, given, options)

    return diagnose(ours, theirs, given, two, report, known, options.steps, options.say)


def _slim(two: Two) -> Two:
    """Without the values of the modules, which the diagnosis does not need."""

    def kept(run: Run) -> Run:
        return dataclasses.replace(run, calls=[dataclasses.replace(one, arrays=()) for one in run.calls])

    return dataclasses.replace(two, torch=kept(two.torch), flax=kept(two.flax), torch_own=None, flax_own=None)


def _run(ours: Any, theirs: Any, given: Inputs, options: Options, *, lift: bool) -> Two:
    two = _run_wide(ours, theirs, given, options, lift=lift)
    if {ours.dtype, theirs.dtype} == {np.dtype(np.float64)}:
        return two
    options.say(f"PyTorch in {ours.dtype}")
    own = ours.run(*given.torch, options.steps, double=False)[0]
    give_back(ours)
    options.say(f"Flax in {theirs.dtype}")
    other = theirs.run(*given.flax, options.steps, double=False, statistics=_has_statistics(two))
    return dataclasses.replace(two, torch_own=own, flax_own=other)


def _run_wide(ours: Any, theirs: Any, given: Inputs, options: Options, *, lift: bool) -> Two:
    wide_torch, wide_flax = Inputs.widened(given.torch), Inputs.widened(given.flax)
    said = " with casts lifted" if lift else ""
    options.say(f"PyTorch in float64{said}")
    run, trace, tensors = ours.run(*wide_torch, options.steps, double=True, lift=lift)
    known = resolve(trace, theirs.modules, known_tensors(trace, tensors, given, options))
    # The trace holds PyTorch's copy in float64; it goes before Flax's comes.
    del trace, tensors
    give_back(ours)
    statistics = options.training and bool(run.statistics)
    options.say(f"Flax in float64{said}")
    other = theirs.run(*wide_flax, options.steps, double=True, statistics=statistics, lift=lift)
    give_back(ours)
    return Two(ours.modules, theirs.modules, run, other, None, None, known, lift)


def _has_statistics(two: Two) -> bool:
    return bool(two.flax.statistics)


def _report(ours: Any, theirs: Any, given: Inputs, two: Two, options: Options, *, lift: bool) -> Report:
    failures = [one.failure for one in (two.torch, two.flax) if one.failure is not None]
    for name in ("torch_own", "flax_own"):
        if (own := getattr(two, name)) is not None and own.failure is not None:
            failures += [] if failures else [own.failure]
            two = dataclasses.replace(two, torch_own=None, flax_own=None)
    rows, notes = module_rows(two)
    if failures:
        return Report(_marked(rows, two), _failed(failures), mode=options.mode, notes=notes)
    names = [one.name for one in options.config.outputs()] if options.config else []
    return Report(
        rows=rows,
        outputs=output_rows(two, names),
        gradients=_gradients(ours, theirs, two, given, options, lift=lift) if options.gradients else (),
        statistics=statistic_rows(two) if _has_statistics(two) else (),
        mode=options.mode,
        notes=notes,
    )


def _gradients(ours: Any, theirs: Any, two: Two, given: Inputs, options: Options, *, lift: bool) -> tuple[Row, ...]:
    # A projection of outputs that do not fit means nothing; their rows say what is wrong.
    if not two.outputs_fit:
        return ()
    wide_torch, wide_flax = Inputs.widened(given.torch), Inputs.widened(given.flax)
    options.say("PyTorch's gradients")
    parameters, slopes = ours.gradients(*wide_torch, options.seed, lift=lift)
    options.say("Flax's gradients")
    others, other_slopes = theirs.gradients(*wide_flax, options.seed, two.output_layouts, lift=lift)
    return gradient_rows((parameters, others), (slopes, other_slopes), given.layouts)


def _look_under(ours: Any, theirs: Any, given: Inputs, two: Two, options: Options) -> tuple[Two, Report]:
    """The same with every cast lifted in the float64 run."""
    under = _run_wide(ours, theirs, given, options, lift=True)
    under = dataclasses.replace(under, torch_own=two.torch_own, flax_own=two.flax_own)
    report = _report(ours, theirs, given, under, options, lift=True)
    paths = ", ".join(dict.fromkeys(one.path or "the network" for one in two.torch.casts))
    note = f"both models cast to a narrower type in {paths}; the float64 run was made with these casts lifted"
    return under, dataclasses.replace(report, notes=(*report.notes, note))


def _hidden_casts(report: Report, under: Report, two: Two) -> Report:
    """Rows that are over the limit, and are not when all casts are lifted, have a hidden cast."""
    casts = [("PyTorch", one) for one in two.torch.casts] + [("Flax", one) for one in two.flax.casts]
    theirs = {(one.path, one.dtype) for one in two.torch.casts} & {(one.path, one.dtype) for one in two.flax.casts}
    casts = [(side, one) for side, one in casts if (one.path, one.dtype) not in theirs] or casts

    def renamed(rows: Sequence[Row], beneath: Sequence[Row]) -> tuple[Row, ...]:
        fine = {row.path for row in beneath if row.verdict is not Verdict.SEMANTIC}
        found = []
        for row in rows:
            if row.verdict is Verdict.SEMANTIC and row.path in fine:
                side, cast = next(((side, one) for side, one in casts if _is_at(one.path, row.path)), casts[0])
                row = dataclasses.replace(row, verdict=Verdict.HIDDEN_CAST, detail=f"{side}: {cast}")  # noqa: PLW2901
            found.append(row)
        return tuple(found)

    return dataclasses.replace(
        report,
        rows=renamed(report.rows, under.rows),
        outputs=renamed(report.outputs, under.outputs),
        gradients=renamed(report.gradients, under.gradients),
        statistics=renamed(report.statistics, under.statistics),
    )


def _is_at(path: str, module: str) -> bool:
    return path == module or path.startswith(f"{module}.")


def _teacher(ours: Any, theirs: Any, given: Inputs, options: Options, why: str) -> Report:
    options.say("each module with PyTorch's inputs")
    run, trace, tensors = ours.run(*given.torch, 1, double=False, inputs_of=None)
    return teacher_report(
        ours, theirs, given, run, trace, known_tensors(trace, tensors, given, options), why, mode=options.mode
    )


def _cannot_be_wide(two: Two) -> str | None:
    failures = [f"{side}: {run.failure}" for side, run in (("PyTorch", two.torch), ("Flax", two.flax)) if run.failure]
    return "; ".join(failures) or None


def _failed(failures: Sequence[Failure]) -> tuple[Row, ...]:
    said = "; ".join(map(str, failures))
    return (Row("outputs", "", "", (), None, None, None, None, Verdict.MISSING, detail=said),)


def _marked(rows: Sequence[Row], two: Two) -> tuple[Row, ...]:
    """The module that failed says why."""
    found = list(rows)
    for side, run in (("PyTorch", two.torch), ("Flax", two.flax)):
        if run.failure is None:
            continue
        said = f"{side} stopped here: {run.failure}"
        for n, row in enumerate(found):
            if row.path == run.failure.path:
                found[n] = dataclasses.replace(row, verdict=Verdict.MISSING, detail=said)
                break
        else:
            path = run.failure.path
            sides = (two.torch_modules, two.flax_modules)
            ours, theirs = (type(one[path]).__name__ if path in one else "" for one in sides)
            found.append(Row(path, ours, theirs, (), None, None, None, None, Verdict.MISSING, len(found), 0, said))
    return tuple(found)


def _said(casts: Sequence[Cast], side: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{side}: {one}" for one in casts))


def known_tensors(
    trace: Sequence[TraceCall], tensors: Sequence[tuple[str, Any]], given: Inputs, options: Options
) -> list[tuple[Any, Layout]]:
    """The tensors whose layout is said: inputs, outputs of our twins, and what `layouts=` names; the last counts."""
    known: list[tuple[Any, Layout]] = []
    for call in trace:
        if call.path in options.layouts:
            layout = from_pattern(options.layouts[call.path])
            known += [(tensor, layout) for tensor in call.outputs if tensor.ndim == len(layout)]
    if unknown := sorted(set(options.layouts) - {call.path for call in trace}):
        raise PatternError(f"layouts: no module was called at {', '.join(map(repr, unknown))}")
    outputs = next((call.outputs for call in trace if call.path == ""), ())
    stated = [from_axes(one.axes) for one in options.config.outputs()] if options.config else []
    if len(stated) == len(outputs):
        known += [pair for pair in zip(outputs, stated, strict=True) if pair[0].ndim == len(pair[1])]
    known += [(tensor, given.layouts[place]) for place, tensor in tensors if place in given.layouts]
    # What was said first counts.
    return known[::-1]


def ran(run: Run | None) -> bool:
    """It came to its end."""
    return run is not None and run.failure is None
