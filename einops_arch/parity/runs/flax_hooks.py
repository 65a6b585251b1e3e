"""See what every module of a Flax model gives and is given, while it runs or is traced."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from einops_arch.errors import ParityError
from einops_arch.parity.runs.casts import SCOPE
from einops_arch.parity.runs.run import Wanted
from einops_arch.parity.runs.values import flatten, outputs_of

__all__ = ["recording"]

_PATCHING = threading.RLock()


@dataclasses.dataclass
class _Seen:
    """What a recording keeps: path, number, arrays and places of each call; inputs; where an exception came from."""

    calls: list[tuple[str, int, list[Any], tuple[str, ...]]] = dataclasses.field(default_factory=list)
    inputs: dict[tuple[str, int], Any] = dataclasses.field(default_factory=dict)
    failed_in: str | None = None


@contextlib.contextmanager
def recording(model: Any, named: Any, inputs_of: Wanted) -> Iterator[_Seen]:
    """Keep the outputs of every module of a model, and the inputs of some.

    `nnx.capture` wraps the methods that a class defines itself, so it does not see a `__call__` that is inherited, and
    it keeps no order. Here the classes that define it are wrapped, for the time of the run and for this model only.
    """
    import jax
    import jax.extend

    # In jax 0.8 it is not in `jax.extend` yet.
    home = jax.extend.core if hasattr(jax.extend.core, "get_opaque_trace_state") else jax.core
    get_opaque_trace_state = home.get_opaque_trace_state
    paths: dict[int, list[str]] = {}
    owners: dict[Any, Any] = {}
    for path, module in named(model):
        paths.setdefault(id(module), []).append(path)
        owners |= {base: vars(base)["__call__"] for base in type(module).__mro__ if "__call__" in vars(base)}
    seen = _Seen()
    counts: dict[str, int] = {}
    running: list[int] = []
    here = get_opaque_trace_state(convention="nnx")

    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = original.__get__(self, type(self))
            # A call that is passed on to the base class is still the same call.
            if id(self) not in paths or id(self) in running:
                return bound(*args, **kwargs)
            names = paths[id(self)]
            running.append(id(self))
            try:
                with jax.named_scope(SCOPE + names[0]):
                    output = bound(*args, **kwargs)
            except Exception:
                seen.failed_in = names[0] if seen.failed_in is None else seen.failed_in
                raise
            finally:
                running.pop()
            # Inside a further transformation of jax there are no values to take out.
            if get_opaque_trace_state(convention="nnx") == here:
                leaves = _leaves(output)
                arrays, places = [leaf for _, leaf in leaves], tuple(place for place, _ in leaves)
                for path in names:
                    index = counts[path] = counts.get(path, -1) + 1
                    seen.calls.append((path, index, arrays, places))
                    if inputs_of is None or path in inputs_of:
                        seen.inputs[path, index] = (args, kwargs)
            return output

        return call

    with _PATCHING:
        try:
            for owner, original in owners.items():
                owner.__call__ = wrap(original)
            yield seen
        finally:
            for owner, original in owners.items():
                owner.__call__ = original


def _leaves(value: Any) -> list[tuple[str, Any]]:
    import jax

    def is_array(value: Any) -> bool:
        return isinstance(value, jax.Array | np.ndarray)

    try:
        return outputs_of(value, is_array, side="Flax's model")
    except ParityError:  # of what cannot be looked into inside of the network, the arrays in known containers
        return flatten(value, is_array)
