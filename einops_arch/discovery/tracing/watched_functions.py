"""Functions of Python that take a size for a plain number tell that, or keep where it comes from."""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from einops_arch.discovery.tracing.sizes import Operation, Size, SizeFloat, leaves_as_plain

__all__ = ["watched_functions"]


class _RangeMeta(type):
    def __instancecheck__(cls, item: Any) -> bool:
        return isinstance(item, _RANGE)


_RANGE = range


class _Range(metaclass=_RangeMeta):
    """`range`, which tells how many turns it makes where that depends on sizes."""

    def __new__(cls, *ends: Any) -> Any:
        if not any(isinstance(end, Size) for end in ends):
            return _RANGE(*ends)
        start, stop, step = (0, ends[0], 1) if len(ends) == 1 else (*ends, 1)[:3]
        start, step = leaves_as_plain(start), leaves_as_plain(step)
        numbers = _RANGE(start, int.__int__(stop), step)
        if isinstance(stop, Size):
            _escaped_turns(start, stop, step, len(numbers))
        return numbers


def _escaped_turns(start: int, stop: Size, step: int, count: int) -> None:
    if (start, step) == (0, 1):
        turns: Any = stop
    elif step > 0:
        turns = (stop - start + step - 1) // step
    else:
        turns = (start - stop - step - 1) // -step
    if count:
        leaves_as_plain(turns)
    else:
        _ = turns <= 0


class _IntMeta(type):
    def __instancecheck__(cls, item: Any) -> bool:
        return isinstance(item, _INT)

    def __getattr__(cls, name: str) -> Any:
        return getattr(_INT, name)


_INT = int


class _Int(metaclass=_IntMeta):
    """`int`, which keeps where a size comes from; Python's own gives a plain number, whatever `__int__` gives."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], (Size, SizeFloat)):
            return args[0] if isinstance(args[0], Size) else args[0].__trunc__()
        return _INT(*args, **kwargs)


@functools.cache
def _only_calls_int(file: str) -> bool:
    """Whether code has `int` nowhere but in calls, in `isinstance` and in annotations: there another may stand in."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return False
    allowed: set[int] = set()
    for node in ast.walk(tree):
        parts: list[Any] = []
        if isinstance(node, ast.Call):
            asks = isinstance(node.func, ast.Name) and node.func.id == "isinstance"
            kinds = node.args[1:] if asks else []
            parts = [node.func, *(part for kind in kinds for part in getattr(kind, "elts", [kind]))]
            allowed.update(id(part) for part in parts)
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts = [node.returns]
        elif isinstance(node, (ast.arg, ast.AnnAssign)):
            parts = [node.annotation]
        allowed.update(id(inner) for part in parts if part is not None for inner in ast.walk(part))
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "int")
    return all(id(name) in allowed for name in names)


@contextlib.contextmanager
def watched_functions(modules: Iterable[Any]) -> Iterator[None]:
    """While this is open, functions that take ints as they are tell that a size was given.

    Python asks nothing of an int in `range`, `math` and `operator.index`, and `int` makes a plain number of it.

    Args:
        modules: Python modules that may hold such functions under names of their own.
    """
    import builtins

    modules = list(modules)
    watched: dict[int, Any] = {id(_RANGE): _Range}
    for home, names in ((math, set(dir(math)) - {"ceil", "floor", "trunc"}), (operator, {"index"})):
        for name in names:
            if callable(function := getattr(home, name)) and not name.startswith("_"):
                watched[id(function)] = _root if function is math.sqrt else _told(function)
    replaced: list[tuple[Any, str, Any]] = []
    for home in (builtins, math, operator, *modules):
        for name, item in list(vars(home).items()):
            if id(item) in watched and home is not _THIS:
                replaced.append((home, name, item))
                setattr(home, name, watched[id(item)])
    files = {home: str(getattr(home, "__file__", "")) for home in modules if "int" not in vars(home)}
    of_sizes: list[Any] = [home for home, file in files.items() if _only_calls_int(file)]
    for home in of_sizes:
        home.int = _Int
    try:
        yield
    finally:
        for home in of_sizes:
            del home.int
        for home, name, item in reversed(replaced):
            setattr(home, name, item)


_THIS = sys.modules[__name__]


_SQRT = math.sqrt


def _root(number: Any) -> Any:
    """The root of a size stays an expression of it, as scales of attention need."""
    if isinstance(number, (Size, SizeFloat)):
        plain = float.__float__(number) if isinstance(number, float) else int.__int__(number)
        return SizeFloat(_SQRT(plain), Operation("**", (number.expression, 0.5)))
    return _SQRT(number)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*map(leaves_as_plain, args), **kwargs)

    return called
