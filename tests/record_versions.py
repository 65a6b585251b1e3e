"""Write down which versions were tested together, and how it went: `record_versions.py FILE.json PART RESULT.xml ...`.

The file holds a row for each Python and part of the tests; a run replaces its own row. Prints the tests that failed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

PACKAGES = ("torch", "jax", "jaxlib", "flax", "einops", "numpy", "ml_dtypes", "optax", "orbax-checkpoint")


def versions() -> dict[str, str]:
    """Those of the packages that this environment has."""
    installed = {distribution.name for distribution in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}


def outcomes(result: Path) -> list[tuple[str, str]]:
    """Each test of a run by its name, with `passed`, `failed` or `skipped`."""
    rows = []
    for case in ET.parse(result).getroot().iter("testcase"):
        marks = {child.tag for child in case}
        kind = "failed" if marks & {"failure", "error"} else "skipped" if "skipped" in marks else "passed"
        rows.append((f"{case.get('classname')}::{case.get('name')}", kind))
    return rows


def row(part: str, results: Sequence[Path]) -> dict[str, Any]:
    """What pytest's files say of a run in one or several pieces; of a test that was run again, the last counts."""
    rows: list[tuple[str, str]] = []
    for result in results:
        again = outcomes(result)
        names = {name for name, _ in again}
        rows = [*(old for old in rows if old[0] not in names), *again]
    counts = Counter(kind for _, kind in rows)
    return {
        "python": platform.python_version(),
        "part": part,
        "versions": versions(),
        **{kind: counts[kind] for kind in ("passed", "failed", "skipped")},
        "failures": sorted(name for name, kind in rows if kind == "failed"),
    }


def record(file: Path, new: dict[str, Any]) -> None:
    """Put a row into the file, in place of the one for the same Python and part."""
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    minor = new["python"].rpartition(".")[0]
    rows = [old for old in rows if (old["python"].rpartition(".")[0], old["part"]) != (minor, new["part"])]
    rows = sorted([*rows, new], key=lambda each: ([int(n) for n in each["python"].split(".")], each["part"]))
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    path, name, *xml = sys.argv[1:]
    run = row(name, [Path(file) for file in xml])
    record(Path(path), run)
    sys.stdout.write("".join(f"{failure}\n" for failure in run["failures"]))
