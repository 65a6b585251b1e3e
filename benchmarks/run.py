"""Run the benchmark: one process for each framework, one row after the other."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import growth, imports, memory
from benchmarks.worker import SUITES
from einops_arch import __version__
from einops_arch.errors import ConfigError, MissingFrameworkError

__all__ = ["Options", "missing_peers", "run"]

PEERS = ("torch", "jax", "flax", "einx", "keras", "torchvision", "timm", "transformers")
# By default glibc hands large blocks back to the system as soon as they are free, and the next call pays for new pages,
# often more than for the work on them, now one side and now the other. Here a process keeps what it has.
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
_KERAS = {"torch": "torch", "jax": "jax", "torch and jax": "torch", "numpy": "numpy"}


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
    if _wanted("super_resolution torch peak memory", options.names) and not options.quick and options.device == "cpu":
        yield from memory.rows(options.threads)
    if _wanted("import einops_arch", options.names):
        yield imports.row(quick=options.quick)
    if not options.quick:
        yield from growth.rows(options.names, options.threads, options.device)


def _wanted(text: str, names: Sequence[str]) -> bool:
    return not names or any(all(word in text for word in name.lower().split()) for name in names)


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


def rows_of(module: str, job: dict[str, Any], variables: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Start a module with its job as JSON, and give the rows that it writes."""
    command = [sys.executable, "-m", module, json.dumps(job)]
    with subprocess.Popen(  # noqa: S603 our own module
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 for the type checker
        assert process.stderr is not None  # noqa: S101 likewise
        errors = _Drain(process.stderr)
        errors.start()
        for line in process.stdout:
            yield json.loads(line)
        process.wait()
        errors.join()
    if process.returncode:
        last = "\n".join(errors.lines[-12:])
        raise ConfigError(f"bench: the process of {job.get('side', module)} ended with {process.returncode}:\n{last}")


class _Drain(threading.Thread):
    """Read a pipe until it closes, so that the other end never waits for room in it."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(daemon=True)
        self.pipe = pipe
        self.lines: list[str] = []

    def run(self) -> None:
        """Keep the lines."""
        for line in self.pipe:
            self.lines.append(line.rstrip())
            del self.lines[:-200]


def environment(side: str, threads: int, device: str) -> dict[str, str]:
    """Variables for the process of one side, before any library starts: the same threads for each, and its memory."""
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    variables |= {"KERAS_BACKEND": _KERAS.get(side, "torch"), "HF_HUB_OFFLINE": "1", "JAX_ENABLE_X64": "0"}
    variables |= _KEEP_MEMORY
    if device == "cpu":
        variables |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return variables


def machine() -> dict[str, Any]:
    """What ran it, as far as the system says."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}
