"""Causes among the operations of a module, whoever wrote it: they are found in what jax traces of it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.causes.case import Case, Hypothesis, number
from einops_arch.parity.causes.graph import inner_path
from einops_arch.parity.causes.settings import EPSILONS
from einops_arch.parity.runs.casts import line_of
from einops_arch.parity.runs.jaxprs import Rule, operations

__all__ = ["composed", "operation_hypotheses", "reordered"]

_LARGEST_EPS = 2e-2
_MANY = 4000


def operation_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Each kind of operation that is often not the same in the two frameworks."""
    every = [one for one, scopes in operations(case.program) if inner_path(scopes) not in case.right_inside]
    if len(every) > _MANY:
        return
    for make in (_epsilons, _gelus, _paddings, _flips, _variances, _selections, _comparisons, _resizes, _axes):
        for words, rule in make(case, every):
            yield words, functools.partial(case.by_rule, rule)


def _instead(operation: Any, make: Callable[[Sequence[Any]], Any]) -> Rule:
    """Replace one operation."""

    def rule(one: Any, values: Sequence[Any]) -> Sequence[Any] | None:
        return [make(values)] if one is operation else None

    return rule


def _literal(operation: Any) -> tuple[int, float] | None:
    """The number that is written in an operation of two operands, and which of them it is."""
    for n, one in enumerate(operation.invars):
        if hasattr(one, "val") and np.ndim(one.val) == 0 and np.asarray(one.val).dtype.kind == "f":
            return n, float(one.val)
    return None


def _epsilons(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    own = [value for _, one in case.torch_module.named_modules() for value in (getattr(one, "eps", None),) if value]
    for one in every:
        if one.primitive.name not in ("add", "max") or (found := _literal(one)) is None:
            continue
        place, eps = found
        if not 0 < abs(eps) <= _LARGEST_EPS:
            continue
        for other in dict.fromkeys([*own, *EPSILONS]):
            if other != eps:

                def changed(values: Sequence[Any], place: int = place, other: float = other, one: Any = one) -> Any:
                    new = np.asarray(other, values[1 - place].dtype)
                    return one.primitive.bind(*((new, values[1]) if place == 0 else (values[0], new)), **one.params)

                yield f"epsilon={number(other)}, the Flax module has {number(eps)}{_at(one)}", _instead(one, changed)


def _gelus(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Exact, tanh and quick: each is x times a step, and what goes into the step tells x."""
    del case
    import jax
    import jax.numpy as jnp

    root, bend, quick = math.sqrt(2 / math.pi), 0.044715, 1.702
    constants = [abs(found[1]) for one in every if one.primitive.name == "mul" and (found := _literal(one))]

    def has(value: float) -> bool:
        return any(abs(one - value) < 1e-4 * value for one in constants)

    # Each step from -1 to 1, as a function of x.
    steps: dict[str, Callable[[Any], Any]] = {
        "exact": lambda x: jax.lax.erf(x / math.sqrt(2.0)),
        "tanh": lambda x: jnp.tanh(root * (x + bend * x**3)),
        "quick (sigmoid)": lambda x: 2 * jax.nn.sigmoid(quick * x) - 1,
    }

    def solve(value: Any) -> Any:
        """The x of which the tanh form's argument is this."""
        p, q = 1 / bend, -value / root / bend
        x = -2 * jnp.sqrt(p / 3) * jnp.sinh(jnp.arcsinh(3 * q / (2 * p) * jnp.sqrt(3 / p)) / 3)
        for _ in range(2):
            x = x - (x + bend * x**3 - value / root) / (1 + 3 * bend * x**2)
        return x

    forms: dict[str, tuple[str, bool, Callable[[Any], Any], Callable[[Any], Any]]] = {
        "erf": ("exact", True, lambda a: a * math.sqrt(2.0), lambda step: step),
        # erfc(-x / sqrt 2) is 1 + erf(x / sqrt 2).
        "erfc": ("exact", True, lambda a: -a * math.sqrt(2.0), lambda step: 1 + step),
        "tanh": ("tanh", has(bend), solve, lambda step: step),
        "logistic": ("quick (sigmoid)", has(quick), lambda a: a / quick, lambda step: (1 + step) / 2),
    }
    for name, (form, applies, argument, result) in forms.items():
        sites = {id(one) for one in every if one.primitive.name == name}
        if not sites or not applies:
            continue
        for other, step in steps.items():
            if other == form:
                continue

            def rule(
                one: Any, values: Sequence[Any], sites: set[int] = sites, parts: Any = (argument, step, result)
            ) -> Sequence[Any] | None:
                argument, step, result = parts
                return [result(step(argument(values[0])))] if id(one) in sites else None

            yield f"the {other} form of GELU, the Flax module has the {form} form", rule


def _paddings(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    import jax

    for one in every:
        name, parameters = one.primitive.name, one.params
        if name == "pad":
            yield from _pads(one)
        if "padding" not in parameters or name not in ("conv_general_dilated", *_WINDOWS):
            continue
        now = tuple(map(tuple, parameters["padding"]))
        for other in _other_paddings(case, one, now):

            def changed(values: Sequence[Any], one: Any = one, other: Any = other) -> Any:
                return one.primitive.bind(*values, **(dict(one.params) | {"padding": other}))

            yield f"padding={_pairs(other)}, the Flax module has {_pairs(now)}{_at(one)}", _instead(one, changed)
        if name == "conv_general_dilated" and any(map(any, now)):
            for mode in ("reflect", "edge", "wrap"):

                def padded(values: Sequence[Any], one: Any = one, now: Any = now, mode: str = mode) -> Any:
                    widths = [(0, 0)] * values[0].ndim
                    for axis, pair in zip(one.params["dimension_numbers"].lhs_spec[2:], now, strict=True):
                        widths[axis] = pair
                    none = {"padding": ((0, 0),) * len(now)}
                    return one.primitive.bind(
                        jax.numpy.pad(values[0], widths, mode=mode), values[1], **(dict(one.params) | none)
                    )

                yield f"padding by {mode}, the Flax module pads with zeros{_at(one)}", _instead(one, padded)


_WINDOWS = ("reduce_window_max", "reduce_window_sum", "reduce_window_min", "reduce_window")


def _other_paddings(case: Case, operation: Any, now: tuple[tuple[int, int], ...]) -> Iterator[Any]:
    """PyTorch's own; as much on both sides; the uneven way of SAME; and all of it moved by one."""
    numbers = operation.params.get("dimension_numbers")
    found: list[Any] = []
    if numbers is not None:
        for _, module in case.torch_module.named_modules():
            own = getattr(module, "padding", None)
            if isinstance(own, tuple) and len(own) == len(now) and all(isinstance(n, int) for n in own):
                found.append(tuple((n, n) for n in own))
        shape = operation.invars[1].aval.shape
        reach = [
            (shape[axis] - 1) * dilation
            for axis, dilation in zip(numbers.rhs_spec[2:], operation.params["rhs_dilation"], strict=True)
        ]
        found.append(tuple((n - n // 2, n - n // 2) for n in reach))
        found.append(tuple((n // 2, n // 2) for n in reach))
        found.append(tuple((n // 2, n - n // 2) for n in reach))
    found.append(tuple((max(pair), max(pair)) for pair in now))
    found.append(tuple((min(pair), min(pair)) for pair in now))
    found.append(tuple(pair[::-1] for pair in now))
    found += [tuple((low + step, high - step) if low or high else (0, 0) for low, high in now) for step in (-1, 1)]
    yield from (one for one in dict.fromkeys(found) if one != now and all(n >= 0 for pair in one for n in pair))


def _pads(operation: Any) -> Iterator[tuple[str, Rule]]:
    import jax.numpy as jnp

    config = operation.params["padding_config"]
    if any(inner for *_, inner in config) or any(low < 0 or high < 0 for low, high, _ in config):
        return
    for step in (-1, 1):
        other = tuple((low + step, high - step, 0) if low + high else (0, 0, 0) for low, high, _ in config)

        def moved(values: Sequence[Any], other: Any = other) -> Any:
            return operation.primitive.bind(*values, padding_config=other)

        pairs = [tuple(((low, high) for low, high, _ in one)) for one in (other, config)]
        yield (
            f"padding={_pairs(pairs[0])}, the Flax module has {_pairs(pairs[1])}{_at(operation)}",
            _instead(operation, moved),
        )
    for mode in ("reflect", "edge", "wrap"):

        def padded(values: Sequence[Any], mode: str = mode) -> Any:
            return jnp.pad(values[0], [(low, high) for low, high, _ in config], mode=mode)

        yield f"padding by {mode}, the Flax module pads with a number{_at(operation)}", _instead(operation, padded)


def _flips(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    del case
    import jax.numpy as jnp

    for one in every:
        if one.primitive.name == "conv_general_dilated":
            axes = one.params["dimension_numbers"].rhs_spec[2:]

            def flipped(values: Sequence[Any], one: Any = one, axes: Any = axes) -> Any:
                return one.primitive.bind(values[0], jnp.flip(values[1], axes), **one.params)

            yield f"a kernel that is flipped along its spatial axes{_at(one)}", _instead(one, flipped)


def _variances(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Divided by n or by n - 1; n is what something is divided by."""
    del case
    written = [found[1] for one in every if one.primitive.name in ("div", "mul") and (found := _literal(one))]
    sizes = [one if one >= 1 else 1 / one for one in written if one > 0]
    counts = {round(one) for one in sizes if 2 <= one <= 1e7 and abs(one - round(one)) < 1e-9 * one}
    counts |= {n + 1 for n in counts}
    for one in every:
        eps = _literal(one) if one.primitive.name == "add" else None
        if one.primitive.name not in ("sqrt", "rsqrt") and (eps is None or not 0 < eps[1] <= _LARGEST_EPS):
            continue
        for n, unbiased in itertools.product(sorted(counts), (True, False)):
            factor = n / (n - 1) if unbiased else (n - 1) / n

            def scaled(values: Sequence[Any], one: Any = one, factor: float = factor, eps: Any = eps) -> Any:
                place = 0 if eps is None else 1 - eps[0]
                new = [value * factor if k == place else value for k, value in enumerate(values)]
                return one.primitive.bind(*new, **one.params)

            divisors = ("n - 1", "n") if unbiased else ("n", "n - 1")
            yield (
                f"the variance divided by {divisors[0]}, the Flax module divides by {divisors[1]} (n={n}){_at(one)}",
                _instead(one, scaled),
            )


def _selections(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    del case
    for one in every:
        if one.primitive.name == "select_n" and len(one.invars) == 3:

            def turned(values: Sequence[Any], one: Any = one) -> Any:
                return one.primitive.bind(values[0], values[2], values[1], **one.params)

            yield f"the mask the other way round{_at(one)}", _instead(one, turned)


def _comparisons(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Of positions with lengths, and of masks that are made of them: another sign between the two."""
    del case
    import jax

    signs = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
    for one in every:
        if one.primitive.name not in signs:
            continue
        for other, sign in signs.items():
            if other != one.primitive.name:

                def compared(values: Sequence[Any], other: str = other) -> Any:
                    return getattr(jax.lax, other)(*values)

                words = f"'{sign}', where the Flax module compares with '{signs[one.primitive.name]}'{_at(one)}"
                yield words, _instead(one, compared)


def _resizes(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """PyTorch's own rules, as one matrix for each axis that changes."""
    del case
    import jax.numpy as jnp

    for one in every:
        if one.params.get("name") != "_resize":
            continue
        given, wanted = (var.aval.shape for var in (one.invars[0], one.outvars[0]))
        axes = [axis for axis, pair in enumerate(zip(given, wanted, strict=True)) if pair[0] != pair[1]]
        for words, mode, corners, antialias in _RESIZES:

            def resized(values: Sequence[Any], sizes: Any = (given, wanted, axes), how: Any = None) -> Any:
                result = values[0]
                for axis in sizes[2]:
                    matrix = _resize_matrix(sizes[0][axis], sizes[1][axis], *how)
                    result = jnp.moveaxis(jnp.tensordot(matrix, result, axes=(1, axis)), 0, axis)
                return result

            how = functools.partial(resized, how=(mode, corners, antialias))
            yield f"{words}, the Flax module calls jax.image.resize{_at(one)}", _instead(one, how)


_RESIZES = (
    ("bilinear without antialiasing", "bilinear", False, False),
    ("bilinear with align_corners=True", "bilinear", True, False),
    ("nearest, rounded down", "nearest", None, False),
    ("nearest-exact", "nearest-exact", None, False),
    ("bicubic without antialiasing (a=-0.75)", "bicubic", False, False),
    ("bicubic with align_corners=True", "bicubic", True, False),
    ("bilinear with antialiasing", "bilinear", False, True),
    ("bicubic with antialiasing", "bicubic", False, True),
    ("area", "area", None, False),
)


def _resize_matrix(given: int, wanted: int, mode: str, corners: bool | None, antialias: bool) -> Any:
    import torch

    eye = torch.eye(given, dtype=torch.float64).reshape(1, given, given, 1)
    found = torch.nn.functional.interpolate(
        eye, size=(wanted, 1), mode=mode, align_corners=corners, antialias=antialias
    )
    return found[0, :, :, 0].T.numpy()


def _axes(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """One axis that is several, such as heads, groups and the positions in a pixel, read in another order."""
    del case
    for one in every:
        if one.primitive.name != "reshape":
            continue
        given, wanted = one.invars[0].aval.shape, one.outvars[0].aval.shape
        for splits, (outer, start, inner) in ((True, composed(given, wanted)), (False, composed(wanted, given))):
            if not 2 <= len(inner) <= 4:
                continue
            names = "abcd"[: len(inner)]
            for order in list(itertools.permutations(range(len(inner))))[1:]:
                rule = _instead(one, functools.partial(reordered, splits, wanted, (start, outer, inner), order))
                lengths = ", ".join(f"{name}={length}" for name, length in zip(names, inner, strict=True))
                theirs = " ".join(names[n] for n in order)
                yield f"'({theirs})', where the Flax module has '({' '.join(names)})', with {lengths}{_at(one)}", rule


def composed(whole: Sequence[int], parts: Sequence[int]) -> tuple[int, int, tuple[int, ...]]:
    """The one axis of a shape that is several axes in the other: which, where they begin, and their sizes."""
    start = 0
    while start < min(len(whole), len(parts)) and whole[start] == parts[start]:
        start += 1
    end = 0
    while end < min(len(whole), len(parts)) - start and whole[-1 - end] == parts[-1 - end]:
        end += 1
    inner = tuple(parts[start : len(parts) - end])
    if len(whole) - end - start != 1 or math.prod(inner) != whole[start] or 1 in inner:
        return start, start, ()
    return start, start, inner


def reordered(splits: bool, wanted: Sequence[int], place: Any, order: Sequence[int], values: Sequence[Any]) -> Any:
    """An array reshaped with the parts of one axis in another order."""
    start, _, inner = place
    x = values[0]
    around = (x.shape[:start], x.shape[start + (1 if splits else len(inner)) :])
    fixed = list(range(start))
    if splits:
        x = x.reshape(*around[0], *(inner[n] for n in order), *around[1])
        axes = [start + list(order).index(n) for n in range(len(inner))]
    else:
        axes = [start + n for n in order]
    rest = list(range(start + len(inner), x.ndim))
    return x.transpose(*fixed, *axes, *rest).reshape(wanted)


def _pairs(padding: Any) -> str:
    return "(" + ", ".join(f"({low}, {high})" for low, high in padding) + ")"


def _at(operation: Any) -> str:
    where = line_of(operation)
    return f" (at {where})" if where else ""
