"""Walk the jaxpr of a model once, with values: which shape operations it has, from which lines, and on what."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import einops
import flax
import jax
import numpy as np
from flax import nnx

from einops_arch.discovery.solving.chains import RawChain, Step, axis_names

__all__ = ["record"]

_MOVES = frozenset({"reshape", "transpose", "squeeze", "broadcast_in_dim", "copy", "copy_p", "expand_dims"})
_PARTS = frozenset({"rev", "slice"})
_PACKS = {"concatenate": "pack", "stack": "pack", "split": "unpack", "unstack": "unpack"}
"""Of `q, k, v = h` jax makes an `unstack` since 0.11; before, it was a slice for each part."""
_IMPLIED = frozenset({"reshape", "broadcast_in_dim"})
"""What arithmetic does on its own: only the function of jax that was called tells whether the code asks for it."""
_LAYOUTS = {"conv_general_dilated": "last", "dot_general": "last"}
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_OPAQUE = frozenset({"scan", "while", "cond", "custom_root", "custom_linear_solve"})
_JAX = (f"{Path(jax.__file__).parent}{os.sep}", str(Path(contextlib.__file__)), str(Path(functools.__file__)))
_LIBRARIES = (f"{Path(flax.__file__).parent}{os.sep}",)
_FORWARDERS = ("_forward_", "api_boundary", "deferring_binary_op")
_WORDS = (
    *("reshape", "ravel", "flatten", "expand_dims", "squeeze", "broadcast_to", "repeat", "tile", "rearrange"),
    *("transpose", "swapaxes", "moveaxis", "rollaxis", "permute", "matrix_transpose"),
    *("concatenate", "stack", "split", "getitem", "take", "index", "iter", "roll", "flip"),
)


@dataclass
class _Equation:
    name: str
    again: Callable[..., Any]
    source: Any
    output: Any
    step: Step
    key: Hashable
    order: int
    asked: bool
    """The code asks for it: a sum broadcasts on its own, and a layer of the library is no code to read."""


class _Walker:
    def __init__(self) -> None:
        self.made: dict[int, _Equation] = {}
        self.used_by_moves: set[int] = set()
        self.ends: dict[int, Any] = {}
        self.single: list[tuple[str, _Equation, list[Any], list[Any], int]] = []
        self.layouts: dict[int, str] = {}
        self.kept: list[Any] = []

    def walk(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], outer: Step | None) -> list[Any]:
        """The outputs of a jaxpr; what is jitted inside of it is walked too."""
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(variable: Any) -> Any:
            return variable.val if hasattr(variable, "val") else values[variable]

        for equation in jaxpr.eqns:
            operands = [read(variable) for variable in equation.invars]
            outputs = self._inline(equation, operands, outer)
            if outputs is None:
                outputs = self._run(equation, operands, outer)
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _inline(self, equation: Any, operands: Sequence[Any], outer: Step | None) -> list[Any] | None:
        if equation.primitive.name in _OPAQUE:
            return None
        inner = next((equation.params[name] for name in _INNER if name in equation.params), None)
        if inner is None:
            return None
        jaxpr, constants = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
        if len(jaxpr.invars) != len(operands):
            return None
        # The jaxpr of a function of jax itself is kept from its first call: its lines are those of that call.
        source = str(getattr(jaxpr.debug_info, "func_src_info", "") or "")
        own = any(folder in source for folder in _JAX)
        return self.walk(jaxpr, constants, operands, (outer or _step(equation)) if own else outer)

    def _run(self, equation: Any, operands: Sequence[Any], outer: Step | None) -> list[Any]:
        primitive = equation.primitive
        bound = primitive.get_bind_params(equation.params)
        # Of jax 0.8 the functions inside come apart from the rest.
        functions, parameters = bound if isinstance(bound, tuple) else ((), bound)

        def again(*values: Any) -> Any:
            return primitive.bind(*functions, *values, **parameters)

        result = again(*operands)
        outputs = list(result) if primitive.multiple_results else [result]
        self.kept += [*operands, *outputs]
        name = primitive.name
        step = (outer or _step(equation)) if name in _MOVES | _PARTS | _PACKS.keys() else None
        if step is None or not hasattr(operands[0], "shape"):
            self._consume(operands)
            self._tag(name, operands, outputs)
            return outputs
        asked = name not in _IMPLIED or any(word in step.operation for word in _WORDS)
        asked = asked and not step.file.startswith(_LIBRARIES)
        sizes = tuple(outputs[0].shape) if name == "reshape" else ()
        step = Step(name, step.file, step.line, step.function, sizes)
        key = (name, str(sorted(parameters.items(), key=str)))
        call = _Equation(name, again, operands[0], outputs[0], step, key, len(self.kept), asked)
        if name in _MOVES and len(operands) == 1:
            self.made[id(outputs[0])] = call
            self.used_by_moves.add(id(operands[0]))
        else:
            self._consume(operands)
            axis = int(parameters.get("dimension", parameters.get("axis", 0)) or 0)
            self.single.append((name, call, list(operands), outputs, axis))
        self._tag("", operands, outputs)
        return outputs

    def _consume(self, values: Sequence[Any]) -> None:
        for value in values:
            if id(value) in self.made:
                self.ends[id(value)] = value

    def _tag(self, name: str, operands: Sequence[Any], outputs: Sequence[Any]) -> None:
        layout = _LAYOUTS.get(name) or next(
            (self.layouts[id(operand)] for operand in operands if id(operand) in self.layouts), ""
        )
        if name == "dot_general" and getattr(outputs[0], "ndim", 0) == 4 and getattr(operands[1], "ndim", 0) == 4:
            layout = "heads"
        if layout:
            self.layouts.update({id(output): layout for output in outputs})

    def chains(self) -> Iterator[RawChain]:
        for number, call in self.made.items():
            if number not in self.used_by_moves:
                self.ends.setdefault(number, call.output)
        for end in self.ends.values():
            calls: list[_Equation] = []
            at = end
            while id(at) in self.made:
                calls.append(self.made[id(at)])
                at = calls[-1].source
            calls.reverse()
            if any(call.asked for call in calls):
                raw = self._raw("move", calls, [at], [end], _replay(calls))
                raw.part = functools.partial(self._part, calls)
                yield raw
        for name, call, inputs, outputs, axis in self.single:
            if not call.asked:
                continue
            kind = _PACKS.get(name, "move")
            raw = self._raw(kind, [call], inputs, outputs, _replay([call]))
            raw.axis, raw.pure = axis, False
            yield raw

    def _part(self, calls: Sequence[_Equation], first: int, last: int) -> RawChain:
        chosen = calls[first:last]
        return self._raw("move", chosen, [chosen[0].source], [chosen[-1].output], _replay(chosen))

    def _raw(
        self,
        kind: str,
        calls: Sequence[_Equation],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        replay: Callable[[Sequence[Any]], list[Any]],
    ) -> RawChain:
        shapes = tuple(tuple(np.shape(array)) for array in inputs)
        layout = self.layouts.get(id(inputs[0]), "last")
        return RawChain(
            kind,
            "",
            tuple(call.step for call in calls),
            shapes,
            axis_names(len(shapes[0]), layout),
            replay,
            tuple(call.key for call in calls),
            lambda: ([_array(array) for array in inputs], [_array(array) for array in outputs]),
            order=calls[-1].order,
        )


def _replay(calls: Sequence[_Equation]) -> Callable[[Sequence[Any]], list[Any]]:
    def replay(values: Sequence[Any]) -> list[Any]:
        arrays: Any = [jax.numpy.asarray(value) for value in values]
        for call in calls:
            arrays = call.again(*arrays)
            arrays = arrays if isinstance(arrays, list | tuple) else [arrays]
        return [np.asarray(array) for array in arrays]

    return replay


def record(module: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> list[RawChain]:
    """Run a model once, operation by operation, and give the chains of its shape operations in the order of running.

    Args:
        module: an NNX module, which is left as it is, or any function of jax arrays.
        inputs: by position.
        keywords: by name.
    """
    if isinstance(module, nnx.Module):
        graph, state = nnx.split(module)

        def function(state: Any, inputs: Any, keywords: Any) -> Any:
            return nnx.merge(graph, state)(*inputs, **keywords)

        arguments: tuple[Any, ...] = (state, tuple(inputs), dict(keywords))
    else:

        def function(inputs: Any, keywords: Any) -> Any:  # type: ignore[misc]
            return module(*inputs, **keywords)

        arguments = (tuple(inputs), dict(keywords))
    closed = jax.make_jaxpr(function)(*arguments)
    walker = _Walker()
    walker.kept.append(walker.walk(closed.jaxpr, closed.consts, jax.tree.leaves(arguments), None))
    return sorted(walker.chains(), key=lambda chain: chain.order)


def _step(equation: Any) -> Step:
    """The line of the user's code, and in `function` the function of jax that it calls there."""
    frames = equation.source_info.traceback.frames if equation.source_info.traceback else []
    called = ""
    for frame in frames:
        if frame.file_name.startswith(_JAX):
            if not frame.function_name.startswith(_FORWARDERS):
                called = frame.function_name
            continue
        if frame.file_name.startswith(f"{Path(einops.__file__).parent}{os.sep}"):
            called = "rearrange"
            continue
        return Step(called, frame.file_name, frame.line_num, frame.function_name)
    return Step(called, "", 0, "")


def _array(value: Any) -> Any:
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype.name == "bfloat16" else value
