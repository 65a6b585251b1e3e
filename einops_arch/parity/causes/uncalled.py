"""Causes in modules that the Flax model has and does not call: what they give is added or multiplied in PyTorch's."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.graph import Graph, Value

__all__ = ["uncalled_hypotheses"]

_MOST_SOURCES = 40


def uncalled_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Each module of the Flax model that nothing calls, given what it can take, added to what it fits."""
    from einops_arch.flax.state import named_modules

    graph = case.graph
    called = {node.inner for node in graph.nodes}
    for path, module in named_modules(case.flax_module):
        if not path or not callable(module) or any(name == path or name.startswith(f"{path}.") for name in called):
            continue
        for words, array in _given(module, graph):
            for target in _targets(graph, array):
                change = functools.partial(_with, graph, target, array)
                at = "" if target.node is None else target.node.at
                yield (
                    f"what {path} gives for {words} added{at}, the Flax module does not call it",
                    functools.partial(graph.run, {target: change}),
                )


def _given(module: Any, graph: Graph) -> Iterator[tuple[str, Any]]:
    """What the module gives for arguments, for what else is computed, and for positions; where it takes them."""
    sources: list[tuple[str, Any]] = [(f"argument {n}", graph.read(value)) for n, value in enumerate(graph.arguments)]
    lengths = sorted({length for value in graph.arguments for length in value.shape if length > 1})
    sources += [(f"positions up to {length}", np.arange(length)) for length in lengths]
    handed = [value for value in graph.handed_on() if value.is_float and value.shape][:_MOST_SOURCES]
    sources += [
        (f"what {value.node.name} gives{value.node.at}", graph.read(value))
        for value in handed
        if value.node is not None
    ]
    for words, array in sources:
        result: Any = None
        with contextlib.suppress(Exception):  # a module that does not take this is given the next
            result = module(array)
        if hasattr(result, "shape") and result.shape:
            yield words, result


def _targets(graph: Graph, array: Any) -> Iterator[Value]:
    values = [node.output for node in graph.named("mul", "add", "dot_general")]
    for value in dict.fromkeys([*graph.handed_on(), *values, *graph.results]):
        fits = value.is_float and len(value.shape) >= array.ndim and value.shape[-array.ndim :] == tuple(array.shape)
        if fits and value.varies and value.node is not None:
            yield value


def _with(graph: Graph, target: Value, array: Any, read: Any) -> Any:
    return graph.before(target, read) + array
