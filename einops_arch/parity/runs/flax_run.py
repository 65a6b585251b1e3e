"""Run a copy of a Flax model and record what every module returned. The model itself is not touched."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.errors import PortError
from einops_arch.layouts.arrays import same_bits, to_numpy
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.verdicts import Array, unit_roundoff
from einops_arch.parity.runs.axes import Layout
from einops_arch.parity.runs.compiling import quick_options
from einops_arch.parity.runs.flax_program import (
    Program,
    array_leaves,
    is_array,
    jax_arrays,
    lifted_function,
    merged,
    outputs,
    slot,
)
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.jaxprs import written_out
from einops_arch.parity.runs.paths import rename
from einops_arch.parity.runs.randomness import stop_flax, sure_draws
from einops_arch.parity.runs.run import Run, Wanted
from einops_arch.parity.runs.tables import Tables, exactly
from einops_arch.parity.runs.values import rebuild

__all__ = ["FlaxSide", "precise"]


class FlaxSide:
    """A Flax model, seen from outside.

    Args:
        model: the model; only copies of it are run.
        training: the mode of the copies; dropout is off in both.
        jit: compile the copies, which is much faster than one operation at a time.
        paths: PyTorch's path of each module whose own is another.
        torch_state: PyTorch's weights, where they are known: a leaf that holds the sum of two of them, rounded to the
            model's dtype, holds the exact sum in float64, so that the rounding of a weight is no other function.
    """

    def __init__(
        self,
        model: Any,
        *,
        training: bool,
        jit: bool = True,
        paths: Mapping[str, str] | None = None,
        torch_state: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.torch_state = torch_state or {}
        self.tables: Tables | None = None
        # Integers are made of integers by way of other numbers, as a run in float64 has seen.
        self.makes_integers = False
        self.training = training
        self.jit = jit
        self.paths = dict(paths or {})
        self._programs: dict[str, Program] = {}
        # The last program of gradients, with what it was made for.
        self._slopes: tuple[str, tuple[Any, Any, Any, Any]] | None = None
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
            model = self._copy(double=double, lift=lift)
            before = _buffers(model)
            graph, state = nnx.split(model)
            nests = (jax_arrays(arguments), jax_arrays(keywords))
            inputs = dict(pair for nest in nests for pair in array_leaves(nest))
            keeps_state = statistics or steps > 1
            key = repr((rebuild(nests, slot, is_array), double, lift, inputs_of, keeps_state, id(self.tables)))
            program = self._programs.get(key)
            if program is None:
                program = Program(self, graph, nests, inputs_of, keeps_state=keeps_state)
                program.prepare(state, inputs, double=double, lift=lift)
                self._programs[key] = program
            run, state = program(state, inputs)
            for _ in range(steps - 1 if run.failure is None else 0):
                later, state = program(state, inputs)
                run.between.append(later.outputs)
            if run.between:
                run.last = run.between.pop()
            if run.failure is None:
                kept = {path: to_numpy(_variable_at(model, path).get_value()) for path in program.changed}
                nnx.update(model, state)
                # What an inner `jit` returns is another array, and need not be another number.
                moved = [
                    path
                    for path, value in kept.items()
                    if not same_bits(value, to_numpy(_variable_at(model, path).get_value()))
                ]
                after = _buffers(model, moved)
                changed = {
                    name: value
                    for name, value in after.items()
                    if name not in before or not same_bits(before[name], value)
                }
                run.statistics, run.changed = self._renamed(after), frozenset(self._renamed(changed))
            return run

    def stored(self) -> dict[tuple[tuple[int, ...], bytes], np.dtype[Any]]:
        """By their numbers, the dtypes of the arrays of the model's state that are narrower than float32."""
        import jax
        from flax import nnx

        leaves = jax.tree.leaves(nnx.state(self.model, nnx.Not(nnx.Param)))
        arrays = [to_numpy(leaf) for leaf in leaves if jax.dtypes.issubdtype(leaf.dtype, np.floating)]
        return {exactly(array): array.dtype for array in arrays if unit_roundoff(array.dtype) > 2.0**-24}

    def shares_tables(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
        """Whether the model has any of PyTorch's tables, but for their rounding; it is traced and not run.

        Args:
            arguments: numpy arrays by position, in float64.
            keywords: the same by name.
        """
        import jax
        from flax import nnx

        if self.tables is None:
            return False
        with precise(double=True):
            graph, state = nnx.split(self._copy(double=True, lift=True))
            nests = (jax_arrays(arguments), jax_arrays(keywords))
            inputs = dict(pair for nest in nests for pair in array_leaves(nest))
            program = Program(self, graph, nests, frozenset(), keeps_state=False)
            run = lifted_function(program.call, state, inputs, tables=self.tables)[0]
            jax.eval_shape(run, state, inputs)
        used, self.tables.used = self.tables.used, 0
        return bool(used)

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
                nests = (jax_arrays(arguments), jax_arrays(keywords))
                program = Program(self, graph, nests, inputs_of, keeps_state=False)
                nests_by_call = program.forms(state, dict(pair for nest in nests for pair in array_leaves(nest)))
            if nests_by_call is not None:
                return nests_by_call
        return self.run(arguments, keywords, 1, double=True, inputs_of=inputs_of).inputs

    def forced(
        self, nests: Mapping[tuple[str, int], Any], *, double: bool, lift: bool = False
    ) -> dict[tuple[str, int], Any]:
        """Call modules one by one with given inputs.

        Args:
            nests: arguments by position and by name, for paths and numbers of calls.
            double: run in float64, the inputs widened.
            lift: keep float64 where the model casts to less.

        Returns:
            For each the arrays that it gave, or the exception that it raised.
        """
        results: dict[tuple[str, int], Any] = {}
        with precise(double=double):
            modules = self.copies(double=double, lift=lift)
            for key, nest in nests.items():
                args, kwargs = (jax_arrays(part) for part in (Inputs.widened(nest) if double else nest))
                try:
                    output = _called(modules[key[0]], args, kwargs, lift=lift, steady=double and self.makes_integers)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the module
                    results[key] = error
                else:
                    results[key] = [to_numpy(array) for _, array in outputs(output, inner=True)]
        return results

    def copies(self, *, double: bool, lift: bool = False) -> dict[str, Any]:
        """The modules of a copy, by path."""
        with precise(double=double):
            return dict(self.named(self._copy(double=double, lift=lift)))

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
            nests = (jax_arrays(arguments), jax_arrays(keywords))
            every = dict(pair for nest in nests for pair in array_leaves(nest))
            floats = {place: array for place, array in every.items() if jnp.issubdtype(array.dtype, jnp.floating)}
            settings = (seed, layouts, order, lift, self.makes_integers, id(self.tables))
            key = repr((rebuild(nests, slot, is_array), settings))
            if self._slopes is None or self._slopes[0] != key:
                self._slopes = key, self._gradient_program(nests, seed, layouts, order, lift=lift)
            program, graph, parameters, rest = self._slopes[1]
            slopes, input_slopes = program(parameters, floats, every)
            # The slope of a complex number is conjugate to PyTorch's, which points uphill.
            slopes = jax.tree.map(lambda slope: jnp.conj(slope) if jnp.iscomplexobj(slope) else slope, slopes)
            return (
                self._renamed(_gradient_state(nnx.merge(graph, slopes, rest))),
                {place: to_numpy(slope) for place, slope in input_slopes.items()},
            )

    def _gradient_program(
        self, nests: Any, seed: int, layouts: list[Layout], order: list[int] | None, *, lift: bool
    ) -> tuple[Any, Any, Any, Any]:
        """The gradients as a function of parameters, inputs of floats and all inputs; and the model taken apart."""
        import jax
        import jax.numpy as jnp
        from flax import nnx

        graph, parameters, rest = nnx.split(self._copy(double=True, lift=lift), nnx.Param, ...)
        every = dict(pair for nest in nests for pair in array_leaves(nest))
        floats = {place: array for place, array in every.items() if jnp.issubdtype(array.dtype, jnp.floating)}

        def projection(parameters: Any, floats: dict[str, Any], every: dict[str, Any]) -> Any:
            inputs = every | floats
            args, kwargs = (rebuild(nest, inputs.get, is_array) for nest in nests)
            with sure_draws():
                leaves = outputs(merged(graph, parameters, rest)(*args, **kwargs))
            total = jnp.zeros(())
            for n, (place, layout) in enumerate(zip(order or range(len(leaves)), layouts, strict=True)):
                for part, real in _real_parts(leaves[place][1]):
                    shape = [real.shape[layout.index(axis)] for axis in range(real.ndim)]
                    weights = random_numbers(f"projection {n}{part}", shape, seed).transpose(layout)
                    total += jnp.sum(weights * real)
            return total

        if lift or self.makes_integers:
            projection = lifted_function(
                projection, parameters, floats, every, tables=self.tables if lift else None, lift=lift
            )[0]
        return self.compiled(jax.grad(projection, argnums=(0, 1)), double=True), graph, parameters, rest

    def compiled(self, function: Any, *, double: bool) -> Any:
        """The function under `jax.jit`, unless the model is not to be traced."""
        import jax

        if not self.jit:
            return function
        # What is computed does not depend on how hard the compiler tries; how it is rounded does.
        return jax.jit(function, compiler_options=quick_options() if double else None)

    def widened(self) -> Any:
        """A copy of the whole model in float64."""
        with precise(double=True):
            return self._copy(double=True)

    def copy_of(self, path: str) -> Any:
        """One module of the model in float64, in the mode of the comparison."""
        with precise(double=True):
            return self._copy(double=True, path=path)

    def paths_inside(self, path: str) -> dict[str, str]:
        """By PyTorch's paths of the modules inside of one, where they are in a copy of it."""
        from einops_arch.flax.state import named_modules

        own = {id(module): name for name, module in named_modules(self.modules[path])}
        return {name: own[id(module)] for name, module in self.modules.items() if id(module) in own}

    def _copy(self, *, double: bool, path: str = "", lift: bool = False) -> Any:
        import jax
        import jax.numpy as jnp
        from flax import nnx

        def widen(leaf: Any, *, is_weight: bool = False) -> Any:
            if not double or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf
            if lift and (leaf.size == 1 or not is_weight) and not jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                # As somebody wrote it down, as literals in the code are.
                return jnp.asarray(written_out(leaf, is_held=True), jnp.float64)
            return leaf.astype(jnp.complex128 if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else jnp.float64)

        graph, weights, state = nnx.split(self.modules[path] if path else self.model, nnx.Param, ...)
        weights = jax.tree.map(functools.partial(widen, is_weight=True), weights)
        model = merged(graph, weights, jax.tree.map(widen, state))
        if double and self.torch_state:
            self._with_exact_sums(model, path)
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

    def _with_exact_sums(self, model: Any, path: str) -> None:
        """Give leaves that hold a sum of two of PyTorch's weights, rounded once, the sum itself."""
        import jax.numpy as jnp

        from einops_arch.flax.state import port_steps
        from einops_arch.layouts.plan import SumStep

        with contextlib.suppress(PortError):
            for step, variables in port_steps(model):
                if not isinstance(step, SumStep):
                    continue
                names = [rename(f"{path}.{name}" if path else name, self.paths) for name in step.names]
                terms = [self.torch_state.get(name) for name in names]
                if any(term is None for term in terms):
                    continue
                first, second = (np.asarray(term) for term in terms)
                total = first.astype(np.float64) + second.astype(np.float64)
                held = np.concatenate([np.asarray(variable.get_value()) for variable in variables])
                if held.shape == total.shape and np.array_equal(held, (first + second).astype(np.float64)):
                    for variable, part in zip(variables, np.split(total, len(variables)), strict=True):
                        variable.set_value(jnp.asarray(part))


def _lift_dtypes(module: Any) -> None:
    """What a layer computes in is written in its settings; `.double()` of PyTorch has no such thing to leave alone."""
    import jax.numpy as jnp

    for name in ("dtype", "param_dtype"):
        value = vars(module).get(name)
        if value is not None and jnp.issubdtype(value, jnp.inexact):
            setattr(module, name, jnp.complex128 if jnp.issubdtype(value, jnp.complexfloating) else jnp.float64)


def _called(module: Any, args: Any, kwargs: Any, *, lift: bool, steady: bool) -> Any:
    """What a module gives, with its casts lifted if they are to be, or its integers those of users."""
    if not (lift or steady):
        with sure_draws():
            return module(*args, **kwargs)
    from flax import nnx

    graph, state = nnx.split(module)
    leaves = dict(array_leaves((args, kwargs)))

    def call(state: Any, leaves: Any) -> Any:
        args, kwargs = rebuild((args_, kwargs_), lambda place, _: leaves[place], is_array)
        with sure_draws():
            return merged(graph, state)(*args, **kwargs)

    args_, kwargs_ = args, kwargs
    return lifted_function(call, state, leaves, lift=lift)[0](state, leaves)


@contextlib.contextmanager
def precise(*, double: bool) -> Iterator[None]:
    """Full precision on every device, and float64 where it is asked for, whatever the process has set."""
    import jax

    with jax.default_matmul_precision("highest"), jax.enable_x64(new_val=True) if double else contextlib.nullcontext():
        yield


def _gradient_state(model: Any) -> dict[str, Array]:
    """Gradients by PyTorch's names; a Flax leaf that holds a sum gives both terms its gradient."""
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


def _buffers(model: Any, paths: Sequence[Any] = ()) -> dict[str, Array]:
    """The variables that are no parameters, by PyTorch's names where a rule has them, else by Flax's.

    Args:
        model: a model.
        paths: of parameters that are taken too, such as those that a call has changed.
    """
    import jax
    from flax import nnx

    from einops_arch.flax.state import named_modules, port_steps
    from einops_arch.layouts.plan import ConstantStep

    skipped = (nnx.Param, nnx.RngState, nnx.Intermediate, nnx.Perturbation)
    state: dict[str, Array] = {}
    known: set[int] = set()
    wanted = {id(_variable_at(model, path)) for path in paths}
    # A layer without a rule speaks for itself, by its own names.
    with contextlib.suppress(PortError):
        for step, variables in port_steps(model):
            known |= {id(variable) for variable in variables}
            if not isinstance(step, ConstantStep) and not all(
                isinstance(variable, nnx.Param) and id(variable) not in wanted for variable in variables
            ):
                state |= step.to_torch()
    for path, module in named_modules(model):
        for name, value in vars(module).items():
            plain = isinstance(value, nnx.Variable) and (not isinstance(value, skipped) or id(value) in wanted)
            if plain and id(value) not in known:
                value = value.get_value()  # noqa: PLW2901 the array in it
            if isinstance(value, jax.Array | np.ndarray):
                state[f"{path}.{name}" if path else name] = to_numpy(value)
    return state


def _variable_at(model: Any, path: Sequence[Any]) -> Any:
    """The variable at a path of the state."""
    value = model
    for key in path:
        value = getattr(value, key) if isinstance(key, str) and hasattr(value, key) else value[key]
    return value


def _real_parts(output: Any) -> list[tuple[str, Any]]:
    """What of an output has a slope, in real numbers."""
    import jax.numpy as jnp

    if jnp.issubdtype(output.dtype, jnp.complexfloating):
        return [("", output.real), (" imaginary", output.imag)]
    return [("", output)] if jnp.issubdtype(output.dtype, jnp.floating) else []
