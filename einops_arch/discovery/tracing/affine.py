"""Integers that follow from sizes alone, so that some questions have one answer at every size: positions, masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from einops_arch.discovery.tracing.program import Value
from einops_arch.discovery.tracing.sizes import Axis, Operation, Size

__all__ = ["Affine", "Known", "affine_of"]


@dataclass(frozen=True)
class Affine:
    """A tensor whose entry at `i, j, ...` is `base + steps[0] * i + steps[1] * j + ...`, whatever its sizes are.

    Args:
        base: the entry at the origin; True or False in a mask.
        steps: by axis.
        filled: whether there is at least one entry, wherever the model's inputs have one.
    """

    base: int | bool
    steps: tuple[int, ...]
    filled: bool = True

    @property
    def constant(self) -> bool:
        """Whether all entries are the same."""
        return not any(self.steps)


class Uniform:
    """Random numbers from 0 up to, but not including, 1."""

    filled = True


@dataclass(frozen=True)
class Total:
    """The sum of a tensor of which all entries are the same.

    Args:
        base: one of them.
        of: the tensor.
    """

    base: int | bool
    of: Value


class _UnknownError(Exception):
    """Nothing is known of a result, and why."""


Known = dict[int, Affine | Uniform | Total]


def affine_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, known: Known) -> Known:
    """What is known of the result of an operation.

    Args:
        name: of the torch function, without a trailing underscore.
        args: with `Value` for tensors.
        kwargs: likewise.
        output: the value that came out.
        known: by id of values.

    Returns:
        It, by the id of the output; nothing where nothing is known.

    >>> out = Value((5,), "int64")
    >>> known = affine_of("arange", (5,), {}, out, {})
    >>> known[id(out)]
    Affine(base=0, steps=(1,), filled=True)
    >>> odd = Value((1, 2), "int64")
    >>> affine_of("__getitem__", (out, (None, slice(1, None, 2))), {}, odd, known)[id(odd)]
    Affine(base=1, steps=(0, 2), filled=False)
    """
    if name == "rand" and isinstance(output, Value):
        return {id(output): Uniform()}
    row = _ROWS.get(name)
    if row is None or not isinstance(output, Value):
        return {}
    try:
        result = row(known, *args, **{key: item for key, item in kwargs.items() if key not in ("device", "dtype")})
    except (TypeError, KeyError, _UnknownError):
        return {}
    if isinstance(result, Total):
        return {id(output): result}
    if output.dtype == "bool":
        result = replace(result, base=bool(result.base))
    if len(result.steps) != len(output.shape) or (output.dtype == "bool" and not result.constant):
        return {}
    inputs = [known.get(id(item)) for item in (*args, *kwargs.values()) if isinstance(item, Value)]
    filled = all(item.filled for item in inputs if isinstance(item, Affine))
    return {id(output): replace(result, filled=result.filled and filled)}


def _affine(known: Known, value: Value) -> Affine:
    result = known[id(value)]
    if not isinstance(result, Affine):
        raise _UnknownError("a random number")
    return result


def _plain(number: Any) -> int:
    if isinstance(number, Size) or not isinstance(number, int):
        raise _UnknownError("a number that depends on a size")
    return int(number)


def _arange(known: Known, *ends: Any) -> Affine:
    start, end, step = (0, ends[0], 1) if len(ends) == 1 else (*ends, 1)[:3]
    filled = (start == 0 and _positive(end)) or (not isinstance(end, Size) and start < end)
    return Affine(_plain(start), (_plain(step),), filled)


def _positive(number: Any) -> bool:
    """Whether a size is at least one where the axes of the inputs are."""
    expression = number.expression if isinstance(number, Size) else number
    if isinstance(expression, Operation):
        several = [_positive(operand) for operand in expression.operands]
        nothing = [operand == 0 for operand in expression.operands if isinstance(operand, int)]
        if expression.sign == "+":
            return any(several) and len([side for side in several if not side]) == sum(nothing)
        return expression.sign == "*" and all(several)
    return isinstance(expression, Axis) or (isinstance(expression, int) and expression > 0)


def _same_everywhere(base: int) -> Callable[..., Affine]:
    def row(known: Known, *sizes: Any, size: Any = None) -> Affine:
        sizes = tuple(size) if size is not None else sizes
        shape = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        return Affine(base, (0,) * len(shape), filled=all(map(_positive, shape)))

    return row


def _cast(known: Known, tensor: Value, *rest: Any) -> Affine:
    left = _affine(known, tensor)
    if not left.constant or any(isinstance(item, Value) for item in rest):
        raise _UnknownError("a cast of numbers that differ")
    return left


def _sum(known: Known, tensor: Value) -> Total:
    left = _affine(known, tensor)
    if not left.constant:
        raise _UnknownError("a sum of numbers that differ")
    return Total(left.base, tensor)


def _is_count(number: Any, value: Value) -> bool:
    """Whether a size is the number of entries of a tensor."""
    waiting, axes = [number.expression if isinstance(number, Size) else number], []
    while waiting:
        item = waiting.pop()
        if isinstance(item, Operation) and item.sign == "*":
            waiting += item.operands
        elif isinstance(item, Axis) and item.value is value:
            axes.append(item.axis)
        elif item != 1:
            return False
    return sorted(axes, key=str) == list(range(len(value.shape)))


def _add(known: Known, tensor: Any, other: Any) -> Affine:
    if isinstance(tensor, Value):
        left = _affine(known, tensor)
        return Affine(left.base + _plain(other), left.steps)
    return _add(known, other, tensor)


def _sub(known: Known, tensor: Value, other: Any) -> Affine:
    left = _affine(known, tensor)
    return Affine(left.base - _plain(other), left.steps)


def _unsqueeze(known: Known, tensor: Value, dim: int) -> Affine:
    left = _affine(known, tensor)
    place = _plain(dim) % (len(left.steps) + 1)
    return Affine(left.base, (*left.steps[:place], 0, *left.steps[place:]))


def _expand(known: Known, tensor: Value, *sizes: Any) -> Affine:
    left = _affine(known, tensor)
    shape = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    if any(step and size == 1 for step, size in zip(left.steps, tensor.shape, strict=True)):
        raise _UnknownError("an axis that may be repeated, or may not")
    return Affine(left.base, ((0,) * (len(shape) - len(left.steps))) + left.steps)


def _repeat(known: Known, tensor: Value, *counts: Any) -> Affine:
    left = _affine(known, tensor)
    numbers = tuple(counts[0]) if len(counts) == 1 and isinstance(counts[0], (tuple, list)) else counts
    missing = len(numbers) - len(left.steps)
    along = zip(left.steps, numbers[missing:], strict=True)
    if any(step and (isinstance(count, Size) or count != 1) for step, count in along):
        raise _UnknownError("rows that begin again")
    return Affine(left.base, (0,) * missing + left.steps, filled=all(map(_positive, numbers)))


def _item(known: Known, tensor: Value, index: Any) -> Affine:
    left = _affine(known, tensor)
    base, steps, place, filled = left.base, [], 0, True
    for part in index if isinstance(index, tuple) else (index,):
        if part is None:
            steps.append(0)
            continue
        step = left.steps[place]
        if isinstance(part, slice):
            start = 0 if part.start is None else _plain(part.start)
            stride = 1 if part.step is None else _plain(part.step)
            if step and (start < 0 or stride < 1):
                raise _UnknownError("counted from the end")
            filled = (
                filled and start == 0 and (part.stop is None or (not isinstance(part.stop, Size) and part.stop > 0))
            )
            base, step = (base + step * start, step * stride) if step else (base, 0)
            if not isinstance(part.stop, Size) and part.stop == start + 1:
                step = 0
            steps.append(step)
        elif step:
            if _plain(part) < 0:
                raise _UnknownError("counted from the end")
            base += step * _plain(part)
        elif not isinstance(part, int):
            raise _UnknownError("an index that is a tensor")
        place += 1
    return Affine(base, (*steps, *left.steps[place:]), filled)


def _same(known: Known, tensor: Value, *rest: Any) -> Affine:
    return _affine(known, tensor)


def _diff(known: Known, tensor: Value, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Affine:
    left = _affine(known, tensor)
    axis = _plain(dim) % len(left.steps)
    step = left.steps[axis]
    if n != 1 or append is not None:
        raise _UnknownError("only single differences are known")
    if prepend is not None:
        before = _affine(known, prepend)
        along = [steps[:axis] + steps[axis + 1 :] for steps in (left.steps, before.steps)]
        if prepend.shape[axis] != 1 or along[0] != along[1] or left.base - before.base != step:
            raise _UnknownError("the first difference is another")
    return Affine(step, (0,) * len(left.steps), filled=prepend is not None)


def _compared(function: Callable[[Any, Any], bool]) -> Callable[..., Affine]:
    def row(known: Known, tensor: Value, other: Any) -> Affine:
        left = known[id(tensor)]
        if isinstance(left, Total):
            if not _is_count(other, left.of) or not _affine(known, left.of).filled or function(1, 2):
                raise _UnknownError("a sum that is held against another number")
            return Affine(function(int(left.base), 1), ())
        if isinstance(left, Uniform):
            return Affine(_drawn(function, other), (0,) * len(tensor.shape))
        if not left.constant:
            raise _UnknownError("some entries may differ from others")
        return Affine(function(left.base, _plain(other)), left.steps)

    return row


def _drawn(function: Callable[[Any, Any], bool], other: Any) -> bool:
    """The answer that all numbers from 0 up to 1 give, such as whether they are below a rate of 0."""
    if isinstance(other, bool) or type(other) not in (int, float):
        raise _UnknownError("it is held against no plain number")
    answers = {function(number, other) for number in (0.0, 0.5, math.nextafter(1.0, 0.0))}
    if len(answers) > 1:
        raise _UnknownError("it depends on what is drawn")
    return answers.pop()


def _cumsum(known: Known, tensor: Value, dim: int) -> Affine:
    left = _affine(known, tensor)
    axis = _plain(dim) % len(left.steps)
    if not left.constant:
        raise _UnknownError("a sum of a row is no row")
    step = int(left.base)
    return Affine(step, tuple(step if n == axis else 0 for n in range(len(left.steps))))


def _whole(*, of_nothing: bool) -> Callable[..., Affine]:
    def row(known: Known, tensor: Value) -> Affine:
        left = _affine(known, tensor)
        if not left.constant or not (left.filled or bool(left.base) is of_nothing):
            raise _UnknownError("some entries may differ from others, or there may be none")
        return Affine(bool(left.base), ())

    return row


_ROWS: dict[str, Callable[..., Affine | Total]] = {
    "arange": _arange,
    "ones": _same_everywhere(1),
    "zeros": _same_everywhere(0),
    **dict.fromkeys(("to", "bool", "long", "int", "float"), _cast),
    "sum": _sum,
    **dict.fromkeys(("add", "__add__", "__radd__"), _add),
    **dict.fromkeys(("sub", "__sub__"), _sub),
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "repeat": _repeat,
    "__getitem__": _item,
    **dict.fromkeys(("clone", "detach", "contiguous"), _same),
    "diff": _diff,
    **dict.fromkeys(("__eq__", "eq"), _compared(lambda left, right: left == right)),
    **dict.fromkeys(("__ne__", "ne"), _compared(lambda left, right: left != right)),
    **dict.fromkeys(("__lt__", "lt"), _compared(lambda left, right: left < right)),
    **dict.fromkeys(("__le__", "le"), _compared(lambda left, right: left <= right)),
    **dict.fromkeys(("__gt__", "gt"), _compared(lambda left, right: left > right)),
    **dict.fromkeys(("__ge__", "ge"), _compared(lambda left, right: left >= right)),
    "cumsum": _cumsum,
    "all": _whole(of_nothing=True),
    "any": _whole(of_nothing=False),
}
