"""Integers that follow from sizes alone, so that some questions have one answer at every size: positions, masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from einops_arch.discovery.tracing.program import Value
from einops_arch.discovery.tracing.sizes import Axis, Size

__all__ = ["Affine", "Uniform", "affine_of"]


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


class _UnknownError(Exception):
    """Nothing is known of a result, and why."""


Known = Mapping[int, Affine | Uniform]


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
    if row is None or not isinstance(output, Value) or output.dtype not in ("int64", "int32", "bool"):
        return {}
    try:
        result = row(known, *args, **{key: item for key, item in kwargs.items() if key not in ("device", "dtype")})
    except (TypeError, KeyError, _UnknownError):
        return {}
    if len(result.steps) != len(output.shape):
        return {}
    inputs = [item for item in (*args, *kwargs.values()) if isinstance(item, Value) and id(item) in known]
    return {id(output): replace(result, filled=result.filled and all(known[id(item)].filled for item in inputs))}


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
    whole = isinstance(end, Size) and isinstance(end.expression, Axis) and start == 0
    filled = whole or (not isinstance(end, Size) and start < end)
    return Affine(_plain(start), (_plain(step),), filled)


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
            raise TypeError("an index that is a tensor")
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


_ROWS: dict[str, Callable[..., Affine]] = {
    "arange": _arange,
    **dict.fromkeys(("add", "__add__", "__radd__"), _add),
    **dict.fromkeys(("sub", "__sub__"), _sub),
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "__getitem__": _item,
    **dict.fromkeys(("clone", "detach", "contiguous"), _same),
    "diff": _diff,
    **dict.fromkeys(("__eq__", "eq"), _compared(lambda one, two: one == two)),
    **dict.fromkeys(("__ne__", "ne"), _compared(lambda one, two: one != two)),
    **dict.fromkeys(("__lt__", "lt"), _compared(lambda one, two: one < two)),
    **dict.fromkeys(("__le__", "le"), _compared(lambda one, two: one <= two)),
    **dict.fromkeys(("__gt__", "gt"), _compared(lambda one, two: one > two)),
    **dict.fromkeys(("__ge__", "ge"), _compared(lambda one, two: one >= two)),
    "cumsum": _cumsum,
    "all": _whole(of_nothing=True),
    "any": _whole(of_nothing=False),
}
