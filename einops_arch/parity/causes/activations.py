"""Causes in activations: a part of the program that is a function of one array, entry by entry, is another function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.factors import LEAST_NUMBERS, fit_site
from einops_arch.parity.causes.graph import ELEMENTWISE, Graph, Read, Value

__all__ = ["activation_hypotheses", "missing_activations", "scaled_activations", "sums_beside_activations"]

_BENT = frozenset(
    (
        *(
            "max",
            "min",
            "exp",
            "exp2",
            "log",
            "log1p",
            "expm1",
            "tanh",
            "logistic",
            "erf",
            "erfc",
            "pow",
            "integer_pow",
        ),
        *("abs", "sign", "select_n", "clamp", "square", "cbrt"),
    )
)
_MOST_REGIONS = 40
_SLOPES = (0.01, 0.2, 0.1, 0.3, 0.05, 0.25, 0.02, 1 / 3, 0.5)


def activation_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Each part that bends, alone and with those that are the same function."""
    graph = case.graph
    functions = _functions()
    by_name: dict[str, list[tuple[Value, Value]]] = {}
    every = list(_regions(graph))[:_MOST_REGIONS]
    for source, target in every:
        by_name.setdefault(_name(graph, functions, source, target), []).append((source, target))
    for current, places in by_name.items():
        groups = [places] if len({target for _, target in places}) > 1 else []
        groups += [[place] for place in places]
        for group in groups:
            for name, function in functions.items():
                # The forms of GELU have hypotheses of their own, at all places together; of the quick one all sigmoids
                # are taken for places, which is wrong where there are others.
                together = current != "quick GELU" or len(list(graph.named("logistic"))) <= len(places)
                if name == current or ("GELU" in name and "GELU" in current and together):
                    continue
                changes = {target: functools.partial(_applied, source, function) for source, target in group}
                at = _at(group[-1][1])
                words = f"the activation {name}, the Flax module has {current}{at}"
                yield words, functools.partial(graph.run, changes)


def scaled_activations(case: Case) -> Iterator[Hypothesis]:
    """Each part that bends, of so many times what goes in, and divided by that: another beta, or bound of a tanh."""
    graph, functions = case.graph, _functions()
    if case.numbers < LEAST_NUMBERS:
        return
    for source, target in list(_regions(graph))[:_MOST_REGIONS]:
        for hypothesis in fit_site(case, _Scaled(graph, source, target, _name(graph, functions, source, target)), ()):
            yield hypothesis
            return


class _Scaled:
    """A part that bends, of a multiple of what goes in, divided by the same number."""

    current, adds = 1.0, False

    def __init__(self, graph: Graph, source: Value, target: Value, name: str) -> None:
        self.graph, self.source, self.target, self.name = graph, source, target, name
        # A tanh between bounds divides by the bound and multiplies with it.
        divisors = self._numbers("div")
        self.bound = next((factor for factor in self._numbers("mul") if factor in divisors), None)

    def _numbers(self, kind: str) -> list[float]:
        first = 0 if self.source.node is None else self.source.node.index + 1
        last = 0 if self.target.node is None else self.target.node.index + 1
        nodes = [node for node in self.graph.nodes[first:last] if node.name == kind]
        numbers = [self.graph.scalar(value) for node in nodes for value in node.inputs]
        return [written for written in numbers if written is not None]

    def number(self, fit: float) -> float:
        return fit if self.bound is None else float(f"{self.bound / fit:.7g}")

    def changes(self, new: float) -> dict[Value, Any]:
        return {
            self.target: lambda read: self.graph.apply(self.source, self.target, read(self.source) * new, read) / new
        }

    def words(self, name: str) -> str:
        at = _at(self.target)
        if self.bound is not None:
            return f"the bound {name}, the Flax module has {self.bound:g}{at}"
        kind = "the activation" if self.name == "another" else f"the activation {self.name}"
        return f"{kind} of {name} times what goes in, divided by {name}{at}"


def sums_beside_activations(case: Case) -> Iterator[Hypothesis]:
    """A sum before an activation that the module has after it, and the other way round."""
    graph = case.graph
    for source, target in list(_regions(graph))[:_MOST_REGIONS]:
        for node in graph.users.get(target, []):
            if node.name == "add" and node.output.shape == target.shape and node in graph.own:
                other = node.inputs[1] if node.inputs[0] is target else node.inputs[0]
                if other is not target and other.shape == target.shape and graph.scalar(other) is None:
                    change = functools.partial(_of_sum, graph, source, target, other)
                    words = f"the sum before the activation, the Flax module has it after{node.at}"
                    yield words, functools.partial(graph.run, {node.output: change})
        if source.node is not None and source.node.name == "add":
            for inner, other in (source.node.inputs, source.node.inputs[::-1]):
                if inner.shape == other.shape == target.shape and graph.scalar(other) is None:
                    change = functools.partial(_then_added, graph, source, target, (inner, other))
                    words = f"the sum after the activation, the Flax module has it before{source.node.at}"
                    yield words, functools.partial(graph.run, {target: change})


def _of_sum(graph: Graph, source: Value, target: Value, other: Value, read: Read) -> Any:
    return graph.apply(source, target, read(source) + read(other), read)


def _then_added(graph: Graph, source: Value, target: Value, terms: tuple[Value, Value], read: Read) -> Any:
    return graph.apply(source, target, read(terms[0]), read) + read(terms[1])


def missing_activations(case: Case) -> Iterator[Hypothesis]:
    """An activation where the module has none; of what it gives also a softmax, a logarithm or an exponential."""
    graph, functions = case.graph, _functions()
    for value in [result for result in graph.results if result.node is not None and result.varies and result.is_float]:
        for name, function in _last_functions().items():
            change = functools.partial(_after, graph, value, function)
            words = f"{name} of what the Flax module gives{_at(value)}"
            yield words, functools.partial(graph.run, {value: change})
    targets = [
        node.output
        for node in graph.nodes
        if node.output.varies and node.output.is_float and node.output.shape and node.name in _LINEAR
    ]
    handed = graph.handed_on()
    own = {*handed, *(value for node in graph.own for value in node.outputs)}
    targets = [value for value in targets if value in own and not _only_feeds_a_bias(graph, value)]
    # What a module inside gives may come out of a loop, or be put together.
    targets = [*(value for value in handed if value.is_float and value.shape), *targets]
    for value in list(dict.fromkeys(targets))[:_MOST_REGIONS]:
        for name in ("ReLU", "exact GELU", "SiLU", "Tanh", "Sigmoid"):
            change = functools.partial(_after, graph, value, functions[name])
            words = f"the activation {name}{_at(value)}, the Flax module has none there"
            yield words, functools.partial(graph.run, {value: change})


_LINEAR = ("dot_general", "conv_general_dilated", "add", "mul", "sub")


def _only_feeds_a_bias(graph: Graph, value: Value) -> bool:
    users = graph.users.get(value, [])
    return bool(users) and all(node.name in ("add", "reshape", "transpose") for node in users) and len(users) == 1


def _applied(source: Value, function: Callable[[Any], Any], read: Read) -> Any:
    return function(read(source))


def _after(graph: Graph, value: Value, function: Callable[[Any], Any], read: Read) -> Any:
    return function(graph.before(value, read))


def _regions(graph: Graph) -> Iterator[tuple[Value, Value]]:
    """Pairs of arrays of which the second is a function of the first alone, entry by entry, and bends."""
    seen: set[tuple[Value, Value]] = set()
    done: set[Value] = set()
    for source in _sources(graph):
        if source in done:
            continue
        inside, bends = _grown(graph, source)
        done |= inside - {source}
        for target in _exits(graph, inside, bends):
            # Numbers that the array before or after is multiplied with, or that are added, may be no part of it.
            ends = [target, *_before_factors(graph, target, inside)]
            for start in [source, *_after_factors(graph, source, inside)]:
                for end in ends:
                    if start is not end and (start, end) not in seen and _within(graph, start, end):
                        seen.add((start, end))
                        yield start, end


def _sources(graph: Graph) -> Iterator[Value]:
    ends = {value for node in graph.own for value in (*node.inputs, *node.outputs)}
    for value in (*graph.arguments, *(value for node in graph.nodes for value in node.outputs)):
        if value in ends and value.varies and value.dtype is not None and value.is_float and value.shape:
            yield value


def _grown(graph: Graph, source: Value) -> tuple[set[Value], set[Value]]:
    """All that is a function of the source alone, and what of it bends."""
    inside, bends = {source}, set()
    first = 0 if source.node is None else source.node.index + 1
    reached = {source}
    for node in graph.nodes[first:]:
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
        if node.name not in ELEMENTWISE or len(node.outputs) != 1 or inside.isdisjoint(node.inputs):
            continue
        if all(value in inside or _is_number(graph, value) for value in node.inputs) and (
            node.output.shape == source.shape
        ):
            inside.add(node.output)
            if node.name in _BENT or any(value in bends for value in node.inputs):
                bends.add(node.output)
    return inside, bends


def _is_number(graph: Graph, value: Value) -> bool:
    origin = graph.origin(value)
    return not origin.varies and origin.shape in ((), (1,))


def _exits(graph: Graph, inside: set[Value], bends: set[Value]) -> list[Value]:
    return [
        value
        for value in bends
        if value.is_float
        and (value in graph.results or any(node.output not in inside for node in graph.users.get(value, [])))
    ]


def _after_factors(graph: Graph, source: Value, inside: set[Value]) -> list[Value]:
    values = []
    value = source
    while len(users := graph.users.get(value, [])) == 1 and users[0].name in ("mul", "div", "neg", "add"):
        value = users[0].output
        if value not in inside:
            break
        values.append(value)
    return values[:3]


def _before_factors(graph: Graph, target: Value, inside: set[Value]) -> list[Value]:
    values = []
    value = target
    while value.node is not None and value.node.name in ("mul", "div", "neg", "add", "sub"):
        numbers = [operand for operand in value.node.inputs if _is_number(graph, operand)]
        others = [operand for operand in value.node.inputs if operand not in numbers]
        if len(others) != 1 or (value.node.name != "neg" and not numbers) or others[0] not in inside:
            break
        value = others[0]
        values.append(value)
    return values[:3]


def _within(graph: Graph, source: Value, target: Value) -> bool:
    inside, bends = _grown(graph, source)
    return target in inside and target in bends


def _name(graph: Graph, functions: Mapping[str, Any], source: Value, target: Value) -> str:
    import jax.numpy as jnp

    argument, result = graph.read(source), graph.read(target)
    scale = jnp.maximum(jnp.abs(result).max(), 1e-300)
    for name, function in functions.items():
        if bool(jnp.abs(function(argument) - result).max() <= 1e-12 * scale):
            return name
    return "another"


def _at(value: Value) -> str:
    return "" if value.node is None else value.node.at


@functools.cache
def _functions() -> dict[str, Callable[[Any], Any]]:
    """By the names of `torch.nn`, with the settings that these have by default."""
    import jax
    import jax.numpy as jnp

    nn = jax.nn
    functions: dict[str, Callable[[Any], Any]] = {
        "ReLU": nn.relu,
        "exact GELU": lambda x: nn.gelu(x, approximate=False),
        "tanh GELU": lambda x: nn.gelu(x, approximate=True),
        "quick GELU": lambda x: x * nn.sigmoid(1.702 * x),
        "SiLU": nn.silu,
        "Tanh": jnp.tanh,
        "Sigmoid": nn.sigmoid,
        "ELU": nn.elu,
        "SELU": nn.selu,
        "Softplus": nn.softplus,
        "Softsign": nn.soft_sign,
        "ReLU6": nn.relu6,
        "Hardswish": lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
        "Hardsigmoid": lambda x: jnp.clip(x + 3, 0, 6) / 6,
        "Hardtanh": lambda x: jnp.clip(x, -1, 1),
        "Mish": lambda x: x * jnp.tanh(nn.softplus(x)),
        "LogSigmoid": nn.log_sigmoid,
        "Softshrink": lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0),
        "Hardshrink": lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0),
        "Tanhshrink": lambda x: x - jnp.tanh(x),
        "squared ReLU": lambda x: jnp.square(nn.relu(x)),
        "Identity": lambda x: x,
        "Abs": jnp.abs,
        "Exp": jnp.exp,
    }
    for slope in _SLOPES:
        functions[f"LeakyReLU({slope:.3g})"] = functools.partial(_leaky, slope)
    return functions


def _last_functions() -> dict[str, Callable[[Any], Any]]:
    """What is often done to an output by one of two models, or by the code that calls it."""
    import jax
    import jax.numpy as jnp

    functions: dict[str, Callable[[Any], Any]] = {"the logarithm": jnp.log, "the exponential": jnp.exp}
    return functions | {
        "the softmax over the last axis": lambda x: jax.nn.softmax(x, -1),
        "the logarithm of the softmax over the last axis": lambda x: jax.nn.log_softmax(x, -1),
        "the unit vectors along the last axis": lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
    }


def _leaky(slope: float, x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.where(x >= 0, x, slope * x)
