"""The axes of one tensor in a packing: einops with `+` for one after the other, as in einx."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from einops_arch.errors import PatternError, ShapeError

__all__ = ["Axes", "Side", "axes_text", "parse_side", "solve"]

_DOTS = "..."
_TOKEN = re.compile(r"\s*(\.\.\.|[A-Za-z]\w*|1(?!\d)|[()+])")


@dataclass(frozen=True)
class Sum:
    """Parts of an axis, one after the other."""

    terms: tuple[Group, ...]


Group: TypeAlias = "tuple[str | Sum, ...]"
"""The axes in a parenthesis, the slowest first."""
Side: TypeAlias = "tuple[Axes, ...]"
Blocks: TypeAlias = "Mapping[frozenset[str], tuple[tuple[str, ...], np.ndarray[Any, Any]]]"


@dataclass(frozen=True)
class Axes:
    """The axes of one tensor: an item for each, of one name or several."""

    items: tuple[Group, ...]

    @property
    def has_dots(self) -> bool:
        """Whether some of them have no names."""
        return (_DOTS,) in self.items

    @property
    def count(self) -> int:
        """How many have names."""
        return sum(item != (_DOTS,) for item in self.items)

    @property
    def names(self) -> list[str]:
        """Every name."""
        return list(dict.fromkeys(name for item in self.items for name in _names(item)))

    @property
    def blocks(self) -> list[tuple[str, ...]]:
        """The names of the axes of each part that is one piece."""
        return [tuple(name for item in chosen for name in item) for chosen in self._choices()]

    def led_by(self, name: str) -> Axes:
        """With one axis more in front."""
        return Axes(((name,), *self.items))

    def written_out(self, rank: int) -> Axes:
        """With names for the axes that have none."""
        dots: tuple[Group, ...] = tuple((f"...{number}",) for number in range(rank))
        return Axes(tuple(new for item in self.items for new in (dots if item == (_DOTS,) else (item,))))

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The sizes of its axes."""
        return tuple(_size(item, sizes) for item in self.items)

    def split(
        self, array: np.ndarray[Any, Any], sizes: Mapping[str, int]
    ) -> list[tuple[tuple[str, ...], np.ndarray[Any, Any]]]:
        """Each part that is one piece, with an axis for each of its names."""
        flat, at = self._flat(sizes)
        opened = array.reshape(flat)
        if at is None:
            (order,) = self.blocks
            return [(order, opened.reshape([sizes[name] for name in order]))]
        ends = np.cumsum([_size(term, sizes) for term in self._sum().terms])[:-1].tolist()
        parts = np.split(opened, ends, axis=at)
        return [
            (order, part.reshape([sizes[name] for name in order]))
            for order, part in zip(self.blocks, parts, strict=True)
        ]

    def join(self, blocks: Blocks, sizes: Mapping[str, int]) -> np.ndarray[Any, Any]:
        """The tensor of its parts."""
        flat, at = self._flat(sizes)
        parts: list[np.ndarray[Any, Any]] = []
        for order in self.blocks:
            received, block = blocks[frozenset(order)]
            moved = block.transpose([received.index(name) for name in order])
            shape = list(flat)
            if at is not None:
                shape[at] = -1 if moved.size else _size(self._sum().terms[len(parts)], sizes)
            parts.append(moved.reshape(shape))
        whole = parts[0] if at is None else np.concatenate(parts, axis=at)
        return whole.reshape(self.shape(sizes))

    def _flat(self, sizes: Mapping[str, int]) -> tuple[list[int], int | None]:
        """The sizes with parentheses open, and where the axis of parts is."""
        flat: list[int] = []
        at = None
        for item in self.items:
            for part in item:
                if isinstance(part, Sum):
                    at = len(flat)
                flat.append(sum(_size(term, sizes) for term in part.terms) if isinstance(part, Sum) else sizes[part])
        return flat, at

    def _sum(self) -> Sum:
        return next(part for item in self.items for part in item if isinstance(part, Sum))

    def _choices(self) -> list[list[tuple[str, ...]]]:
        sums = [part for item in self.items for part in item if isinstance(part, Sum)]
        terms: Sequence[Group | None] = sums[0].terms if sums else [None]
        return [[tuple(name for part in item for name in _chosen(part, term)) for item in self.items] for term in terms]


def parse_side(texts: Sequence[str], whole: str) -> Side:
    """The axes of each tensor of a side.

    Raises:
        PatternError: a text does not parse.
    """
    return tuple(_parse(text, whole) for text in texts)


def axes_text(axes: Axes, *, without_first: bool = False) -> str:
    """The axes as they were written.

    >>> axes_text(_parse("(g (r + a) d) ... 1", ""))
    '(g (r + a) d) ... 1'
    """
    items = axes.items[1:] if without_first else axes.items
    return " ".join(_text(item, inside=False) for item in items)


def solve(
    known: Sequence[tuple[Axes, tuple[int, ...]]], stated: Mapping[str, int], text: str, every: Sequence[Axes]
) -> dict[str, int]:
    """The size of every axis.

    Args:
        known: tensors whose shape is known.
        stated: sizes by name.
        text: the packing, for errors.
        every: all tensors, whose axes need a size.

    Raises:
        ShapeError: the shapes contradict each other or the sizes, or do not say everything.

    >>> solve([(_parse("(h k) i", ""), (12, 5))], {"h": 3}, "", [])["k"]
    4
    """
    sizes = dict(stated)
    rows = []
    for axes, shape in known:
        if len(axes.items) != len(shape):
            raise ShapeError(
                f"packing {text!r}: expected {len(axes.items)} axes '{axes_text(axes)}', received shape {shape}"
            )
        rows += [(item, size, shape) for item, size in zip(axes.items, shape, strict=True)]
    changed = True
    while changed:
        changed = False
        for item, size, shape in rows:
            unknown = [name for name in _names(item) if name not in sizes]
            if len(unknown) == 1 and _names(item, once=False).count(unknown[0]) == 1:
                least = _size(item, {**sizes, unknown[0]: 0})
                step = _size(item, {**sizes, unknown[0]: 1}) - least
                if step <= 0 or (size - least) % step or size < least:
                    raise _unfit(text, item, size, shape, sizes)
                sizes[unknown[0]] = (size - least) // step
                changed = True
    for item, size, shape in rows:
        if all(name in sizes for name in _names(item)) and _size(item, sizes) != size:
            raise _unfit(text, item, size, shape, sizes)
    missing = [name for axes in every for name in axes.names if name not in sizes]
    if missing:
        raise ShapeError(
            f"packing {text!r}: the shapes do not say the size of {missing[0]}; likely fix: '{text}, {missing[0]}=...'"
        )
    return sizes


def _unfit(text: str, item: Group, size: int, shape: tuple[int, ...], sizes: Mapping[str, int]) -> ShapeError:
    known = ", ".join(f"{name}={sizes[name]}" for name in _names(item) if name in sizes)
    where = f"axis '{_text(item, inside=False)}' with {known or 'no size known'}"
    return ShapeError(f"packing {text!r}: {where} does not fit {size} in shape {shape}")


def _parse(text: str, whole: str) -> Axes:
    pieces, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise PatternError(
                f"packing {whole!r}: expected axes, '...', '1', '(', ')' or '+', received {text[at:].strip()!r}"
            )
        pieces.append(match[1])
        at = match.end()
    items: list[Group] = []
    while pieces:
        piece = pieces.pop(0)
        if piece == "(":
            items.append(_group(pieces, whole))
        elif piece in {")", "+"}:
            raise PatternError(f"packing {whole!r}: {piece!r} outside of a parenthesis")
        else:
            items.append(() if piece == "1" else (piece,))
    sums = [part for item in items for part in item if isinstance(part, Sum)]
    reason = ""
    if len(sums) > 1:
        reason = "more than one '+' axis"
    elif any(isinstance(part, Sum) for whole_sum in sums for term in whole_sum.terms for part in term):
        reason = "a '+' inside of a '+'"
    else:
        # Parts of a sum are never in one piece, and may share axes.
        twice = [name for block in Axes(tuple(items)).blocks for name in block if block.count(name) > 1]
        reason = f"axis {twice[0]!r} is there twice" if twice else ""
    if reason:
        raise PatternError(f"packing {whole!r}: {reason} in '{text.strip()}'")
    return Axes(tuple(items))


def _group(pieces: list[str], whole: str) -> Group:
    """What stands in a parenthesis that was opened."""
    terms: list[list[str | Sum]] = [[]]
    while pieces:
        piece = pieces.pop(0)
        if piece == ")":
            groups = tuple(tuple(term) for term in terms)
            return groups[0] if len(groups) == 1 else (Sum(groups),)
        if piece == "+":
            terms.append([])
        elif piece == "(":
            terms[-1] += _group(pieces, whole)
        elif piece == _DOTS:
            raise PatternError(f"packing {whole!r}: '...' inside of a parenthesis")
        elif piece != "1":
            terms[-1].append(piece)
    raise PatternError(f"packing {whole!r}: a parenthesis is not closed")


def _names(item: Group, *, once: bool = True) -> list[str]:
    names: list[str] = []
    for part in item:
        if isinstance(part, Sum):
            names += [name for term in part.terms for name in _names(term, once=once)]
        else:
            names.append(part)
    return list(dict.fromkeys(names)) if once else names


def _size(item: Group, sizes: Mapping[str, int]) -> int:
    return math.prod(
        sum(_size(term, sizes) for term in part.terms) if isinstance(part, Sum) else sizes[part] for part in item
    )


def _chosen(part: str | Sum, term: Group | None) -> tuple[str, ...]:
    if not isinstance(part, Sum):
        return (part,)
    return tuple(name for name in term or () if isinstance(name, str))


def _text(item: Group, *, inside: bool) -> str:
    if len(item) == 1 and isinstance(item[0], str):
        return item[0]
    if not item:
        return "1"
    parts = []
    for part in item:
        if isinstance(part, Sum):
            inner = " + ".join(" ".join(_text((name,), inside=True) for name in term) or "1" for term in part.terms)
            parts.append(f"({inner})" if len(item) > 1 or inside else inner)
        else:
            parts.append(part)
    return f"({' '.join(parts)})" if not inside or len(item) > 1 else parts[0]
