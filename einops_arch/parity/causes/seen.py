"""Whether what a cause moves is seen in what comes out: an order of parts that nobody looks at explains nothing.

What comes out of another order may fit only because a slice behind it cuts the right part out, wherever the others lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case
from einops_arch.parity.causes.graph import Change, Read, Value
from einops_arch.parity.report import limits

__all__ = ["Part", "run_seen"]

Part: TypeAlias = tuple[Value, tuple[slice, ...]]
"""A part of a value that a cause changes."""


def run_seen(case: Case, changes: Mapping[Value, Change], parts: Sequence[Part]) -> list[Any]:
    """The outputs once some values are changed.

    Args:
        case: the module.
        changes: of its values.
        parts: of the changed values, each of which has to be seen in the outputs.

    Raises:
        ValueError: the outputs fit, but one of the parts can be anything.
    """
    outputs = case.graph.run(changes)
    if case.difference(outputs) <= limits.FLOAT64:
        for value, where in parts:
            other = case.graph.run({**changes, value: _disturbed(changes[value], where)})
            if all(np.array_equal(to_numpy(a), to_numpy(b)) for a, b in zip(outputs, other, strict=True)):
                raise ValueError("a part that is not seen explains nothing by where it lies")
    return outputs


def _disturbed(change: Change, where: tuple[slice, ...]) -> Change:
    """The change, with other numbers in a part of what it gives."""
    import jax.numpy as jnp

    def disturbed(read: Read) -> Any:
        array = jnp.asarray(change(read))
        part = array[where]
        if part.dtype == bool:
            return array.at[where].set(~part)
        if not jnp.issubdtype(part.dtype, jnp.inexact):  # indices have to stay in their range
            return array.at[where].set(jnp.where(part == 0, 1, 0).astype(part.dtype))
        noise = np.random.default_rng(0).normal(size=part.shape)
        return array.at[where].add((noise * (1 + np.abs(np.asarray(part)))).astype(part.dtype))

    return disturbed
