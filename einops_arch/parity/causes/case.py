"""A Flax module that does not do what PyTorch's does, with its recorded inputs; and what a hypothesis about it is."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.stub_outputs import Answers
from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Array, Pair, Verdict, measure
from einops_arch.parity.runs.jaxprs import Rule, evaluate, lifted
from einops_arch.parity.runs.values import flatten, rebuild

__all__ = ["Case", "Hypothesis", "number"]

# What would explain it, in words, and the outputs that the Flax module then has.
Hypothesis: TypeAlias = tuple[str, Callable[[], Sequence[Any]]]


@dataclasses.dataclass
class Case:
    """A Flax module that does not do what PyTorch's does.

    Args:
        path: of both.
        torch_module: PyTorch's; only its settings and weights are looked at.
        flax_module: a copy of Flax's in float64.
        nest: the arguments that Flax's is given, by position and by name.
        target: PyTorch's outputs in float64, in Flax's layout; then what the replaced modules have to be given.
        lifted: casts are lifted.
        index: which call of the module it is.
        answers: of the modules inside that were replaced by what PyTorch's give.
        say: told what is being tried.
        patience: seconds after which no further cause is tried.
    """

    path: str
    torch_module: Any
    flax_module: Any
    nest: Any
    target: Sequence[Array]
    lifted: bool = False
    index: int = 0
    answers: Sequence[Answers] = ()
    say: Callable[[str], None] = lambda text: None
    patience: float = 30.0

    def __post_init__(self) -> None:
        self.places = flatten(self.nest, _is_array)
        self.form: Any = None
        self.output_places: list[str] = []
        self._program: Any = None

    @property
    def name(self) -> str:
        """In a sentence."""
        return self.path or "the network"

    @functools.cached_property
    def outputs(self) -> list[Any]:
        """What the module gives as it is."""
        return self.run(self.clone())

    @functools.cached_property
    def before(self) -> float:
        """How far that is from PyTorch's."""
        return self.difference(self.outputs)

    @property
    def inputs(self) -> list[Array]:
        """The arrays among the arguments."""
        return [one for _, one in self.places]

    def clone(self) -> Any:
        """A module of one's own to change, with the same weights."""
        import jax
        from flax import nnx

        graph, state = nnx.split(self.flax_module)
        return nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))

    def call(self, module: Any, inputs: Sequence[Any] | None = None) -> list[Any]:
        """The outputs of a module that takes the same arguments."""
        values = dict(zip([place for place, _ in self.places], inputs or self.inputs, strict=True))
        args, kwargs = rebuild(self.nest, lambda place, _: _array(values[place]), _is_array)
        for one in self.answers:
            one.given.clear()
        output = module(*args, **kwargs)
        self.form = rebuild(output, lambda place, _: place, _is_any_array)
        found = flatten(output, _is_any_array)
        self.output_places = [place for place, _ in found]
        return [one for _, one in found] + [one for answer in self.answers for one in answer.received]

    def run(self, module: Any, inputs: Sequence[Any] | None = None) -> list[Any]:
        """The same, with casts lifted if they are to be."""
        import jax

        if not self.lifted:
            return self.call(module, inputs)
        values = [_array(one) for one in inputs or self.inputs]
        return lifted(jax.make_jaxpr(lambda *given: self.call(self.clone_of(module), given))(*values), values)

    @staticmethod
    def clone_of(module: Any) -> Any:
        """A copy whose variables may change while it is traced."""
        import jax
        from flax import nnx

        graph, state = nnx.split(module)
        return nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))

    @property
    def program(self) -> Any:
        """What jax traces of the module, with its weights as constants."""
        import jax

        if self._program is None:
            values = [_array(one) for one in self.inputs]
            self._program = jax.make_jaxpr(lambda *given: self.call(self.clone(), given))(*values)
        return self._program

    def by_rule(self, rule: Rule) -> list[Any]:
        """The outputs where a rule replaces some operations."""
        return evaluate(self.program, [_array(one) for one in self.inputs], rule)

    def given_wrongly(self) -> list[str]:
        """The replaced modules that are not given what PyTorch's are."""
        if len(self.target) != len(self.outputs):
            return []
        rest = list(zip(self.target, self.outputs, strict=True))[len(self.output_places) :]
        found = []
        for answer in self.answers:
            pairs = [Pair(target, to_numpy(one)) for target, one in rest[: len(answer.wanted)]]
            rest = rest[len(answer.wanted) :]
            if (measure(pairs).difference or 0.0) > limits.FLOAT64:
                found.append(answer.path)
        return found

    def difference(self, outputs: Sequence[Any]) -> float:
        """The largest difference from PyTorch's outputs; infinite where shapes differ or values are not finite."""
        arrays = [to_numpy(one) for one in outputs]
        if len(arrays) != len(self.target):
            return math.inf
        found = measure([Pair(*pair) for pair in zip(self.target, arrays, strict=True)])
        return math.inf if found.verdict in (Verdict.SHAPE, Verdict.NAN) else found.difference or 0.0


def number(value: Any) -> str:
    """A setting as a person writes it: 1e-5.

    >>> number(1e-05), number(True), number((1, 2))
    ('1e-5', 'True', '(1, 2)')
    """
    text = repr(value)
    return text.replace("e-0", "e-") if isinstance(value, float) else text


def _array(value: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _is_any_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array | np.ndarray)
