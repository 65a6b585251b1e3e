"""A state before it is held against a model: its arrays, and what a model can fill in by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy

__all__ = ["complete_state", "state_arrays"]

_COUNTER, _EXTRA = "num_batches_tracked", "_extra_state"
_LOG = logging.getLogger("einops_arch")


def state_arrays(state: Mapping[str, Any]) -> tuple[dict[str, np.ndarray[Any, Any]], list[str]]:
    """The arrays of a state, and a problem for each value that is none.

    >>> arrays, problems = state_arrays({"weight": np.ones(2), "_extra_state": {"scale": 3}})
    >>> list(arrays), [problem.partition(":")[0] for problem in problems]
    (['weight'], ['_extra_state'])
    """
    arrays, problems = {}, []
    for name, value in state.items():
        extra = name.rpartition(".")[2] == _EXTRA
        if hasattr(value, "shape") and not extra:
            arrays[name] = to_numpy(value)
            continue
        if not extra and isinstance(value, int | float | complex | list | np.generic):
            arrays[name] = np.asarray(value)
            continue
        reason = (
            ": what a PyTorch module keeps besides its tensors (get_extra_state) has no place in a port; likely fix: "
            "leave it out of the state"
            if extra
            else ""
        )
        problems.append(f"{name}: expected an array, received a {type(value).__name__}{reason}")
    return arrays, problems


def complete_state(
    arrays: Mapping[str, np.ndarray[Any, Any]], expected: Mapping[str, Any], aliases: Sequence[Sequence[str]] = ()
) -> dict[str, np.ndarray[Any, Any]]:
    """A state with the names that follow from others: those of tied arrays, and counters of batches.

    Files older than the counters of PyTorch's batch norms lack them, and PyTorch fills in 0; so does this, and says so
    in the log `einops_arch`.

    Args:
        arrays: the state.
        expected: the names that a model expects.
        aliases: groups of names that are one array in the model.

    >>> state = {"bn.running_mean": np.zeros(2)}
    >>> list(complete_state(state, {"bn.running_mean": (), "bn.num_batches_tracked": ()}))
    ['bn.running_mean', 'bn.num_batches_tracked']
    """
    complete = dict(arrays)
    for group in aliases:
        present = [name for name in group if name in arrays]
        complete.update({name: arrays[present[0]] for name in group if present and name not in arrays})
    filled = [
        name
        for name in expected
        if name not in complete
        and name.rpartition(".")[2] == _COUNTER
        and f"{name.removesuffix(_COUNTER)}running_mean" in complete
    ]
    complete.update({name: np.zeros((), np.int64) for name in filled})
    if filled:
        _LOG.warning("%d counters of batches are not in the state, and are 0: %s", len(filled), ", ".join(filled))
    return complete
