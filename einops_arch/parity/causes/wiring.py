"""Causes in what goes where: a term that is missing or too much, parts in another order, a norm before or after."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.graph import ANSWER, ELEMENTWISE, Graph, Node, Read, Value, instead
from einops_arch.parity.causes.seen import run_seen

__all__ = ["exchange_hypotheses", "order_hypotheses", "term_hypotheses", "wiring_hypotheses"]

_MOST_PARTS = 4
_MOST = 40


def order_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Parts of a concatenation in another order, axes that are split in another order."""
    graph = case.graph
    for node in graph.named("concatenate"):
        yield from _orders(node, case)
    yield from _loops(case)
    yield from _together(graph)
    yield from _repeated(graph)


def exchange_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Arrays that change places."""
    graph = case.graph
    for first, second in itertools.islice(itertools.combinations(graph.handed_on(), 2), _MOST):
        if first.shape == second.shape and None not in (first.node, second.node) and not graph.depends(second, first):
            words = f"{_name(graph, first)} and {_name(graph, second)} in each other's place"
            pair = {first: second, second: first}
            changes = {value: functools.partial(_before, graph, other) for value, other in pair.items()}
            yield words, functools.partial(run_seen, case, changes, [(value, ()) for value in pair])


def term_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Sums without one of their terms or with its other sign; norms before or after them; a residual."""
    graph = case.graph
    yield from _post_norm(graph)
    for node in list(graph.named("add", "sub", "mul", "div"))[:_MOST]:
        first, second = node.inputs
        if not (node.output.varies and node.output.is_float and node.output.shape):
            continue
        for value, rest in ((first, second), (second, first)):
            if value.shape == node.output.shape and value.is_float and graph.scalar(rest) is None:
                words = f"no second operand of {node.name}, the Flax module has one of shape {rest.shape}{node.at}"
                yield words, functools.partial(graph.run, {node.output: functools.partial(instead, value)})
        if node.name in ("add", "sub"):
            sign = "minus" if node.name == "add" else "plus"
            change = functools.partial(_signed, first, second, -1 if node.name == "add" else 1)
            yield (
                f"{sign} the second operand of {node.name}{node.at}",
                functools.partial(graph.run, {node.output: change}),
            )
    yield from _residuals(graph)


def _signed(first: Value, second: Value, sign: int, read: Read) -> Any:
    return read(first) + sign * read(second)


def _before(graph: Graph, value: Value, read: Read) -> Any:
    del read
    return graph.read(value)


def _orders(node: Node, case: Case) -> Iterator[Hypothesis]:
    from jax import lax

    axis, parts = node.params["dimension"], node.inputs
    if not 2 <= len(parts) <= _MOST_PARTS:
        return
    for order in list(itertools.permutations(range(len(parts))))[1:]:

        def ordered(read: Read, order: Sequence[int] = order) -> Any:
            return lax.concatenate([read(parts[n]) for n in order], axis)

        words = f"the parts of a concatenation along axis {axis} in the order {order}, counted from 0{node.at}"
        moved = [(node.output, piece) for n, piece in enumerate(_pieces(parts, order, axis)) if order[n] != n]
        yield words, functools.partial(run_seen, case, {node.output: ordered}, moved)


def _pieces(parts: Sequence[Value], order: Sequence[int], axis: int) -> Iterator[tuple[slice, ...]]:
    """Where the parts lie, in this order."""
    start = 0
    for n in order:
        length = parts[n].shape[axis]
        yield (slice(None),) * axis + (slice(start, start + length),)
        start += length


def _loops(case: Case) -> Iterator[Hypothesis]:
    """Arrays read from the other end."""
    graph = case.graph
    for node in graph.named("rev"):
        change = functools.partial(instead, node.inputs[0])
        ends = [(node.output, end) for axis in node.params["dimensions"] for end in _ends(axis)]
        yield f"an array that is not reversed{node.at}", functools.partial(run_seen, case, {node.output: change}, ends)
    for node in graph.named("scan"):
        for value in node.outputs[node.params["num_carry"] :]:
            change = functools.partial(_reversed, graph, value)
            ends = [(value, end) for end in _ends(0)]
            yield f"what a loop gives, reversed{node.at}", functools.partial(run_seen, case, {value: change}, ends)


def _ends(axis: int) -> list[tuple[slice, ...]]:
    """The first entry along an axis, and the last."""
    return [(slice(None),) * axis + (end,) for end in (slice(0, 1), slice(-1, None))]


def _reversed(graph: Graph, value: Value, read: Read) -> Any:
    import jax.numpy as jnp

    return jnp.flip(graph.before(value, read), 0)


def _together(graph: Graph) -> Iterator[Hypothesis]:
    """One axis that is several, read in another order at all places of the same shapes."""
    from einops_arch.parity.causes.operations import composed

    groups: dict[Any, list[Node]] = {}
    for node in graph.named("reshape"):
        if node.inputs[0].varies:
            groups.setdefault((node.inputs[0].shape, node.output.shape), []).append(node)
    for (before, after), nodes in groups.items():
        # Axes of one entry, as `tile` makes them, say nothing.
        shape, wanted = (tuple(length for length in lengths if length > 1) for lengths in (before, after))
        if len(nodes) < 2 and (shape, wanted) == (before, after):
            continue
        for splits, (outer, start, inner) in ((True, composed(shape, wanted)), (False, composed(wanted, shape))):
            if not 2 <= len(inner) <= 4:
                continue
            names = "abcd"[: len(inner)]
            lengths = ", ".join(f"{name}={length}" for name, length in zip(names, inner, strict=True))
            for order in list(itertools.permutations(range(len(inner))))[1:]:
                settings = (splits, shape, wanted, (start, outer, inner), order)
                words = (
                    f"'({' '.join(names[n] for n in order)})' at {len(nodes)} places, where the Flax module has "
                    f"'({' '.join(names)})', with {lengths}{nodes[0].at}"
                )
                changes = {node.output: functools.partial(_reordered, node, settings) for node in nodes}
                yield words, functools.partial(graph.run, changes)


def _repeated(graph: Graph) -> Iterator[Hypothesis]:
    """Entries that are each repeated where the module tiles the whole, as heads of keys are, at all such places."""
    groups: dict[Any, list[Node]] = {}
    for node in graph.named("tile"):
        if node.inputs[0].varies:
            groups.setdefault((node.inputs[0].shape, node.output.shape), []).append(node)
    for (before, after), nodes in groups.items():
        axes = [axis for axis, pair in enumerate(zip(before, after, strict=False)) if 1 < pair[0] < pair[1]]
        if len(axes) != 1 or len(before) != len(after):
            continue
        size, count = before[axes[0]], after[axes[0]] // before[axes[0]]
        words = (
            f"'(b a)' at {len(nodes)} places, where the Flax module has '(a b)', with a={count}, b={size}: each entry "
            f"of axis {axes[0]} repeated, and not all of them after each other{nodes[0].at}"
        )
        changes = {node.output: functools.partial(_each_repeated, node, axes[0], count) for node in nodes}
        yield words, functools.partial(graph.run, changes)


def _each_repeated(node: Node, axis: int, count: int, read: Read) -> Any:
    import jax.numpy as jnp

    return jnp.repeat(read(node.inputs[0]), count, axis)


def _reordered(node: Node, settings: Any, read: Read) -> Any:
    from einops_arch.parity.causes.operations import reordered

    splits, shape, wanted, place, order = settings
    array = read(node.inputs[0]).reshape(shape)
    return reordered(splits, wanted, place, order, [array]).reshape(node.output.shape)


def _norms(graph: Graph) -> list[tuple[Value, Value]]:
    """Arrays and what they are once normed: around each root that the array is multiplied with or divided by."""
    norms: list[tuple[Value, Value]] = []
    for root in [node for node in graph.nodes if node.name in ("rsqrt", "sqrt")]:
        sums = _sums_before(graph, root)
        if not sums:
            continue
        source = _normed_source(graph, sums)
        if source is None:
            continue
        inside = {source}
        last = None
        for node in graph.nodes[0 if source.node is None else source.node.index + 1 :]:
            if inside.isdisjoint(node.inputs):
                continue
            fits = all(value in inside or not value.varies for value in node.inputs)
            if not fits or node.name not in (*ELEMENTWISE, "reduce_sum", "broadcast_in_dim", "reshape", "squeeze"):
                continue
            inside.add(node.output)
            if (
                node.index > root.index
                and node.output.shape == source.shape
                and graph.depends(node.output, root.output)
            ):
                last = node.output
                if any(
                    user.output not in inside and user.name not in ELEMENTWISE for user in graph.users.get(last, [])
                ):
                    break
        if last is not None and (source, last) not in norms:
            norms.append((source, last))
    return norms


def _sums_before(graph: Graph, root: Node) -> list[Node]:
    reached, sums = {root.output}, []
    for node in reversed(graph.nodes[: root.index + 1]):
        if not any(value in reached for value in node.outputs):
            continue
        if node.name == "reduce_sum":
            sums.append(node)
            continue
        if node.name in (*ELEMENTWISE, "broadcast_in_dim", "reshape", "squeeze"):
            reached.update(node.inputs)
    return sums


def _normed_source(graph: Graph, sums: Sequence[Node]) -> Value | None:
    """The first array that the sums come from."""
    value = sums[0].inputs[0]
    while value.node is not None and value.node.name in (
        "square",
        "mul",
        "integer_pow",
        "sub",
        "convert_element_type",
        "abs",
    ):
        value = value.node.inputs[0]
    return value


def _post_norm(graph: Graph) -> Iterator[Hypothesis]:
    """Norms before the branch of a residual, that in PyTorch come after the sum; and the other way round."""
    norms = _norms(graph)
    after: dict[Value, Any] = {}
    before: dict[Value, Any] = {}
    for source, target in norms:
        total = next(
            (node for node in graph.named("add") if source in node.inputs and graph.depends(node.output, target)), None
        )
        if total is not None:
            after[target] = functools.partial(instead, source)
            after[total.output] = functools.partial(_normed_after, graph, source, target, total)
        if source.node is not None and source.node.name == "add":
            for skipped, branch in (source.node.inputs, source.node.inputs[::-1]):
                if skipped.shape == source.shape and graph.depends(branch, skipped) and branch.shape == source.shape:
                    before[target] = functools.partial(_normed_before, graph, (source, target), skipped, branch)
    if after:
        yield (
            f"norms after the sums, the Flax module has them before the branches{_at(norms[0][1])}",
            functools.partial(graph.run, after),
        )
    if before:
        yield (
            f"norms before the branches, the Flax module has them after the sums{_at(norms[0][1])}",
            functools.partial(graph.run, before),
        )
    yield from _sums_beside_norms(graph, norms)
    for source, target in norms:
        words = f"no norm, the Flax module has one{_at(target)}"
        yield words, functools.partial(graph.run, {target: functools.partial(instead, source)})


def _sums_beside_norms(graph: Graph, norms: Sequence[tuple[Value, Value]]) -> Iterator[Hypothesis]:
    """A sum before a norm that the module has after it, and the other way round, whatever is added."""
    for source, target in norms:
        for node in graph.users.get(target, []):
            other = node.inputs[-1] if node.inputs[0] is target else node.inputs[0]
            if node.name == "add" and node in graph.own and other.shape == target.shape and other is not target:
                change = functools.partial(_sum_normed, graph, source, target, other)
                words = f"a norm after the sum, the Flax module has it before{node.at}"
                yield words, functools.partial(graph.run, {node.output: change})
        if source.node is not None and source.node.name == "add":
            for inner, other in (source.node.inputs, source.node.inputs[::-1]):
                if inner.shape == other.shape == target.shape and graph.scalar(other) is None:
                    change = functools.partial(_norm_added, graph, source, target, (inner, other))
                    words = f"a norm before the sum, the Flax module has it after{source.node.at}"
                    yield words, functools.partial(graph.run, {target: change})


def _sum_normed(graph: Graph, source: Value, target: Value, other: Value, read: Read) -> Any:
    return graph.apply(source, target, read(source) + read(other), read)


def _norm_added(graph: Graph, source: Value, target: Value, terms: tuple[Value, Value], read: Read) -> Any:
    return graph.apply(source, target, read(terms[0]), read) + read(terms[1])


def _normed_after(graph: Graph, source: Value, target: Value, total: Node, read: Read) -> Any:
    return graph.apply(source, target, graph.perform(total, read)[0], read)


def _normed_before(graph: Graph, norm: tuple[Value, Value], skipped: Value, branch: Value, read: Read) -> Any:
    inner = graph.apply(*norm, read(skipped), read)
    return read(skipped) + graph.apply(skipped, branch, inner, read)


def _residuals(graph: Graph) -> Iterator[Hypothesis]:
    """What goes in, added to what comes out or to what a branch gives."""
    sources = [value for value in graph.arguments if value.is_float and value.shape]
    names = ("add", "dot_general", "mul", "div", "conv_general_dilated", "max", "select_n", "tanh", "logistic")
    branches = [node.output for node in graph.named(*names) if node.output.varies and node.output.is_float]
    sums = list(dict.fromkeys([*branches, *(value for value in graph.handed_on() if value.is_float)]))
    # First where a branch ends: in what is given to a module inside, or comes out.
    ends = [value for value in (*graph.handed_in(), *graph.results) if value.node is not None and value.is_float]
    for target in list(dict.fromkeys([*ends, *branches[-_MOST:]])):
        for source in [*sources, *sums]:
            index = -1 if source.node is None else source.node.index
            if source.shape == target.shape and target.node is not None and index < target.node.index:
                change = functools.partial(_added, graph, source, target)
                words = f"a residual of shape {source.shape}{_from(source)}, which the Flax module lacks{_at(target)}"
                yield words, functools.partial(graph.run, {target: change})


def _added(graph: Graph, source: Value, target: Value, read: Read) -> Any:
    return graph.before(target, read) + read(source)


def wiring_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Another array of the same shape in the place of one that goes into an operation."""
    graph = case.graph
    names = ("add", "sub", "mul", "dot_general", "concatenate", "conv_general_dilated", "div")
    sources = [
        *graph.arguments,
        *(node.output for node in graph.named("add", "mul", "dot_general", "max", "sub", "select_n")),
    ]
    sources = [
        value
        for value in dict.fromkeys([*sources, *graph.handed_on()])
        if value.varies and value.is_float and value.shape
    ]
    for node in graph.named(*names):
        for place, value in enumerate(node.inputs):
            if not value.varies or not value.shape:
                continue
            for source in sources:
                index = -1 if source.node is None else source.node.index
                if source is value or source.shape != value.shape or index >= node.index:
                    continue
                if case.is_over:
                    return
                change = functools.partial(_rewired, graph, node, place, source)
                words = f"{_name(graph, source)} in the place of {_name(graph, value)} in {node.name}{node.at}"
                yield words, functools.partial(graph.run, {node.output: change})


def _rewired(graph: Graph, node: Node, place: int, source: Value, read: Read) -> Any:
    values = [source if n == place else value for n, value in enumerate(node.inputs)]
    arrays = [read(value) for value in values]
    results = node.operation.primitive.bind(*arrays, **node.params)
    return results[0] if node.operation.primitive.multiple_results else results


def _name(graph: Graph, value: Value) -> str:
    if value.node is None:
        return f"argument {graph.arguments.index(value)}" if value in graph.arguments else "a constant"
    if value.node.name == ANSWER:
        return f"what {value.node.inner} gives{value.node.at}"
    return f"what {value.node.name} gives{value.node.at}"


def _from(value: Value) -> str:
    return "" if value.node is None else value.node.at.replace("(at ", "(of ")


def _at(value: Value) -> str:
    return "" if value.node is None else value.node.at
