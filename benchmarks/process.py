"""The process of one framework: its variables, its job, and the rows that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from einops_arch.errors import ConfigError

__all__ = ["environment", "rows_of", "wanted"]

# By default glibc hands large blocks back to the system as soon as they are free, and the next call pays for new pages,
# often more than for the work on them, now one side and now the other. Here a process keeps what it has.
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
_KERAS = {"torch": "torch", "jax": "jax", "torch and jax": "torch", "numpy": "numpy"}


def wanted(text: str, names: Sequence[str]) -> bool:
    """Whether a row is asked for: all words of one of the names are in its text."""
    return not names or any(all(word in text for word in name.lower().split()) for name in names)


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
