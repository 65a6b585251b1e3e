"""Sizes that remember where they come from: ints with the expression that made them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

__all__ = [
    "Axis",
    "Comparison",
    "Expression",
    "Operation",
    "Size",
    "SizeFloat",
    "atoms",
    "expression_of",
    "leaves_as_plain",
    "listening",
]


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a value, or (axis None) a size that came in as an argument."""

    value: Any
    axis: int | None = None


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation on sizes, by Python's sign for it."""

    sign: str
    operands: tuple[Expression, ...]


Expression = int | float | Axis | Operation


@dataclass(frozen=True, eq=False)
class Comparison:
    """A question that a program asked about sizes, and the answer on which it went on."""

    sign: str
    left: Expression
    right: Expression
    answer: bool


_LISTENERS: list[Callable[[Comparison], None]] = []


class listening:  # noqa: N801 used as a verb
    """While this is open, comparisons of sizes are told to a function."""

    def __init__(self, listener: Callable[[Comparison], None]) -> None:
        self.listener = listener

    def __enter__(self) -> None:
        _LISTENERS.append(self.listener)

    def __exit__(self, *error: object) -> None:
        _LISTENERS.remove(self.listener)


def expression_of(number: Any) -> Expression:
    """The expression of a size; a plain number is its own."""
    if isinstance(number, (Size, SizeFloat)):
        return number.expression
    return float(number) if isinstance(number, float) else int(number)


def leaves_as_plain(number: Any) -> Any:
    """Tell that a program goes on with a size as a plain number; gives that number."""
    return _escaped(number, _plain(number)) if isinstance(number, (Size, SizeFloat)) else number


def atoms(expression: Expression) -> Iterator[Axis]:
    """The axes that an expression is made of."""
    if isinstance(expression, Axis):
        yield expression
    elif isinstance(expression, Operation):
        for operand in expression.operands:
            yield from atoms(operand)


def _is_number(other: Any) -> bool:
    return isinstance(other, (int, float)) and not isinstance(other, bool)


def _make(number: Any, sign: str, *operands: Any) -> Any:
    expression = Operation(sign, tuple(expression_of(operand) for operand in operands))
    return SizeFloat(number, expression) if isinstance(number, float) else Size(number, expression)


def _plain(number: Any) -> Any:
    return float.__float__(number) if isinstance(number, float) else int.__int__(number)


def _binary(sign: str, function: Callable[[Any, Any], Any], *, swapped: bool = False) -> Any:
    def method(self: Any, other: Any) -> Any:
        if not _is_number(other):
            if sign == "*" and isinstance(other, (list, tuple, str)):
                _escaped(self, _plain(self))
            return NotImplemented
        left, right = (other, self) if swapped else (self, other)
        return _make(function(_plain(left), _plain(right)), sign, left, right)

    return method


def _escaped(number: Any, value: Any) -> Any:
    """A number leaves as a plain one: what was made of it holds as long as it is the same."""
    for listener in _LISTENERS:
        listener(Comparison("==", expression_of(number), value, answer=True))
    return value


def _as_text(function: Callable[..., str]) -> Any:
    """A method that writes a size into a text, which may be a message or a key."""

    def written(self: Any, *rest: Any) -> str:
        _escaped(self, _plain(self))
        return function(_plain(self), *rest)

    return written


def _leaving(function: Callable[..., Any]) -> Any:
    """A method after which nothing is known of where the number came from."""

    def method(self: Any, *rest: Any) -> Any:
        _escaped(self, _plain(self))
        return function(_plain(self), *rest)

    return method


def _unary(sign: str, function: Callable[[Any], Any]) -> Any:
    def method(self: Any) -> Any:
        return _make(function(_plain(self)), sign, self)

    return method


def _compared(sign: str, function: Callable[[Any, Any], bool]) -> Any:
    def method(self: Any, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        answer = function(_plain(self), _plain(other))
        for listener in _LISTENERS:
            listener(Comparison(sign, expression_of(self), expression_of(other), answer))
        return answer

    return method


class _Arithmetic:
    __slots__ = ()
    __add__ = _binary("+", operator.add)
    __radd__ = _binary("+", operator.add, swapped=True)
    __sub__ = _binary("-", operator.sub)
    __rsub__ = _binary("-", operator.sub, swapped=True)
    __mul__ = _binary("*", operator.mul)
    __rmul__ = _binary("*", operator.mul, swapped=True)
    __floordiv__ = _binary("//", operator.floordiv)
    __rfloordiv__ = _binary("//", operator.floordiv, swapped=True)
    __mod__ = _binary("%", operator.mod)
    __rmod__ = _binary("%", operator.mod, swapped=True)
    __truediv__ = _binary("/", operator.truediv)
    __rtruediv__ = _binary("/", operator.truediv, swapped=True)
    __pow__ = _binary("**", operator.pow)
    __rpow__ = _binary("**", operator.pow, swapped=True)
    __neg__ = _unary("-", operator.neg)
    __abs__ = _unary("abs", operator.abs)
    __eq__ = _compared("==", operator.eq)
    __ne__ = _compared("!=", operator.ne)
    __lt__ = _compared("<", operator.lt)
    __le__ = _compared("<=", operator.le)
    __gt__ = _compared(">", operator.gt)
    __ge__ = _compared(">=", operator.ge)
    __format__ = _as_text(format)
    __repr__ = _as_text(repr)
    __str__ = _as_text(str)
    __hash__ = _leaving(hash)
    __float__ = _leaving(float)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __pos__(self) -> Self:
        return self

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self


def _whole(sign: str, function: Callable[..., int], *, plain: bool = False) -> Any:
    """A method that makes a whole number, which is a plain one where Python wants that."""

    def method(self: Any, *digits: int | None) -> Any:
        if any(count is not None for count in digits):
            return function(_escaped(self, _plain(self)), *digits)
        number = _make(function(_plain(self)), sign, self)
        return _escaped(number, _plain(number)) if plain else number

    return method


class Size(_Arithmetic, int):
    """An int that remembers the axes and the arithmetic that made it.

    >>> size = Size(6, Axis("image", 2))
    >>> half = size // 2
    >>> half, half.expression.sign
    (3, '//')
    """

    expression: Expression

    def __new__(cls, number: int, expression: Expression) -> Self:
        size = super().__new__(cls, number)
        size.expression = expression
        return size

    __and__ = _binary("&", operator.and_)
    __rand__ = _binary("&", operator.and_, swapped=True)
    __or__ = _binary("|", operator.or_)
    __ror__ = _binary("|", operator.or_, swapped=True)
    __xor__ = _binary("^", operator.xor)
    __rxor__ = _binary("^", operator.xor, swapped=True)
    __lshift__ = _binary("<<", operator.lshift)
    __rlshift__ = _binary("<<", operator.lshift, swapped=True)
    __rshift__ = _binary(">>", operator.rshift)
    __rrshift__ = _binary(">>", operator.rshift, swapped=True)
    __int__ = _leaving(int)
    __trunc__ = _whole("int", int)
    __round__ = _whole("round", round)
    __invert__ = _unary("~", operator.invert)
    bit_length = _leaving(int.bit_length)

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int.__int__(self),)

    def __deepcopy__(self, memo: Any) -> Size:
        return self


class SizeFloat(_Arithmetic, float):
    """A float made from sizes; rounding it up or down gives a size again."""

    expression: Expression

    def __new__(cls, number: float, expression: Expression) -> Self:
        value = super().__new__(cls, number)
        value.expression = expression
        return value

    __int__ = _whole("int", int, plain=True)
    __trunc__ = _whole("int", int)
    __round__ = _whole("round", round)
    is_integer = _leaving(float.is_integer)

    def __ceil__(self) -> Size:
        return Size(float.__ceil__(self), Operation("ceil", (self.expression,)))

    def __floor__(self) -> Size:
        return Size(float.__floor__(self), Operation("floor", (self.expression,)))

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float.__float__(self),)
