"""Run a copy of a Flax model and keep what every module gave. The model itself is not touched."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.errors import ParityError, PortError
from einops_arch.layouts.arrays import same_bits, to_numpy
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.axes import Layout
from einops_arch.parity.runs.casts import Cast, flax_casts
from einops_arch.parity.runs.flax_hooks import recording
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.jaxprs import lifted
from einops_arch.parity.runs.paths import rename
from einops_arch.parity.runs.randomness import stop_flax
from einops_arch.parity.runs.torch_run import Call, Failure, Run, Wanted
from einops_arch.parity.runs.values import flatten, outputs_of, rebuild

__all__ = ["FlaxSide", "lifted_function", "outputs", "precise"]


class FlaxSide:
    """A Flax model, seen from outside.

    Args:
        model: the model; only copies of it are run.
        training: the mode of the copies; dropout is off in both.
        jit: compile the copies, which is much faster than one operation at a time.
        paths: PyTorch's path of each module whose own is another.
    """

    def __init__(self, model: Any, *, training: bool, jit: bool = True, paths: Mapping[str, str] | None = None) -> None:
        self.model = model
        self.training = training
        self.jit = jit
        self.paths = dict(paths or {})
        self._programs: dict[str, _Program] = {}
        self.modules = dict(self.named(model))

    def named(self, model: Any) -> Iterator[tuple[str, Any]]:
        """The modules of the model or of a copy, by PyTorch's paths."""
        from einops_arch.flax.state import named_modules

        for path, module in named_modules(model):
            yield self.paths.get(path, path), module

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the first floating-point parameter, or of another variable where there is none."""
        import jax
        from flax import nnx

        for kinds in (nnx.Param, ...):
            for leaf in jax.tree.leaves(nnx.state(self.model, kinds)):
                if jax.dtypes.issubdtype(leaf.dtype, np.floating):
                    return np.dtype(leaf.dtype)
        return np.dtype(np.float32)

    def run(
        self,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        steps: int,
        *,
        double: bool,
        statistics: bool = False,
        lift: bool = False,
        inputs_of: Wanted = frozenset(),
    ) -> Run:
        """Run a copy.

        Args:
            arguments: numpy arrays by position, nested or not, already of the dtype of the run.
            keywords: the same by name.
            steps: how often to call it; the first call is recorded, and the statistics are those after the last.
            double: run in float64.
            statistics: keep the state after the last call.
            lift: keep float64 where the model casts to less.
            inputs_of: the paths of the modules whose inputs are kept; None for all.
        """
        from flax import nnx

        with precise(double=double):
            model = self._copy(double=double)
            before = _buffers(model)
            graph, state = nnx.split(model)
            nests = (_arrays(arguments), _arrays(keywords))
            inputs = dict(pair for nest in nests for pair in _leaves(nest))
            keeps_state = statistics or steps > 1
            key = repr((rebuild(nests, _slot, _is_array), double, lift, inputs_of, keeps_state))
            program = self._programs.get(key)
            if program is None:
                program = _Program(self, graph, nests, inputs_of, keeps_state=keeps_state)
                program.prepare(state, inputs, double=double, lift=lift)
                self._programs[key] = program
            run, state = program(state, inputs)
            for _ in range(steps - 1 if run.failure is None else 0):
                later, state = program(state, inputs)
                run.last = later.outputs
            if run.failure is None:
                nnx.update(model, state)
                after = _buffers(model)
                changed = {
                    name: value
                    for name, value in after.items()
                    if name not in before or not same_bits(before[name], value)
                }
                run.statistics, run.changed = self._renamed(after), frozenset(self._renamed(changed))
            return run

    def forms(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], inputs_of: Wanted
    ) -> dict[tuple[str, int], Any]:
        """What goes into modules, in float64: arguments by position and by name, with arrays that hold no numbers.

        The model is traced and not run, unless it cannot be.

        Args:
            arguments: numpy arrays by position.
            keywords: the same by name.
            inputs_of: the paths of the modules; None for all.
        """
        from flax import nnx

        if self.jit:
            with precise(double=True):
                graph, state = nnx.split(self._copy(double=True))
                nests = (_arrays(arguments), _arrays(keywords))
                program = _Program(self, graph, nests, inputs_of, keeps_state=False)
                nests_by_call = program.forms(state, dict(pair for nest in nests for pair in _leaves(nest)))
            if nests_by_call is not None:
                return nests_by_call
        return self.run(arguments, keywords, 1, double=True, inputs_of=inputs_of).inputs

    def forced(self, nests: Mapping[tuple[str, int], Any], *, double: bool) -> dict[tuple[str, int], Any]:
        """Call modules one by one with given inputs.

        Args:
            nests: arguments by position and by name, for paths and numbers of calls.
            double: run in float64, the inputs widened.

        Returns:
            For each the arrays that it gave, or the exception that it raised.
        """
        results: dict[tuple[str, int], Any] = {}
        with precise(double=double):
            modules = self.copies(double=double)
            for key, nest in nests.items():
                args, kwargs = (_arrays(part) for part in (Inputs.widened(nest) if double else nest))
                try:
                    output = modules[key[0]](*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the module
                    results[key] = error
                else:
                    results[key] = [to_numpy(array) for _, array in outputs(output, inner=True)]
        return results

    def copies(self, *, double: bool) -> dict[str, Any]:
        """The modules of a copy, by path."""
        with precise(double=double):
            return dict(self.named(self._copy(double=double)))

    def _renamed(self, state: dict[str, Array]) -> dict[str, Array]:
        return {rename(name, self.paths): value for name, value in state.items()}

    def gradients(
        self,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        seed: int,
        layouts: list[Layout],
        *,
        order: list[int] | None = None,
        lift: bool = False,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients, in float64, of the same random projection of the outputs as PyTorch's.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            seed: of the projection.
            layouts: of the outputs.
            order: which output belongs to each of PyTorch's; None for the same order.
            lift: keep float64 where the model casts to less.

        Returns:
            Those of the parameters by PyTorch's names and in its layout, and those of the inputs by place.
        """
        import jax
        import jax.numpy as jnp
        from flax import nnx

        with precise(double=True):
            graph, parameters, rest = nnx.split(self._copy(double=True), nnx.Param, ...)
            nests = (_arrays(arguments), _arrays(keywords))
            every = dict(pair for nest in nests for pair in _leaves(nest))
            floats = {place: array for place, array in every.items() if jnp.issubdtype(array.dtype, jnp.floating)}

            def projection(parameters: Any, floats: dict[str, Any], every: dict[str, Any]) -> Any:
                inputs = every | floats
                args, kwargs = (rebuild(nest, inputs.get, _is_array) for nest in nests)
                leaves = outputs(_merged(graph, parameters, rest)(*args, **kwargs))
                total = jnp.zeros(())
                for n, (place, layout) in enumerate(zip(order or range(len(leaves)), layouts, strict=True)):
                    for part, real in _real_parts(leaves[place][1]):
                        shape = [real.shape[layout.index(axis)] for axis in range(real.ndim)]
                        weights = random_numbers(f"projection {n}{part}", shape, seed).transpose(layout)
                        total += jnp.sum(weights * real)
                return total

            if lift:
                projection = lifted_function(projection, parameters, floats, every)[0]
            program = self.compiled(jax.grad(projection, argnums=(0, 1)), double=True)
            slopes, input_slopes = program(parameters, floats, every)
            return (
                self._renamed(_gradient_state(nnx.merge(graph, slopes, rest))),
                {place: to_numpy(slope) for place, slope in input_slopes.items()},
            )

    def compiled(self, function: Any, *, double: bool) -> Any:
        """The function under `jax.jit`, unless the model is not to be traced."""
        import jax

        if not self.jit:
            return function
        # What is computed does not depend on how hard the compiler tries; how it is rounded does.
        return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if double else None)

    def widened(self) -> Any:
        """A copy of the whole model in float64."""
        with precise(double=True):
            return self._copy(double=True)

    def copy_of(self, path: str) -> Any:
        """One module of the model in float64, in the mode of the comparison."""
        with precise(double=True):
            return self._copy(double=True, module=self.modules[path])

    def paths_inside(self, path: str) -> dict[str, str]:
        """By PyTorch's paths of the modules inside of one, where they are in a copy of it."""
        from einops_arch.flax.state import named_modules

        own = {id(module): name for name, module in named_modules(self.modules[path])}
        return {name: own[id(module)] for name, module in self.modules.items() if id(module) in own}

    def _copy(self, *, double: bool, module: Any = None) -> Any:
        import jax
        import jax.numpy as jnp
        from flax import nnx

        def widen(leaf: Any) -> Any:
            if not double or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf
            return leaf.astype(jnp.complex128 if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else jnp.float64)

        graph, state = nnx.split(self.model if module is None else module)
        model = _merged(graph, jax.tree.map(widen, state))
        for _, inner in nnx.iter_modules(model):
            if double:
                _lift_dtypes(inner)
            if self.training:
                stop_flax(inner)
        if self.training:
            model.train()
        else:
            model.eval()
        return model


class _Program:
    """One call of a model, traced and compiled once for inputs of one form: what it gives, and who gave it."""

    def __init__(
        self, side: FlaxSide, graph: Any, nests: tuple[Any, Any], inputs_of: Wanted, *, keeps_state: bool
    ) -> None:
        self._side = side
        self._graph = graph
        self._nests = nests
        self._inputs_of = inputs_of
        self._keeps_state = keeps_state
        self._seen: list[tuple[str, int, tuple[str, ...]]] = []
        self._places: list[str] = []
        self._taken: list[tuple[tuple[str, int], Any]] = []
        self._casts: list[Cast] = []
        self._failure: Failure | None = None
        self._run: Any = self._call

    def prepare(self, state: Any, inputs: dict[str, Any], *, double: bool, lift: bool) -> None:
        """Trace it once to look for casts, and compile it."""
        if lift:
            self._run, program = lifted_function(self._call, state, inputs)
            self._casts = flax_casts(program)
        self._run = self._side.compiled(self._run, double=double)
        if double and not lift and self._side.jit:
            self._casts = flax_casts(self._run.trace(state, inputs).jaxpr)

    def forms(self, state: Any, inputs: dict[str, Any]) -> dict[tuple[str, int], Any] | None:
        """What goes into the modules, without a run; None where the trace does not come to its end."""
        import jax

        jax.eval_shape(self._call, state, inputs)
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
        return run, state

    def _call(self, state: Any, inputs: dict[str, Any]) -> Any:
        from flax import nnx

        model = _merged(self._graph, state)
        args, kwargs = (rebuild(nest, inputs.get, _is_array) for nest in self._nests)
        self._failure = None
        with recording(model, self._side.named, self._inputs_of) as seen:
            try:
                output = model(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the model
                output = None
                self._failure = Failure(seen.failed_in or "", error.with_traceback(None))
        leaves = outputs(output)
        self._seen[:] = [(path, index, places) for path, index, _, places in seen.calls]
        self._places[:] = [place for place, _ in leaves]
        self._taken[:] = [(key, rebuild(nest, _slot, _is_array)) for key, nest in seen.inputs.items()]
        left = nnx.Intermediate if self._keeps_state else nnx.Any(nnx.Intermediate, nnx.Param, nnx.RngState)
        after = nnx.filter_state(nnx.state(model), nnx.Not(left))
        taken = [dict(_leaves(nest)) for nest in seen.inputs.values()]
        return [arrays for _, _, arrays, _ in seen.calls], [array for _, array in leaves], taken, after


def lifted_function(function: Any, *arguments: Any) -> tuple[Any, Any]:
    """The same function with all in float64, and the program that was traced."""
    import jax

    program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    form = jax.tree.structure(shapes)

    def run(*arguments: Any) -> Any:
        return jax.tree.unflatten(form, lifted(program, jax.tree.leaves(arguments)))

    return run, program


def _merged(graph: Any, *states: Any) -> Any:
    """A model with variables of its own; `nnx.merge` alone takes those of the states, and a call would change them."""
    import jax
    from flax import nnx

    return nnx.merge(graph, *jax.tree.map(lambda leaf: leaf, states))


def _lift_dtypes(module: Any) -> None:
    """What a layer computes in is written in its settings; `.double()` of PyTorch has no such thing to leave alone."""
    import jax.numpy as jnp

    for name in ("dtype", "param_dtype"):
        value = vars(module).get(name)
        if value is not None and jnp.issubdtype(value, jnp.inexact):
            setattr(module, name, jnp.complex128 if jnp.issubdtype(value, jnp.complexfloating) else jnp.float64)


@contextlib.contextmanager
def precise(*, double: bool) -> Iterator[None]:
    """Full precision on every device, and float64 where it is asked for, whatever the process has set."""
    import jax

    with jax.default_matmul_precision("highest"), jax.enable_x64(new_val=True) if double else contextlib.nullcontext():
        yield


def _gradient_state(model: Any) -> dict[str, Array]:
    """By PyTorch's names: a Flax leaf that holds a sum gives both terms its gradient."""
    from flax import nnx

    from einops_arch.flax.state import port_steps
    from einops_arch.layouts.plan import ConstantStep, SumStep

    state: dict[str, Array] = {}
    for step, variables in port_steps(model):
        if isinstance(step, ConstantStep) or not all(isinstance(variable, nnx.Param) for variable in variables):
            continue
        values = step.to_torch()
        if isinstance(step, SumStep):
            first, second = step.names
            # The gate that must be zero has a gradient in PyTorch that Flax cannot know.
            values = {first: values[first]} | ({} if step.zero_gate else {second: values[first]})
        state |= values
    return state


def _buffers(model: Any) -> dict[str, Array]:
    """What is no parameter: by PyTorch's names where a rule tells them, else by Flax's own."""
    import jax
    from flax import nnx

    from einops_arch.flax.state import named_modules, port_steps
    from einops_arch.layouts.plan import ConstantStep

    skipped = (nnx.Param, nnx.RngState, nnx.Intermediate, nnx.Perturbation)
    state: dict[str, Array] = {}
    known: set[int] = set()
    # A layer without a rule speaks for itself, by its own names.
    with contextlib.suppress(PortError):
        for step, variables in port_steps(model):
            known |= {id(variable) for variable in variables}
            if not isinstance(step, ConstantStep) and not all(
                isinstance(variable, nnx.Param) for variable in variables
            ):
                state |= step.to_torch()
    for path, module in named_modules(model):
        for name, value in vars(module).items():
            if isinstance(value, nnx.Variable) and not isinstance(value, skipped) and id(value) not in known:
                value = value.get_value()  # noqa: PLW2901 the array in it
            if isinstance(value, jax.Array | np.ndarray):
                state[f"{path}.{name}" if path else name] = to_numpy(value)
    return state


@dataclasses.dataclass(frozen=True)
class _Slot:
    """An array's place in a nest."""

    shape_of: tuple[int, ...]
    dtype_of: str


def _slot(place: str, value: Any) -> _Slot:
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


def _arrays(nest: Any) -> Any:
    """Numpy arrays as jax arrays; without x64, integers are as narrow as jax has them."""
    import jax
    import jax.numpy as jnp

    def change(place: str, value: Any) -> Any:
        del place
        return jnp.asarray(value, jax.dtypes.canonicalize_dtype(value.dtype))

    return rebuild(nest, change, lambda leaf: isinstance(leaf, np.ndarray))


def _is_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array | np.ndarray)


def _leaves(value: Any) -> list[tuple[str, Any]]:
    return flatten(value, _is_array)


def outputs(value: Any, *, inner: bool = False) -> list[tuple[str, Any]]:
    """The arrays and numbers that a module gave; what cannot be looked into is an error of the network alone.

    Raises:
        ParityError: something in the output of the network can be neither compared nor looked into.
    """
    try:
        return outputs_of(value, _is_array, side="Flax's model")
    except ParityError:
        if not inner:
            raise
        return _leaves(value)


def _real_parts(output: Any) -> list[tuple[str, Any]]:
    """What of an output has a slope, in real numbers."""
    import jax.numpy as jnp

    if jnp.issubdtype(output.dtype, jnp.complexfloating):
        return [("", output.real), (" imaginary", output.imag)]
    return [("", output)] if jnp.issubdtype(output.dtype, jnp.floating) else []
