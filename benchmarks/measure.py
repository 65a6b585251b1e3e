"""Times taken side by side: A B A B in one process, so that what disturbs one side disturbs the other as well."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

__all__ = ["FULL", "QUICK", "Effort", "Samples", "Spread", "side_by_side", "spread"]

Call = Callable[[], object]
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Effort:
    """How much time goes into one comparison.

    Args:
        seconds: for all its sides together, once they are warm.
        rounds: the fewest rounds, even when they take longer.
        clear: the fewest of slow sides, where they leave no question.
        sample: the shortest time of one sample in seconds; quick calls are repeated to fill it.
        most: seconds for a comparison that is not decided by then.
    """

    seconds: float
    rounds: int
    sample: float
    most: float = 0.0
    clear: int = 3

    def share(self, parts: int) -> Effort:
        """One of several equal parts."""
        return replace(
            self, seconds=self.seconds / parts, rounds=math.ceil(self.rounds / parts), most=self.most / parts
        )


FULL = Effort(seconds=0.8, rounds=7, sample=2e-3, most=5.0)
QUICK = Effort(seconds=0.25, rounds=3, sample=1e-3, most=0.75)
_MOST_ROUNDS = 1000


@dataclass(frozen=True)
class Spread:
    """The quartiles of some numbers, and between which two of them the true median lies with 95 %.

    Args:
        low: the first quartile.
        median: the second.
        high: the third.
        at_least: the lower end of the median's interval.
        at_most: the upper end.
    """

    low: float
    median: float
    high: float
    at_least: float
    at_most: float


def spread(values: list[float]) -> Spread:
    """The quartiles and the interval, of any number of values.

    The interval is that of the sign test, which supposes nothing about how times are distributed. Fewer than six
    values do not allow 95 %: then it reaches from the smallest to the largest.
    """
    if len(values) == 1:
        return Spread(*values * 5)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    ordered, first = sorted(values), _below(len(values))
    return Spread(low, median, high, ordered[first], ordered[-1 - first])


def _below(count: int) -> int:
    """How many of the values may be left out at either end, so that the median lies between the rest with 95 %."""
    if count > 100:
        return math.floor(count / 2 - 0.98 * math.sqrt(count)) - 1  # the normal distribution, near enough
    outside, likely = 0, 1  # of 2**count ways in which values can lie around the median, how many leave it out
    while likely * 1000 <= 25 * 2**count:
        outside += 1
        likely += math.comb(count, outside)
    return max(outside - 1, 0)


def side_by_side(
    sides: Mapping[str, Call],
    effort: Effort,
    undecided: Callable[[Samples], bool] = lambda samples: False,
    clear: Callable[[Samples], bool] = lambda samples: False,
) -> Samples:
    """Seconds per call of each side, one sample of each in every round.

    The order is another in every round, the same in every run: what a side leaves in the caches, or in the clock of
    the processor, then helps and hurts each of the others as often.

    Args:
        sides: functions without arguments that give their result when it is there, by name.
        effort: how long to go on.
        undecided: whether the samples so far leave open what is asked of them.
        clear: whether a few samples of slow sides are enough.
    """
    loops = {name: _loops(call, effort.sample) for name, call in sides.items()}
    samples: Samples = {name: [] for name in sides}
    order, shuffle = list(sides), random.Random(0).shuffle  # noqa: S311 it is no secret
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # as timeit does: a collection in one sample would look like a slow side
    try:
        start, rounds = time.perf_counter(), min(effort.rounds, effort.clear)
        while rounds:
            for _ in range(rounds):
                for name in order:
                    samples[name].append(_sample(sides[name], loops[name]))
                shuffle(order)
            done, seconds = len(samples[order[0]]), time.perf_counter() - start
            if done < effort.rounds:
                rounds = 0 if seconds > effort.seconds and clear(samples) else effort.rounds - done
            else:
                rounds = _more(done, seconds, effort, lambda: undecided(samples))
    finally:
        if collecting:
            gc.enable()
    return samples


def _more(done: int, seconds: float, effort: Effort, undecided: Callable[[], bool]) -> int:
    """How many more rounds: a quarter of those done, as far as the time allows."""
    limit = effort.seconds if seconds < effort.seconds else effort.most
    fitting = math.ceil((limit - seconds) / (seconds / done))
    if done >= _MOST_ROUNDS or fitting <= 0 or (limit == effort.most and not undecided()):
        return 0
    return min(math.ceil(done / 4), fitting)


def _sample(call: Call, loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops


def _loops(call: Call, sample: float) -> int:
    """Warm the call up, and say how often it fits into a sample."""
    seconds = _sample(call, 1)
    if seconds < 10 * sample:
        seconds = min(_sample(call, 1) for _ in range(2))
    return max(1, min(10_000, round(sample / max(seconds, 1e-9))))
