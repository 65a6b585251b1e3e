"""Causes among the operations of a module, whoever wrote it: they are found in what jax traces of it."""

from __future__ import annotations

import dataclasses
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

__all__ = ["RESIZES", "composed", "operation_hypotheses", "reordered", "resize_matrix"]

_LARGEST_EPS = 2e-2
_MANY = 4000


def operation_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Each kind of operation that is often not the same in the two frameworks."""
    every = [operation for operation, scopes in operations(case.program) if inner_path(scopes) not in case.right_inside]
    if len(every) > _MANY:
        return
    for make in (
        _epsilons,
        _gelus,
        _paddings,
        _flips,
        _variances,
        _selections,
        _comparisons,
        _cumulated,
        _resizes,
        _axes,
    ):
        for words, rule in make(case, every):
            yield words, functools.partial(case.by_rule, rule)


@dataclasses.dataclass(frozen=True)
class _Replacement:
    """A rule that replaces some operations and knows which.

    Args:
        targets: their identities.
        make: what each gives instead.
    """

    targets: frozenset[int]
    make: Callable[[Sequence[Any]], Any]

    def __call__(self, operation: Any, values: Sequence[Any]) -> Sequence[Any] | None:
        return [self.make(values)] if id(operation) in self.targets else None


def _instead(operation: Any, make: Callable[[Sequence[Any]], Any]) -> Rule:
    """Replace one operation."""
    return _Replacement(frozenset([id(operation)]), make)


def _literal(operation: Any) -> tuple[int, float] | None:
    """The number that is written in an operation of two operands, and which of them it is."""
    for n, operand in enumerate(operation.invars):
        if hasattr(operand, "val") and np.ndim(operand.val) == 0 and np.asarray(operand.val).dtype.kind == "f":
            return n, float(operand.val)
    return None


def _epsilons(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    own = [value for _, inner in case.torch_module.named_modules() for value in (getattr(inner, "eps", None),) if value]
    for operation in every:
        if operation.primitive.name not in ("add", "max") or (literal := _literal(operation)) is None:
            continue
        place, eps = literal
        if not 0 < abs(eps) <= _LARGEST_EPS:
            continue
        for other in dict.fromkeys([*own, *EPSILONS]):
            if other != eps:

                def changed(
                    values: Sequence[Any], place: int = place, other: float = other, operation: Any = operation
                ) -> Any:
                    new = np.asarray(other, values[1 - place].dtype)
                    return operation.primitive.bind(
                        *((new, values[1]) if place == 0 else (values[0], new)), **operation.params
                    )

                yield (
                    f"epsilon={number(other)}, the Flax module has {number(eps)}{_at(operation)}",
                    _instead(operation, changed),
                )


def _gelus(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Exact, tanh and quick: each is x times a step, and what goes into the step tells x."""
    del case
    import jax
    import jax.numpy as jnp

    root, bend, quick = math.sqrt(2 / math.pi), 0.044715, 1.702
    constants = [
        abs(literal[1]) for operation in every if operation.primitive.name == "mul" and (literal := _literal(operation))
    ]

    def has(value: float) -> bool:
        return any(abs(constant - value) < 1e-4 * value for constant in constants)

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
        sites = {id(operation) for operation in every if operation.primitive.name == name}
        if not sites or not applies:
            continue
        for other, step in steps.items():
            if other == form:
                continue

            def reformed(values: Sequence[Any], parts: Any = (argument, step, result)) -> Any:
                argument, step, result = parts
                return result(step(argument(values[0])))

            rule = _Replacement(frozenset(sites), reformed)
            yield f"the {other} form of GELU, the Flax module has the {form} form", rule


def _paddings(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    import jax

    for operation in every:
        name, parameters = operation.primitive.name, operation.params
        if name == "pad":
            yield from _pads(operation)
        if "padding" not in parameters or name not in ("conv_general_dilated", *_WINDOWS):
            continue
        now = tuple(map(tuple, parameters["padding"]))
        for other in _other_paddings(case, operation, now):

            def changed(values: Sequence[Any], operation: Any = operation, other: Any = other) -> Any:
                return operation.primitive.bind(*values, **(dict(operation.params) | {"padding": other}))

            yield (
                f"padding={_pairs(other)}, the Flax module has {_pairs(now)}{_at(operation)}",
                _instead(operation, changed),
            )
        if name == "conv_general_dilated" and any(map(any, now)):
            for mode in ("reflect", "edge", "wrap"):

                def padded(values: Sequence[Any], operation: Any = operation, now: Any = now, mode: str = mode) -> Any:
                    widths = [(0, 0)] * values[0].ndim
                    for axis, pair in zip(operation.params["dimension_numbers"].lhs_spec[2:], now, strict=True):
                        widths[axis] = pair
                    none = {"padding": ((0, 0),) * len(now)}
                    return operation.primitive.bind(
                        jax.numpy.pad(values[0], widths, mode=mode), values[1], **(dict(operation.params) | none)
                    )

                yield f"padding by {mode}, the Flax module pads with zeros{_at(operation)}", _instead(operation, padded)


_WINDOWS = ("reduce_window_max", "reduce_window_sum", "reduce_window_min", "reduce_window")


def _other_paddings(case: Case, operation: Any, now: tuple[tuple[int, int], ...]) -> Iterator[Any]:
    """PyTorch's own; as much on both sides; the uneven way of SAME; and all of it moved by one."""
    numbers = operation.params.get("dimension_numbers")
    paddings: list[Any] = []
    if numbers is not None:
        for _, module in case.torch_module.named_modules():
            own = getattr(module, "padding", None)
            if isinstance(own, tuple) and len(own) == len(now) and all(isinstance(n, int) for n in own):
                paddings.append(tuple((n, n) for n in own))
        shape = operation.invars[1].aval.shape
        reach = [
            (shape[axis] - 1) * dilation
            for axis, dilation in zip(numbers.rhs_spec[2:], operation.params["rhs_dilation"], strict=True)
        ]
        paddings.append(tuple((n - n // 2, n - n // 2) for n in reach))
        paddings.append(tuple((n // 2, n // 2) for n in reach))
        paddings.append(tuple((n // 2, n - n // 2) for n in reach))
    paddings.append(tuple((max(pair), max(pair)) for pair in now))
    paddings.append(tuple((min(pair), min(pair)) for pair in now))
    paddings.append(tuple(pair[::-1] for pair in now))
    paddings += [tuple((low + step, high - step) if low or high else (0, 0) for low, high in now) for step in (-1, 1)]
    yield from (
        padding
        for padding in dict.fromkeys(paddings)
        if padding != now and all(n >= 0 for pair in padding for n in pair)
    )


def _pads(operation: Any) -> Iterator[tuple[str, Rule]]:
    import jax.numpy as jnp

    config = operation.params["padding_config"]
    if any(inner for *_, inner in config) or any(low < 0 or high < 0 for low, high, _ in config):
        return
    for step in (-1, 1):
        other = tuple((low + step, high - step, 0) if low + high else (0, 0, 0) for low, high, _ in config)

        def moved(values: Sequence[Any], other: Any = other) -> Any:
            return operation.primitive.bind(*values, padding_config=other)

        pairs = [tuple(((low, high) for low, high, _ in widths)) for widths in (other, config)]
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

    for operation in every:
        if operation.primitive.name == "conv_general_dilated":
            axes = operation.params["dimension_numbers"].rhs_spec[2:]

            def flipped(values: Sequence[Any], operation: Any = operation, axes: Any = axes) -> Any:
                return operation.primitive.bind(values[0], jnp.flip(values[1], axes), **operation.params)

            yield f"a kernel that is flipped along its spatial axes{_at(operation)}", _instead(operation, flipped)


def _variances(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Divided by n or by n - 1; n is what something is divided by."""
    del case
    written = [
        literal[1]
        for operation in every
        if operation.primitive.name in ("div", "mul") and (literal := _literal(operation))
    ]
    sizes = [divisor if divisor >= 1 else 1 / divisor for divisor in written if divisor > 0]
    counts = {round(size) for size in sizes if 2 <= size <= 1e7 and abs(size - round(size)) < 1e-9 * size}
    counts |= {n + 1 for n in counts}
    for operation in every:
        eps = _literal(operation) if operation.primitive.name == "add" else None
        if operation.primitive.name not in ("sqrt", "rsqrt") and (eps is None or not 0 < eps[1] <= _LARGEST_EPS):
            continue
        for n, unbiased in itertools.product(sorted(counts), (True, False)):
            factor = n / (n - 1) if unbiased else (n - 1) / n

            def scaled(
                values: Sequence[Any], operation: Any = operation, factor: float = factor, eps: Any = eps
            ) -> Any:
                place = 0 if eps is None else 1 - eps[0]
                new = [value * factor if k == place else value for k, value in enumerate(values)]
                return operation.primitive.bind(*new, **operation.params)

            divisors = ("n - 1", "n") if unbiased else ("n", "n - 1")
            yield (
                f"the variance divided by {divisors[0]}, the Flax module divides by {divisors[1]} (n={n})"
                + _at(operation),
                _instead(operation, scaled),
            )


def _selections(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    del case
    for operation in every:
        if operation.primitive.name == "select_n" and len(operation.invars) == 3:

            def turned(values: Sequence[Any], operation: Any = operation) -> Any:
                return operation.primitive.bind(values[0], values[2], values[1], **operation.params)

            yield f"the mask the other way round{_at(operation)}", _instead(operation, turned)


def _comparisons(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Of positions with lengths, and of masks that are made of them: another sign between the two."""
    del case
    import jax

    signs = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
    for operation in every:
        if operation.primitive.name not in signs:
            continue
        for other, sign in signs.items():
            if other != operation.primitive.name:

                def compared(values: Sequence[Any], other: str = other) -> Any:
                    return getattr(jax.lax, other)(*values)

                words = (
                    f"'{sign}', where the Flax module compares with '{signs[operation.primitive.name]}'{_at(operation)}"
                )
                yield words, _instead(operation, compared)


def _cumulated(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """Sums and products that begin at the other end, or leave out the entry that they stand at."""
    del case
    import jax.numpy as jnp

    for operation in every:
        name = operation.primitive.name
        if name not in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"):
            continue
        axis, now = operation.params["axis"], operation.params["reverse"]

        def turned(values: Sequence[Any], operation: Any = operation, now: bool = now) -> Any:
            return operation.primitive.bind(*values, **{**operation.params, "reverse": not now})

        ends = ("first", "last") if now else ("last", "first")
        words = f"{name} from the {ends[0]} entry of axis {axis} on, the Flax module begins at the {ends[1]}"
        yield f"{words}{_at(operation)}", _instead(operation, turned)
        if name != "cumsum":
            continue

        def without(values: Sequence[Any], operation: Any = operation) -> Any:
            return jnp.subtract(operation.primitive.bind(*values, **operation.params), values[0])

        words = f"{name} along axis {axis} without the entry that it stands at, the Flax module has it with it"
        yield f"{words}{_at(operation)}", _instead(operation, without)


def _resizes(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """PyTorch's own rules, as one matrix for each axis that changes."""
    del case
    import jax.numpy as jnp

    for operation in every:
        if operation.params.get("name") != "_resize":
            continue
        present, wanted = (var.aval.shape for var in (operation.invars[0], operation.outvars[0]))
        axes = [axis for axis, pair in enumerate(zip(present, wanted, strict=True)) if pair[0] != pair[1]]
        for words, mode, corners, antialias in RESIZES:

            def resized(values: Sequence[Any], sizes: Any = (present, wanted, axes), how: Any = None) -> Any:
                result = values[0]
                for axis in sizes[2]:
                    matrix = resize_matrix(sizes[0][axis], sizes[1][axis], *how)
                    result = jnp.moveaxis(jnp.tensordot(matrix, result, axes=(1, axis)), 0, axis)
                return result

            how = functools.partial(resized, how=(mode, corners, antialias))
            yield f"{words}, the Flax module calls jax.image.resize{_at(operation)}", _instead(operation, how)


RESIZES = (
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


def resize_matrix(size: int, wanted: int, mode: str, corners: bool | None, antialias: bool) -> Any:
    """What PyTorch makes of an axis, as a matrix.

    Args:
        size: of the axis.
        wanted: its new size.
        mode: of `torch.nn.functional.interpolate`.
        corners: its `align_corners`.
        antialias: its own.
    """
    import torch

    eye = torch.eye(size, dtype=torch.float64).reshape(1, size, size, 1)
    matrix = torch.nn.functional.interpolate(
        eye, size=(wanted, 1), mode=mode, align_corners=corners, antialias=antialias
    )
    return matrix[0, :, :, 0].T.numpy()


def _axes(case: Case, every: Sequence[Any]) -> Iterator[tuple[str, Rule]]:
    """One axis that is several, such as heads, groups and the positions in a pixel, read in another order."""
    del case
    for operation in every:
        if operation.primitive.name != "reshape":
            continue
        present, wanted = operation.invars[0].aval.shape, operation.outvars[0].aval.shape
        for splits, (outer, start, inner) in ((True, composed(present, wanted)), (False, composed(wanted, present))):
            if not 2 <= len(inner) <= 4:
                continue
            names = "abcd"[: len(inner)]
            for order in list(itertools.permutations(range(len(inner))))[1:]:
                rule = _instead(operation, functools.partial(reordered, splits, wanted, (start, outer, inner), order))
                lengths = ", ".join(f"{name}={length}" for name, length in zip(names, inner, strict=True))
                torch_order = " ".join(names[n] for n in order)
                words = f"'({torch_order})', where the Flax module has '({' '.join(names)})', with {lengths}"
                yield words + _at(operation), rule


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
