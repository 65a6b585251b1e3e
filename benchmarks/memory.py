"""Peak memory of the super-resolution network at full size: ours, the old one, and the old one with ReLU in place."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from benchmarks.case import Bar
from benchmarks.measure import spread
from benchmarks.worker import verdict

__all__ = ["rows"]

SHAPE = (1, 1, 1080, 1920)
_OLD, _INPLACE = "the old network", "the old network, ReLU in place"


def rows(threads: int) -> Iterator[dict[str, Any]]:
    """A row for training and one without gradients: peaks in fresh processes, above what the libraries take.

    Args:
        threads: of PyTorch.
    """
    for mode in ("training", "no grad"):
        peaks = {name: _measured(name, mode, threads) for name in ("ours", _OLD, _INPLACE)}
        bar = Bar(1.0, (_OLD,))
        ratios = {}
        for name in (_OLD, _INPLACE):
            # The same program peaks up to a thousandth higher or lower from run to run: a hundredth can be told.
            ratios[name] = asdict(spread([round(peaks["ours"] / peaks[name], 2)]))
        yield {
            "name": "super_resolution",
            "side": "torch",
            "size": "x".join(map(str, SHAPE)),
            "setting": f"peak memory, {mode}",
            "bar": asdict(bar),
            "bytes": peaks,
            "ratios": ratios,
            "rounds": 1,
            "same_program": [],
            "against": _OLD,
            "verdict": verdict(bar, ratios[_OLD], same=False),
        }


def _measured(name: str, mode: str, threads: int) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps([name, mode, threads])]
    # Large blocks go back to the system as soon as they are free: the peak is then what the program holds.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment |= {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 our own code
    return int(done.stdout)


def _main() -> None:
    name, mode, threads = json.loads(sys.argv[1])
    import torch

    from benchmarks.plain_torch import PlainSuperResolution
    from einops_arch.architectures import SuperResolutionConfig
    from einops_arch.torch.super_resolution import SuperResolution

    torch.set_num_threads(threads)
    config = SuperResolutionConfig.espcn_x3()
    model = SuperResolution(config) if name == "ours" else PlainSuperResolution(config, inplace=name == _INPLACE)
    small = torch.randn(1, 1, 32, 32)
    model(small).sum().backward()  # libraries load their kernels at the first call
    model.zero_grad(set_to_none=True)
    before = _peak()
    x = torch.randn(SHAPE)
    if mode == "training":
        model(x).sum().backward()
    else:
        with torch.no_grad():
            model(x)
    print(_peak() - before)


def _peak() -> int:
    """Bytes: the most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _main()
