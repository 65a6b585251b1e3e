"""The process of one part: a line of JSON for each row, as soon as it is there."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Job", "held", "seen"]


@dataclass(frozen=True)
class Job:
    """What a part is asked for.

    Args:
        device: `"cuda"` or `"cpu"`.
        quick: small sizes, few rows.
        seconds: what it may take.
    """

    device: str
    quick: bool
    seconds: float


def held(name: str, holds: bool, text: str, **more: Any) -> dict[str, Any]:
    """A row with a bar: whether it holds, and in words what was seen."""
    return {"name": name, "holds": bool(holds), "text": text, **more}


def seen(name: str, text: str, **more: Any) -> dict[str, Any]:
    """A row without a bar."""
    return {"name": name, "holds": None, "text": text, **more}


def guarded(name: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row that a call gives; an exception is a row as well, and costs no other."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 the next row is another matter
        traceback.print_exc()
        return held(name, holds=False, text=f"{type(error).__name__}: {error}"[:500])


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
