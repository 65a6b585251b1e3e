"""Modules of a Flax model replaced by what PyTorch's gave, so that what is wrong beside them comes to light."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.values import in_order, rebuild

__all__ = ["Answers", "replaced"]


class Answers:
    """What a module has to give, call by call, and what it has to be given.

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
        self.given: list[Any] = []

    @property
    def wanted(self) -> list[Array]:
        """The inputs of all calls."""
        return [one for call in self.inputs for one in call]

    @property
    def received(self) -> list[Any]:
        """Those that came, in the same order."""
        return [one for call, _ in zip(self.given, self.inputs, strict=False) for one in call]

    def next(self, args: Any, kwargs: Any) -> Any:
        """Those of the next call; after the last, again of the first."""
        import jax
        import jax.numpy as jnp

        values = self.arrays[len(self.given) % len(self.arrays)]
        self.given.append(in_order((args, kwargs), lambda one: isinstance(one, jax.Array | np.ndarray)))
        return rebuild(self.form, lambda _, place: jnp.asarray(values[place]), lambda one: isinstance(one, str))


def replaced(root: Any, path: str, answers: Answers) -> bool:
    """Put the answers where a module is, at every path that it has; False if it is not there.

    Args:
        root: the module around it, which is changed.
        path: of the module in it.
        answers: what it has to give.
    """
    from einops_arch.flax.state import named_modules

    every = list(named_modules(root))
    module = dict(every).get(path)
    if module is None or not path:
        return False
    for one in [name for name, other in every if other is module]:
        above, _, name = one.rpartition(".")
        _put(dict(every)[above], name, _stand_in()(answers))
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
        def __init__(self, answers: Answers) -> None:
            self.answers = answers

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.answers.next(args, kwargs)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or "answers" not in vars(self):
                raise AttributeError(name)
            return getattr(self.answers.module, name)

    return StandIn
