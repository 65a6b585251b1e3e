"""A Flax module that does not do what PyTorch's does, with its recorded inputs; and what a hypothesis about it is."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch._text import without_addresses
from einops_arch.errors import ParityError
from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.graph import Graph
from einops_arch.parity.causes.stub_outputs import StubOutputs
from einops_arch.parity.report import limits
from einops_arch.parity.report.module_rows import can_be_called
from einops_arch.parity.report.verdicts import Array, Pair, Verdict, measure
from einops_arch.parity.runs.integers import FlaxIntegers
from einops_arch.parity.runs.jaxprs import LIFT, Rule, evaluate, lifted, operations
from einops_arch.parity.runs.values import flatten, outputs_of, rebuild

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
        stubs: of the modules inside that were replaced by what PyTorch's give.
        say: told what is being tried.
        patience: seconds of CPU time after which no further cause is tried.
        rounding: measures what noise of a few roundoffs does to PyTorch's module on the same inputs, for each array of
            the target.
    """

    path: str
    torch_module: Any
    flax_module: Any
    nest: Any
    target: Sequence[Array]
    lifted: bool = False
    index: int = 0
    stubs: Sequence[StubOutputs] = ()
    say: Callable[[str], None] = lambda text: None
    patience: float = 60.0
    rounding: Callable[[], Sequence[float]] = lambda: ()

    def __post_init__(self) -> None:
        self.places = flatten(self.nest, _is_array)
        self.form: Any = None
        self.output_places: list[str] = []
        self._program: Any = None
        self.deadline = math.inf

    @property
    def name(self) -> str:
        """The path, as it stands in a sentence."""
        return self.path or "the network"

    @functools.cached_property
    def outputs(self) -> list[Any]:
        """The outputs of the unchanged module."""
        return self.run(self.clone())

    @functools.cached_property
    def before(self) -> float:
        """The difference of these outputs from PyTorch's."""
        return self.difference(self.outputs)

    @functools.cached_property
    def is_right(self) -> bool:
        """Whether these are PyTorch's outputs, up to the rounding that the module makes by itself."""
        if self.before <= limits.FLOAT64:
            return True
        if self.before > limits.CONDITIONED:
            return False
        grown = self.rounding()
        pairs = [Pair(target, to_numpy(output)) for target, output in zip(self.target, self.outputs, strict=True)]
        return len(grown) == len(pairs) and all(
            (measure([pair]).difference or 0.0) <= max(limits.FLOAT64, change)
            for pair, change in zip(pairs, grown, strict=True)
        )

    @property
    def inputs(self) -> list[Array]:
        """The arrays among the arguments."""
        return [array for _, array in self.places]

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
        for stub in self.stubs:
            stub.received_inputs.clear()
        output = module(*args, **kwargs)
        self.form = rebuild(output, lambda place, _: place, _is_any_array)
        leaves = _leaves(output)
        self.output_places = [place for place, _ in leaves]
        return [array for _, array in leaves] + [array for stub in self.stubs for array in stub.received]

    def run(self, module: Any, inputs: Sequence[Any] | None = None) -> list[Any]:
        """The same, with casts lifted if they are to be."""
        import jax

        if not self.lifted:
            return self.call(module, inputs)
        values = [_array(value) for value in inputs or self.inputs]
        program = jax.make_jaxpr(lambda *traced: self.call(self.clone_of(module), traced))(*values)
        return lifted(program, values, FlaxIntegers(LIFT))

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
            values = [_array(value) for value in self.inputs]
            self._program = jax.make_jaxpr(self._scoped)(*values)
        return self._program

    def run_changed(self, module: Any) -> list[Any]:
        """The outputs of a module with another setting.

        Raises:
            ValueError: it fits, but what it computes on the way has other shapes, so that it fits by chance.
        """
        import jax

        outputs = self.run(module)
        if self.difference(outputs) <= limits.FLOAT64:
            values = [_array(value) for value in self.inputs]
            program = jax.make_jaxpr(lambda *inputs: self.call(self.clone_of(module), inputs))(*values)
            if _shapes(program) != _shapes(self.program):
                raise ValueError("a setting that changes the shapes of what is computed explains nothing")
        return outputs

    def _scoped(self, *inputs: Any) -> list[Any]:
        """A call in which every operation knows the module that it stands in."""
        from einops_arch.flax.state import named_modules
        from einops_arch.parity.runs.flax_hooks import recording

        module = self.clone()
        with recording(module, named_modules, frozenset()):
            return self.call(module, inputs)

    @functools.cached_property
    def right_inside(self) -> frozenset[str]:
        """The modules inside that PyTorch has too: what is wrong of them has been replaced.

        Lists have no code; what is done between the modules in them is the code of the module around.
        """
        named = self.torch_module.named_modules(remove_duplicate=False)
        return frozenset(name for name, module in named if name and can_be_called(module))

    def by_rule(self, rule: Rule) -> list[Any]:
        """The outputs where a rule replaces some operations, each by one of the same shape."""
        values = [_array(value) for value in self.inputs]
        replaced: list[Any] = []

        def same_shape(operation: Any, inputs: Sequence[Any]) -> Sequence[Any] | None:
            results = rule(operation, inputs)
            if results is None:
                return LIFT(operation, inputs) if self.lifted else None
            replaced.append(operation)
            traced = [tuple(variable.aval.shape) for variable in operation.outvars]
            if [tuple(np.shape(result)) for result in results] != traced:
                raise ValueError(f"expected {traced} in the place of {operation.primitive.name}")
            return results

        try:
            graph = self.graph
        except ValueError:
            return evaluate(self.program, values, same_shape)
        targets = getattr(rule, "targets", None)
        if targets is not None and not graph.holds(targets):
            return evaluate(self.program, values, same_shape)
        outputs = graph.by_rule(same_shape, targets)
        # A whole call, such as that of `jax.image.resize`, is no operation of the list, in which calls are opened.
        return outputs if replaced else evaluate(self.program, values, same_shape)

    @functools.cached_property
    def graph(self) -> Graph:
        """The same program as a list of operations, with all of its arrays."""
        return Graph(
            self.program, [_array(value) for value in self.inputs], lifted=self.lifted, right=self.right_inside
        )

    @property
    def is_over(self) -> bool:
        """Whether the CPU time for this module is spent."""
        return time.process_time() > self.deadline

    @property
    def numbers(self) -> int:
        """How many there are in the target: a cause that is fitted to a few explains nothing."""
        return sum(array.size for array in self.target)

    def wrongly_fed(self) -> list[str]:
        """The stubbed modules that receive other inputs than PyTorch's."""
        if len(self.target) != len(self.outputs):
            return []
        rest = list(zip(self.target, self.outputs, strict=True))[len(self.output_places) :]
        paths = []
        for stub in self.stubs:
            pairs = [Pair(target, to_numpy(array)) for target, array in rest[: len(stub.wanted)]]
            rest = rest[len(stub.wanted) :]
            if (measure(pairs).difference or 0.0) > limits.FLOAT64:
                paths.append(stub.path)
        return paths

    def difference(self, outputs: Sequence[Any]) -> float:
        """The largest difference from PyTorch's outputs; infinite where shapes differ or values are not finite."""
        arrays = [to_numpy(output) for output in outputs]
        if len(arrays) != len(self.target):
            return math.inf
        measured = measure([Pair(*pair) for pair in zip(self.target, arrays, strict=True)])
        return math.inf if measured.verdict in (Verdict.SHAPE, Verdict.NAN) else measured.difference or 0.0


def _shapes(program: Any) -> list[tuple[int, ...]]:
    """Of what is multiplied and convolved, in order."""
    return [
        tuple(operation.outvars[0].aval.shape)
        for operation, _ in operations(program)
        if operation.primitive.name in ("conv_general_dilated", "dot_general")
    ]


def number(value: Any) -> str:
    """A setting as a person writes it: 1e-5.

    >>> number(1e-05), number(True), number((1, 2))
    ('1e-5', 'True', '(1, 2)')
    """
    text = without_addresses(repr(value))
    return text.replace("e-0", "e-") if isinstance(value, float) else text


def _array(value: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _leaves(output: Any) -> list[tuple[str, Any]]:
    """In the order in which a run keeps them."""
    try:
        return [pair for pair in outputs_of(output, _is_any_array) if _is_any_array(pair[1])]
    except ParityError:
        return flatten(output, _is_any_array)


def _is_any_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array | np.ndarray)
