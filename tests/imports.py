"""What does a statement import? Asked in a fresh process, as this one has imported everything already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_PROBE = """
import importlib, json, pkgutil, sys

def walk(package, leave_out=()):
    "Import a package and every module under it."
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if found.name not in leave_out:
            importlib.import_module(found.name)

for name in {blocked!r}:
    sys.modules[name] = None
error = None
try:
    exec({statement!r})
except ImportError as caught:
    error = [type(caught).__name__, str(caught)]
names = sorted({{name.partition(".")[0] for name, module in sys.modules.items() if module is not None}})
print(json.dumps([names, error]))
"""


def run(statement: str, *, blocked: tuple[str, ...] = (), path: Path | None = None) -> tuple[set[str], list | None]:
    """Execute `statement` in a fresh process.

    Args:
        statement: Python; `walk(package, leave_out=())` imports a package with all that is under it.
        blocked: Modules to act as if they were not installed.
        path: A folder to find modules in before all others.

    Returns:
        The top-level modules that are then loaded, and the class and message of an `ImportError`.
    """
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(statement=statement, blocked=blocked)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, error = json.loads(done.stdout.splitlines()[-1])
    return set(names), error


def loaded(statement: str, *, path: Path | None = None) -> set[str]:
    """The top-level modules loaded after a statement that must not fail."""
    names, error = run(statement, path=path)
    assert error is None, error
    return names


def lay_traps(folder: Path, *names: str) -> Path:
    """Empty modules of these names in `folder`: importing one works, and so is noticed, everywhere."""
    for name in names:
        (folder / f"{name}.py").write_text("")
    return folder
