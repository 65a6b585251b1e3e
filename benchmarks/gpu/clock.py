"""Times on a device: the call is over when its result is there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["settled", "times"]


def settled(call: Callable[[], Any]) -> Callable[[], Any]:
    """A call that waits for the device, in whichever framework its result is."""

    def run() -> Any:
        result = call()
        wait(result)
        return result

    return run


def wait(result: Any) -> None:
    """Until every array in the result is there."""
    import jax
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)])


def times(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median of each side's seconds, taken in turn, after two calls to warm up."""
    calls = {name: settled(call) for name, call in sides.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in samples.items()}
