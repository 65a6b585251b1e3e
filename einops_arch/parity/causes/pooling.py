"""Causes in windows: another kind of pooling, padding that is counted or not, another dilation; one entry for all."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.graph import Graph, Node, Read, Value

__all__ = ["pooling_hypotheses"]

_MOST_DILATION = 4


def pooling_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Each window operation as another; each convolution with another dilation and the padding that goes with it."""
    graph = case.graph
    for node in graph.named("reduce_window_max", "reduce_window_sum", "reduce_window"):
        if node.name != "reduce_window":
            yield from _windows(graph, node)
    for node in graph.named("reduce_max", "reduce_sum"):
        yield from _whole(graph, node)
    for node in graph.named("slice", "dynamic_slice", "gather"):
        yield from _picked(graph, node)
    for node in graph.named("conv_general_dilated"):
        yield from _dilations(graph, node)


def _window(node: Node, value: Any, kind: str) -> Any:
    from jax import lax

    parameters = node.params
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    dimensions, strides, padding, base, dilation = (parameters[name] for name in names)
    start, reduce = (0.0, lax.add) if kind == "sum" else (-math.inf, lax.max)
    return lax.reduce_window(value, start, reduce, dimensions, strides, padding, base, dilation)


def _windows(graph: Graph, node: Node) -> Iterator[Hypothesis]:
    import jax.numpy as jnp

    value = node.inputs[0]
    size = math.prod(node.params["window_dimensions"])

    def counted(read: Read) -> Any:
        return _window(node, read(value), "sum") / size

    def uncounted(read: Read) -> Any:
        array = read(value)
        return _window(node, array, "sum") / _window(node, jnp.ones_like(array), "sum")

    def largest(read: Read) -> Any:
        return _window(node, read(value), "max")

    if node.name == "reduce_window_max":
        at = node.at
        yield (
            f"average pooling, the Flax module has maximum pooling{at}",
            functools.partial(graph.run, {node.output: counted}),
        )
        yield (
            f"average pooling that counts no padding, the Flax module has maximum pooling{at}",
            functools.partial(graph.run, {node.output: uncounted}),
        )
        return
    for user in graph.users.get(node.output, []):
        if user.name not in ("div", "mul") or user.output.shape != node.output.shape:
            continue
        makes: list[tuple[str, Any]] = [
            ("maximum pooling, the Flax module has average pooling", largest),
            ("count_include_pad=True, the Flax module counts no padding", counted),
            ("count_include_pad=False, the Flax module counts padding", uncounted),
        ]
        for words, change in makes:
            yield f"{words}{node.at}", functools.partial(graph.run, {user.output: change})


def _whole(graph: Graph, node: Node) -> Iterator[Hypothesis]:
    """Over whole axes: the mean, the maximum and the sum."""
    import jax.numpy as jnp

    value, axes = node.inputs[0], tuple(node.params["axes"])
    count = math.prod(value.shape[axis] for axis in axes)
    means = {
        "the maximum": lambda read: jnp.max(read(value), axes),
        "the mean": lambda read: jnp.mean(read(value), axes),
        "the sum": lambda read: jnp.sum(read(value), axes),
    }
    target, current = node.output, "the maximum" if node.name == "reduce_max" else "the sum"
    for user in graph.users.get(node.output, []):
        others = [graph.scalar(other) for other in user.inputs if other is not node.output]
        divides = user.name == "div" and others == [float(count)]
        if divides or (user.name == "mul" and others and others[0] is not None and abs(others[0] * count - 1) < 1e-9):
            target, current = user.output, "the mean"
    for name, change in means.items():
        if name != current and value.varies and target.shape == node.output.shape:
            words = f"{name} over axes {axes}, the Flax module takes {current}{node.at}"
            yield words, functools.partial(graph.run, {target: change})
    if value.varies and len(axes) == 1:
        for place, which in ((0, "first"), (-1, "last")):
            words = f"the {which} entry of axis {axes[0]}, the Flax module takes {current}{node.at}"
            yield words, functools.partial(graph.run, {target: functools.partial(_entry, value, place, axes[0])})


def _picked(graph: Graph, node: Node) -> Iterator[Hypothesis]:
    """All entries of an axis together, or another one of them, in the place of the one that is picked."""
    import jax.numpy as jnp

    value, target = node.inputs[0], node.output
    axis = _axis_of_pick(node)
    if axis is None or not (value.varies and value.is_float):
        return
    makes: dict[str, Any] = {"mean": jnp.mean, "maximum": jnp.max, "sum": jnp.sum}
    for name, make in makes.items():

        def together(read: Read, make: Any = make) -> Any:
            return make(read(value), axis).reshape(target.shape)

        words = f"the {name} over axis {axis}, the Flax module takes one entry of it{node.at}"
        yield words, functools.partial(graph.run, {target: together})
    for place, which in ((0, "first"), (-1, "last")):

        def entry(read: Read, place: int = place) -> Any:
            return _entry(value, place, axis, read).reshape(target.shape)

        words = f"the {which} entry of axis {axis}, the Flax module takes another{node.at}"
        yield words, functools.partial(graph.run, {target: entry})


def _axis_of_pick(node: Node) -> int | None:
    """The axis of which one entry is taken, the other axes being whole; None where it is another choice."""
    before = node.inputs[0].shape
    if node.name == "gather":
        dimensions = node.params["dimension_numbers"]
        if math.prod(node.inputs[1].shape[:-1]) != 1 or dimensions.operand_batching_dims:
            return None
        sizes = tuple(node.params["slice_sizes"])
    else:
        sizes = node.output.shape
    picked = [n for n, (whole, part) in enumerate(zip(before, sizes, strict=True)) if whole != part]
    return picked[0] if len(picked) == 1 and sizes[picked[0]] == 1 else None


def _entry(value: Value, place: int, axis: int, read: Read) -> Any:
    import jax.numpy as jnp

    return jnp.take(read(value), place % value.shape[axis], axis=axis)


def _dilations(graph: Graph, node: Node) -> Iterator[Hypothesis]:
    now, padding = tuple(node.params["rhs_dilation"]), tuple(map(tuple, node.params["padding"]))
    numbers = node.params["dimension_numbers"]
    lengths = [node.inputs[1].shape[axis] for axis in numbers.rhs_spec[2:]]
    for dilation in range(1, _MOST_DILATION + 1):
        other = tuple(dilation if length > 1 else 1 for length in lengths)
        if other == now:
            continue
        # The padding that leaves the shape as it was traced: as much more on both sides as the window is longer.
        more = [(new - old) * (length - 1) for new, old, length in zip(other, now, lengths, strict=True)]
        wide = tuple((low + n // 2, high + n - n // 2) for (low, high), n in zip(padding, more, strict=True))

        def dilated(read: Read, other: Any = other, wide: Any = wide) -> Any:
            parameters = node.params | {"rhs_dilation": other, "padding": wide}
            return node.operation.primitive.bind(*(read(value) for value in node.inputs), **parameters)

        words = f"dilation={other} with padding={wide}, the Flax module has {now} with {padding}{node.at}"
        yield words, functools.partial(graph.run, {node.output: dilated})
