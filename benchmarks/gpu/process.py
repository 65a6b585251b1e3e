"""Start a part in a process of its own, and take its rows as they come, until its time is over."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import Part

__all__ = ["about", "rows"]

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "jax", "jaxlib", "flax", "einops", "numpy", "optax", "orbax-checkpoint", "ml_dtypes")


def about(device: str) -> dict[str, Any]:
    """Versions, and what the driver calls the device."""
    installed = {each.name: each.version for each in importlib.metadata.distributions()}
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": {name: installed[name] for name in _PACKAGES if name in installed},
    }
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, check=True)  # noqa: S603 the driver's own tool
            result["gpu"] = done.stdout.strip()
        except (OSError, subprocess.CalledProcessError) as error:
            result["gpu"] = f"nvidia-smi: {error}"
    return result


def rows(part: Part, device: str, *, quick: bool, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """The rows that a part wrote, and how it ended: `"whole"`, or why it did not."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        # Two frameworks share one device: neither may take all of its memory at the start.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_PLATFORMS": device,
        "JAX_ENABLE_X64": "1" if part.x64 else "0",
    }
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    job = json.dumps({"part": part.name, "device": device, "quick": quick, "seconds": seconds})
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "benchmarks.gpu.worker", job]
        process = subprocess.Popen(  # noqa: S603 our own module
            command, cwd=ROOT, env=environment, stdout=output, stderr=errors, text=True
        )
        start = time.monotonic()
        try:
            process.wait(timeout=seconds)
            ended = "whole" if process.returncode == 0 else f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"cut short after {time.monotonic() - start:.0f} s"
        output.seek(0)
        lines = [line for line in output.read().splitlines() if line.startswith("{") and line.endswith("}")]
        if ended.startswith("exit"):
            errors.seek(0)
            last = [line for line in errors.read().splitlines() if line.strip()]
            ended += f": {last[-1][:300]}" if last else ""
    return [json.loads(line) for line in lines], ended
