"""Models one after the other, each within its limits; what became of them, stored after each."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.process import environment
from benchmarks.translate.catalog import ROOT, SETS, name_of
from einops_arch._frameworks import out_of_memory

__all__ = ["FIELDS", "faults", "lost", "merged", "read", "run_model", "sweep", "write"]

CPU, MEMORY = 600, 16 << 30
# Programs that are run once: compiling them takes most of a proof's time.
_FLAGS = ("backend_optimization_level=0", "cpu_use_fusion_emitters=false", "cpu_parallel_codegen_split_count=1")
_QUICKLY = {"XLA_FLAGS": " ".join(f"--xla_{flag}" for flag in _FLAGS)}
FIELDS = (
    *("set", "model", "verdict", "reasons", "lines", "original_lines", "classes", "original_classes", "moves"),
    "seconds",
)
_VERDICTS = ("same function", "refused", "not run")
_PACKAGES = ("torch", "jax", "flax", "torchvision", "timm", "transformers")


def run_model(entry: dict[str, Any], *, write_only: bool, keep: Path | None = None) -> dict[str, Any]:
    """What became of one model, in a process of its own.

    Args:
        entry: of the catalog.
        write_only: not proved.
        keep: a folder for the generated file.
    """
    job = {"entry": entry, "write_only": write_only, "cpu": CPU, "memory": MEMORY, "keep": keep and str(keep)}
    command = [sys.executable, "-m", "benchmarks.translate.model", json.dumps(job)]
    steady = environment("torch and jax", 1, "cpu")
    # Memory that is given back: what a benchmark keeps, so that its clock does not wait for pages, counts to the limit.
    variables = os.environ | {key: value for key, value in steady.items() if not key.startswith("MALLOC_")} | _QUICKLY
    run = subprocess.run(command, env=variables, check=False, capture_output=True, text=True, cwd=ROOT)  # noqa: S603 our own module
    plain = {"set": entry["set"], "model": entry["model"]}
    if run.returncode == 0:
        result = json.loads(run.stdout.splitlines()[-1])
        # Memory ran out inside of something that made a reason of it.
        if result["verdict"] != "same function" and _no_memory(" ".join(result["reasons"])):
            result = plain | {"verdict": "not run", "reasons": [f"more than {MEMORY >> 30} GiB of memory"]}
    elif run.returncode == -signal.SIGXCPU:
        result = plain | {"verdict": "not run", "reasons": [f"more than {CPU} seconds of CPU time"]}
    elif run.returncode == -signal.SIGKILL:
        # What runs beside it may have taken the memory.
        result = plain | {"verdict": "not run", "reasons": ["the memory of the machine ran out"]}
    elif _no_memory(run.stderr):
        result = plain | {"verdict": "not run", "reasons": [f"more than {MEMORY >> 30} GiB of memory"]}
    else:
        last = (run.stderr.strip().splitlines() or [""])[-1]
        result = plain | {"verdict": "fault", "reasons": [f"the process ended with {run.returncode}: {last[:300]}"]}
    return {field: result.get(field) for field in FIELDS}


def _no_memory(text: str) -> bool:
    return out_of_memory(RuntimeError(text))


def sweep(
    entries: Sequence[dict[str, Any]],
    progress: Path,
    run: Callable[[dict[str, Any]], dict[str, Any]],
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """What became of all of them; those that stand in the file of a sweep that was stopped are not run again.

    Args:
        entries: of the catalog.
        progress: one line of JSON for each model that is done.
        run: gives the result of one.
        say: told each result.
    """
    done = {name_of(item): item for item in _lines(progress)}
    results = []
    for entry in entries:
        result = done.get(name_of(entry))
        if result is None:
            result = run(entry)
            with progress.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        results.append(result)
        reasons = "; ".join(result["reasons"])
        say(f"{name_of(entry)}: {result['verdict']}{f': {reasons[:400]}' if reasons else ''}, {result['seconds']}")
    return results


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def faults(results: Iterable[dict[str, Any]]) -> list[str]:
    """Models with a verdict that must not be."""
    return [name_of(item) for item in results if item["verdict"] not in _VERDICTS]


def lost(before: dict[str, Any], results: Iterable[dict[str, Any]]) -> list[str]:
    """Models that passed and no longer do.

    >>> lost({"models": [{"set": "own", "model": "vae", "verdict": "same function"}]},
    ...      [{"set": "own", "model": "vae", "verdict": "refused"}])
    ['own/vae']
    """
    passed = {name_of(item) for item in before["models"] if item["verdict"] == "same function"}
    return [name_of(item) for item in results if name_of(item) in passed and item["verdict"] != "same function"]


def read(path: Path) -> dict[str, Any]:
    """The stored table."""
    empty: dict[str, Any] = {"versions": {}, "models": []}
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty


def merged(before: dict[str, Any], results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The table with new results in the place of old ones, by set and name."""
    models = {name_of(item): item for item in [*before["models"], *results]}
    installed = {item.metadata["Name"].lower() for item in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES if name in installed}
    order = sorted(models.values(), key=lambda item: (SETS.index(item["set"]), item["model"]))
    return {"versions": versions, "models": order}


def write(path: Path, table: dict[str, Any]) -> None:
    """One model to a line, so that a difference shows whose it is."""
    models = ",\n".join(json.dumps(item) for item in table["models"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"versions": {json.dumps(table["versions"])}, "models": [\n{models}\n]}}\n', encoding="utf-8")
