"""Run the benchmark: one process for each framework, one row after the other."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import growth, imports, memory
from benchmarks.process import environment, rows_of, wanted
from benchmarks.worker import SUITES
from einops_arch import __version__
from einops_arch.errors import ConfigError, MissingFrameworkError

__all__ = ["Options", "missing_peers", "run"]

PEERS = ("torch", "jax", "flax", "einx", "keras", "torchvision", "timm", "transformers")


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        names: words of rows to run, all if empty.
        quick: only the rows that matter most, with fewer samples.
        device: `"cpu"` or `"cuda"`.
        threads: of every library on a CPU.
    """

    names: tuple[str, ...] = ()
    quick: bool = False
    device: str = "cpu"
    threads: int = 2


def missing_peers() -> list[str]:
    """What the benchmark compares with, as far as it is not installed."""
    return [name for name in PEERS if importlib.util.find_spec(name) is None]


def run(options: Options, done: Callable[[dict[str, Any]], None] = lambda row: None) -> dict[str, Any]:
    """All rows, in the form of the JSON file.

    Args:
        options: what to run.
        done: is told each row when it is there.

    Raises:
        MissingFrameworkError: a library to compare with is not installed.
        ConfigError: no row has the names asked for.
    """
    if missing := missing_peers():
        raise MissingFrameworkError(
            f"bench compares with {', '.join(PEERS)}; not installed: {', '.join(missing)}; likely fix: nox -s bench, "
            "which makes an environment that has them all"
        )
    start = time.time()
    rows = []
    for row in _rows(options):
        rows.append(row)
        done(row)
    if not rows:
        raise ConfigError(f"bench: no row has {' or '.join(map(repr, options.names))} in its name")
    return {
        "einops_arch": __version__,
        "when": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start)) + " UTC",
        "took": time.time() - start,
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in ("numpy", "einops", *PEERS)},
        "options": {"quick": options.quick, "device": options.device, "threads": options.threads},
        "rows": rows,
    }


def _rows(options: Options) -> Iterator[dict[str, Any]]:
    for side in SUITES:
        yield from _side(side, options)
    if wanted("super_resolution torch peak memory", options.names) and not options.quick and options.device == "cpu":
        yield from memory.rows(options.threads)
    if wanted("import einops_arch", options.names):
        yield imports.row(quick=options.quick)
    if not options.quick:
        yield from growth.rows(options.names, options.threads, options.device)


def _side(side: str, options: Options) -> Iterator[dict[str, Any]]:
    """The rows of one process; what it says on stderr is shown only where it dies."""
    job = {
        "side": side,
        "names": options.names,
        "quick": options.quick,
        "device": options.device,
        "threads": options.threads,
    }
    yield from rows_of("benchmarks.worker", job, environment(side, options.threads, options.device))


def machine() -> dict[str, Any]:
    """What ran it, as far as the system says."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}
