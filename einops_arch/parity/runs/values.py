"""Take nested inputs and outputs apart into arrays, in one order for both frameworks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["flatten", "in_order", "rebuild"]


def flatten(value: Any, is_array: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """The arrays of nested tuples, lists and mappings, each with its place; what is no array is left out.

    >>> flatten((1, {"h": 2, "c": 3}, None), lambda value: isinstance(value, int))
    [('0', 1), ('1.c', 3), ('1.h', 2)]
    """
    found: list[tuple[str, Any]] = []

    def walk(part: Any, place: str) -> None:
        if is_array(part):
            found.append((place, part))
            return
        for key, inner in _parts(part):
            walk(inner, f"{place}.{key}" if place else key)

    walk(value, "")
    return found


def in_order(nest: Any, is_array: Callable[[Any], bool]) -> list[Any]:
    """The arrays of arguments by position, then by name in the caller's order."""
    args, kwargs = nest
    return [one for value in (args, *kwargs.values()) for _, one in flatten(value, is_array)]


def rebuild(value: Any, change: Callable[[str, Any], Any], is_array: Callable[[Any], bool]) -> Any:
    """The same nest with each array changed; `change` is given its place and itself."""

    def walk(part: Any, place: str) -> Any:
        if is_array(part):
            return change(place, part)
        if not _parts(part):
            return part
        inner = {key: walk(one, f"{place}.{key}" if place else key) for key, one in _parts(part)}
        if isinstance(part, Mapping):
            return {key: inner[str(key)] for key in part}
        items = [inner[str(index)] for index in range(len(part))]
        return type(part)(*items) if hasattr(part, "_fields") else type(part)(items)

    return walk(value, "")


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        # In the order of the names: jax sorts them, PyTorch keeps the order of insertion.
        return sorted(((str(key), inner) for key, inner in value.items()), key=lambda item: item[0])
    if isinstance(value, tuple | list):
        return [(str(index), inner) for index, inner in enumerate(value)]
    return []
