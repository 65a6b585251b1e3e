"""The report in short: the verdict, where the two part, why, what to do, and the rows that are wrong by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from einops_arch.errors import ConfigError
from einops_arch.parity.report.error_maps import ErrorMaps
from einops_arch.parity.report.seen import NO_EVIDENCE, Seen
from einops_arch.parity.report.text import RAISED, Row, block, describe, named
from einops_arch.parity.report.verdicts import Verdict

__all__ = ["ROWS", "Shown", "account", "answer", "check_rows", "headline", "own_faults", "summary"]

ROWS = ("wrong", "all")

_MOST = 12
"""Rows of one section that are shown in short; a page or `rows="all"` has them all."""

# By verdict, in the words of `compare` and in those of the command line.
_ANSWERS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.ROUNDING: (
        "a layer that computes in a narrower dtype; teacher=True locates it",
        "a layer that computes in a narrower dtype",
    ),
    Verdict.HIDDEN_CAST: (
        "the same cast in both models, or lift_casts=True to look under it",
        "the same cast in both models, or --lift-casts to look under it",
    ),
    Verdict.MISSING: (
        "paths={'torch.path': 'flax.path'} where its counterpart has another path, or None to leave it out",
        "--path torch.path=flax.path where its counterpart has another path, or --path torch.path= to leave it out",
    ),
    Verdict.SHAPE: (
        "layouts={'path': 'b c t -> b t c'} where the axes of an output lie otherwise; '' is the network",
        "--layout 'path=b c t -> b t c' where the axes of an output lie otherwise; without a path, of the network",
    ),
    Verdict.NAN: (
        "inputs of another scale, or weights from randomize",
        "--input of another scale, or --randomize",
    ),
}
_NOT_LOOKED_FOR = "causes=True without teacher=True, which looks for what explains it"
_NOT_EXPLAINED = (
    "read the code there; layouts= where the axes of an output lie otherwise, paths= where it is another module's twin",
    "read the code there; --layout where the axes of an output lie otherwise, --path where it is another module's twin",
)


class Shown(Protocol):
    """What is shown of a `Report`."""

    @property
    def rows(self) -> tuple[Row, ...]: ...
    @property
    def mode(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def causes(self) -> tuple[str, ...]: ...
    @property
    def casts(self) -> tuple[str, ...]: ...
    @property
    def faults(self) -> tuple[str, ...]: ...
    @property
    def maps(self) -> ErrorMaps | None: ...
    @property
    def sections(self) -> dict[str, tuple[Row, ...]]: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def passed(self) -> bool: ...
    @property
    def seen(self) -> Seen | None: ...
    @property
    def first_divergence(self) -> Row | None: ...


def headline(report: Shown, name: str = "verdict", *, options: bool = False) -> list[str]:
    """The verdict with the first divergence, then what explains it, then what answers it; a sentence each.

    What the user's own code has raised comes before all that.

    Args:
        report: what to sum up.
        name: what stands before the verdict.
        options: name options of the command line, not arguments of `compare`.
    """
    first = report.first_divergence
    why = describe(first) if first else "" if report.verdict is not Verdict.NO_EVIDENCE else NO_EVIDENCE
    if first and first.verdict is report.verdict:
        # Once is enough.
        why = why.replace(f": {first.verdict}; ", ": ", 1).removesuffix(f": {first.verdict}")
    raised = list(dict.fromkeys(row.detail for rows in report.sections.values() for row in rows if _raised(row)))
    if first and _raised(first):
        why = ""
    lines = [*raised, f"{name}: {report.verdict}" + (f"; {why}" if why else ""), *report.causes]
    if report.maps is not None:
        lines += [f"{report.maps.path or 'the network'}: {line}" for line in report.maps.reading]
    fix = answer(report, options=options)
    return [*lines, f"likely fix: {fix}"] if fix else lines


def answer(report: Shown, *, options: bool = False) -> str:
    """The argument that answers the verdict; empty where nothing is to be done, or where the causes say it.

    Args:
        report: what to answer.
        options: name options of the command line, not arguments of `compare`.
    """
    first = report.first_divergence
    if first is None or any(_raised(row) for rows in report.sections.values() for row in rows):
        return ""
    if first.verdict in _ANSWERS:
        return "" if "likely fix" in first.detail else _ANSWERS[first.verdict][options]
    if not report.causes and first in report.rows:
        return "" if options else _NOT_LOOKED_FOR
    unexplained = report.causes and all("not explained" in cause for cause in report.causes)
    return _NOT_EXPLAINED[options] if unexplained else ""


def own_faults(report: Shown) -> dict[str, tuple[Row, ...]]:
    """The rows over a limit that are wrong by themselves, by section; what only follows from them is left out.

    Of the modules those that the search for causes has located, and the first divergence; a cast, a shape or a missing
    counterpart at the innermost module that has it. Values that are wrong in a module make outputs, gradients and
    parameters wrong after it, so these are shown only where no module is.
    """
    first = report.first_divergence
    wrong = {
        name: [row for row in rows if not (row.verdict.passed or _raised(row))]
        for name, rows in report.sections.items()
    }
    spread = (Verdict.SEMANTIC, Verdict.ROUNDING, Verdict.NAN)
    modules = wrong["modules"]
    own = {
        "modules": [
            row
            for row in modules
            if row is first
            or row.path in report.faults
            or (row.verdict not in spread and not any(_is_inside(other.path, row.path) for other in modules))
        ],
        "rates": wrong["rates"],
        "statistics": [
            row for row in wrong["statistics"] if not any(_is_inside(row.path, other.path) for other in modules)
        ],
    }
    for name in ("outputs", "gradients", "probes", "training"):
        if not any(own.values()):
            # Gradients run backwards: the first divergence is what the others follow from.
            own[name] = [row for row in wrong[name] if row is first] if name == "gradients" else wrong[name]
    return {name: tuple(rows) for name in report.sections if (rows := own.get(name))}


def summary(report: Shown) -> Iterator[str]:
    """The rows that are wrong by themselves, two lines each, and how many others are over a limit."""
    own = own_faults(report)
    for name, rows in own.items():
        for row in rows[:_MOST]:
            yield from block(row, name)
        if len(rows) > _MOST:
            yield f"and {len(rows) - _MOST} more {name}"
    shown = {name: min(len(rows), _MOST) for name, rows in own.items()}
    rest = [
        named(count - shown.get(name, 0), name)
        for name, rows in report.sections.items()
        if (count := sum(not (row.verdict.passed or _raised(row)) for row in rows)) > shown.get(name, 0)
    ]
    if rest:
        yield f"over a limit as well: {', '.join(rest)}"


def check_rows(rows: str) -> None:
    """Whether it says which rows to show.

    Raises:
        ConfigError: it does not.
    """
    if rows not in ROWS:
        raise ConfigError(f"rows: expected one of {', '.join(map(repr, ROWS))}, received {rows!r}")


def account(report: Shown) -> Iterator[str]:
    """What was compared and what was not, and how the comparison was made."""
    yield from report.seen or ()
    yield from report.notes


def _raised(row: Row) -> bool:
    return RAISED in row.detail


def _is_inside(name: str, path: str) -> bool:
    return name.startswith(f"{path}.") if path else bool(name)
