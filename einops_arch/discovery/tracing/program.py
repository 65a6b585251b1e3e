"""What a recording of a PyTorch module holds: per module call its operations, values, sizes and source statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Note", "Node", "Record", "Scope", "Source", "Value", "map_tree", "values_in"]


class Record(dict[str, Any]):
    """The fields of a dataclass, in their order, and the class that they are of.

    Args:
        kind: the class.
        items: by the name of the field.
    """

    def __init__(self, kind: type, items: Mapping[str, Any]) -> None:
        super().__init__(items)
        self.kind = kind


@dataclass(frozen=True)
class Source:
    """A statement of the program: where it is, and the names that it assigns to."""

    file: str = ""
    line: int = 0
    function: str = ""
    statement: tuple[int, int] = (0, 0)
    targets: tuple[str, ...] = ()
    turn: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "unknown place"


@dataclass(eq=False)
class Value:
    """One tensor inside of one module call.

    Args:
        shape: as recorded.
        dtype: its name without `torch.`.
        origin: `"input"`, `"operation"`, `"state"` (a parameter or buffer, by `path`), `"constant"` (with `data`).
        path: PyTorch's paths of a parameter or buffer; of an input, the name of the argument.
        data: the tensor of a constant.
        sizes: each axis at both recorded sizes, once two recordings have been held against each other.
    """

    shape: tuple[int, ...]
    dtype: str
    origin: str = "operation"
    path: tuple[str, ...] = ()
    data: Any = None
    sizes: tuple[tuple[int, int], ...] = ()
    follows: bool = False


@dataclass(frozen=True)
class Note:
    """Something that cannot be written as it is: where, and why."""

    module: str
    source: Source
    operation: str
    reason: str
    fix: str = ""


@dataclass(eq=False)
class Node:
    """One step of a module call: an operation, a call of a module, or a comparison of sizes.

    Args:
        kind: `"operation"`, `"call"` or `"comparison"`.
        name: of the torch function, without a trailing underscore.
        args: by position, with `Value` for tensors and `Size` for sizes.
        kwargs: likewise by name.
        outputs: what it gave, in the structure that it had.
        source: the statement.
        scope: of a call, what ran inside; its module for leaves.
        writes: the value that is overwritten, if this changes one in place.
    """

    kind: str
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    source: Source
    scope: Scope | None = None
    writes: Value | None = None
    function: Any = None


@dataclass(eq=False)
class Scope:
    """One call of a module."""

    module: Any
    path: str
    leaf: bool
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    output: Any = None
    values: dict[int, Value] = field(default_factory=dict)
    stale: dict[int, int] = field(default_factory=dict)
    watched: list[tuple[Any, int]] = field(default_factory=list)
    training: bool = False


def map_tree(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to every leaf of tuples, lists, dicts, slices and dataclass-like mappings."""
    if isinstance(tree, slice):
        return slice(*(map_tree(part, function) for part in (tree.start, tree.stop, tree.step)))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        items = [map_tree(item, function) for item in tree]
        if type(tree).__name__ == "PackedSequence" and [*map(type, items)] != [*map(type, tree)]:
            return tuple(items)  # it asks its tensors for their devices
        return type(tree)(*items)
    if type(tree).__name__ == "Size" and isinstance(tree, tuple):
        return tuple(map_tree(item, function) for item in tree)
    if isinstance(tree, (tuple, list)):
        items = [map_tree(item, function) for item in tree]
        return tuple(items) if isinstance(tree, tuple) else items
    if isinstance(tree, Record):
        return Record(tree.kind, {key: map_tree(item, function) for key, item in tree.items()})
    if isinstance(tree, Mapping) and type(tree).__module__ in ("builtins", "collections"):
        return {key: map_tree(item, function) for key, item in tree.items()}
    return function(tree)


def values_in(tree: Any) -> Iterator[Value]:
    """The values in a tree, in its order."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, slice):
        yield from values_in((tree.start, tree.stop, tree.step))
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from values_in(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from values_in(item)
