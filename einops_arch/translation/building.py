"""The written file, imported and ready to be built."""

from __future__ import annotations

import importlib.util
import linecache
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["imported", "maker"]


def imported(source: str, stem: str, constants: Mapping[str, Any]) -> tuple[Any, Callable[[], Any]]:
    """The module of a written file, with its lines for tracebacks and `inspect` though the file is not kept.

    Args:
        source: its text.
        stem: its name.
        constants: tensors that stand in a file beside it.

    Returns:
        The module, and a call that removes its folder; at the end of the process that happens by itself.
    """
    folder = Path(tempfile.mkdtemp(prefix="einops_arch_translate_"))
    path = folder / f"{stem}.py"
    path.write_text(source, encoding="utf-8")
    linecache.cache[str(path)] = len(source), None, source.splitlines(keepends=True), str(path)
    if constants:
        np.savez(folder / f"{stem}.npz", **constants)
    spec = importlib.util.spec_from_file_location(f"translated_{stem}_{abs(hash(source))}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the translated file {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    remove = weakref.finalize(module, shutil.rmtree, folder, ignore_errors=True)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, remove


def maker(flax_class: Any) -> Callable[[Any], Any]:
    """A function that builds a class from random streams."""
    return lambda rngs: flax_class(rngs=rngs)
