"""The tests on the device, the parts that say most first; those for which no time is left are named."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.row import Job, held, seen

__all__ = ["rows"]

ROOT = Path(__file__).resolve().parents[2]
_FILES = (
    ("torch", "functional"),
    ("jax", "functional"),
    ("torch", "architectures"),
    ("jax", "architectures"),
    ("jax", "gram"),
    ("torch", "shuffle_unit"),
    ("jax", "layers_norm"),
    ("jax", "layers_conv"),
    ("torch", "vit"),
    ("torch", "gpt2"),
    ("jax", "gpt2"),
)
_QUICK = (("jax", "gram"),)


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """One for each file."""
    end = time.monotonic() + job.seconds - 5
    for backend, name in _QUICK if job.quick else _FILES:
        file = f"tests/test_{'flax' if backend == 'jax' else backend}_{name}.py"
        left = end - time.monotonic()
        if left < 5:
            yield seen(file, "not run: no time was left")
            continue
        command = [sys.executable, "-m", "pytest", "--backend", backend, "--device", job.device, "-q"]
        command += ["-p", "no:cacheprovider", file]
        try:
            done = subprocess.run(  # noqa: S603 our own tests
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=left
            )
        except subprocess.TimeoutExpired:
            yield seen(file, "cut short: no time was left")
            continue
        lines = done.stdout.splitlines() or done.stderr.splitlines() or [""]
        failed = [line.removeprefix("FAILED ")[:200] for line in lines if line.startswith("FAILED ")]
        counted = re.search(r"\d+ passed", lines[-1]) is not None
        yield held(file, done.returncode == 0 and counted, lines[-1], failed=failed)
