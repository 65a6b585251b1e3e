"""Transformers looks at values to save time, unless it is traced: it is told so where values may be others."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["told_of_tracing"]

_HOME = "transformers.utils.import_utils"


@contextlib.contextmanager
def told_of_tracing(is_traced: Callable[[Any], bool]) -> Iterator[None]:
    """While this is open, `is_tracing` of transformers answers what a recorder says.

    A mask of which no entry is masked is left out by transformers, for example, but never while it is traced.

    Args:
        is_traced: whether the values of a tensor may be others in another run.
    """
    replaced = [
        (module, function)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "transformers"
        and getattr(function := vars(module).get("is_tracing"), "__module__", "") == _HOME
    ]
    for module, function in replaced:
        module.__dict__["is_tracing"] = _answer(function, is_traced)
    try:
        yield
    finally:
        for module, function in replaced:
            module.__dict__["is_tracing"] = function


def _answer(function: Any, is_traced: Callable[[Any], bool]) -> Any:
    def is_tracing(tensor: Any = None) -> bool:
        return bool(function(tensor)) or (tensor is not None and is_traced(tensor))

    return is_tracing
