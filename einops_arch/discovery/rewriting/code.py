"""Code to paste: the call of einops, with the names that the old code has for its sizes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

__all__ = ["known_values", "scaled", "write_call"]


def write_call(
    operation: str,
    pattern: str,
    bound: Mapping[str, int],
    equals: Mapping[str, str],
    *,
    function: Callable[..., Any],
    reduction: str | None = None,
    split: bool = False,
) -> tuple[dict[str, str], str]:
    """What each axis equals, with the old code's own names, and the call."""
    known = known_values(function)
    texts, words = dict(equals), []
    for name, size in bound.items():
        word = str(size)
        if equals[name] == word and len(known.get(size, [])) == 1:
            word = known[size][0]
            texts[name] = f"{size} ({word})"
        elif equals[name].isidentifier():
            word = equals[name]
        words.append(f"{name}={word}")
    parts = ["x", f'"{pattern}"', *([f'"{reduction}"'] if reduction else []), *words]
    call = f"{operation}({', '.join(parts)})"
    return texts, f"tuple({call})" if split else call


def known_values(function: Callable[..., Any]) -> dict[int, list[str]]:
    """The names that a function's code has for whole numbers larger than 1: arguments, closures, attributes.

    >>> known_values(lambda x, groups=3: x)
    {3: ['groups']}
    """
    named: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        named.update(function.keywords)
        function = function.func
    for name, value in getattr(function, "__dict__", {}).items():
        named.setdefault(f"self.{name}", value)
    function = getattr(function, "__func__", function)
    if (code := getattr(function, "__code__", None)) is not None:
        arguments = code.co_varnames[: code.co_argcount]
        defaults = getattr(function, "__defaults__", None) or ()
        named |= dict(zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)) | named
        named |= getattr(function, "__kwdefaults__", None) or {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            named[name] = _contents(cell)
        named |= {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    values: dict[int, list[str]] = {}
    for name, value in named.items():
        if type(value) is int and value > 1:
            values.setdefault(value, []).append(name)
    return values


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not set yet
        return None


def scaled(factors: Sequence[tuple[float, Mapping[str, int]]]) -> str:
    """The end of an expression that multiplies with a number, as a product of sizes where it is one.

    Args:
        factors: the number at some sizes, the sizes that were asked about first.

    >>> scaled([(1 / 35, {"c": 3, "h": 5, "w": 7}), (1 / 15, {"c": 5, "h": 5, "w": 3})])
    ' / (h * w)'
    >>> scaled([(0.25, {"n": 3, "k": 16})])
    ' / k**0.5'
    """
    if all(abs(factor - 1) < 1e-6 for factor, _ in factors):
        return ""
    names = factors[0][1]
    for count in range(1, min(len(names), 4) + 1):
        for chosen in combinations(names, count):
            text = chosen[0] if count == 1 else f"({' * '.join(chosen)})"
            for power, end in ((1.0, ""), (0.5, "**0.5")):
                products = [math.prod(sizes[name] for name in chosen) ** power for _, sizes in factors]
                if all(
                    abs(factor * product - 1) < 1e-6 for (factor, _), product in zip(factors, products, strict=True)
                ):
                    return f" / {text}{end}"
    return f" * {factors[0][0]:.9g}"
