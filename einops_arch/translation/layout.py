"""Where each axis of a PyTorch tensor lies in the variable that holds it: reshapes that cost no line until needed.

An `Array` has two lists of groups of elementary axes: as the variable has them (`stored`), and as PyTorch has them
(`logical`). Permutations, views and new unit axes change the logical list alone; who needs an order asks for it, and
at most one `rearrange` is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from einops_arch.discovery.tracing.program import Value

__all__ = ["Array", "Elementary", "channels_last_order", "default_names", "from_value", "pattern_of", "reshape"]

Sizes = tuple[int, int]


@dataclass(eq=False)
class Elementary:
    """One axis that nothing splits further.

    Args:
        name: for patterns.
        sizes: at both recorded sizes.
        code: how its size is written, where it is free and known.
    """

    name: str
    sizes: Sizes
    code: str = ""

    @property
    def fixed(self) -> bool:
        return self.sizes[0] == self.sizes[1] and not self.code

    @property
    def size_code(self) -> str:
        return str(self.sizes[0]) if self.fixed else self.code


Groups = list[list[Elementary]]


@dataclass(eq=False)
class Array:
    """A PyTorch tensor in the translated code.

    Args:
        code: the variable, or an expression for it.
        stored: groups of axes as the variable has them.
        logical: groups of axes as PyTorch has them; axes that are not stored are repeated.
        value: the recorded tensor.
        made_by: the statement of the original that gave it its axes.
        after: the last line that was written when it did.
    """

    code: str
    stored: Groups
    logical: Groups
    value: Value = field(default_factory=lambda: Value((), "float32"))
    made_by: Any = None
    after: Any = None

    def copy(self, value: Value | None = None, code: str | None = None) -> Array:
        """An array of its own axes, which can be split without the other knowing."""
        axes: dict[int, Elementary] = {}

        def own(axis: Elementary) -> Elementary:
            return axes.setdefault(id(axis), Elementary(axis.name, axis.sizes, axis.code))

        return Array(
            self.code if code is None else code,
            [[own(axis) for axis in group] for group in self.stored],
            [[own(axis) for axis in group] for group in self.logical],
            value or self.value,
        )

    @property
    def order(self) -> tuple[int, ...] | None:
        """Axis n of the variable is PyTorch's axis `order[n]`; None where groups were split, merged or repeated."""
        if len(self.stored) != len(self.logical):
            return None
        left = list(range(len(self.logical)))
        order = []
        for group in self.stored:
            match = next((n for n in left if _same(self.logical[n], group)), None)
            if match is None:
                return None
            left.remove(match)
            order.append(match)
        return tuple(order)

    @property
    def names(self) -> list[str]:
        """A name for each of PyTorch's axes."""
        return [group[0].name if group else "1" for group in self.logical]

    def split(self, axis: Elementary, parts: Sequence[Elementary]) -> None:
        for groups in (self.stored, self.logical):
            for group in groups:
                if axis in group:
                    place = group.index(axis)
                    group[place : place + 1] = parts

    @property
    def repeated(self) -> list[Elementary]:
        kept = [axis for group in self.stored for axis in group]
        return [axis for group in self.logical for axis in group if axis not in kept]


def _same(first: list[Elementary], second: list[Elementary]) -> bool:
    return len(first) == len(second) and all(left is right for left, right in zip(first, second, strict=True))


def default_names(rank: int) -> list[str]:
    """Letters for axes of which nothing more is known, from the glossary."""
    return {
        0: [],
        1: ["c"],
        2: ["b", "c"],
        3: ["b", "n", "c"],
        4: ["b", "c", "h", "w"],
        5: ["b", "c", "d", "h", "w"],
    }.get(rank, ["b", *(f"a{n}" for n in range(1, rank))])


def channels_last_order(rank: int) -> tuple[int, ...]:
    """Batch, space, channels.

    >>> channels_last_order(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1) if rank >= 2 else tuple(range(rank))


def from_value(
    code: str, value: Value, order: Sequence[int] | None = None, names: Sequence[str] | None = None
) -> Array:
    """An array whose variable has whole axes, in this order."""
    rank = len(value.shape)
    order = tuple(range(rank)) if order is None else tuple(order)
    names = _distinct(list(names) if names is not None and len(names) == rank else default_names(rank))
    sizes = value.sizes or tuple((size, size) for size in value.shape)
    logical: Groups = []
    for n in range(rank):
        place = order.index(n)
        axis = Elementary(names[n], sizes[n])
        if sizes[n][0] != sizes[n][1]:
            axis.code = f"{code}.shape[{place}]"
        logical.append([] if sizes[n] == (1, 1) else [axis])
    return Array(code, [logical[n] for n in order], logical, value)


def _distinct(names: list[str]) -> list[str]:
    taken: set[str] = set()
    result = []
    for n, name in enumerate(names):
        base = name if name != "1" else default_names(len(names))[n]
        number, unique = 1, base
        while unique in taken:
            number += 1
            unique = f"{re.sub(r'[0-9]+$', '', base)}{number}"
        taken.add(unique)
        result.append(unique)
    return result


def reshape(array: Array, value: Value, codes: Sequence[str]) -> Array | None:
    """The same numbers under PyTorch's view of another shape; None where no pattern says it.

    Args:
        array: what is viewed.
        value: what comes out.
        codes: how each of its sizes is written, `""` where that is not known.
    """
    result = array.copy(value)
    source = [axis for group in result.logical for axis in group]
    if any(0 in axis.sizes for axis in source):
        return None
    logical: Groups = []
    at = 0
    for target, code in zip(value.sizes, codes, strict=True):
        group: list[Elementary] = []
        rest = target
        first = at
        while rest != (1, 1):
            if at >= len(source):
                return None
            axis = source[at]
            if axis.sizes == rest or _divides(axis.sizes, rest):
                group.append(axis)
                rest = (rest[0] // axis.sizes[0], rest[1] // axis.sizes[1])
                at += 1
            elif _divides(rest, axis.sizes):
                remaining = (axis.sizes[0] // rest[0], axis.sizes[1] // rest[1])
                whole = first == at
                place, rank = len(logical), len(value.sizes)
                image = _becomes_image(axis.name, place, rank, len(array.logical)) and whole
                outer = Elementary(
                    default_names(rank)[place]
                    if image
                    else _outer_name(axis.name, rest, array, rank if first == at else 0),
                    rest,
                    code if whole and rest[0] != rest[1] else "",
                )
                inner_name = default_names(rank)[place + 1] if image else _inner_name(axis.name, result)
                inner = Elementary(inner_name, remaining)
                if rest[0] != rest[1] and not outer.code:
                    outer.code = f"({axis.code} // {remaining[0]})" if inner.fixed and axis.code else ""
                if not inner.fixed or remaining[0] != remaining[1]:
                    inner.code = f"({axis.code} // {outer.size_code})" if axis.code and outer.size_code else ""
                result.split(axis, [outer, inner])
                source[at : at + 1] = [outer, inner]
                group.append(outer)
                at += 1
                rest = (1, 1)
            else:
                return None
        if len(group) == 1 and code and group[0].sizes[0] != group[0].sizes[1]:
            group[0].code = code
        logical.append(group)
    if at != len(source):
        return None
    result.logical = logical
    return result


def _becomes_image(name: str, place: int, rank: int, before: int) -> bool:
    """Whether features of a sample, or tokens, are split into the axes of an image."""
    if rank not in (3, 4, 5) or place + 1 >= rank:
        return False
    if before == 2:
        return name in ("c", "h", "w", "d") and place >= 1
    tokens = before == 3 and rank == 4 and name in ("n", "t", "h") and place in (1, 2)
    return tokens or (name == "h" and before == 2)


def _outer_name(name: str, sizes: Sizes, array: Array, rank: int) -> str:
    """Features of tokens are split into heads, channels of images into groups.

    Args:
        name: of the axis that is split.
        sizes: of the outer part.
        array: that is split.
        rank: of the view, 0 where this is not the first part of an axis of it.
    """
    if name == "k":
        return "heads"
    if name != "c" or sizes[0] != sizes[1] or not rank:
        return name
    if sizes == (2, 2) and len(array.logical) == 3 and rank == 5:
        return "kv"
    if len(array.logical) >= 4:
        return "g"
    return "qkv" if sizes == (3, 3) and len(array.logical) == 3 else "heads"


def _inner_name(name: str, array: Array) -> str:
    taken = {axis.name for groups in (array.stored, array.logical) for group in groups for axis in group}
    if name == "c" and len(array.logical) >= 4:
        return name
    if (name == "c" and "k" not in taken) or name == "k":
        return "k"
    return _next_name(name, array)


def _divides(part: Sizes, whole: Sizes) -> bool:
    return 0 not in part and whole[0] % part[0] == 0 and whole[1] % part[1] == 0


def _next_name(name: str, array: Array) -> str:
    taken = {axis.name for groups in (array.stored, array.logical) for group in groups for axis in group}
    base = re.sub(r"[0-9]+$", "", name)
    number = 1
    while f"{base}{number}" in taken:
        number += 1
    return f"{base}{number}"


def pattern_of(array: Array, order: Sequence[int]) -> tuple[str, dict[str, str], bool] | None:
    """The pattern from the variable to PyTorch's axes in an order: pattern, sizes, whether something is repeated.

    None where a size is needed that cannot be written.
    """
    target = [array.logical[n] for n in order]
    sizes: dict[str, str] = {}
    names: dict[int, str] = {}
    taken: set[str] = set()
    for group in (*array.stored, *target):
        for axis in group:
            if id(axis) not in names:
                names[id(axis)] = _free_name(axis.name, taken)
    for group in array.stored:
        if len(group) > 1:
            free = [axis for axis in group if not axis.fixed]
            unwritten = [axis for axis in free if not axis.code]
            if len(unwritten) > 1:
                return None
            left_out = (unwritten or free or group)[-1]
            sizes |= {names[id(axis)]: axis.size_code for axis in group if axis is not left_out}
    repeated = array.repeated
    for axis in repeated:
        if not axis.size_code:
            return None
        sizes[names[id(axis)]] = axis.size_code

    def side(groups: Groups) -> str:
        parts = []
        for group in groups:
            text = " ".join(names[id(axis)] for axis in group)
            parts.append("1" if not group else text if len(group) == 1 else f"({text})")
        return " ".join(parts)

    return f"{side(array.stored)} -> {side(target)}", sizes, bool(repeated)


def _free_name(name: str, taken: set[str]) -> str:
    unique, number = name, 1
    base = re.sub(r"[0-9]+$", "", name)
    while unique in taken:
        unique = f"{base}{number}"
        number += 1
    taken.add(unique)
    return unique


def stored_equal(array: Array, order: Sequence[int]) -> bool:
    """Whether the variable has PyTorch's axes in this order already."""
    target: Any = [array.logical[n] for n in order]
    return len(target) == len(array.stored) and all(
        _same(left, right) for left, right in zip(array.stored, target, strict=True)
    )
