"""Causes in positions: counted from another number, rotated otherwise, or seen where a mask should hide them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.graph import Graph, Node, Read, Value, instead

__all__ = ["position_hypotheses"]

_MOVES = (
    "slice",
    "neg",
    "concatenate",
    "stack",
    "reshape",
    "broadcast_in_dim",
    "squeeze",
    "gather",
    "transpose",
    "split",
    "unstack",
    "rev",
)
_MOST_ROTATIONS = 12


def position_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Counts of positions, indices and starts of slices one higher or lower; forms of rotation; masks of attention."""
    graph = case.graph
    yield from _counts(graph)
    yield from _selected(graph)
    yield from _masks(graph)
    yield from _rotations(graph)


def _counts(graph: Graph) -> Iterator[Hypothesis]:
    for step in (1, -1):
        for node in graph.named("iota"):
            change = functools.partial(_stepped, graph, node, step)
            yield f"positions that begin {step} later{node.at}", functools.partial(graph.run, {node.output: change})
        for node in graph.named("slice"):
            axes = _cut(node)
            for axis in axes:
                if (change := _slid(node, axis, step)) is not None:
                    along = f" along axis {axis}" if len(axes) > 1 else ""
                    words = f"a slice that begins {step} later than {node.params['start_indices']}{along}{node.at}"
                    yield words, functools.partial(graph.run, {node.output: change})
        for node in graph.named("gather"):
            indices = node.inputs[1]
            change = functools.partial(_looked_up, graph, node, indices, step)
            yield f"indices that are {step} higher{node.at}", functools.partial(graph.run, {node.output: change})


def _stepped(graph: Graph, node: Node, step: int, read: Read) -> Any:
    return graph.perform(node, read)[0] + np.asarray(step, node.output.dtype)


def _looked_up(graph: Graph, node: Node, indices: Value, step: int, read: Read) -> Any:
    def look(value: Value) -> Any:
        return read(value) + np.asarray(step, value.dtype) if value is indices else read(value)

    return graph.perform(node, look)[0]


def _cut(node: Node) -> list[int]:
    """The axes along which a slice leaves something out."""
    bounds = zip(node.params["start_indices"], node.params["limit_indices"], node.inputs[0].shape, strict=True)
    return [axis for axis, (low, high, length) in enumerate(bounds) if high - low < length]


def _slid(node: Node, axis: int, step: int) -> Any:
    starts, limits = list(node.params["start_indices"]), list(node.params["limit_indices"])
    starts[axis], limits[axis] = starts[axis] + step, limits[axis] + step
    if starts[axis] < 0 or limits[axis] > node.inputs[0].shape[axis]:
        return None
    new = {"start_indices": tuple(starts), "limit_indices": tuple(limits)}
    return lambda read: node.operation.primitive.bind(read(node.inputs[0]), **(node.params | new))


def _selected(graph: Graph) -> Iterator[Hypothesis]:
    """What a mask chooses between, without the mask."""
    for node in graph.named("select_n"):
        if len(node.inputs) == 3 and node.output.is_float:
            for value in node.inputs[1:]:
                if value.varies:
                    words = f"no mask, the Flax module chooses by one{node.at}"
                    yield words, functools.partial(graph.run, {node.output: functools.partial(instead, value)})


def _masks(graph: Graph) -> Iterator[Hypothesis]:
    """A mask before each softmax: of the arguments that nothing uses, and the causal one."""
    import jax.numpy as jnp

    for scores in _scores(graph):
        shape = scores.shape
        masks: list[tuple[str, Callable[[Read], Any]]] = []
        if shape[-1] > 1 and shape[-2] > 1:
            causal = np.tril(np.ones(shape[-2:], bool), shape[-1] - shape[-2])
            masks.append(("the causal mask", functools.partial(_known, causal)))
        for n, argument in enumerate(graph.arguments):
            for words, fitting in _as_masks(argument, shape):
                masks.append((f"the mask in argument {n}{words}", functools.partial(_looked, argument, fitting)))
        for words, mask in masks:
            for turned in (False, True) if "argument" in words else (False,):

                def hidden(read: Read, mask: Any = mask, scores: Value = scores, turned: bool = turned) -> Any:
                    keep = mask(read)
                    keep = ~keep if turned else keep
                    # A row with nothing left is what the framework makes of it; here it stays as it is.
                    return jnp.where(keep, graph.before(scores, read), -jnp.inf)

                sentence = words + (", turned round" if turned else "")
                yield (
                    f"{sentence} before the softmax, the Flax module has none{_at(scores)}",
                    functools.partial(graph.run, {scores: hidden}),
                )


def _known(array: Any, read: Read) -> Any:
    del read
    return array


def _kept(shape: tuple[int, ...], array: Any) -> Any:
    return (array != 0).reshape(shape)


def _looked(argument: Value, fitting: Callable[[Any], Any], read: Read) -> Any:
    return fitting(read(argument))


def _as_masks(argument: Value, shape: tuple[int, ...]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """The ways in which an argument can lie along scores `b ... q k`."""
    if np.issubdtype(argument.dtype, np.floating) and len(argument.shape) > 3:
        return
    size = len(shape)
    for reach in itertools.combinations(range(size), len(argument.shape)):
        if all(argument.shape[n] in (shape[axis], 1) for n, axis in enumerate(reach)) and argument.shape:
            full = tuple(argument.shape[reach.index(axis)] if axis in reach else 1 for axis in range(size))
            if reach[-1] >= size - 2 and any(length > 1 for length in full):
                yield "", functools.partial(_kept, full)


def _scores(graph: Graph) -> list[Value]:
    """What goes into a softmax: what is summed of it is its exponential."""
    values = []
    for node in graph.named("reduce_sum"):
        power = graph.origin(node.inputs[0]).node
        if power is None or power.name != "exp":
            continue
        value = graph.origin(power.inputs[0])
        if value.node is not None and value.node.name == "sub":
            value = value.node.inputs[0]
        if len(value.shape) >= 2 and value not in values:
            values.append(value)
    return values


def _rotations(graph: Graph) -> Iterator[Hypothesis]:
    """Each rotation of pairs of features, of other pairs or the other way round: R becomes P^-1 R P."""
    pairs = list(_rotated(graph))[:_MOST_ROTATIONS]
    # Those of one line of code are all rotated alike; a line that adds products of other things is none of them.
    lines: dict[str, list[tuple[Value, Value]]] = {}
    for pair in pairs:
        lines.setdefault(_at(pair[1]), []).append(pair)
    together = [group for group in lines.values() if 1 < len(group) < len(pairs)]
    for name, forward, backward in _CONJUGATES:
        groups = [pairs, *together] if len(pairs) > 1 else []
        for group in [*groups, *([pair] for pair in pairs)]:
            changes: dict[Value, Any] = {
                target: functools.partial(_conjugated, graph, source, target, forward, backward)
                for source, target in group
            }
            yield f"{name}{_at(group[0][1])}", functools.partial(graph.run, changes)
    if pairs:
        turned = {node.output: functools.partial(_turned, node) for node in graph.named("sin", "cos")}
        yield "sines in the place of cosines in the rotation", functools.partial(graph.run, turned)
        changes = {target: functools.partial(instead, source) for source, target in pairs}
        yield "no rotation by the position", functools.partial(graph.run, changes)
        yield from _rotated_too(graph, pairs)
        for pair in pairs:
            yield (
                f"no rotation by the position of this array{_at(pair[1])}",
                functools.partial(graph.run, {pair[1]: functools.partial(instead, pair[0])}),
            )


def _rotated_too(graph: Graph, pairs: Sequence[tuple[Value, Value]]) -> Iterator[Hypothesis]:
    """Another array rotated as one is, such as keys as queries are; it may have fewer heads."""
    for source, target in pairs:
        for node in graph.named("transpose", "squeeze", "reshape", "slice", "mul", "add", "dot_general"):
            value = node.output
            if (
                value is source
                or not value.varies
                or len(value.shape) != len(source.shape)
                or graph.depends(value, target)
            ):
                continue
            unequal = [n for n, pair in enumerate(zip(value.shape, source.shape, strict=True)) if pair[0] != pair[1]]
            if len(unequal) > 1 or any(value.shape[n] > source.shape[n] or n >= len(value.shape) - 2 for n in unequal):
                continue
            change = functools.partial(_rotated_as, graph, value, (source, target))
            yield (
                f"a rotation by the position of another array too{_at(value)}",
                functools.partial(graph.run, {value: change}),
            )


def _rotated_as(graph: Graph, value: Value, pair: tuple[Value, Value], read: Read) -> Any:
    import jax.numpy as jnp

    array = graph.before(value, read)
    widths = [(0, more - length) for length, more in zip(value.shape, pair[0].shape, strict=True)]
    rotated = graph.apply(*pair, jnp.pad(array, widths), read)
    return rotated[tuple(slice(length) for length in value.shape)]


def _turned(node: Node, read: Read) -> Any:
    import jax.numpy as jnp

    return (jnp.cos if node.name == "sin" else jnp.sin)(read(node.inputs[0]))


def _conjugated(graph: Graph, source: Value, target: Value, forward: Any, backward: Any, read: Read) -> Any:
    return backward(graph.apply(source, target, forward(read(source)), read))


def _to_halves(array: Any) -> Any:
    import jax.numpy as jnp

    return jnp.concatenate([array[..., 0::2], array[..., 1::2]], -1)


def _to_pairs(array: Any) -> Any:
    import jax.numpy as jnp

    return jnp.stack(jnp.split(array, 2, axis=-1), -1).reshape(array.shape)


def _half_negated(array: Any) -> Any:
    import jax.numpy as jnp

    return array * jnp.where(jnp.arange(array.shape[-1]) < array.shape[-1] // 2, 1, -1)


def _odd_negated(array: Any) -> Any:
    import jax.numpy as jnp

    return array * jnp.where(jnp.arange(array.shape[-1]) % 2 == 0, 1, -1)


_CONJUGATES: Sequence[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = (
    ("a rotation of interleaved pairs of features, the Flax module rotates halves", _to_halves, _to_pairs),
    ("a rotation of halves of the features, the Flax module rotates interleaved pairs", _to_pairs, _to_halves),
    ("a rotation with the other sign, of halves of the features", _half_negated, _half_negated),
    ("a rotation with the other sign, of interleaved pairs of features", _odd_negated, _odd_negated),
)


def _rotated(graph: Graph) -> Iterator[tuple[Value, Value]]:
    """Arrays, and what they are once rotated: sums of products of their parts with numbers."""
    done: set[Value] = set()
    for node in graph.nodes:
        source = node.output if node.outputs else None
        if source is None or source in done or not source.varies or len(source.shape) < 2 or source.shape[-1] % 2:
            continue
        users = graph.users.get(source, [])
        if len(users) < 2 and not any(user.name in ("split", "unstack", "reshape") for user in users):
            continue
        target = _end_of_rotation(graph, source)
        if target is not None:
            done.add(source)
            yield source, target


def _end_of_rotation(graph: Graph, source: Value) -> Value | None:
    inside: set[Value] = {source}
    multiplied: set[Value] = set()
    summed: set[Value] = set()
    result = None
    for node in graph.nodes[source.node.index + 1 :] if source.node is not None else []:
        if inside.isdisjoint(node.inputs):
            continue
        own = [value for value in node.inputs if value in inside]
        if node.name in _MOVES or (node.name == "convert_element_type"):
            if len(own) < len(node.inputs) and node.name in ("concatenate", "stack"):
                continue
        elif node.name == "mul" and len(own) == 1:
            multiplied.add(node.output)
        elif node.name in ("add", "sub") and len(own) == 2:
            summed.add(node.output)
        else:
            continue
        if node.name == "gather" and node.inputs[0] not in inside:
            continue
        inside.update(node.outputs)
        if any(value in multiplied for value in own):
            multiplied.update(node.outputs)
        if any(value in summed for value in own):
            summed.update(node.outputs)
        for value in node.outputs:
            if value in summed and value in multiplied and value.shape == source.shape and result is None:
                result = value
    return result


def _at(value: Value) -> str:
    return "" if value.node is None else value.node.at
