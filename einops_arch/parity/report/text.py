"""A row of the report, and how it reads: as cells of a table, and as a sentence."""

from __future__ import annotations

import dataclasses

from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Verdict

__all__ = ["COLUMNS", "Row", "cells", "columns", "describe"]

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


def describe(row: Row) -> str:
    """A divergence in one sentence."""
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


def cells(row: Row) -> tuple[str, ...]:
    """The columns of a row as text."""
    verdict = f"{row.verdict}: {row.detail}" if row.detail else str(row.verdict)
    numbers = map(_number, (row.difference, row.torch_error, row.flax_error))
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 1000 else f"{row.ratio:.1e}"
    shape = " ".join(map(str, row.shape))
    return (row.path or "(network)", row.torch_type, row.flax_type, shape, *numbers, ratio, verdict)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}" if value else "0"
