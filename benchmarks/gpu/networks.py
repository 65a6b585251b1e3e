"""Networks beside the same networks without this package, by the cases of the benchmark."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks import jax_networks, torch_networks
from benchmarks.case import Case
from benchmarks.gpu.clock import times
from benchmarks.gpu.row import Job, guarded, held, seen
from benchmarks.networks import NETWORKS

__all__ = ["rows"]

_BAR = 1.02


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """One for each network, framework and direction, of eight samples."""
    public = {network.name: network.oracle for network in NETWORKS}
    for side in (torch_networks, jax_networks):
        for case in side.cases(job.device):
            batch = "batch 1" if job.quick else "batch 8"
            if batch not in case.setting or "one-pass" in case.setting:
                continue
            if job.quick and (case.name != "convnet" or "forward + " in case.setting):
                continue
            title = f"{case.name}, {case.side}, {case.setting}"
            package = public[case.name]
            if case.side == "torch" and " " not in str(package) and importlib.util.find_spec(str(package)) is None:
                yield seen(title, f"not run: {package} is not installed")
                continue
            yield guarded(title, partial(_row, title, case, job))


def _row(title: str, case: Case, job: Job) -> dict[str, Any]:
    work = case.build()
    for name, peer in work.peers.items():
        if wrong := work.same(work.ours(), peer()):
            return held(title, holds=False, text=f"{name}: {wrong}")
    seconds = times({"ours": work.ours, **work.peers}, 5 if job.quick else 20)
    name = min(work.peers, key=seconds.__getitem__)
    ratio = seconds["ours"] / seconds[name]
    text = f"{ratio:.3f} of {name}, {seconds['ours'] * 1e3:.2f} ms"
    timed = job.device == "cuda" and not job.quick
    return (held(title, ratio <= _BAR, text) if timed else seen(title, text)) | {"ratio": ratio, "seconds": seconds}
