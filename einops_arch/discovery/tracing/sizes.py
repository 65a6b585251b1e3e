"""Sizes that remember where they come from: ints with the expression that made them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Axis", "Comparison", "Expression", "Operation", "Size", "SizeFloat", "atoms", "expression_of", "listening"]


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
            return NotImplemented
        left, right = (other, self) if swapped else (self, other)
        return _make(function(_plain(left), _plain(right)), sign, left, right)

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


class _Arithmetic:  # noqa: PLW1641 the number types below have their own hashes
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
    __eq__ = _compared("==", operator.eq)
    __ne__ = _compared("!=", operator.ne)
    __lt__ = _compared("<", operator.lt)
    __le__ = _compared("<=", operator.le)
    __gt__ = _compared(">", operator.gt)
    __ge__ = _compared(">=", operator.ge)


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

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __bool__(self) -> bool:
        return bool(self != 0)

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

    def __hash__(self) -> int:
        return float.__hash__(self)

    def __ceil__(self) -> Size:
        return Size(float.__ceil__(self), Operation("ceil", (self.expression,)))

    def __floor__(self) -> Size:
        return Size(float.__floor__(self), Operation("floor", (self.expression,)))

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float.__float__(self),)
