"""One process for the cases of one side: `python -m benchmarks.worker`, which the command starts.

It reads what to do from its argument as JSON, and writes one line of JSON for each row when it is done.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from benchmarks.case import Bar, Case, Work
from benchmarks.measure import FULL, QUICK, Effort, Samples, side_by_side, spread

__all__ = ["SUITES", "matches", "measured"]

SUITES = {
    "numpy": ("numpy_cores",),
    "torch": ("torch_cores", "torch_networks"),
    "jax": ("jax_cores", "jax_layers", "jax_networks"),
    "torch and jax": ("both",),
}
"""The files whose cases run in one process, by side."""


def matches(case: Case, names: list[str]) -> bool:
    """Whether one of the names is in what the case is called; no name is every name."""
    text = f"{case.name} {case.side} {case.size} {case.setting}".lower()
    return not names or any(all(word in text for word in name.lower().split()) for name in names)


def measured(case: Case, effort: Effort) -> dict[str, Any]:
    """The row of one case: times, ratios with their quartiles, and the verdict on its bar."""
    work = case.build()
    row: dict[str, Any] = {
        "name": case.name,
        "side": case.side,
        "size": case.size,
        "setting": case.setting,
        "bar": asdict(case.bar) if case.bar else None,
    }
    if wrong := _wrong(work):
        return row | {"error": wrong, "verdict": "wrong"}
    equal = [name for name in work.peers if work.program is not None and work.program(name) == work.program("ours")]
    peers = list(work.peers)
    if set(equal) == set(peers):
        effort = replace(effort, rounds=min(effort.rounds, 3))  # the times are for people only
    samples = _samples(case, work, effort, equal)
    times, ratios = _times(samples), _ratios(samples)
    row |= {"seconds": times, "ratios": ratios, "rounds": len(samples["ours"]), "same_program": equal}
    row["against"] = _against(case.bar, times, peers)
    row["verdict"] = verdict(case.bar, ratios[row["against"]], same=row["against"] in equal)
    return row


def _samples(case: Case, work: Work, effort: Effort, equal: list[str]) -> Samples:
    """The samples of all places in memory; what was built before is kept, so that the next lies elsewhere."""
    peers, built = list(work.peers), [work]
    samples: Samples = {}

    def joined(more: Samples) -> Samples:
        return {name: samples.get(name, []) + values for name, values in more.items()}

    for place in range(case.places):
        if place:
            built.append(case.build())
        work = built[-1]
        sides = {"ours": work.ours, **work.peers}
        if work.floor is not None:
            sides["floor"] = work.floor
        more = side_by_side(
            sides,
            effort.share(case.places),
            lambda more: _undecided(case.bar, joined(more), peers, equal),
            lambda more: _clear(case.bar, joined(more), peers),
        )
        samples = joined(more)
    return samples


def _times(samples: Samples) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in samples.items()}


def _ratios(samples: Samples) -> dict[str, dict[str, float]]:
    """The ratios within each round, to every other side."""
    return {
        name: asdict(spread([a / b for a, b in zip(samples["ours"], values, strict=True)]))
        for name, values in samples.items()
        if name != "ours"
    }


def _clear(bar: Bar | None, samples: Samples, peers: list[str]) -> bool:
    """Whether there is no bar, or every round is far below it."""
    against = _against(bar, _times(samples), peers)
    rounds = zip(samples["ours"], samples[against], strict=True)
    return bar is None or all(ours <= 0.9 * bar.limit * theirs for ours, theirs in rounds)


def _undecided(bar: Bar | None, samples: Samples, peers: list[str], equal: list[str]) -> bool:
    """Whether there is a bar, more time can tell, and the bar lies where the median may be."""
    against = _against(bar, _times(samples), peers)
    if bar is None or against in equal:
        return False
    ratio = _ratios(samples)[against]
    return ratio["at_least"] <= bar.limit <= ratio["at_most"]


def _wrong(work: Work) -> str | None:
    """What is wrong with the results, before any clock runs."""
    result = work.ours()
    if wrong := work.check(result):
        return wrong
    for name, peer in work.peers.items():
        if wrong := work.same(result, peer()):
            return f"{name}: {wrong}"
    return None


def _against(bar: Bar | None, times: dict[str, float], peers: list[str]) -> str:
    """The quickest of the peers that the bar names, or of all."""
    named = [name for name in (bar.against if bar else ()) if name in times] or peers
    return min(named, key=times.__getitem__)


def verdict(bar: Bar | None, ratio: dict[str, float], *, same: bool) -> str:
    """`held` by the median, `level` where the true one may still hold it, `missed`; `same program` needs no clock."""
    if bar is None:
        return ""
    if ratio["median"] <= bar.limit:
        return "held"
    if same and bar.limit >= 1.0:
        return "same program"
    return "level" if ratio["at_least"] <= bar.limit else "missed"


def _cases(side: str, device: str) -> Iterator[Case]:
    for name in SUITES[side]:
        yield from importlib.import_module(f"benchmarks.{name}").cases(device)


def _prepare(side: str, threads: int) -> None:
    """Threads and peers, before a framework is used."""
    warnings.filterwarnings("ignore")  # advice of the peers, which is not what this is about
    if "torch" in side:
        import torch

        torch.set_num_threads(threads)
        with contextlib.suppress(RuntimeError):
            # torchvision's wheel is linked to CUDA; two of its operations, which no classifier calls, must be known.
            for name in ("nms", "qnms"):
                torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float limit) -> Tensor")


def main() -> None:
    """Run the cases of one side that were asked for."""
    job = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")  # rows go here; what the peers print goes to stderr
    os.dup2(2, 1)
    _prepare(job["side"], job["threads"])
    effort = QUICK if job["quick"] else FULL
    for case in _cases(job["side"], job["device"]):
        if not matches(case, job["names"]) or (job["quick"] and not case.quick):
            continue
        start = time.perf_counter()
        try:
            row = measured(case, effort)
        except Exception as error:  # noqa: BLE001 one row that fails must not cost the others
            traceback.print_exc()
            row = {"name": case.name, "side": case.side, "size": case.size, "setting": case.setting}
            row |= {"bar": None, "error": f"{type(error).__name__}: {error}", "verdict": "wrong"}
        row["took"] = time.perf_counter() - start
        print(json.dumps(row), file=out, flush=True)


if __name__ == "__main__":
    main()
