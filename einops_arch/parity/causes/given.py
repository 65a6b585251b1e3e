"""What PyTorch gives to the modules inside, where the module's own code gives them something else.

What each of them is given and gives is known of PyTorch's run. So where a module's input is one of the arrays that are
there, or the sum or the product of two, the wiring can be read, however much of it is another: norms before the
branches and not after the sums, a residual from another place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.graph import ANSWER, Value
from einops_arch.parity.report.verdicts import Array, Pair, measure

__all__ = ["given_hypotheses"]

_MOST = 48
_MOST_NUMBERS = 1 << 27


def given_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """All that is given otherwise, read off at once; nothing where any of it cannot be."""
    names = _places(case)
    if not case.stubs or len(names) != len(case.target) or len(case.outputs) != len(case.target):
        return
    known = list(_known(case, names))
    arrays: list[Any] = list(case.outputs)
    sentences: list[str] = []
    moved: list[str] = []
    for n, (name, target) in enumerate(zip(names, case.target, strict=True)):
        if _is_same(target, to_numpy(case.outputs[n])):
            continue
        words, array, is_sum = _read_off(target, [pair for pair in known if pair[0] != name])
        if array is None:
            return
        arrays[n] = array
        sentences.append(f"{name} is {words}")
        value = case.graph.results[n]
        was_sum = value.node is not None and value.node.name == "add"
        if _is_norm(case, name) and is_sum is not was_sum:
            moved.append("norms after the sums" if is_sum else "norms before the branches")
    if sentences:
        start = f"{moved[0]}: " if moved else ""
        yield f"{start}in PyTorch {', and '.join(sentences)}", lambda: arrays


def _places(case: Case) -> list[str]:
    """The outputs, then what each stubbed module is given, in the order of the target."""
    outputs = ["the output" for _ in case.output_places]
    return outputs + [f"what {stub.path} is given" for stub in case.stubs for _ in stub.wanted]


def _known(case: Case, names: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """The arrays that are right: arguments, what modules give, what PyTorch gives to them, and what is made of it."""
    graph = case.graph
    for n, value in enumerate(graph.arguments):
        yield f"argument {n}", to_numpy(graph.read(value))
    answers = [node for node in graph.nodes if node.name == ANSWER]
    for node in answers:
        yield f"what {node.inner} gives", to_numpy(graph.read(node.output))
    start = len(case.output_places)
    yield from zip(names[start:], case.target[start:], strict=True)
    own: list[Value] = [node.output for node in graph.own if node.output.varies and node.output.is_float]
    for value in own[:_MOST]:
        yield f"what {value.node.name} gives{value.node.at}" if value.node else "", to_numpy(graph.read(value))


def _read_off(target: Array, known: Sequence[tuple[str, Array]]) -> tuple[str, Any, bool]:
    """The words for what an array is, the array, and whether it is a sum; no array where it is none of these."""
    fitting = [pair for pair in known if pair[1].shape == target.shape and pair[1].dtype.kind == "f"][:_MOST]
    for name, array in fitting:
        if _is_same(target, array):
            return name, array, False
    if target.size * len(fitting) ** 2 > _MOST_NUMBERS:
        return "", None, False
    for (name, array), (other, second) in itertools.combinations(fitting, 2):
        for sign, result in (("+", array + second), ("*", array * second)):
            if np.allclose(result.reshape(-1)[:8], target.reshape(-1)[:8]) and _is_same(target, result):
                return f"{name} {sign} {other}", result, sign == "+"
    return "", None, False


def _is_same(target: Array, array: Array) -> bool:
    return measure([Pair(target, array)]).verdict.passed if target.shape == array.shape else False


def _is_norm(case: Case, name: str) -> bool:
    path = name.removeprefix("what ").removesuffix(" is given")
    start = f"{case.path}." if case.path else ""
    modules = dict(case.torch_module.named_modules(remove_duplicate=False))
    module = modules.get(path.removeprefix(start))
    return module is not None and "norm" in type(module).__name__.lower()
