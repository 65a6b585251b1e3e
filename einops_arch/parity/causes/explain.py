"""Why a module differs: hypotheses are tried one at a time, in float64, on the module with its recorded inputs.

The right one makes the difference fall to rounding noise; the others leave it about as it was. Each hypothesis is a
sentence and a way to run the Flax module as if it were true.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.channels import channel_hypotheses
from einops_arch.parity.causes.masks import mask_hypotheses
from einops_arch.parity.causes.operations import operation_hypotheses
from einops_arch.parity.causes.settings import setting_hypotheses
from einops_arch.parity.causes.weights import loaded_weights, weight_hypotheses
from einops_arch.parity.report import limits

__all__ = ["explain"]


def explain(case: Case) -> str:
    """The sentence that names the cause, or says that nothing which was tried is it."""
    from einops_arch.parity.runs.flax_run import precise

    with precise(double=True):
        groups: list[Callable[[], Iterable[Hypothesis]]] = [
            lambda: loaded_weights(case),
            lambda: setting_hypotheses(case),
            lambda: channel_hypotheses(case, case.outputs),
            lambda: mask_hypotheses(case),
            lambda: operation_hypotheses(case),
            lambda: weight_hypotheses(case),
        ]
        return _first(case, itertools.chain.from_iterable(map(_made, groups)))


def _first(case: Case, hypotheses: Iterable[Hypothesis]) -> str:
    tried, nearest, least, end = 0, "", case.before, time.monotonic() + case.patience
    spent = ""
    for words, attempt in hypotheses:
        tried += 1
        case.say(f"cause {tried} of {case.name}: {words}")
        left = _left(case, attempt)
        if left <= limits.FLOAT64:
            return f"{case.name}: explained by {words}"
        if left < least:
            nearest, least = words, left
        if time.monotonic() > end:
            spent = f" in {case.patience:g} seconds, after which the search was given up"
            break
    said = f"{case.name}: not explained by any of the {tried} causes that were tried{spent}"
    return said + (
        f"; the nearest, {nearest}, leaves {least:.1e} of {case.before:.1e}" if least < case.before / 2 else ""
    )


def _made(make: Callable[[], Iterable[Hypothesis]]) -> Iterator[Hypothesis]:
    """Hypotheses that cannot even be made, as of a module that cannot be traced, are none."""
    try:
        yield from make()
    except Exception:  # noqa: BLE001 the module is any code at all; the other hypotheses still stand
        return


def _left(case: Case, attempt: Callable[[], Sequence[Any]]) -> float:
    try:
        return case.difference(attempt())
    except Exception:  # noqa: BLE001 a module that cannot run like this is not explained by it
        return math.inf
