"""The report: one row for each module, output, gradient and statistic, and one verdict."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Any

from einops_arch._text import printable
from einops_arch.errors import ParityError
from einops_arch.parity.report import limits
from einops_arch.parity.report.error_maps import ErrorMaps
from einops_arch.parity.report.seen import NO_EVIDENCE, Seen
from einops_arch.parity.report.summary import account, check_rows, headline, summary
from einops_arch.parity.report.text import COLUMNS, Row, cells, columns, describe
from einops_arch.parity.report.verdicts import Verdict, worst

__all__ = ["Report"]


@dataclasses.dataclass(frozen=True)
class Report:
    """The evidence that two models compute the same function, or where they do not.

    Args:
        rows: one for each module that both models have, in call order: inner modules before those around them.
        outputs: one for each output.
        gradients: one for each parameter and floating-point input, if asked for.
        statistics: one for each buffer that training changes, in train mode.
        mode: `"eval"` or `"train"`.
        notes: modules without parameters that only one of the models has, and how the comparison was made.
        causes: what explains each divergence, or that nothing that was tried does; a sentence each, the first first.
        casts: the operations that narrow float64 on one side or the other.
        probes: one for each further input or state that was tried, if asked for.
        located: path of the module in whose code the first difference arises, where that is another than the first row.
        training: one for the loss, each parameter and each buffer after steps of an optimiser, from `compare_training`.
        maps: where in the first wrong output the difference sits.
        seen: what was compared, and what was not; None where no account was kept.
        rates: one for each module that drops values in training, in train mode.
        lifted: the float64 run was made with casts lifted.
        tables: tables of Flax's that are PyTorch's but for rounding were taken from it in the float64 run.
        faults: paths of the modules that are wrong by themselves, as the search for causes has located them.
    """

    rows: tuple[Row, ...]
    outputs: tuple[Row, ...]
    gradients: tuple[Row, ...] = ()
    statistics: tuple[Row, ...] = ()
    mode: str = "eval"
    notes: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    casts: tuple[str, ...] = ()
    probes: tuple[Row, ...] = ()
    located: str | None = None
    training: tuple[Row, ...] = ()
    maps: ErrorMaps | None = None
    seen: Seen | None = None
    rates: tuple[Row, ...] = ()
    lifted: bool = False
    tables: bool = False
    faults: tuple[str, ...] = ()

    @property
    def cause(self) -> str:
        """What explains the first divergence; empty where no cause was looked for."""
        return self.causes[0] if self.causes else ""

    @property
    def sections(self) -> dict[str, tuple[Row, ...]]:
        """The rows by what they are about."""
        return {
            "modules": self.rows,
            "outputs": self.outputs,
            "gradients": self.gradients,
            "statistics": self.statistics,
            "rates": self.rates,
            "probes": self.probes,
            "training": self.training,
        }

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all rows; that nothing is proved, where no output is evidence."""
        verdict = worst([row.verdict for rows in self.sections.values() for row in rows])
        if verdict.passed and self.seen is not None and not self.seen.evidence:
            return Verdict.NO_EVIDENCE
        return verdict

    @property
    def passed(self) -> bool:
        """No row is over a limit, and there is evidence."""
        return self.verdict.passed

    @property
    def first_divergence(self) -> Row | None:
        """Where the two part: the first module in call order over a limit, so all that ran before it was under.

        If no module is, the first output or statistic; and of the gradients, which run backwards, the last.
        """
        if modules := [row for row in self.rows if not row.verdict.passed]:
            if located := [row for row in modules if row.path == self.located]:
                return located[0]
            # A module that is not there has no values; what differs in values comes first.
            return min(modules, key=lambda row: (row.verdict is Verdict.MISSING, row.order))
        for rows in (self.outputs, self.statistics, self.rates, self.gradients[::-1], self.probes, self.training):
            for row in rows:
                if not row.verdict.passed:
                    return row
        return None

    def assert_same_function(self) -> None:
        """Raise if the two models do not compute the same function.

        Raises:
            ParityError: names the first divergence and its cause; the rows that are wrong by themselves follow.
        """
        row = self.first_divergence
        if row is not None:
            raise ParityError(f"{printable(describe(row), '')}\n\n{self}")
        if not self.passed:
            raise ParityError(f"{self.verdict}: {NO_EVIDENCE}\n\n{self}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; numbers that are not finite are strings."""
        first = self.first_divergence
        return {
            "verdict": str(self.verdict),
            "passed": self.passed,
            "mode": self.mode,
            "first_divergence": None if first is None else first.path,
            "limits": {limit.name: limit.value for limit in limits.LIMITS},
            **{name: [_plain(row) for row in rows] for name, rows in self.sections.items()},
            "notes": list(self.notes),
            "cause": self.cause,
            "causes": list(self.causes),
            "faults": list(self.faults),
            "casts": list(self.casts),
            "maps": None if self.maps is None else dataclasses.asdict(self.maps),
            "seen": None if self.seen is None else _lists(dataclasses.asdict(self.seen)),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_html(self, *, title: str = "PyTorch and Flax") -> str:
        """One page that needs nothing else: the verdict, charts by module, error maps, and all rows.

        Args:
            title: what was compared.
        """
        from einops_arch.parity.report.html import html_page

        return html_page(self, title=title)

    def to_text(self, *, rows: str = "wrong") -> str:
        """The verdict, the first divergence, the causes and what answers them; then rows, and what was seen.

        Args:
            rows: `"wrong"` for those that are wrong by themselves, `"all"` for the table of all of them.

        Raises:
            ConfigError: rows is neither.
        """
        check_rows(rows)
        parts = [_lines(headline(self))]
        if rows == "all":
            parts += [_table(name, section, self.mode) for name, section in self.sections.items() if section]
        elif short := list(summary(self)):
            parts.append(_lines([f"wrong by themselves ({self.mode} mode)", *short]))
        parts.append(_lines(account(self)))
        return "\n\n".join(part for part in parts if part)

    def __str__(self) -> str:
        return self.to_text()


def _lines(lines: Iterable[str]) -> str:
    # Modules and tensors have whatever names their authors gave them.
    return "\n".join(printable(line, "") for line in lines)


def _table(name: str, rows: tuple[Row, ...], mode: str) -> str:
    lines = [[printable(cell, "") for cell in line] for line in (columns(name), *map(cells, rows))]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS))]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([f"{name} ({mode} mode)", *text])


def _lists(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _plain(row: Row) -> dict[str, Any]:
    values = dataclasses.asdict(row) | {"verdict": str(row.verdict), "shape": list(row.shape)}
    del values["by_ratio"]  # the numbers beside it tell
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
