"""The parity report of every architecture: `python docs/hooks/parity_reports.py [NAME...]` measures and stores it.

The pages show what is stored, as measuring takes a minute in all. The tests compare the twins anew, and hold the
modules and shapes that are stored to those that they find.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.port import to_flax

FOLDER = Path(__file__).resolve().parents[1] / "parity"


def report(name: str) -> dict[str, Any]:
    """What is stored of an architecture, or else measured."""
    file = FOLDER / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else measure(name)


def measure(name: str) -> dict[str, Any]:
    """Compare the tiny twins, with weights in which a mistake shows, in evaluation mode and with gradients."""
    architecture = architectures.get(name)
    config = architecture.config.tiny()
    model = architecture.torch_class()(config)
    randomize(model)
    found = compare(model, to_flax(model), example_inputs(config, batch=2), gradients=True)
    found.assert_same_function()
    return {
        "with": {
            **{package: version(package) for package in ("torch", "jax", "flax")},
            "machine": f"{platform.machine()}, CPU",
        },
        "modules": [
            {
                "path": row.path,
                "torch": row.torch_type,
                "flax": row.flax_type,
                "shape": " ".join(map(str, row.shape)),
                "float64": _digits(row.difference),
                "ratio": _digits(row.ratio),
                "verdict": str(row.verdict),
            }
            for row in found.rows
        ],
        "gradients": {
            "count": len(found.gradients),
            "float64": _digits(max(row.difference or 0 for row in found.gradients)),
        },
    }


def _digits(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.1e}")


def _text(found: dict[str, Any]) -> str:
    """JSON with a module on each line, for diffs that can be read."""
    modules = ",\n".join(f"  {json.dumps(module)}" for module in found["modules"])
    head, gradients = json.dumps(found["with"]), json.dumps(found["gradients"])
    return f'{{\n "with": {head},\n "modules": [\n{modules}\n ],\n "gradients": {gradients}\n}}\n'


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in sys.argv[1:] or architectures.names():
        (FOLDER / f"{each}.json").write_text(_text(measure(each)), encoding="utf-8")
        sys.stdout.write(f"{each}\n")
