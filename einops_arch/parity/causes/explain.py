"""Why a module differs: hypotheses are tried one at a time, in float64, on the module with its recorded inputs.

The right one makes the difference fall to rounding noise; the others leave it about as it was. Each hypothesis is a
sentence and a way to run the Flax module as if it were true.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from einops_arch.parity.causes.activations import (
    activation_hypotheses,
    missing_activations,
    scaled_activations,
    sums_beside_activations,
)
from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.channels import channel_hypotheses
from einops_arch.parity.causes.factors import factor_hypotheses
from einops_arch.parity.causes.given import given_hypotheses
from einops_arch.parity.causes.masks import mask_hypotheses
from einops_arch.parity.causes.operations import operation_hypotheses
from einops_arch.parity.causes.pooling import pooling_hypotheses
from einops_arch.parity.causes.positions import position_hypotheses
from einops_arch.parity.causes.reductions import reduction_hypotheses
from einops_arch.parity.causes.resizes import resize_hypotheses
from einops_arch.parity.causes.settings import setting_hypotheses, twin_settings
from einops_arch.parity.causes.uncalled import uncalled_hypotheses
from einops_arch.parity.causes.weights import loaded_weights, weight_hypotheses
from einops_arch.parity.causes.wiring import exchange_hypotheses, order_hypotheses, term_hypotheses, wiring_hypotheses
from einops_arch.parity.report import limits

__all__ = ["explain"]


def explain(case: Case) -> str:
    """The sentence that names what would explain it, or says that nothing which was tried does.

    What can be read on both sides is tried first, and if that is it nothing else is looked for. Otherwise every kind of
    cause is tried, and all that fit are said.
    """
    from einops_arch.parity.runs.flax_run import precise

    with precise(double=True):
        readable = [lambda: loaded_weights(case), lambda: twin_settings(case)]
        tried: list[Callable[[], Iterable[Hypothesis]]] = [
            lambda: setting_hypotheses(case),
            lambda: channel_hypotheses(case, case.outputs),
            lambda: mask_hypotheses(case),
            lambda: operation_hypotheses(case),
            lambda: order_hypotheses(case),
            lambda: factor_hypotheses(case),
            lambda: activation_hypotheses(case),
            lambda: reduction_hypotheses(case),
            lambda: pooling_hypotheses(case),
            lambda: resize_hypotheses(case),
            lambda: position_hypotheses(case),
            lambda: exchange_hypotheses(case),
            lambda: term_hypotheses(case),
            lambda: given_hypotheses(case),
            lambda: sums_beside_activations(case),
            lambda: scaled_activations(case),
            lambda: uncalled_hypotheses(case),
            lambda: weight_hypotheses(case),
            lambda: missing_activations(case),
            lambda: wiring_hypotheses(case),
            lambda: setting_hypotheses(case, right=True),
        ]
        return _search(case, readable, tried)


_ENOUGH = 3


def _search(
    case: Case,
    readable: Sequence[Callable[[], Iterable[Hypothesis]]],
    kinds: Sequence[Callable[[], Iterable[Hypothesis]]],
) -> str:
    count, nearest, least = 0, "", case.before
    case.deadline = time.process_time() + case.patience
    fits: list[str] = []
    spent = ""
    for n, kind in enumerate([*readable, *kinds]):
        # Of the kinds that are tried, one that fits does not speak for itself: another kind may fit as well.
        if fits and (n <= len(readable) or case.is_over):
            break
        for words, attempt in _made(kind):
            count += 1
            case.say(f"cause {count} of {case.name}: {words}")
            left = _left(case, attempt)
            if left <= limits.FLOAT64:
                fits.append(words)
                # What changes nothing else fits too; and one that can be read on both sides is enough.
                if n < len(readable) or len(fits) >= _ENOUGH:
                    break
                case.deadline = min(case.deadline, time.process_time() + case.patience / 10)
            elif left < least:
                nearest, least = words, left
            if case.is_over:
                spent = f" in {case.patience:g} seconds of CPU time, after which the search was given up"
                break
        if len(fits) >= _ENOUGH or (spent and not fits):
            break
    if fits:
        return f"{case.name}: would be explained by {', or by '.join(dict.fromkeys(fits))}"
    if not count:
        return f"{case.name}: not explained: no cause could be tried"
    text = f"{case.name}: not explained by any of the {count} causes that were tried{spent}"
    if least >= case.before / 2:
        return text
    return f"{text}; the nearest, {nearest}, leaves {least:.1e} of {case.before:.1e}"


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
