"""Causes in what resizes an image by lines of code, such as by looking up neighbours or by repeating pixels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.graph import Graph, Read, Value
from einops_arch.parity.causes.operations import RESIZES, resize_matrix

__all__ = ["resize_hypotheses"]

_MOST = 12
_LEAST_AXES = 3


def resize_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Each part that makes another size of an array alone; calls of `jax.image.resize` are replaced elsewhere."""
    for source, target in list(_parts(case.graph))[:_MOST]:
        for words, *how in RESIZES:
            change = functools.partial(_resized, source, target.shape, tuple(how))
            at = "" if target.node is None else target.node.at
            yield (
                f"{words}, the Flax module resizes in another way{at}",
                functools.partial(case.graph.run, {target: change}),
            )


def _resized(source: Value, shape: tuple[int, ...], how: tuple[Any, ...], read: Read) -> Any:
    import jax.numpy as jnp

    result = read(source)
    for axis, (size, wanted) in enumerate(zip(source.shape, shape, strict=True)):
        if size != wanted:
            result = jnp.moveaxis(jnp.tensordot(resize_matrix(size, wanted, *how), result, axes=(1, axis)), 0, axis)
    return result


def _parts(graph: Graph) -> Iterator[tuple[Value, Value]]:
    """Pairs of arrays of which the second is a function of the first alone and has other sizes of some axes."""
    own = {value for node in graph.own for value in (*node.inputs, *node.outputs)}
    # An axis may be resized after the other: then the nearest source has one of them already.
    seen: set[tuple[Value, tuple[int, ...]]] = set()
    for source in reversed([*graph.arguments, *(value for node in graph.nodes for value in node.outputs)]):
        if source not in own or not source.varies or not source.is_float or len(source.shape) < _LEAST_AXES:
            continue
        inside, looks_up = {source}, False
        for node in graph.nodes[0 if source.node is None else source.node.index + 1 :]:
            varying = [value for value in node.inputs if value.varies]
            if varying and all(value in inside for value in varying):
                inside.update(node.outputs)
                looks_up |= node.name in ("gather", "broadcast_in_dim", "dynamic_slice")
                if node.name == "dot_general":
                    break
        for target in inside:
            other = [size != wanted for size, wanted in zip(source.shape, target.shape, strict=False)]
            if (
                looks_up
                and (target, source.shape) not in seen
                and len(target.shape) == len(source.shape)
                and 0 < sum(other) < len(other)
                and _leaves(graph, target, inside)
            ):
                seen.add((target, source.shape))
                yield source, target


def _leaves(graph: Graph, value: Value, inside: set[Value]) -> bool:
    users = graph.users.get(value, [])
    return value in graph.results or any(output not in inside for node in users for output in node.outputs)
