"""Compile for the clock, compare results, compare programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["compile_for", "nearly", "program_text", "roughly", "same"]

_METADATA = re.compile(r",? metadata=\{[^}]*\}")
_NAMES = re.compile(r"%?\b[a-z_]\w*(?:[-.]\w+)*\.\d+\b|%[\w.-]+")
_TABLES = re.compile(r"(HloModule|FileNames|FunctionNames|FileLocations|StackFrames|\d+ )")


def compile_for(side: Callable[..., Any], inputs: tuple[Any, ...], *, backward: bool = False) -> Any:
    """The compiled program of a function, or of its result and its gradients."""
    if not backward:
        return jax.jit(side).lower(*inputs).compile()

    def both(*inputs: Any) -> Any:
        result, back = jax.vjp(side, *inputs)
        return result, back(jax.tree.map(jnp.ones_like, result))

    return jax.jit(both).lower(*inputs).compile()


def program_text(compiled: Any) -> str:
    """The program after XLA's passes, without the names that it gives and what says where it came from."""
    lines = compiled.as_text().splitlines()
    text = "\n".join(_METADATA.sub("", line) for line in lines if not _TABLES.match(line))
    names: dict[str, str] = {}
    return _NAMES.sub(lambda match: names.setdefault(match.group(), f"%{len(names)}"), text)


def same(ours: Any, theirs: Any) -> str | None:
    """Bit for bit."""
    equal = jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), ours, theirs))
    return None if equal else "the results differ"


def nearly(ours: Any, theirs: Any, limit: float = 1e-4) -> str | None:
    """Up to the rounding of float32 sums."""
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        error, scale = float(jnp.abs(one - other).max()), float(jnp.abs(other).max())
        if not error <= limit * scale:
            return f"the results differ by {error:.1e} of {scale:.1e}"
    return None


def roughly(ours: Any, theirs: Any) -> str | None:
    """Up to the rounding of bfloat16 results."""
    return nearly(ours, theirs, 2**-6)
