"""The process of one part: a line of JSON for each row, as soon as it is there."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.row import Job

__all__ = ["main"]


def prepare(device: str) -> None:
    """float32 means float32 in both frameworks."""
    import jax
    import torch

    torch.set_num_threads(2)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    jax.config.update("jax_default_matmul_precision", "highest")
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} finds no CUDA device")
    jax.devices(device)


def main() -> None:
    """Run the part that the argument names."""
    job = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")  # rows go here; what libraries print goes to stderr
    os.dup2(2, 1)
    name = job.pop("part")
    if name != "tests":
        prepare(job["device"])
    rows: Iterator[dict[str, Any]] = importlib.import_module(f"benchmarks.gpu.{name}").rows(Job(**job))
    for row in rows:
        print(json.dumps(row), file=out, flush=True)


if __name__ == "__main__":
    main()
