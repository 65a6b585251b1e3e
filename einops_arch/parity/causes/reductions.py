"""Causes in sums over axes: a softmax or a norm over other ones, eps beside the root, statistics of the batch."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case, Hypothesis, number
from einops_arch.parity.causes.graph import ELEMENTWISE, Graph, Node, Read, Value

__all__ = ["reduction_hypotheses"]

_REDUCES = ("reduce_sum", "reduce_max", "reduce_min")
_MOST_AXES = 4
_LARGEST_EPS = 2e-2


def reduction_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Other axes of each group of sums that belong together, eps on the other side of a root, running statistics."""
    graph = case.graph
    yield from _roots(graph)
    yield from _statistics(case, graph)
    for group in _groups(graph):
        yield from _other_axes(graph, group)


@dataclasses.dataclass
class _Wide:
    """What a sum over other axes gives, at the full shape of what was summed."""

    array: Any


def _groups(graph: Graph) -> list[list[Node]]:
    """Sums over the same axes of arrays of one shape of which one goes into the other, or both into one array."""
    groups: list[list[Node]] = []
    for node in graph.named(*_REDUCES):
        value = node.inputs[0]
        if not node.output.varies or not 2 <= len(value.shape) <= _MOST_AXES:
            continue
        key = (tuple(node.params["axes"]), value.shape)
        for group in groups:
            first = group[0]
            same = (tuple(first.params["axes"]), first.inputs[0].shape) == key
            if same and _near(graph, first, node):
                group.append(node)
                break
        else:
            groups.append([node])
    return groups


def _near(graph: Graph, first: Node, second: Node) -> bool:
    """A few operations apart, with none between them that moves numbers to other places."""
    if graph.origin(first.inputs[0]) is graph.origin(second.inputs[0]):
        return True
    reached = {first.output, first.inputs[0]}
    for node in graph.nodes[: second.index]:
        if node.name in (*ELEMENTWISE, *_REDUCES, "broadcast_in_dim", "reshape") and not reached.isdisjoint(
            node.inputs
        ):
            reached.update(node.outputs)
    return second.inputs[0] in reached


def _other_axes(graph: Graph, group: Sequence[Node]) -> Iterator[Hypothesis]:
    shape = group[0].inputs[0].shape
    now = tuple(group[0].params["axes"])
    every = [axes for n in range(1, len(shape) + 1) for axes in itertools.combinations(range(len(shape)), n)]
    what = "softmax" if any(node.name == "exp" for node in graph.nodes) and _is_softmax(graph, group) else "sum"
    if what == "sum" and any(node.name in ("rsqrt", "sqrt") for node in graph.nodes):
        what = "norm"
    for axes in every:
        if axes != now and all(shape[axis] > 1 for axis in set(axes) ^ set(now)):
            words = f"a {what} over axes {axes} of {shape}, the Flax module has {now}{group[0].at}"
            yield words, functools.partial(_run, graph, group, axes)


def _is_softmax(graph: Graph, group: Sequence[Node]) -> bool:
    return any(
        node.name == "reduce_sum"
        and (origin := graph.origin(node.inputs[0])).node is not None
        and origin.node.name == "exp"
        for node in group
    )


def _run(graph: Graph, group: Sequence[Node], axes: tuple[int, ...]) -> list[Any]:
    """The program with the sums of the group over other axes, which need not leave the shape that was traced."""
    import jax.numpy as jnp

    shape = group[0].inputs[0].shape
    arrays: dict[Value, Any] = {}

    def read(value: Value) -> Any:
        return arrays[value] if value in arrays else graph.read(value)

    for node in graph.nodes:
        if node in group:
            array = read(node.inputs[0])
            array = array.array if isinstance(array, _Wide) else array
            reduce: Any = {"reduce_sum": jnp.sum, "reduce_max": jnp.max, "reduce_min": jnp.min}[node.name]
            total = reduce(array, axis=axes, keepdims=True)
            if _is_mean(graph, node):
                count = math.prod(shape[axis] for axis in node.params["axes"])
                total = total * (count / math.prod(shape[axis] for axis in axes))
            arrays[node.output] = _Wide(jnp.broadcast_to(total, shape))
        elif any(value in arrays for value in node.inputs):
            arrays.update(zip(node.outputs, _widely(graph, node, read, shape), strict=True))
    results = [read(value) for value in graph.results]
    if any(isinstance(result, _Wide) for result in results):
        raise ValueError("a sum over other axes has another shape")
    return results


def _is_mean(graph: Graph, node: Node) -> bool:
    count = math.prod(node.inputs[0].shape[axis] for axis in node.params["axes"])
    total = node.output
    while len(users := graph.users.get(total, [])) == 1 and users[0].name in ("broadcast_in_dim", "reshape"):
        total = users[0].output
    for user in graph.users.get(total, []):
        others = [graph.scalar(value) for value in user.inputs if value is not total]
        if user.name == "div" and others == [count]:
            return True
        if user.name == "mul" and others and others[0] is not None and abs(others[0] * count - 1) < 1e-9:
            return True
    return False


def _widely(graph: Graph, node: Node, read: Read, shape: tuple[int, ...]) -> Sequence[Any]:
    values = [read(value) for value in node.inputs]
    if not any(isinstance(value, _Wide) for value in values):
        return graph.perform(node, read)
    if node.name in ("broadcast_in_dim", "reshape", "squeeze", "stop_gradient", "copy", "convert_element_type"):
        whole = node.output.shape == shape
        return [values[0].array if whole else values[0]]
    if node.name not in ELEMENTWISE:
        raise ValueError("what follows a sum is no function of its entries")
    plain = [value.array if isinstance(value, _Wide) else _aligned(value, shape) for value in values]
    import jax.numpy as jnp

    full = [jnp.broadcast_to(value, shape) for value in plain]
    results = graph.perform(node, dict(zip(node.inputs, full, strict=True)).__getitem__)
    return [result if node.output.shape == shape else _Wide(result) for result in results]


def _aligned(value: Any, shape: tuple[int, ...]) -> Any:
    if np.ndim(value) in (0, len(shape)):
        return value
    raise ValueError("axes that are left out cannot be told apart")


def _roots(graph: Graph) -> Iterator[Hypothesis]:
    """sqrt(v + eps) against sqrt(v) + eps."""
    import jax.numpy as jnp

    for node in graph.named("sqrt", "rsqrt"):
        total = graph.origin(node.inputs[0]).node
        if total is not None and total.name in ("add", "max"):
            parts = [(value, graph.scalar(value)) for value in total.inputs]
            eps = next((number for _, number in parts if number is not None and 0 < number <= _LARGEST_EPS), None)
            rest = [value for value, number in parts if number is None]
            if eps is not None and len(rest) == 1 and rest[0].shape == node.output.shape:

                def outside(read: Read, node: Node = node, value: Value = rest[0], eps: float = eps) -> Any:
                    root = jnp.sqrt(read(value)) + eps
                    return root if node.name == "sqrt" else 1 / root

                def largest(read: Read, node: Node = node, value: Value = rest[0], eps: float = eps) -> Any:
                    root = jnp.maximum(jnp.sqrt(read(value)), eps)
                    return root if node.name == "sqrt" else 1 / root

                within = f"the Flax module has it in the root{node.at}"
                yield (
                    f"epsilon={number(eps)} outside of the root, {within}",
                    functools.partial(graph.run, {node.output: outside}),
                )
                yield (
                    f"epsilon={number(eps)} as the least of the root, {within}",
                    functools.partial(graph.run, {node.output: largest}),
                )
        for user in graph.users.get(node.output, []):
            eps = next((scalar for scalar in map(graph.scalar, user.inputs) if scalar is not None), None)
            if node.name == "sqrt" and user.name in ("add", "max") and eps is not None and 0 < eps <= _LARGEST_EPS:

                def inside(read: Read, node: Node = node, eps: float = eps) -> Any:
                    return jnp.sqrt(read(node.inputs[0]) + eps)

                yield (
                    f"epsilon={number(eps)} in the root, the Flax module has it outside{user.at}",
                    functools.partial(graph.run, {user.output: inside}),
                )


def _statistics(case: Case, graph: Graph) -> Iterator[Hypothesis]:
    """Running statistics in the place of the batch's."""
    buffers = {name: to_numpy(buffer) for name, buffer in case.torch_module.named_buffers() if "running_" in name}
    for name, mean in buffers.items():
        variance = buffers.get(name.replace("running_mean", "running_var"))
        if not name.endswith("running_mean") or variance is None:
            continue
        changes: dict[Value, Any] = {}
        path = name.rpartition(".")[0]
        for node in graph.named("add", "sqrt", "rsqrt"):
            values = [
                value
                for value in node.inputs
                if value.varies and value.node is not None and math.prod(value.shape) == mean.size
            ]
            if not values or (
                node.name == "add" and not any(_is_eps(graph.scalar(operand)) for operand in node.inputs)
            ):
                continue
            # All sums of this length before the root are means of the batch; what comes before eps is its variance.
            spread = values[0]
            for other in graph.named("div", "mul"):
                value = other.output
                sums = any(_is_sum(graph.origin(operand)) for operand in other.inputs)
                if value is not spread and sums and math.prod(value.shape) == mean.size:
                    changes[value] = functools.partial(_constant, mean, value.shape)
            changes[spread] = functools.partial(_constant, variance, spread.shape)
            break
        if changes:
            words = f"the running statistics of {path or 'the module'}, the Flax module takes those of the batch"
            yield words, functools.partial(graph.run, changes)


def _is_sum(value: Value) -> bool:
    return value.node is not None and value.node.name == "reduce_sum"


def _is_eps(value: float | None) -> bool:
    return value is not None and 0 < value <= _LARGEST_EPS


def _constant(array: Any, shape: tuple[int, ...], read: Read) -> Any:
    import jax.numpy as jnp

    del read
    return jnp.asarray(array, np.float64).reshape(shape)
