"""One call of a Flax model as a compiled program that also returns what every module returned."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from einops_arch.errors import ParityError
from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.casts import Cast, flax_casts
from einops_arch.parity.runs.flax_hooks import recording
from einops_arch.parity.runs.integers import FlaxIntegers, makes_integers
from einops_arch.parity.runs.jaxprs import CALLS, LIFT, bodies, evaluate, lifted
from einops_arch.parity.runs.randomness import sure_draws
from einops_arch.parity.runs.run import Call, Failure, Run, Wanted
from einops_arch.parity.runs.tables import Tables
from einops_arch.parity.runs.values import flatten, outputs_of, rebuild, words_of

__all__ = ["Program", "array_leaves", "is_array", "jax_arrays", "lifted_function", "merged", "outputs", "slot"]


class Program:
    """One call of a model, traced and compiled once for inputs of one form: what it gives, and who gave it."""

    def __init__(self, side: Any, graph: Any, nests: tuple[Any, Any], inputs_of: Wanted, *, keeps_state: bool) -> None:
        self._side = side
        self._graph = graph
        self._nests = nests
        self._inputs_of = inputs_of
        self._keeps_state = keeps_state
        self._seen: list[tuple[str, int, tuple[str, ...]]] = []
        self._places: list[str] = []
        self._taken: list[tuple[tuple[str, int], Any]] = []
        self._casts: list[Cast] = []
        self._words: dict[str, str] = {}
        self._sequence: list[str] = []
        # The paths of the parameters that are other arrays after the call.
        self.changed: list[Any] = []
        self._failure: Failure | None = None
        self._run: Any = self.call

    def prepare(self, state: Any, inputs: dict[str, Any], *, double: bool, lift: bool) -> None:
        """Trace it once to look for casts, and compile it."""
        if lift:
            self._run, program = lifted_function(self.call, state, inputs, tables=self._side.tables)
            self._casts = flax_casts(program)
        self._run = self._side.compiled(self._run, double=double)
        if double and not lift and self._side.jit:
            program = self._run.trace(state, inputs).jaxpr
            self._casts = flax_casts(program)
            if makes_integers(program):
                self._side.makes_integers = True
                run = lifted_function(self.call, state, inputs, lift=False)[0]
                self._run = self._side.compiled(run, double=double)

    def forms(self, state: Any, inputs: dict[str, Any]) -> dict[tuple[str, int], Any] | None:
        """What goes into the modules, without a run; None where the trace does not come to its end."""
        import jax

        jax.eval_shape(self.call, state, inputs)
        if self._failure is not None:
            return None
        return {key: rebuild(nest, _without_numbers, _is_slot) for key, nest in self._taken}

    def __call__(self, state: Any, inputs: dict[str, Any]) -> tuple[Run, Any]:
        """Run it: what was recorded, and the state after it."""
        values, outputs, taken, state = self._run(state, inputs)
        calls = [
            Call(path, index, tuple(map(to_numpy, arrays)), places)
            for (path, index, places), arrays in zip(self._seen, values, strict=True)
        ]
        run = Run(calls, [(place, to_numpy(array)) for place, array in zip(self._places, outputs, strict=True)])
        for (key, nest), arrays in zip(self._taken, taken, strict=True):
            values_at = {place: to_numpy(array) for place, array in arrays.items()}
            run.inputs[key] = rebuild(nest, functools.partial(_value_at, values_at), _is_slot)
        run.casts, run.failure = list(self._casts), self._failure
        run.words, run.sequence = dict(self._words), list(self._sequence)
        return run, state

    def call(self, state: Any, inputs: dict[str, Any]) -> Any:
        """What is traced: what every module gave, the outputs, what went in, and the state after it."""
        from flax import nnx

        model = merged(self._graph, state)
        args, kwargs = (rebuild(nest, inputs.get, is_array) for nest in self._nests)
        self._failure = None
        before = _weights(model)
        with sure_draws(), recording(model, self._side.named, self._inputs_of) as seen:
            try:
                output = model(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the model
                output = None
                self._failure = Failure(seen.failed_in or "", error.with_traceback(None))
        leaves = outputs(output)
        self._seen[:] = [(path, index, places) for path, index, _, places in seen.calls]
        self._places[:] = [place for place, _ in leaves]
        self._words = words_of(output, is_array)
        self._sequence = [place for place, _ in outputs_of(output, is_array, ordered=True)]
        after = _weights(model)
        if new := [path for path in after if path not in before]:
            shown = ", ".join(".".join(map(str, path)) for path in new[:3])
            raise ParityError(
                f"Flax's model makes {len(new)} new parameters when it is called: {shown}; likely fix: call it once "
                "before it is compared"
            )
        self.changed[:] = [path for path, value in after.items() if value is not before[path]]
        self._taken[:] = [(key, rebuild(nest, slot, is_array)) for key, nest in seen.inputs.items()]
        changed = set(self.changed)
        same = nnx.All(nnx.Param, lambda path, value: tuple(path) not in changed)
        left = nnx.Intermediate if self._keeps_state else nnx.Any(nnx.Intermediate, same, nnx.RngState)
        after = nnx.filter_state(nnx.state(model), nnx.Not(left))
        taken = [dict(array_leaves(nest)) for nest in seen.inputs.values()]
        return [arrays for _, _, arrays, _ in seen.calls], [array for _, array in leaves], taken, after


def lifted_function(function: Any, *arguments: Any, tables: Tables | None = None, lift: bool = True) -> tuple[Any, Any]:
    """The same function with all in float64, and the program that was traced.

    Integers that are made of integers alone are those of float32, as users have them.

    Args:
        function: what is traced.
        arguments: what it is traced with; the first is a state, of which what no training changes may be a table.
        tables: PyTorch's; None for none.
        lift: nothing is narrower than float64; False where casts are to be what they are.
    """
    import jax

    program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    form = jax.tree.structure(shapes)
    held = {} if tables is None else _held(arguments, shapes, program.jaxpr)

    def run(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        if tables is not None:
            tables.hold({id(leaves[n]): array for n, array in held.items()})
        if not lift:
            return jax.tree.unflatten(form, evaluate(program, leaves, FlaxIntegers()))
        return jax.tree.unflatten(form, lifted(program, leaves, FlaxIntegers(LIFT if tables is None else tables)))

    # Where all arrays are there, as without `jit`, a table would be no other than what is made of the inputs.
    return run if tables is None else jax.jit(run), program


def _held(arguments: Any, results: Any, program: Any) -> dict[int, Any]:
    """By their number among all leaves, the arrays of the state that neither training nor this call changes.

    The call gives a state back as its last result; an array that it leaves alone is there the traced input itself, or
    what an inner `jit` gives of it as it is.
    Numbers without axes and integers, such as counters, are no tables.

    Args:
        arguments: what the function was traced with.
        results: what it gives.
        program: the traced function.
    """
    import jax
    from flax import nnx

    if not isinstance(results, tuple) or not results or not isinstance(results[-1], nnx.State):
        return {}
    changing = (nnx.Param, nnx.BatchStat, nnx.RngState, nnx.Cache, nnx.Intermediate, nnx.Perturbation)
    leaves_with_paths = jax.tree_util.tree_leaves_with_path
    after = {
        path[1:]: var
        for (path, _), var in zip(leaves_with_paths(results), program.outvars, strict=True)
        if path[0] == jax.tree_util.SequenceKey(len(results) - 1)
    }
    steady = {
        (jax.tree_util.SequenceKey(n), *(jax.tree_util.DictKey(key) for key in path))
        for n, argument in enumerate(arguments)
        if isinstance(argument, nnx.State)
        for path, value in nnx.to_flat_state(argument)
        if not isinstance(value, changing)
    }
    unchanged = _unchanged(program)
    held: dict[int, Any] = {}
    for n, ((path, leaf), var) in enumerate(zip(leaves_with_paths(arguments), program.invars, strict=True)):
        is_array = np.ndim(leaf) > 0 and jax.dtypes.issubdtype(leaf.dtype, np.inexact)
        last = after.get(path[1:])
        if is_array and unchanged.get(id(last), last) is var and any(path[: len(start)] == start for start in steady):
            held[n] = leaf
    return held


def _unchanged(program: Any) -> dict[int, Any]:
    """By the identity of what a call inside gives: the variable outside of which it is the same array."""
    same: dict[int, Any] = {}
    for operation in program.eqns:
        inner = bodies(operation)
        if not inner or operation.primitive.name not in CALLS:
            continue
        body = getattr(inner[0], "jaxpr", inner[0])
        if len(body.invars) != len(operation.invars):
            continue
        inside = _unchanged(body)
        outside = dict(zip(map(id, body.invars), operation.invars, strict=True))
        for var, result in zip(operation.outvars, body.outvars, strict=True):
            origin = outside.get(id(inside.get(id(result), result)))
            if origin is not None:
                same[id(var)] = same.get(id(origin), origin)
    return same


def outputs(value: Any, *, inner: bool = False) -> list[tuple[str, Any]]:
    """The arrays and numbers that a module gave; what cannot be looked into is an error of the network alone.

    Raises:
        ParityError: something in the output of the network can be neither compared nor looked into.
    """
    try:
        return outputs_of(value, is_array, side="Flax's model")
    except ParityError:
        if not inner:
            raise
        return array_leaves(value)


def _weights(model: Any) -> dict[tuple[Any, ...], Any]:
    """The arrays of the parameters themselves, by path."""
    from flax import nnx

    return {tuple(path): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))}


def merged(graph: Any, *states: Any) -> Any:
    """Merge into new variables; `nnx.merge` alone takes those of the states, which a call would change."""
    import jax
    from flax import nnx

    return nnx.merge(graph, *jax.tree.map(lambda leaf: leaf, states))


def jax_arrays(nest: Any) -> Any:
    """Numpy arrays as jax arrays; without x64, integers are as narrow as jax has them."""
    import jax
    import jax.numpy as jnp

    def change(place: str, value: Any) -> Any:
        del place
        return jnp.asarray(value, jax.dtypes.canonicalize_dtype(value.dtype))

    return rebuild(nest, change, lambda leaf: isinstance(leaf, np.ndarray))


@dataclasses.dataclass(frozen=True)
class _Slot:
    """An array's place in a nest."""

    shape_of: tuple[int, ...]
    dtype_of: str


def slot(place: str, value: Any) -> _Slot:
    """What stands for an array in a nest without numbers: its shape and its dtype."""
    del place
    return _Slot(tuple(value.shape), str(value.dtype))


def _value_at(values: Mapping[str, Array], place: str, slot: Any) -> Array:
    del slot
    return values[place]


def _without_numbers(place: str, slot: _Slot) -> Array:
    del place
    return np.broadcast_to(np.zeros((), np.dtype(slot.dtype_of)), slot.shape_of)


def _is_slot(value: Any) -> bool:
    return isinstance(value, _Slot)


def is_array(value: Any) -> bool:
    """Whether it is an array of jax or numpy."""
    import jax

    return isinstance(value, jax.Array | np.ndarray)


def array_leaves(value: Any) -> list[tuple[str, Any]]:
    """The arrays of a nest, each with its place."""
    return flatten(value, is_array)
