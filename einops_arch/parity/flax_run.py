"""Run a copy of a Flax model and keep what every module gave. The model itself is not touched."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.parity.layouts import Layout
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.torch_run import Call, Run
from einops_arch.parity.values import flatten, rebuild
from einops_arch.parity.verdicts import Array
from einops_arch.port.arrays import to_numpy

__all__ = ["FlaxSide"]

_PATCHING = threading.RLock()


class FlaxSide:
    """A Flax model, seen from outside.

    Args:
        model: the model; only copies of it are run.
        training: the mode of the copies; dropout is off in both.
        jit: compile the copies, which is much faster than one operation at a time.
    """

    def __init__(self, model: Any, *, training: bool, jit: bool = True) -> None:
        from einops_arch.flax.state import named_modules

        self.model = model
        self.training = training
        self.jit = jit
        self.modules = dict(named_modules(model))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the first floating-point variable."""
        import jax
        from flax import nnx

        for leaf in jax.tree.leaves(nnx.state(self.model)):
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
    ) -> Run:
        """Run a copy.

        Args:
            arguments: numpy arrays by position, nested or not, already of the dtype of the run.
            keywords: the same by name.
            steps: how often to call it; the first call is recorded, and the statistics are those after the last.
            double: run in float64.
            statistics: keep the state after the last call.
        """
        from flax import nnx

        with _precise(double=double):
            graph, state = nnx.split(self._copy(double=double))
            nests = (_arrays(arguments), _arrays(keywords))
            seen: list[tuple[str, int]] = []
            places: list[str] = []

            def call(state: Any, inputs: dict[str, Any]) -> Any:
                model = _merged(graph, state)
                args, kwargs = (rebuild(nest, inputs.get, _is_array) for nest in nests)
                with _recording(model) as calls:
                    outputs = _leaves(model(*args, **kwargs))
                seen[:] = [(path, index) for path, index, _ in calls]
                places[:] = [place for place, _ in outputs]
                after = nnx.filter_state(nnx.state(model), nnx.Not(nnx.Intermediate))
                return [arrays for _, _, arrays in calls], [one for _, one in outputs], after

            program = self._compiled(call, double=double)
            inputs = dict(pair for nest in nests for pair in _leaves(nest))
            values, outputs, state = program(state, inputs)
            run = Run(
                [Call(*one, tuple(map(to_numpy, arrays))) for one, arrays in zip(seen, values, strict=True)],
                [(place, to_numpy(one)) for place, one in zip(places, outputs, strict=True)],
            )
            for _ in range(steps - 1):
                state = program(state, inputs)[-1]
            if statistics:
                run.statistics = _without_constants(nnx.merge(graph, state))
            return run

    def gradients(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], seed: int, layouts: list[Layout]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients, in float64, of the same random projection of the outputs as PyTorch's.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            seed: of the projection.
            layouts: of the outputs.

        Returns:
            Those of the parameters by PyTorch's names and in its layout, and those of the inputs by place.
        """
        import jax
        import jax.numpy as jnp
        from flax import nnx

        with _precise(double=True):
            graph, parameters, rest = nnx.split(self._copy(double=True), nnx.Param, ...)
            nests = (_arrays(arguments), _arrays(keywords))
            every = dict(pair for nest in nests for pair in _leaves(nest))
            floats = {place: one for place, one in every.items() if jnp.issubdtype(one.dtype, jnp.floating)}

            def projection(parameters: Any, floats: dict[str, Any], every: dict[str, Any]) -> Any:
                inputs = every | floats
                args, kwargs = (rebuild(nest, inputs.get, _is_array) for nest in nests)
                outputs = _leaves(_merged(graph, parameters, rest)(*args, **kwargs))
                total = jnp.zeros(())
                for n, ((_, output), layout) in enumerate(zip(outputs, layouts, strict=True)):
                    if jnp.issubdtype(output.dtype, jnp.floating):
                        shape = [output.shape[layout.index(axis)] for axis in range(output.ndim)]
                        weights = random_numbers(f"projection {n}", shape, seed).transpose(layout)
                        total += jnp.sum(weights * output)
                return total

            program = self._compiled(jax.grad(projection, argnums=(0, 1)), double=True)
            slopes, input_slopes = program(parameters, floats, every)
            return (
                _gradient_state(nnx.merge(graph, slopes, rest)),
                {place: to_numpy(one) for place, one in input_slopes.items()},
            )

    def _compiled(self, function: Any, *, double: bool) -> Any:
        import jax

        if not self.jit:
            return function
        # What is computed does not depend on how hard the compiler tries; how it is rounded does.
        return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if double else None)

    def _copy(self, *, double: bool) -> Any:
        import jax
        import jax.numpy as jnp
        from flax import nnx

        def widen(leaf: Any) -> Any:
            return leaf.astype(jnp.float64) if double and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        graph, state = nnx.split(self.model)
        model = _merged(graph, jax.tree.map(widen, state))
        for _, module in nnx.iter_modules(model):
            if double:
                _lift_dtypes(module)
            if self.training:
                _stop_dropout(module)
        if self.training:
            model.train()
        else:
            model.eval()
        return model


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
        if value is not None and jnp.issubdtype(value, jnp.floating):
            setattr(module, name, jnp.float64)


def _stop_dropout(module: Any) -> None:
    names = ["dropout", "dropout_rate"] + ["rate"] * any(
        base.__name__.startswith("Dropout") for base in type(module).__mro__
    )
    for name in names:
        if isinstance(vars(module).get(name), float):
            setattr(module, name, 0.0)


@contextlib.contextmanager
def _recording(model: Any) -> Iterator[list[tuple[str, int, list[Any]]]]:
    """Keep the outputs of every module of a model: path, number of the call, arrays.

    `nnx.capture` wraps the methods that a class defines itself, so it does not see a `__call__` that is inherited, and
    it keeps no order. Here the classes that define it are wrapped, for the time of the run and for this model only.
    """
    from jax.extend.core import get_opaque_trace_state

    from einops_arch.flax.state import named_modules

    paths: dict[int, list[str]] = {}
    owners: dict[Any, Any] = {}
    for path, module in named_modules(model):
        paths.setdefault(id(module), []).append(path)
        owners |= {base: vars(base)["__call__"] for base in type(module).__mro__ if "__call__" in vars(base)}
    calls: list[tuple[str, int, list[Any]]] = []
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
            running.append(id(self))
            try:
                output = bound(*args, **kwargs)
            finally:
                running.pop()
            # Inside a further transformation of jax there are no values to take out.
            if get_opaque_trace_state(convention="nnx") == here:
                arrays = [one for _, one in _leaves(output)]
                for path in paths[id(self)]:
                    index = counts[path] = counts.get(path, -1) + 1
                    calls.append((path, index, arrays))
            return output

        return call

    with _PATCHING:
        try:
            for owner, original in owners.items():
                owner.__call__ = wrap(original)
            yield calls
        finally:
            for owner, original in owners.items():
                owner.__call__ = original


@contextlib.contextmanager
def _precise(*, double: bool) -> Iterator[None]:
    """Full precision on every device, and float64 where it is asked for, whatever the process has set."""
    import jax

    with jax.default_matmul_precision("highest"), jax.enable_x64(new_val=True) if double else contextlib.nullcontext():
        yield


def _gradient_state(model: Any) -> dict[str, Array]:
    """By PyTorch's names: a Flax leaf that holds a sum gives both terms its gradient."""
    from flax import nnx

    from einops_arch.flax.state import port_steps
    from einops_arch.port.plan import ConstantStep, SumStep

    state: dict[str, Array] = {}
    for step, variables in port_steps(model):
        if isinstance(step, ConstantStep) or not all(isinstance(one, nnx.Param) for one in variables):
            continue
        values = step.to_torch()
        if isinstance(step, SumStep):
            first, second = step.names
            # The gate that must be zero has a gradient in PyTorch that Flax cannot know.
            values = {first: values[first]} | ({} if step.zero_gate else {second: values[first]})
        state |= values
    return state


def _without_constants(model: Any) -> dict[str, Array]:
    from einops_arch.flax.state import port_steps
    from einops_arch.port.plan import ConstantStep

    state: dict[str, Array] = {}
    for step, _ in port_steps(model):
        if not isinstance(step, ConstantStep):
            state |= step.to_torch()
    return state


def _arrays(nest: Any) -> Any:
    """Numpy arrays as jax arrays; without x64, integers are as narrow as jax has them."""
    import jax
    import jax.numpy as jnp

    def change(place: str, value: Any) -> Any:
        del place
        return jnp.asarray(value, jax.dtypes.canonicalize_dtype(value.dtype))

    return rebuild(nest, change, lambda one: isinstance(one, np.ndarray))


def _is_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array | np.ndarray)


def _leaves(value: Any) -> list[tuple[str, Any]]:
    return flatten(value, _is_array)
