"""A traced module as a flat list of operations, of which some can be done otherwise without running the rest again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.parity.runs.casts import SCOPE, line_of
from einops_arch.parity.runs.jaxprs import CALLS, LIFT, Rule, bodies, operations, perform, written_out

__all__ = ["ANSWER", "ELEMENTWISE", "Change", "Graph", "Node", "Read", "Value", "inner_path", "instead"]

Read: TypeAlias = Callable[["Value"], Any]
"""Tells the array of a value as it is once earlier changes are made."""

Change: TypeAlias = Callable[[Read], Any]
"""What an operation gives instead."""

ANSWER = "optimization_barrier"
"""The operation by which a module gives what it is known to give, which depends on inputs that are not traced."""

# All arrays of a module's program are kept, as long as they are not too many.
_MOST_BYTES = 1 << 29
_MOST_NODES = 6000

ELEMENTWISE = frozenset(
    (
        *("add", "sub", "mul", "div", "max", "min", "neg", "exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic"),
        *("erf", "erfc", "erf_inv", "sqrt", "rsqrt", "cbrt", "pow", "integer_pow", "abs", "sign", "select_n", "clamp"),
        *("gt", "ge", "lt", "le", "eq", "ne", "not", "and", "or", "is_finite", "floor", "round", "sin", "cos", "sinh"),
        *("cosh", "atan2", "square", "convert_element_type", "reduce_precision", "stop_gradient", "copy", "copy_p"),
    )
)


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array of the program: an argument, a constant, a literal, or what an operation gives.

    Args:
        shape: of the array.
        dtype: of the array.
        constant: the array itself, where it does not depend on what is run.
        node: the operation that gives it.
        varies: whether it depends on the arguments of the module.
    """

    shape: tuple[int, ...]
    dtype: Any
    constant: Any = None
    node: Node | None = None
    varies: bool = False

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return bool(np.issubdtype(self.dtype, np.floating))


@dataclasses.dataclass(eq=False)
class Node:
    """One operation.

    Args:
        index: its place in the program.
        operation: jax's equation.
        inputs: what goes in.
        inner: the path of the module inside of the one that was traced in which it stands; empty in its own code.
        outputs: what comes out.
    """

    index: int
    operation: Any
    inputs: list[Value]
    inner: str = ""
    outputs: list[Value] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the primitive."""
        return str(self.operation.primitive.name)

    @property
    def params(self) -> dict[str, Any]:
        """Of the primitive."""
        return dict(self.operation.params)

    @property
    def output(self) -> Value:
        """The first of what comes out."""
        return self.outputs[0]

    @property
    def at(self) -> str:
        """The line of code that it comes from, in brackets; empty where it is not known."""
        where = line_of(self.operation)
        return f" (at {where})" if where else ""


class Graph:
    """The operations of a program in order, calls opened.

    Args:
        program: what `jax.make_jaxpr` returns.
        arguments: one array for each of its inputs.
        lifted: do everything in float64.
        right: paths of modules inside that are right by themselves, so that no cause is looked for in them.

    Raises:
        ValueError: it is too large to be looked at like this.
    """

    def __init__(
        self, program: Any, arguments: Sequence[Any], *, lifted: bool, right: Collection[str] = frozenset()
    ) -> None:
        self.lifted, self.right = lifted, right
        self.nodes: list[Node] = []
        self._programs: dict[Node, Any] = {}
        self._identities: dict[Node, frozenset[int]] = {}
        self.arguments = [Value(tuple(argument.shape), argument.dtype, varies=True) for argument in arguments]
        self.arrays: dict[Value, Any] = dict(zip(self.arguments, arguments, strict=True))
        self.results = self._open(program.jaxpr, program.consts, self.arguments, ())
        sizes = [math.prod(value.shape) for node in self.nodes for value in node.outputs]
        if sum(sizes) * 8 > _MOST_BYTES or len(self.nodes) > _MOST_NODES:
            raise ValueError("too many numbers to keep")
        for node in self.nodes:
            self.arrays.update(zip(node.outputs, self.perform(node, self.read), strict=True))
        self.own = [node for node in self.nodes if node.inner not in right or not node.inner]
        self.users: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                self.users.setdefault(value, []).append(node)

    def read(self, value: Value) -> Any:
        """The array as it is in the module."""
        return value.constant if value.constant is not None else self.arrays[value]

    def perform(self, node: Node, read: Read) -> Sequence[Any]:
        """What an operation gives."""
        values = [read(value) for value in node.inputs]
        if bodies(node.operation):
            # A loop is compiled once, and not for each cause that is tried.
            return self._compiled(node)(*values)
        changed = LIFT(node.operation, values) if self.lifted else None
        return perform(node.operation, values, LIFT if self.lifted else _as_it_is) if changed is None else changed

    def _compiled(self, node: Node) -> Any:
        import jax

        if node not in self._programs:
            rule = LIFT if self.lifted else _as_it_is
            self._programs[node] = jax.jit(lambda *values: perform(node.operation, values, rule))
        return self._programs[node]

    def run(self, changes: Mapping[Value, Change]) -> list[Any]:
        """The outputs of the program with some values changed.

        Raises:
            ValueError: a value has another shape than was traced, so that it can be no substitute.
        """
        arrays = self.changed(changes)
        return [arrays.get(value, None) if value in arrays else self.read(value) for value in self.results]

    def changed(self, changes: Mapping[Value, Change]) -> dict[Value, Any]:
        """Those arrays that are others once some values are changed."""
        arrays: dict[Value, Any] = {}

        def read(value: Value) -> Any:
            return arrays[value] if value in arrays else self.read(value)

        for value in changes:
            if value.node is None:
                arrays[value] = _checked(changes[value](self.read), value)
        for node in self.nodes:
            if any(value in arrays for value in node.inputs):
                arrays.update(zip(node.outputs, self.perform(node, read), strict=True))
            for value in node.outputs:
                if value in changes:
                    arrays[value] = _checked(changes[value](read), value)
        return arrays

    def by_rule(self, rule: Rule, targets: frozenset[int] | None = None) -> list[Any]:
        """The outputs where a rule does some operations otherwise, those in loops as well.

        Args:
            rule: asked before each operation.
            targets: the identities of the operations that it may replace; None for any.
        """
        arrays: dict[Value, Any] = {}

        def read(value: Value) -> Any:
            return arrays[value] if value in arrays else self.read(value)

        for node in self.nodes:
            meant = targets is None or id(node.operation) in targets
            within = bodies(node.operation) and (targets is None or not targets.isdisjoint(self._inside(node)))
            results = None
            if meant and not (node.inner in self.right and node.inner):
                results = rule(node.operation, [read(value) for value in node.inputs])
            if results is None and within:
                results = perform(node.operation, [read(value) for value in node.inputs], rule)
            elif results is None and any(value in arrays for value in node.inputs):
                results = self.perform(node, read)
            if results is not None:
                arrays.update(zip(node.outputs, results, strict=True))
        return [read(value) for value in self.results]

    def holds(self, targets: frozenset[int]) -> bool:
        """Whether any of these operations is in the list or in a loop of it; of a call, only what is in it is."""
        return any(id(node.operation) in targets or not self._inside(node).isdisjoint(targets) for node in self.nodes)

    def _inside(self, node: Node) -> frozenset[int]:
        if node not in self._identities:
            every = (inner for body in bodies(node.operation) for inner, _ in operations(body))
            self._identities[node] = frozenset(map(id, every))
        return self._identities[node]

    def apply(self, source: Value, target: Value, array: Any, read: Read) -> Any:
        """What the target is where the source is another array, and all beside the way between is as it is."""
        arrays = {source: array}

        def look(value: Value) -> Any:
            return arrays[value] if value in arrays else read(value)

        first = source.node.index + 1 if source.node is not None else 0
        last = target.node.index + 1 if target.node is not None else 0
        for node in self.nodes[first:last]:
            if any(value in arrays for value in node.inputs):
                arrays.update(zip(node.outputs, self.perform(node, look), strict=True))
        return arrays[target]

    def before(self, value: Value, read: Read) -> Any:
        """What a value would be if it were not changed itself."""
        if value.node is None:
            return self.read(value)
        return self.perform(value.node, read)[value.node.outputs.index(value)]

    def depends(self, target: Value, source: Value) -> bool:
        """Whether the source goes into the target, by whatever way."""
        reached = {source}
        for node in self.nodes:
            if not reached.isdisjoint(node.inputs):
                reached.update(node.outputs)
        return target in reached

    def named(self, *names: str) -> Iterator[Node]:
        """The operations of these primitives in which a cause may be."""
        return (node for node in self.own if node.name in names)

    def handed_on(self) -> list[Value]:
        """What the modules inside give to the module's own code, and the parts that arrays are cut into.

        What one of them gives to another goes through that code too, though nothing may be done to it there.
        """
        values = []
        for node in self.nodes:
            inside = self._within(node)
            for value in node.outputs if inside else ():
                users = self.users.get(value, [])
                if value.varies and (value in self.results or any(self._within(user) != inside for user in users)):
                    values.append(value)
            if not inside and node.name in ("slice", "split", "squeeze", "unstack"):
                values += [value for value in node.outputs if value.varies]
        return values

    def handed_in(self) -> list[Value]:
        """What the module's own code gives to the modules inside."""
        inside = [value for node in self.nodes if self._within(node) for value in node.inputs]
        return [
            value
            for value in dict.fromkeys(inside)
            if value.varies and value.node is not None and not self._within(value.node)
        ]

    def _within(self, node: Node) -> str:
        """The outermost module inside, right by itself, that an operation is in; empty in the module's own code."""
        parts = node.inner.split(".") if node.inner else []
        return next((path for n in range(len(parts)) if (path := ".".join(parts[: n + 1])) in self.right), "")

    def origin(self, value: Value) -> Value:
        """What a value was before it was cast, broadcast, reshaped or stopped."""
        while value.node is not None and value.node.name in _SAME and len(value.node.inputs) == 1:
            value = value.node.inputs[0]
        return value

    def scalar(self, value: Value) -> float | None:
        """The one floating-point number that a value is, whatever the arguments are."""
        value = self.origin(value)
        if value.varies or not value.is_float or math.prod(value.shape) != 1:
            return None
        return float(np.asarray(self.read(value)).reshape(()))

    def _open(self, body: Any, consts: Sequence[Any], inputs: Sequence[Value], scopes: tuple[str, ...]) -> list[Value]:
        known: dict[Any, Value] = dict(zip(body.invars, inputs, strict=True))
        for variable, constant in zip(body.constvars, consts, strict=True):
            known[variable] = Value(tuple(np.shape(constant)), variable.aval.dtype, constant=constant)

        def value_of(atom: Any) -> Value:
            if hasattr(atom, "val"):
                constant = written_out(atom.val) if self.lifted else atom.val
                return Value(tuple(np.shape(atom.val)), atom.aval.dtype, constant=constant)
            return known[atom]

        for operation in body.eqns:
            values = [value_of(atom) for atom in operation.invars]
            inner = bodies(operation)
            here = (*scopes, *str(operation.source_info.name_stack).split("/"))
            if inner and operation.primitive.name in CALLS:
                opened = getattr(inner[0], "jaxpr", inner[0])
                results = self._open(opened, getattr(inner[0], "consts", ()), values, here)
            else:
                node = Node(len(self.nodes), operation, values, inner_path(here))
                varies = node.name == ANSWER or any(value.varies for value in values)
                node.outputs = [
                    Value(tuple(getattr(out.aval, "shape", ())), getattr(out.aval, "dtype", None), None, node, varies)
                    for out in operation.outvars
                ]
                self.nodes.append(node)
                results = node.outputs
            known.update(zip(operation.outvars, results, strict=True))
        return [value_of(atom) for atom in body.outvars]


def instead(value: Value, read: Read) -> Any:
    """A change: another value as it is."""
    return read(value)


def inner_path(scopes: Sequence[str]) -> str:
    """The innermost module of the scopes that an operation stands in; empty for that which was traced."""
    return next((name[len(SCOPE) :] for name in reversed(scopes) if name.startswith(SCOPE)), "")


_SAME = ("convert_element_type", "broadcast_in_dim", "reshape", "stop_gradient", "squeeze", "copy", "copy_p")


def _checked(array: Any, value: Value) -> Any:
    if tuple(np.shape(array)) != value.shape:
        raise ValueError(f"expected shape {value.shape}, received {tuple(np.shape(array))}")
    return array


def _as_it_is(operation: Any, values: Sequence[Any]) -> None:
    del operation, values
