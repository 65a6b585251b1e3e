"""What `import einops_arch` costs, beside `import einops`: fresh processes in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from benchmarks.case import Bar
from benchmarks.measure import spread
from benchmarks.worker import verdict

__all__ = ["row"]

_CODE = (
    "import sys, time; before = set(sys.modules); start = time.perf_counter(); import {module};"
    "seconds = time.perf_counter() - start; import json;"
    "print(json.dumps([seconds, sorted(set(sys.modules) - before)]))"
)
_HEAVY = {"torch", "jax", "flax", "numpy"}


def row(*, quick: bool) -> dict[str, Any]:
    """The row of the table.

    Args:
        quick: take fewer samples.
    """
    times: dict[str, list[float]] = {"einops": [], "einops_arch": []}
    modules = {module: _import(module)[1] for module in times}  # the first import also writes byte code
    for _ in range(5 if quick else 25):
        for module, values in times.items():
            values.append(_import(module)[0])
    pairs = zip(times["einops_arch"], times["einops"], strict=True)
    ratio = asdict(spread([ours / theirs for ours, theirs in pairs]))
    bar = Bar(1.2, ("import einops",))
    heavy = sorted((modules["einops_arch"] - modules["einops"]) & _HEAVY)
    seconds = {"ours": statistics.median(times["einops_arch"]), "import einops": statistics.median(times["einops"])}
    result = {
        "name": "import einops_arch",
        "side": "python",
        "size": "a fresh process",
        "setting": "no framework",
        "bar": asdict(bar),
        "seconds": seconds,
        "ratios": {"import einops": ratio},
        "rounds": len(times["einops"]),
        "same_program": [],
        "against": "import einops",
        "verdict": verdict(bar, ratio, same=False),
    }
    return result | ({"error": f"it imports {', '.join(heavy)}", "verdict": "wrong"} if heavy else {})


def _import(module: str) -> tuple[float, set[str]]:
    command = [sys.executable, "-c", _CODE.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 our own code
    seconds, names = json.loads(done.stdout)
    return float(seconds), {name.partition(".")[0] for name in names}
