"""Causes that are one number: a factor that is another or is missing, or a number that is added or compared."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case, Hypothesis, number
from einops_arch.parity.causes.graph import Graph, Node, Read, Value
from einops_arch.parity.report import limits

__all__ = ["LEAST_NUMBERS", "factor_hypotheses", "fit_site", "fitted", "named_number"]

# A number that is fitted to fewer numbers says little.
LEAST_NUMBERS = 12
_MOST_SITES = 60
_STEPS = 14


def factor_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Every number that is written in the program, then factors of what is multiplied, looked up or pooled."""
    if case.numbers < LEAST_NUMBERS:
        return
    graph = case.graph
    sizes = sorted({size for node in graph.nodes for value in node.outputs for size in value.shape if size > 1})
    fits = 0
    written = list(_written(graph))
    numbers: list[Any] = [_Number(graph, *site) for site in written[:_MOST_SITES]]
    # A line that is run several times, such as that of a rotation of two arrays, has its number at several places.
    lines: dict[tuple[str, str, float], list[_Number]] = {}
    for site in (_Number(graph, *place) for place in written):
        lines.setdefault((site.node.name, site.node.at, site.written), []).append(site)
    together: list[Any] = [_Together(sites) for (_, line, _), sites in lines.items() if line and len(sites) > 1]
    # Positions are counted in integers, whatever is done to them.
    counted: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
    for node in graph.named("convert_element_type"):
        value = node.output
        if value.is_float and len(value.shape) and not node.inputs[0].is_float:
            counted.setdefault((node.at, value.shape), []).append(_Factor(graph, value, _STRIDES))
    together += [_Together(sites) for sites in counted.values()]
    powers = [_Power(graph, node) for node in graph.named("integer_pow", "square") if node.output.is_float]
    for number_site in [*numbers, *powers, *together[:_MOST_SITES]]:
        for hypothesis in fit_site(case, number_site, sizes):
            fits += 1
            yield hypothesis
    yield from _rescaled(graph)
    # A factor that stands in the code says more than one that could be put anywhere before or after it.
    if not fits:
        for site in itertools.islice(_sites(graph), _MOST_SITES):
            for hypothesis in fit_site(case, site, sizes):
                yield hypothesis
                return


# Images come from 0 to 1, from -1 to 1 or from 0 to 255, and negated.
_RANGES = ((2.0, -1.0), (0.5, 0.5), (255.0, 0.0), (1 / 255, 0.0), (-1.0, 0.0), (-1.0, 1.0))


def _rescaled(graph: Graph) -> Iterator[Hypothesis]:
    """An argument in another range."""
    for n, argument in enumerate(graph.arguments):
        for factor, addend in _RANGES if argument.is_float and argument.shape else ():
            words = f"argument {n} times {named_number(factor, (2, 255))}"
            words += f", {'plus' if addend > 0 else 'minus'} {named_number(abs(addend), (2,))}" if addend else ""
            change = functools.partial(_in_range, graph, argument, factor, addend)
            yield f"{words}, which the Flax module takes as it is", functools.partial(graph.run, {argument: change})


def _in_range(graph: Graph, argument: Value, factor: float, addend: float, read: Read) -> Any:
    del read
    return graph.read(argument) * factor + addend


def _sites(graph: Graph) -> Iterator[Any]:
    """What may have a factor: products of two arrays, what is looked up, sums, and then what modules give."""
    products = [node for node in graph.named("dot_general") if all(value.varies for value in node.inputs)]
    nodes = [*products, *graph.named("gather"), *graph.named("add", "mul", "dot_general", "conv_general_dilated")]
    values = [*(node.output for node in nodes), *graph.handed_on()]
    for value in dict.fromkeys(values):
        if value.varies and value.is_float and value.shape and value.node is not None:
            yield _Factor(graph, value)
    for argument in graph.arguments:
        if argument.is_float and argument.shape:
            yield _FactorOfArgument(graph, argument)
    factors = [value for node in graph.named("mul") for value in node.inputs]
    for value in dict.fromkeys([*factors, *graph.handed_on()]):
        if value.varies and value.is_float and value.shape and value.node is not None:
            yield _Addend(graph, value)


class _Number:
    """A number in an operation of two operands."""

    def __init__(self, graph: Graph, node: Node, value: Value, current: float) -> None:
        self.graph, self.node, self.value, self.written = graph, node, value, current
        # Of a divisor the reciprocal is fitted, on which the result depends evenly.
        self.adds = node.name in ("add", "sub")
        self.divides = node.name == "div" and node.inputs[1] is value and bool(current)
        self.current = 1 / current if self.divides else current

    @property
    def trials(self) -> list[float]:
        """What it may be where the result is no straight line of it: a count of one more, the logarithm of a base."""
        near = self.written
        counts = [near - 1, near + 1] if near == round(near) and 2 <= abs(near) <= 4096 else []
        bases = [math.log(base) for base in _LARGE]
        logs = bases if any(abs(abs(near) - log) <= 1e-9 * log for log in bases) else []
        signed = [math.copysign(number_of, near) for number_of in (*counts, *logs)]
        return [1 / number_of if self.divides else number_of for number_of in signed if number_of != near]

    def number(self, fit: float) -> float:
        return 1 / fit if self.divides else fit

    def changes(self, new: float) -> dict[Value, Any]:
        return {self.node.output: functools.partial(self.done, self.number(new))}

    def done(self, new: float, read: Read) -> Any:
        import jax.numpy as jnp

        def look(value: Value) -> Any:
            return jnp.full(value.shape, new, read(value).dtype) if value is self.value else read(value)

        return self.graph.perform(self.node, look)[0]

    def words(self, name: str) -> str:
        verb = {"mul": "times", "div": "divided by", "add": "plus", "sub": "minus"}.get(self.node.name, self.node.name)
        return f"{verb} {name}, the Flax module has {named_number(self.written, ())}{self.node.at}"


class _Power:
    """A whole exponent that may be another one."""

    adds = False

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node
        self.current = float(node.operation.params.get("y", 2))

    def number(self, fit: float) -> float:
        return fit

    def changes(self, new: float) -> dict[Value, Any]:
        return {self.node.output: lambda read: read(self.node.inputs[0]) ** new}

    def words(self, name: str) -> str:
        return f"to the power of {name}, the Flax module has {self.current:g}{self.node.at}"


class _Together:
    """The same number at all places that one line of code has in the program."""

    def __init__(self, sites: Sequence[Any]) -> None:
        self.sites, self.current = sites, sites[0].current
        self.adds, self.starts = sites[0].adds, getattr(sites[0], "starts", ())
        self.trials = getattr(sites[0], "trials", ())

    def number(self, fit: float) -> float:
        return self.sites[0].number(fit)

    def changes(self, new: float) -> dict[Value, Any]:
        return {value: change for site in self.sites for value, change in site.changes(new).items()}

    def words(self, name: str) -> str:
        places = f" at {len(self.sites)} places" if len(self.sites) > 1 else ""
        return f"{self.sites[0].words(name)}{places}"


class _Factor:
    """A factor of what an operation gives."""

    current, adds = 1.0, False

    def __init__(self, graph: Graph, value: Value, starts: Sequence[float] = ()) -> None:
        self.graph, self.value, self.starts = graph, value, starts

    def number(self, fit: float) -> float:
        return fit

    def changes(self, new: float) -> dict[Value, Any]:
        return {self.value: lambda read: self.graph.before(self.value, read) * new}

    def words(self, name: str) -> str:
        node = self.value.node
        where = "" if node is None else f"{node.name} gives{node.at}"
        return f"a factor {name} of what {where}, where the Flax module has none"


class _Addend:
    """A number that is added to what an operation gives."""

    current, adds = 0.0, False

    def __init__(self, graph: Graph, value: Value) -> None:
        self.graph, self.value = graph, value

    def number(self, fit: float) -> float:
        return fit

    def changes(self, new: float) -> dict[Value, Any]:
        return {self.value: lambda read: self.graph.before(self.value, read) + new}

    def words(self, name: str) -> str:
        node = self.value.node
        where = "" if node is None else f"{node.name} gives{node.at}"
        return f"plus {name} of what {where}, where the Flax module adds nothing"


class _FactorOfArgument:
    """A factor of an argument."""

    current, adds = 1.0, False

    def __init__(self, graph: Graph, argument: Value) -> None:
        self.graph, self.argument = graph, argument

    def number(self, fit: float) -> float:
        return fit

    def changes(self, new: float) -> dict[Value, Any]:
        return {self.argument: lambda read: read(self.argument) * new}

    def words(self, name: str) -> str:
        place = self.graph.arguments.index(self.argument)
        return f"a factor {name} of argument {place}, the Flax module has none"


def _written(graph: Graph) -> Iterator[tuple[Node, Value, float]]:
    # Those in the module's own code first.
    for node in [*graph.own, *(node for node in graph.nodes if node not in graph.own)]:
        if node.name not in ("mul", "div", "add", "sub", "max", "min", "pow") or not node.output.shape:
            continue
        for value in node.inputs:
            current = graph.scalar(value)
            if current is not None and math.isfinite(current) and abs(current) < 1e6:
                yield node, value, current


def fit_site(case: Case, site: Any, sizes: Sequence[int]) -> Iterator[Hypothesis]:
    """What fits, as one hypothesis; a site that no number helps gives none."""

    def run(fit: float) -> list[Any]:
        return case.graph.run(site.changes(fit))

    starts = [site.current, *getattr(site, "starts", ())]
    starts += [other for other in _LARGE if abs(site.current) >= 100 and other != site.current]
    for trial in getattr(site, "trials", ()):
        # One run tells.
        if not case.is_over and case.difference(run(trial)) <= limits.FLOAT64:
            yield site.words(named_number(site.number(trial), sizes)), functools.partial(run, trial)
            return
    for start in starts:
        fit = None if case.is_over else fitted(case, run, start)
        # A factor of zero is a term that is not there, which other causes say.
        if (
            fit is not None
            and (site.adds or abs(fit) > 1e-9)
            and abs(fit - site.current) > 1e-9 * max(1e-9, abs(site.current))
        ):
            yield site.words(named_number(site.number(fit), sizes)), functools.partial(run, fit)
            return


# Positions may be counted in other steps, of which sines and cosines are no straight line.
_STRIDES = (0.5, 2.0)

# Bases of rotations and of sines.
_LARGE = (1e4, 5e5, 1e6, 1e5, 1e3)


def fitted(case: Case, run: Callable[[float], Sequence[Any]], start: float) -> float | None:
    """The number for which the outputs are the target, by least squares; None where there is none.

    Args:
        case: has the target.
        run: gives the outputs for a number.
        start: the number that the module has.
    """

    def off(value: float) -> np.ndarray[Any, Any] | None:
        arrays = [to_numpy(array) for array in run(value)]
        if [array.shape for array in arrays] != [array.shape for array in case.target]:
            return None
        parts = [
            ((array - target) / (np.sqrt(np.mean(np.square(target))) or 1.0)).ravel()
            for array, target in zip(arrays, case.target, strict=True)
            if target.dtype.kind == "f" and target.size
        ]
        return np.concatenate(parts) if parts else None

    first = off(start)
    if first is None or not np.all(np.isfinite(first)):
        return None
    least = float(np.sqrt(np.mean(first**2)))
    if least <= limits.FLOAT64 / 4:
        return start
    value, best, here = start, start, first
    for n in range(_STEPS):
        step = 1e-5 * (abs(value) or 1e-2)
        moved = off(value + step)
        if moved is None or not np.all(np.isfinite(moved)):
            break
        slope = (moved - here) / step
        length = float(slope @ slope)
        if length <= 1e-24:
            break
        jump = -float(slope @ here) / length
        value = value + float(np.clip(jump, -10 * (abs(value) + 0.1), 10 * (abs(value) + 0.1)))
        there = off(value)
        if there is None or not np.all(np.isfinite(there)):
            break
        here = there
        size = float(np.sqrt(np.mean(here**2)))
        if size < least:
            least, best = size, value
        if size <= limits.FLOAT64 / 4:
            return _rounded(value, off)
        # A number that helps a little only at first is given up, one that helps more later.
        if n >= 2 and least > (0.9 if n < 4 else 0.3) * float(np.sqrt(np.mean(first**2))):
            break
    return _rounded(best, off) if least <= limits.FLOAT64 * 10 else None


def _rounded(value: float, off: Callable[[float], Any]) -> float:
    """The shortest decimal near it that does as well."""
    for short in (float(round(value)), *(float(f"{value:.{digits}g}") for digits in range(1, 10))):
        if abs(short - value) <= 1e-9 * max(abs(value), 1.0 if short == round(value) else 0.0):
            rest = off(short)
            if rest is not None and float(np.sqrt(np.mean(rest**2))) <= limits.FLOAT64:
                return short
    return value


def named_number(value: float, sizes: Sequence[int]) -> str:
    """A number in the words of the sizes that it may come from.

    >>> named_number(8**0.5, [8, 5]), named_number(0.2, [8, 5]), named_number(3.0, [8])
    ('sqrt(8)', '1/5', '3')
    """
    if math.isfinite(value) and value == round(value) and abs(value) < 1e9:
        return str(round(value))
    for size in sizes:
        for number_of, text in (
            (math.sqrt(size), f"sqrt({size})"),
            (1 / math.sqrt(size), f"1/sqrt({size})"),
            (1 / size, f"1/{size}"),
        ):
            if abs(value - number_of) <= 1e-9 * number_of:
                return text
    return number(float(f"{value:.9g}"))
