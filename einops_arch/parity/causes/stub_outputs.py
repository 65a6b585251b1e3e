"""Stub Flax modules with PyTorch's recorded outputs, to expose faults elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.values import in_order, rebuild

__all__ = ["StubOutputs", "replaced"]


class StubOutputs:
    """What a stubbed module returns, call by call, and the inputs that it should receive.

    Args:
        path: of the module.
        module: Flax's, of which attributes may be asked for.
        form: its output, with places where it has arrays.
        arrays: PyTorch's of each call, in Flax's layout, by place.
        inputs: what PyTorch's was given in each call, in Flax's layout; none where they do not correspond.
    """

    def __init__(
        self,
        path: str,
        module: Any,
        form: Any,
        arrays: Sequence[Mapping[str, Array]],
        inputs: Sequence[Sequence[Array]],
    ) -> None:
        self.path, self.module, self.form, self.arrays, self.inputs = path, module, form, arrays, inputs
        self.received_inputs: list[Any] = []

    @property
    def wanted(self) -> list[Array]:
        """The inputs that PyTorch's module had, of all calls."""
        return [array for call in self.inputs for array in call]

    @property
    def received(self) -> list[Any]:
        """The inputs that the stub was called with, in the same order."""
        return [array for call, _ in zip(self.received_inputs, self.inputs, strict=False) for array in call]

    def next(self, args: Any, kwargs: Any) -> Any:
        """The outputs of the next call; after the last, again of the first."""
        import jax
        import jax.numpy as jnp

        values = self.arrays[len(self.received_inputs) % len(self.arrays)]
        self.received_inputs.append(in_order((args, kwargs), lambda leaf: isinstance(leaf, jax.Array | np.ndarray)))

        def answer(_: str, place: str) -> Any:
            # In a traced program an operation gives it, and so it is no constant there: what a module gives varies.
            return jax.lax.optimization_barrier(jnp.asarray(values[place]))

        return rebuild(self.form, answer, lambda leaf: isinstance(leaf, str))


def replaced(root: Any, path: str, stub: StubOutputs) -> bool:
    """Replace a module by a stub, at every path that it has; False if it is not there.

    Args:
        root: the module around it, which is changed.
        path: of the module in it.
        stub: what it has to give.
    """
    from einops_arch.flax.state import named_modules

    every = list(named_modules(root))
    module = dict(every).get(path)
    if module is None or not path:
        return False
    for place in [name for name, other in every if other is module]:
        above, _, name = place.rpartition(".")
        _put(dict(every)[above], name, _stand_in()(stub))
    return not any(other is module for _, other in named_modules(root))


def _put(parent: Any, name: str, value: Any) -> None:
    from flax import nnx

    if isinstance(parent, nnx.Sequential):
        parent = parent.layers
    if isinstance(parent, nnx.List):
        parent[int(name)] = value
    elif isinstance(parent, nnx.Dict):
        parent[name] = value
    else:
        setattr(parent, name, value)


@functools.cache
def _stand_in() -> Any:
    from flax import nnx

    class StandIn(nnx.Module):
        def __init__(self, stub: StubOutputs) -> None:
            self.stub = stub

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.stub.next(args, kwargs)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or "stub" not in vars(self):
                raise AttributeError(name)
            return getattr(self.stub.module, name)

    return StandIn
