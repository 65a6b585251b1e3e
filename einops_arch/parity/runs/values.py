"""Take nested inputs and outputs apart into arrays, in one order for both frameworks.

Containers are tuples, lists, mappings, named tuples and dataclasses, those of flax and transformers included; any
other object is looked into by its attributes, when it is an output. What cannot be walked is an error that says so.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import numbers
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from einops_arch.errors import ParityError

__all__ = ["flatten", "in_order", "matched", "outputs_of", "rebuild", "words_of"]

# Words and settings, which hold no numbers.
_NO_NUMBERS = (str, bytes, enum.Enum, type, np.dtype, slice)
_MOST = 100
"""Objects within objects: what goes deeper refers to itself."""


def flatten(value: Any, is_array: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """The arrays of nested containers, each with its place; what is neither is left out.

    >>> flatten((1, {"h": 2, "c": 3}, None), lambda value: isinstance(value, int))
    [('0', 1), ('1.c', 3), ('1.h', 2)]
    """
    leaves: list[tuple[str, Any]] = []

    def walk(part: Any, place: str) -> None:
        if is_array(part):
            leaves.append((place, part))
            return
        for key, inner in _parts(part):
            walk(inner, f"{place}.{key}" if place else key)

    walk(value, "")
    return leaves


def outputs_of(
    value: Any, is_array: Callable[[Any], bool], *, side: str = "the model", ordered: bool = False
) -> list[tuple[str, Any]]:
    """Every array and number that a module gave, each with its place; None and words hold no numbers.

    Args:
        value: the output.
        is_array: tells arrays of the framework.
        side: whose output it is, for the message.
        ordered: mappings in the order of the model, and not of their names.

    Raises:
        ParityError: something in it that can be neither compared nor looked into.

    >>> import dataclasses, numpy
    >>> Pair = dataclasses.make_dataclass("Pair", ["loss", "logits"])
    >>> [place for place, _ in outputs_of(Pair(0.5, numpy.ones(3)), lambda one: isinstance(one, numpy.ndarray))]
    ['loss', 'logits']
    """
    leaves: list[tuple[str, Any]] = []

    def walk(part: Any, place: str, depth: int) -> None:
        if is_array(part):
            leaves.append((place, part))
        elif _is_number(part):
            leaves.append((place, np.asarray(part)))
        elif not (part is None or isinstance(part, _NO_NUMBERS)):
            for key, inner in _declared(part, place, side, depth, ordered=ordered):
                walk(inner, f"{place}.{key}" if place else key, depth + 1)

    walk(value, "", 0)
    return leaves


def words_of(value: Any, is_array: Callable[[Any], bool]) -> dict[str, str]:
    """What of an output holds no numbers, by place: words, nothing, and the settings of objects.

    >>> words_of(({"kind": "logits"}, None, 0.5), lambda value: False)
    {'0.kind': "'logits'", '1': 'None'}
    """
    words: dict[str, str] = {}

    def walk(part: Any, place: str, depth: int) -> None:
        if is_array(part) or _is_number(part) or depth > _MOST:
            return
        if part is None or isinstance(part, str | bytes | enum.Enum):
            words[place] = repr(part)
            return
        if isinstance(part, _NO_NUMBERS):
            return
        plain = isinstance(part, Mapping | tuple | list) or dataclasses.is_dataclass(part)
        settings = {} if plain else getattr(part, "__dict__", {})
        words.update(
            {
                f"{place}.{name}" if place else name: repr(inner)
                for name, inner in settings.items()
                if isinstance(inner, bool | int | str) and not name.startswith("_")
            }
        )
        try:
            inside = _declared(part, place, "", depth)
        except ParityError:
            return
        for key, inner in inside:
            walk(inner, f"{place}.{key}" if place else key, depth + 1)

    walk(value, "", 0)
    return words


def matched(places: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Which of the other side's arrays belongs to each: that of the same place; of other places, by their order.

    >>> matched(["logits", "loss"], ["loss", "logits"]), matched(["0", "1"], ["loss", "logits"]), matched(["0"], [])
    ([1, 0], [0, 1], None)
    """
    if len(places) != len(others):
        return None
    if len(set(places)) < len(places) or len(set(others)) < len(others):
        return list(range(len(places)))
    rest = iter([n for n, other in enumerate(others) if other not in set(places)])
    return [list(others).index(place) if place in others else next(rest) for place in places]


def in_order(nest: Any, is_array: Callable[[Any], bool]) -> list[Any]:
    """The arrays of arguments by position, then by name in the caller's order."""
    args, kwargs = nest
    return [array for value in (args, *kwargs.values()) for _, array in flatten(value, is_array)]


def rebuild(value: Any, change: Callable[[str, Any], Any], is_array: Callable[[Any], bool]) -> Any:
    """The same nest with each array changed; `change` is given its place and itself."""

    def walk(part: Any, place: str) -> Any:
        if is_array(part):
            return change(place, part)
        if not _parts(part):
            return part
        inner = {key: walk(child, f"{place}.{key}" if place else key) for key, child in _parts(part)}
        if isinstance(part, Mapping):
            return _like_mapping(part, {key: inner[str(key)] for key in part})
        if dataclasses.is_dataclass(part):
            changed = copy.copy(part)
            for name, new in inner.items():
                object.__setattr__(changed, name, new)
            return changed
        items = [inner[str(index)] for index in range(len(part))]
        return type(part)(*items) if hasattr(part, "_fields") else type(part)(items)

    return walk(value, "")


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if hasattr(type(value), "__dataclass_fields__"):
            return [(str(key), inner) for key, inner in value.items()]
        # In the order of the names: jax sorts them, PyTorch keeps the order of insertion.
        return sorted(((str(key), inner) for key, inner in value.items()), key=lambda item: item[0])
    if isinstance(value, tuple | list):
        return [(str(index), inner) for index, inner in enumerate(value)]
    return _fields(value)


def _declared(value: Any, place: str, side: str, depth: int, *, ordered: bool = False) -> list[tuple[str, Any]]:
    """What is in a container or an object."""
    if ordered and isinstance(value, Mapping):
        return [(str(key), inner) for key, inner in value.items()]
    if isinstance(value, Mapping | tuple | list) or dataclasses.is_dataclass(value):
        return _parts(value)
    wrapped = getattr(value, "get_value", None)
    if callable(wrapped) and type(value).__module__.startswith("flax."):
        return [("value", wrapped())]
    attributes = _attributes(value)
    if attributes is None or depth > _MOST or isinstance(value, FunctionType | ModuleType):
        where = f"output {place!r}" if place else "the output"
        raise ParityError(
            f"{where} of {side} is of type {type(value).__module__}.{type(value).__qualname__}, in which no arrays can "
            "be found; likely fix: return arrays, tuples, mappings or dataclasses of them"
        )
    return attributes


def _attributes(value: Any) -> list[tuple[str, Any]] | None:
    """What an object holds that is an array or holds some; its settings are no outputs. None where it has none."""
    if not hasattr(value, "__dict__") and not hasattr(type(value), "__slots__"):
        return None
    slots = [name for base in type(value).__mro__ for name in _slots(base)]
    named = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    named |= getattr(value, "__dict__", {})
    inside = [(name, inner) for name, inner in named.items() if not name.startswith("_")]
    held = [(name, inner) for name, inner in inside if not isinstance(inner, bool | int) and _may_hold(inner)]
    return held or None


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _may_hold(value: Any) -> bool:
    return not (value is None or callable(value) or isinstance(value, (*_NO_NUMBERS, ModuleType)))


def _fields(value: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [
            (field.name, getattr(value, field.name))
            for field in dataclasses.fields(value)
            if hasattr(value, field.name)
        ]
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number | np.generic) and not isinstance(value, enum.Enum)


def _like_mapping(mapping: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    like: Any = mapping
    make = type(like)
    if make is dict:
        return items
    try:
        return make(**items) if dataclasses.is_dataclass(like) else make(items)
    except Exception:  # noqa: BLE001 a mapping of any class, which may be made in another way
        return items
