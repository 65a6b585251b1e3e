"""Hold two recordings of one model together: what differs is a free size, the dtype of the run, or refused."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from einops_arch.discovery.tracing.program import Node, Note, Record, Scope, Source, Value
from einops_arch.discovery.tracing.sizes import (
    Axis,
    Comparison,
    Expression,
    Operation,
    Size,
    SizeFloat,
    atoms,
    expression_of,
)
from einops_arch.translation.refusals import UnknownOperationError

__all__ = ["FixedFloat", "FixedSize", "FreeSize", "RunDtype", "SmallestNumber", "agree", "is_guarded"]


@dataclass(frozen=True, eq=False, repr=False)
class FreeSize:
    """A number made from free sizes: how, and what it was in both recordings.

    It is no text and no plain number: a row that does not write it as code with `Writer.number` refuses it.
    """

    expression: Expression
    numbers: tuple[Any, Any]

    def _refuse(self, *_: Any) -> Any:
        raise UnknownOperationError(
            f"an argument that depends on a size ({self.numbers[0]} at one, {self.numbers[1]} at another)",
            _FIX_THE_SIZE,
        )

    __repr__ = __str__ = __format__ = __int__ = __index__ = __float__ = __bool__ = _refuse


class FixedSize(int):
    """A number made from sizes that the weights fix: how, so that the twin computes it as the original does."""

    expression: Expression


class FixedFloat(float):
    """The same for a number with a fraction, such as the root of a width."""

    expression: Expression


@dataclass(frozen=True)
class RunDtype:
    """The floating-point dtype in which the model runs, whichever that is."""


@dataclass(frozen=True)
class SmallestNumber:
    """The smallest number of the dtype in which the model runs, as masks are filled with."""


_FIX_THE_SIZE = "fix the size: a number in the place of the letter in the input's pattern"


class _Disagreement(Exception):  # noqa: N818 it is caught where it can be said
    def __init__(self, reason: str, fix: str = _FIX_THE_SIZE) -> None:
        super().__init__(reason)
        self.fix = fix


def agree(first: Scope, second: Scope, *, write: bool = True) -> list[Note]:
    """Write into the first recording what is free in it.

    Args:
        first: a recording; its sizes become `FreeSize`, its run's dtype `RunDtype`, and its values know both sizes.
        second: of the same model in the same mode, at other sizes and in float64.
        write: otherwise only the values learn both sizes, and the recording can be held against others.

    Returns:
        Where the recordings differ in more than that.
    """
    return _Agreement(write=write).scopes(first, second)


def is_guarded(notes: Sequence[Note]) -> bool:
    """Whether recordings differ in nothing but the answer to a question about sizes, which the twin asks as well."""
    return bool(notes) and all(note.operation in _QUESTIONS for note in notes)


_QUESTIONS = ("==", "!=", "<", "<=", ">", ">=")


class _Agreement:
    def __init__(self, *, write: bool) -> None:
        self.write = write
        self.notes: list[Note] = []
        self.parted = False
        self.twins: dict[int, Value] = {}

    def scopes(self, first: Scope, second: Scope) -> list[Note]:
        self._tree(first, "args", second.args, first, Source(), "arguments")
        self._tree(first, "kwargs", second.kwargs, first, Source(), "arguments")
        for node, twin in zip(first.nodes, second.nodes, strict=False):
            if (node.kind, node.name) != (twin.kind, twin.name):
                break
            if node.kind == "comparison":
                self._comparison(node, twin, first)
                if self.parted:
                    return self.notes
                continue
            self._tree(node, "args", twin.args, first, node.source, node.name)
            self._tree(node, "kwargs", twin.kwargs, first, node.source, node.name)
            if node.scope is not None and twin.scope is not None:
                self.scopes(node.scope, twin.scope)
                if self.parted:
                    return self.notes
            self._tree(node, "outputs", twin.outputs, first, node.source, node.name)
            if node.writes is not None and twin.writes is not None:
                self._value(node.writes, twin.writes)
        if not self._same_steps(first, second):
            self.parted = True
            return self.notes
        self._tree(first, "output", second.output, first, Source(), "return")
        return self.notes

    def _same_steps(self, first: Scope, second: Scope) -> bool:
        steps = [[(node.kind, node.name) for node in scope.nodes] for scope in (first, second)]
        if steps[0] == steps[1]:
            return True
        place = next(
            (n for n, (left, right) in enumerate(zip(*steps, strict=False)) if left != right), min(map(len, steps))
        )
        longer = first if len(first.nodes) > place else second
        node = longer.nodes[place] if place < len(longer.nodes) else longer.nodes[-1]
        self._note(
            first,
            node.source,
            node.name,
            f"the module does something else at another size ({len(steps[0])} steps and {len(steps[1])} steps)",
            _FIX_THE_SIZE,
        )
        return False

    def _note(self, scope: Scope, source: Source, operation: str, reason: str, fix: str = "") -> None:
        self.notes.append(Note(scope.path, source, operation, reason, fix))

    def _comparison(self, node: Node, twin: Node, scope: Scope) -> None:
        asked, other = node.args[0], twin.args[0]
        if asked.answer != other.answer:
            self._note(scope, node.source, node.name, "the program takes another way at another size")
            self.parted = True
            return
        sides = []
        for side, counterpart in ((asked.left, other.left), (asked.right, other.right)):
            try:
                sides.append(self._number(side, counterpart, None))
            except _Disagreement as error:
                # The number that the twin holds is the first one, so the twin asks what has another answer here.
                asked_there = asked.sign == "==" and asked.answer and other.answer
                self._note(scope, node.source, node.name if asked_there else "a number", str(error))
                self.parted = True
                return
        if self.write:
            node.args = (Comparison(asked.sign, sides[0], sides[1], asked.answer),)

    def _tree(self, holder: Any, field: str, second: Any, scope: Scope, source: Source, name: str) -> None:
        """Hold one field of a scope or node against its counterpart."""

        def walk(first: Any, second: Any) -> Any:
            if isinstance(first, Value) and isinstance(second, Value):
                return self._value(first, second)
            if isinstance(first, slice) and isinstance(second, slice):
                return slice(*(walk(getattr(first, end), getattr(second, end)) for end in ("start", "stop", "step")))
            if isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
                if len(first) != len(second):
                    raise _Disagreement("a list has another length at another size")
                items = [walk(*pair) for pair in zip(first, second, strict=True)]
                return tuple(items) if isinstance(first, tuple) else items
            if isinstance(first, Mapping) and isinstance(second, Mapping):
                if list(first) != list(second):
                    raise _Disagreement("a dict has other keys at another size")
                fields = {key: walk(first[key], second[key]) for key in first}
                return Record(first.kind, fields) if isinstance(first, Record) else fields
            return self._leaf(first, second)

        try:
            agreed = walk(getattr(holder, field), second)
        except _Disagreement as error:
            self._note(
                scope,
                source,
                name,
                str(error),
                error.fix,
            )
            return
        if self.write:
            setattr(holder, field, agreed)

    def _value(self, first: Value, second: Value) -> Value:
        if len(first.shape) != len(second.shape):
            raise _Disagreement(f"a tensor has {len(first.shape)} axes at one size and {len(second.shape)} at another")
        first.sizes = tuple(zip(first.shape, second.shape, strict=True))
        first.follows = first.dtype != second.dtype
        self.twins[id(first)] = second
        if first.origin == "constant" and first.data is not None and first.data is not second.data:
            same = first.shape == second.shape and bool((first.data.double() == second.data.double()).all())
            close = (
                first.shape == second.shape and first.follows and bool(((first.data - second.data).abs() < 1e-5).all())
            )
            if not same and not close:
                raise _Disagreement(
                    "numbers that were made outside of torch differ from run to run",
                    "make them in forward with torch, or give them as an argument; what a layer's hook keeps, or what "
                    "another refusal names, counts as made outside",
                )
            if close and not same and self.write:
                first.data = second.data
        return first

    def _leaf(self, first: Any, second: Any) -> Any:
        if isinstance(first, np.generic) and isinstance(second, np.generic):
            first, second = first.item(), second.item()
        if isinstance(first, bool) or isinstance(second, bool) or first is None or isinstance(first, str):
            if type(first) is not type(second) or first != second:
                raise _Disagreement(f"an argument is {first!r} at one size and {second!r} at another")
            return first
        if isinstance(first, (int, float)) and isinstance(second, (int, float)):
            return self._number_of(first, second)
        if type(first).__name__ == "dtype" and type(second).__name__ == "dtype":
            return first if first is second else RunDtype()
        return first

    def _number_of(self, first: Any, second: Any) -> Any:
        return self._number(expression_of(first), expression_of(second), (first, second))

    def _number(self, first: Expression, second: Expression, numbers: tuple[Any, Any] | None) -> Any:
        pair = numbers or (self._evaluate(first, 0), self._evaluate(second, 1))
        if not isinstance(first, (Axis, Operation)):
            if isinstance(second, (Axis, Operation)) or first != second:
                if pair in _SMALLEST:
                    return SmallestNumber()
                # Python multiplies a float by a size without asking the size.
                hint = " (of 0.5 * n it is not, of n * 0.5 it is)" if isinstance(pair[0], float) else ""
                numbers_of = f"{pair[0]} at one size and {pair[1]} at another"
                raise _Disagreement(f"a number is {numbers_of}, and how it was made is not known{hint}")
            return first
        self._check_same(first, second)
        if all(self._is_fixed(atom) for atom in atoms(first)):
            return _fixed(_plain(pair[0]), first)
        return FreeSize(first, (_plain(pair[0]), _plain(pair[1])))

    def _is_fixed(self, atom: Axis) -> bool:
        if isinstance(atom.value, Value) and atom.axis is not None:
            sizes = atom.value.sizes
            return bool(sizes) and sizes[atom.axis][0] == sizes[atom.axis][1]
        # A size that a module is called with, which is as fixed as it is where the module is called.
        outer = list(atoms(expression_of(atom.value))) if isinstance(atom.value, Size) else []
        return bool(outer) and all(self._is_fixed(item) for item in outer)

    def _check_same(self, first: Expression, second: Expression) -> None:
        if isinstance(first, Axis) and isinstance(second, Axis):
            if first.axis is None or (first.axis == second.axis and self.twins.get(id(first.value)) is second.value):
                return
        elif isinstance(first, Operation) and isinstance(second, Operation) and first.sign == second.sign:
            for left, right in zip(first.operands, second.operands, strict=True):
                self._check_same(left, right)
            return
        elif not isinstance(first, (Axis, Operation)) and first == second:
            return
        raise _Disagreement("a size is made in another way at another size")

    def _evaluate(self, expression: Expression, which: int) -> Any:
        if isinstance(expression, Axis):
            if expression.axis is None:
                return _plain(expression.value)
            return expression.value.shape[expression.axis]
        if isinstance(expression, Operation):
            operands = [self._evaluate(operand, which) for operand in expression.operands]
            return _computed(expression.sign, operands)
        return expression


_COMPUTED: dict[tuple[str, int], Callable[..., Any]] = {
    **{(sign, 1): function for sign, function in (("-", operator.neg), ("+", operator.pos), ("~", operator.invert))},
    **{(sign, 1): function for sign, function in (("ceil", math.ceil), ("floor", math.floor), ("int", int))},
    **{(sign, 1): function for sign, function in (("round", round), ("abs", abs))},
    **{(sign, 2): function for sign, function in (("+", operator.add), ("-", operator.sub), ("*", operator.mul))},
    **{(sign, 2): function for sign, function in (("/", operator.truediv), ("//", operator.floordiv))},
    **{(sign, 2): function for sign, function in (("%", operator.mod), ("**", operator.pow))},
    **{(sign, 2): function for sign, function in (("&", operator.and_), ("|", operator.or_), ("^", operator.xor))},
    **{(sign, 2): function for sign, function in (("<<", operator.lshift), (">>", operator.rshift))},
}
"""What an operation on sizes computes, by its sign and the number of its operands."""


def _computed(sign: str, operands: Sequence[Any]) -> Any:
    function = _COMPUTED.get((sign, len(operands)))
    if function is None:
        raise _Disagreement(f"a size is made by {sign!r}, which is not known")
    return function(*operands)


# The smallest float32 and float64.
_SMALLEST = ((-3.4028234663852886e38, -1.7976931348623157e308),)


def _fixed(number: Any, expression: Expression) -> Any:
    fixed = FixedFloat(number) if isinstance(number, float) else FixedSize(number)
    fixed.expression = expression
    return fixed


def _plain(number: Any) -> Any:
    if isinstance(number, Size):
        return int.__int__(number)
    if isinstance(number, SizeFloat):
        return float.__float__(number)
    return number
