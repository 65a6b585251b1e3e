"""Times taken side by side: A B A B in one process, so that what disturbs one side disturbs the other as well."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Effort", "Spread", "side_by_side", "spread"]

Call = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How much time goes into one comparison.

    Args:
        seconds: for all its sides together, once they are warm.
        rounds: the fewest rounds, even when they take longer.
        sample: the shortest time of one sample in seconds; quick calls are repeated to fill it.
    """

    seconds: float
    rounds: int
    sample: float


FULL = Effort(seconds=1.0, rounds=7, sample=2e-3)
QUICK = Effort(seconds=0.25, rounds=3, sample=1e-3)
_MOST_ROUNDS = 201


@dataclass(frozen=True)
class Spread:
    """The quartiles of some numbers."""

    low: float
    median: float
    high: float


def spread(values: list[float]) -> Spread:
    """The quartiles, of any number of values."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def side_by_side(sides: Mapping[str, Call], effort: Effort) -> dict[str, list[float]]:
    """Seconds per call of each side, one sample of each in every round.

    The order is another in every round, the same in every run: what a side leaves in the caches, or in the clock of
    the processor, then helps and hurts each of the others as often.

    Args:
        sides: functions without arguments that give their result when it is there, by name.
        effort: how long to go on.
    """
    loops = {name: _loops(call, effort.sample) for name, call in sides.items()}
    samples: dict[str, list[float]] = {name: [] for name in sides}
    order, shuffle = list(sides), random.Random(0).shuffle  # noqa: S311 it is no secret
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # as timeit does: a collection in one sample would look like a slow side
    try:
        start = time.perf_counter()
        for done in range(_MOST_ROUNDS):
            if done >= effort.rounds and time.perf_counter() - start > effort.seconds:
                break
            for name in order:
                samples[name].append(_sample(sides[name], loops[name]))
            shuffle(order)
    finally:
        if collecting:
            gc.enable()
    return samples


def _sample(call: Call, loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops


def _loops(call: Call, sample: float) -> int:
    """Warm the call up, and say how often it fits into a sample."""
    call()
    seconds = min(_sample(call, 1) for _ in range(2))
    return max(1, min(10_000, round(sample / max(seconds, 1e-9))))
