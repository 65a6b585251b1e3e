"""Compile for the clock, compare results, compare programs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["compile_for", "nearly", "program_text", "roughly", "same"]

_METADATA = re.compile(r",? metadata=\{[^}]*\}")
_NAMES = re.compile(r"%[\w.-]+")


def compile_for(side: Callable[..., Any], inputs: tuple[Any, ...], *, backward: bool = False) -> Any:
    """The compiled program of a function, or of its result and its gradients for a random gradient of the result.

    Returns:
        The program, and the inputs to call it with.
    """
    if not backward:
        return jax.jit(side).lower(*inputs).compile(), inputs
    result = jax.eval_shape(side, *inputs)
    leaves, structure = jax.tree.flatten(result)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    random = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
    gradient = jax.tree.unflatten(structure, random)

    def both(gradient: Any, *inputs: Any) -> Any:
        result, back = jax.vjp(side, *inputs)
        return result, back(gradient)

    return jax.jit(both).lower(gradient, *inputs).compile(), (gradient, *inputs)


def program_text(compiled: Any) -> str:
    """The program after XLA's passes, without names, sources, and the order of what does not depend on each other.

    Each line is a hash of an operation and of the lines that it depends on, sorted within its computation.
    """
    known: dict[str, str] = {}
    head = ""
    programs: list[str] = []
    body: list[str] = []
    for line in compiled.as_text().splitlines():
        text = _METADATA.sub("", line).strip()
        if text == "}":
            programs.append("\n".join(sorted(body)))
            known[head] = _hash(programs[-1])
            body = []
        elif text.endswith("{") and "->" in text:
            head = _NAMES.findall(text)[0]
        elif " = " in text:
            name, _, operation = text.partition(" = ")
            own = _hash(_NAMES.sub(lambda match: known.get(match.group(), match.group()), operation))
            known[name.removeprefix("ROOT ")] = own
            body.append(f"ROOT {own}" if name.startswith("ROOT ") else own)
    return "\n\n".join(sorted(programs))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


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
