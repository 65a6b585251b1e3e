"""A row of the report, and how it reads: as cells of a table, and as a sentence."""

from __future__ import annotations

import dataclasses

from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Verdict

__all__ = ["COLUMNS", "RAISED", "Row", "block", "cells", "columns", "describe", "named", "named_shape"]

COLUMNS = ("module", "PyTorch", "Flax", "shape", "float64", "error torch", "error flax", "ratio", "verdict")


@dataclasses.dataclass(frozen=True)
class Row:
    """What was found at one path or name.

    Args:
        path: dotted path of the module, name of the parameter or statistic, or name of the output; `""` is the network.
        torch_type: the class in PyTorch.
        flax_type: the class in Flax.
        shape: PyTorch's shape of the first output.
        difference: rms of the float64 difference, relative to the rms of PyTorch's result.
        torch_error: relative rms error of PyTorch's own dtype against float64.
        flax_error: relative rms error of Flax's own dtype against the same.
        ratio: Flax's error by PyTorch's.
        verdict: what these numbers say.
        order: the place, in call order, of the first call that is over a limit, or else of the first call.
        calls: how often the module was called.
        detail: words that go with the verdict.
        by_ratio: where it is rounding, the ratio of the errors alone says so.
        axes: names of the axes of the shape, for reading: None for one that is not known; empty where none is, and for
            captures. Rows are equal without them.
    """

    path: str
    torch_type: str
    flax_type: str
    shape: tuple[int, ...]
    difference: float | None
    torch_error: float | None
    flax_error: float | None
    ratio: float | None
    verdict: Verdict
    order: int = 0
    calls: int = 1
    detail: str = ""
    by_ratio: bool = False
    axes: tuple[str | None, ...] = dataclasses.field(default=(), compare=False)


RAISED = " (raised by "
"""What stands between an exception of the user's own code and the side that raised it."""


def describe(row: Row) -> str:
    """A divergence in one sentence; an exception of the user's own code comes first."""
    if RAISED in row.detail:
        return row.detail
    parts = [f"first divergence at {row.path or 'the network'}"]
    types = " and ".join(name for name in (row.torch_type, row.flax_type) if name)
    if types:
        parts[0] += f" ({types})"
    if row.verdict is Verdict.SEMANTIC and not row.detail.startswith("rate "):
        parts.append(f"expected a float64 difference of at most {limits.FLOAT64:g}, received {_number(row.difference)}")
    elif row.verdict is Verdict.ROUNDING:
        parts.append(f"expected an error ratio of at most {limits.RATIO:g}, received {_number(row.ratio)}")
    return f"{parts[0]}: {row.verdict}" + "".join(f"; {part}" for part in [*parts[1:], row.detail] if part)


_FIRST = {
    "outputs": "output",
    "gradients": "gradient of",
    "statistics": "statistic",
    "rates": "rate of dropout in",
    "probes": "probe",
    "training": "after training",
}


def columns(section: str) -> tuple[str, ...]:
    """The names of the columns of a section, of which the first says what its rows are.

    >>> columns("gradients")[:2]
    ('gradient of', 'PyTorch')
    """
    return (_FIRST.get(section, COLUMNS[0]), *COLUMNS[1:])


def block(row: Row, section: str) -> list[str]:
    """A row of a section as two short lines, for narrow screens.

    >>> block(Row("fc", "Linear", "Linear", (3, 2), 0.25, 1e-8, 0.25, 2.5e7, Verdict.SEMANTIC), "modules")
    ['fc (Linear) 3 2', '  semantic difference: float64 2.5e-01, ratio 2.5e+07']
    """
    name, torch_type, flax_type, shape, difference, torch_error, flax_error, ratio, verdict = cells(row)
    types = ", ".join(dict.fromkeys(kind for kind in (torch_type, flax_type) if kind))
    words = "" if section == "modules" else f"{_FIRST[section]} "
    numbers = [f"float64 {difference}" if difference else "", f"ratio {ratio}" if ratio else ""]
    del torch_error, flax_error
    figures = ", ".join(number for number in numbers if number)
    verdict, colon, detail = verdict.partition(": ")
    line = f"{verdict}: {figures}" if figures else verdict
    return [
        f"{words}{name}" + (f" ({types})" if types else "") + (f" {shape}" if shape else ""),
        f"  {line}" + (f"; {detail}" if colon else ""),
    ]


def named(count: int, section: str) -> str:
    """A number of rows of a section, in words.

    >>> named(1, "modules"), named(3, "training")
    ('1 module', '3 values after training')
    """
    single, several = _COUNTED.get(section, (section.removesuffix("s"), section))
    return f"{count} {single if count == 1 else several}"


_COUNTED = {
    "rates": ("rate of dropout", "rates of dropout"),
    "training": ("value after training", "values after training"),
}


def named_shape(row: Row) -> str:
    """The shape by the names of its axes.

    >>> named_shape(Row("fc", "Linear", "Linear", (3, 2), *4 * [None], Verdict.SAME_FUNCTION, axes=("b", None)))
    'b=3 2'
    """
    names = row.axes or (None,) * len(row.shape)
    return " ".join(f"{name}={size}" if name else str(size) for name, size in zip(names, row.shape, strict=True))


def cells(row: Row) -> tuple[str, ...]:
    """The columns of a row as text."""
    verdict = f"{row.verdict}: {row.detail}" if row.detail else str(row.verdict)
    numbers = map(_number, (row.difference, row.torch_error, row.flax_error))
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 1000 else f"{row.ratio:.1e}"
    shape = " ".join(map(str, row.shape))
    return (row.path or "(network)", row.torch_type, row.flax_type, shape, *numbers, ratio, verdict)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}" if value else "0"
