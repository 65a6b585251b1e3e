"""One call of the Flax twin in a trace of jax."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from einops_arch.architectures import Architecture, Axes, Config
from einops_arch.cli.summary.module import Module
from einops_arch.layouts.named_axes import Array, Call, stated_axes
from einops_arch.parity.runs.casts import SCOPE
from einops_arch.parity.runs.flax_hooks import recording
from einops_arch.parity.runs.jaxprs import BODIES

__all__ = ["follow"]


def follow(
    architecture: Architecture, config: Config, sized_inputs: Sequence[tuple[Axes, dict[str, int]]]
) -> tuple[dict[str, Module], list[Call], list[Array]]:
    """The modules by path, the calls in the order in which they returned, and the outputs."""
    import jax
    from flax import nnx

    from einops_arch.flax._build import abstract_model
    from einops_arch.flax.state import named_modules

    model = abstract_model(config)
    model.eval()
    modules = {
        path: Module(
            path,
            type(module).__name__,
            stated=stated_axes(module),
            parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))),
            own={name: tuple(value.shape) for name, value in vars(module).items() if isinstance(value, nnx.Param)},
        )
        for path, module in named_modules(model)
        if not isinstance(module, nnx.List | nnx.Dict)
    }
    inputs = [
        jax.ShapeDtypeStruct(
            [bound[name] for name in axes.flax_axes.split()], jax.dtypes.canonicalize_dtype(axes.dtype)
        )
        for axes, bound in sized_inputs
    ]
    graph, state = nnx.split(model)
    calls: list[Call] = []
    outputs: list[Array] = []
    kept: list[Any] = []

    def arrays(nest: Any) -> list[Array]:
        traced = [leaf for leaf in jax.tree.leaves(nest) if hasattr(leaf, "shape")]
        kept.extend(traced)
        return [Array(id(leaf), tuple(leaf.shape)) for leaf in traced]

    def run(state: Any, *inputs: Any) -> Any:
        # Variables made here, inside of the trace, or nothing could be written to them.
        module = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
        with recording(module, named_modules, None) as seen:
            result = module(*inputs)
        calls.extend(Call(path, arrays(seen.inputs[path, index]), arrays(out)) for path, index, out, _ in seen.calls)
        outputs.extend(arrays(result))
        return jax.tree.leaves(result)

    program = jax.make_jaxpr(run)(state, *inputs)
    counts = _multiply_adds(program.jaxpr)
    # On a CPU a grouped convolution may be done by other operations.
    convolutions = {path: module for path, module in named_modules(model) if isinstance(module, nnx.Conv)}
    counts = Counter({path: count for path, count in counts.items() if path not in convolutions})
    for call in calls:
        if call.path in convolutions:
            kernel = convolutions[call.path].kernel.shape
            counts[call.path] += math.prod(call.outputs[0].shape) * math.prod(kernel[:-1])
    for path, count in counts.items():
        around = path.split(".")
        for depth in range(len(around) + 1 if path else 1):
            if (name := ".".join(around[:depth])) in modules:
                modules[name].multiply_adds += count
    return modules, calls, outputs


def _multiply_adds(program: Any, path: str = "", times: int = 1) -> Counter[str]:
    """How often two numbers are multiplied and added to a sum, by the innermost module."""
    counts: Counter[str] = Counter()
    for equation in program.eqns:
        scopes = str(equation.source_info.name_stack).split("/")
        here = next((name[len(SCOPE) :] for name in reversed(scopes) if name.startswith(SCOPE)), path)
        name, shapes = (
            equation.primitive.name,
            [var.aval.shape for var in equation.invars if hasattr(var.aval, "shape")],
        )
        size = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            counts[here] += times * size * math.prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            numbers, kernel = equation.params["dimension_numbers"], shapes[1]
            each = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
            # Between the values of a dilated input are zeros, which cost nothing.
            counts[here] += times * size * each // math.prod(equation.params["lhs_dilation"])
        for body in (equation.params[key] for key in BODIES if key in equation.params):
            repeats = equation.params.get("length", 1) if name == "scan" else 1
            counts += _multiply_adds(getattr(body, "jaxpr", body), here, times * repeats)
    return counts
