"""Write down which versions were tested together, and how it went: `record_versions.py FILE.json PART RESULT.xml`.

The file holds a row for each Python and part of the tests; a run replaces its own row. Prints the tests that failed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

PACKAGES = ("torch", "jax", "jaxlib", "flax", "einops", "numpy", "ml_dtypes", "optax", "orbax-checkpoint")


def versions() -> dict[str, str]:
    """Those of the packages that this environment has."""
    installed = {distribution.name for distribution in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}


def row(part: str, result: Path) -> dict[str, Any]:
    """What pytest's file says of one run."""
    suite = ET.parse(result).getroot().find("testsuite")
    assert suite is not None
    failures = sorted(
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    )
    bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    return {
        "python": platform.python_version(),
        "part": part,
        "versions": versions(),
        "passed": int(suite.get("tests", 0)) - bad - skipped,
        "failed": bad,
        "skipped": skipped,
        "failures": failures,
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
    path, name, xml = sys.argv[1:]
    run = row(name, Path(xml))
    record(Path(path), run)
    sys.stdout.write("".join(f"{failure}\n" for failure in run["failures"]))
