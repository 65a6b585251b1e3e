"""Layout patterns: parse, check, invert, and apply to shapes and arrays.

A layout pattern is an einops pattern that only moves elements, with two things added: `*k` stands for any number of
axes, so that one pattern serves convolutions of every rank, and a pattern can be read from right to left.

>>> pattern = LayoutPattern.parse("o i *k -> *k i o")
>>> pattern.shape((64, 3, 7, 5))
(7, 5, 3, 64)
>>> pattern.inverse().shape((7, 5, 3, 64))
(64, 3, 7, 5)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import einops

from einops_arch.errors import PatternError, ShapeError

__all__ = ["IDENTITY", "LayoutPattern", "Sizes"]

IDENTITY = "*axes -> *axes"

Sizes: TypeAlias = Mapping[str, int | tuple[int, ...]]
"""Sizes by axis name; a tuple for a starred axis."""

_Side: TypeAlias = tuple[str | tuple[str, ...], ...]
"""The axes of one side: a name for a plain axis, a tuple of names for a parenthesis, the empty tuple for `1`."""

_TOKEN = re.compile(r"\s*(?:(?P<name>\*?[A-Za-z][A-Za-z0-9_]*)|(?P<one>1(?![0-9]))|(?P<open>\()|(?P<close>\)))")


@dataclass(frozen=True)
class LayoutPattern:
    """A pattern that moves elements, such as `o i *k -> *k i o`. Made by `LayoutPattern.parse`."""

    left: _Side
    right: _Side

    @staticmethod
    @cache
    def parse(text: str) -> LayoutPattern:
        """Parse and check a pattern.

        Raises:
            PatternError: the text does not parse, or an axis is on one side only, or twice on one side. The message
                has a caret under the place.

        >>> LayoutPattern.parse("o i -> i p")
        Traceback (most recent call last):
        einops_arch.errors.PatternError: layout pattern: axis 'o' is on the left side only
          o i -> i p
          ^
        """
        arrow = text.find("->")
        if arrow < 0 or text.find("->", arrow + 2) >= 0:
            raise _error("expected two sides and one '->' between them", text, max(arrow, 0))
        left, right = _parse_side(text, 0, arrow), _parse_side(text, arrow + 2, len(text))
        names = {side: _names(groups) for side, groups in (("left", left), ("right", right))}
        for side, other in (("left", "right"), ("right", "left")):
            start = 0 if side == "left" else arrow + 2
            for name in names[side]:
                if name not in names[other]:
                    raise _error(f"axis {name!r} is on the {side} side only", text, text.find(name, start))
        return LayoutPattern(left, right)

    def __str__(self) -> str:
        return f"{_side_text(self.left)} -> {_side_text(self.right)}"

    def inverse(self) -> LayoutPattern:
        """The same pattern read from right to left."""
        return LayoutPattern(self.right, self.left)

    def opened(self) -> LayoutPattern:
        """The same move with the parentheses of the right side left open, which never takes a copy.

        >>> str(LayoutPattern.parse("(o p) i -> i (o p)").opened())
        '(o p) i -> i o p'
        """
        return LayoutPattern(self.left, tuple(_names(self.right)))

    @property
    def is_identity(self) -> bool:
        """Nothing moves: both sides are the same."""
        return self.left == self.right

    def shape(self, shape: Sequence[int], sizes: Sizes | None = None) -> tuple[int, ...]:
        """The shape that the pattern makes of a shape.

        Args:
            shape: the sizes of the left side.
            sizes: sizes of axes that the shape does not tell; one axis of each parenthesis may be left out.

        Raises:
            ShapeError: the shape does not fit the left side.
        """
        expanded, bound = self.bind(shape, sizes)
        return tuple(math.prod(bound[name] for name in _names((item,))) for item in expanded.right)

    def apply(self, array: Any, sizes: Sizes | None = None) -> Any:
        """Move the elements of a numpy array; nothing is computed. An identity gives back the array itself.

        Raises:
            ShapeError: the shape does not fit the left side.
        """
        if self.is_identity:
            return array
        expanded, bound = self.bind(array.shape, sizes)
        split = {name: bound[name] for item in expanded.left if isinstance(item, tuple) for name in item}
        return einops.rearrange(array, str(expanded), **split)

    def bind(self, shape: Sequence[int], sizes: Sizes | None = None) -> tuple[LayoutPattern, dict[str, int]]:
        """The pattern with its starred axes written out for a shape, and the size of every axis.

        Raises:
            ShapeError: the shape does not fit the left side.
        """
        expanded = self._expand(len(shape), sizes or {})
        return expanded, _bind(expanded, shape, sizes or {})

    def written_out(self, rank: int, sizes: Sizes | None = None) -> LayoutPattern:
        """The pattern with its starred axes written out for so many axes: `*k` becomes `k_0 k_1`."""
        return self._expand(rank, sizes or {})

    def _expand(self, rank: int, sizes: Sizes) -> LayoutPattern:
        """Write each starred axis out: `*k` becomes `k_0 k_1` for a kernel of two axes."""
        counts: dict[str, int] = {}
        for name in _names(self.left):
            size = sizes.get(name[1:])
            if name.startswith("*") and isinstance(size, tuple):
                counts[name] = len(size)
        unknown = [name for name in _names(self.left) if name.startswith("*") and name not in counts]
        if len(unknown) > 1 or any(name not in self.left for name in unknown):
            raise PatternError(f"layout pattern '{self}' needs the sizes of {unknown[0]} as a tuple")
        if unknown:
            others = sum(counts.get(item, 1) if isinstance(item, str) else 1 for item in self.left) - 1
            if rank < others:
                raise ShapeError(f"layout pattern '{self}' needs at least {others} axes, received {rank}")
            counts[unknown[0]] = rank - others

        def axes(name: str) -> tuple[str, ...]:
            return tuple(f"{name[1:]}_{n}" for n in range(counts[name])) if name.startswith("*") else (name,)

        def expand(side: _Side) -> _Side:
            items: list[str | tuple[str, ...]] = []
            for item in side:
                if isinstance(item, str):
                    items.extend(axes(item))
                else:
                    items.append(tuple(axis for name in item for axis in axes(name)))
            return tuple(items)

        return LayoutPattern(expand(self.left), expand(self.right))


def _bind(pattern: LayoutPattern, shape: Sequence[int], sizes: Sizes) -> dict[str, int]:
    """The size of every axis of an expanded pattern."""
    stated: dict[str, int] = {}
    for name, size in sizes.items():
        stated.update({f"{name}_{n}": s for n, s in enumerate(size)} if isinstance(size, tuple) else {name: size})
    shape = tuple(shape)
    if len(shape) != len(pattern.left):
        raise ShapeError(
            f"layout pattern '{pattern}' needs {len(pattern.left)} axes, received {len(shape)} in shape {shape}"
        )
    bound: dict[str, int] = {}
    for item, total in zip(pattern.left, shape, strict=True):
        group = _names((item,))
        known = math.prod(stated[name] for name in group if name in stated)
        unknown = [name for name in group if name not in stated]
        if len(unknown) > 1:
            raise PatternError(f"layout pattern '{pattern}' needs the size of {' or '.join(unknown)}")
        fits = total % known == 0 if unknown and known else total == known
        if not fits:
            need = f"divisible by {known}" if unknown else f"equal to {known}"
            raise ShapeError(
                f"layout pattern '{pattern}' needs axis '{_side_text((item,))}' {need}, "
                f"received {total} in shape {shape}"
            )
        bound.update({name: stated[name] for name in group if name in stated})
        bound.update(dict.fromkeys(unknown, total // known if known else 0))
    return bound


def _parse_side(text: str, start: int, end: int) -> _Side:
    items: list[str | tuple[str, ...]] = []
    group: list[str] | None = None
    seen: set[str] = set()
    position = start
    while text[position:end].strip():
        match = _TOKEN.match(text, position, end)
        at = position + len(text[position:end]) - len(text[position:end].lstrip())
        if match is None:
            raise _error("expected an axis name, '*name', '1' or a parenthesis", text, at)
        position = match.end()
        if match["open"]:
            if group is not None:
                raise _error("a parenthesis inside a parenthesis", text, at)
            group = []
        elif match["close"]:
            if group is None:
                raise _error("a parenthesis closes that was not opened", text, at)
            items.append(tuple(group))
            group = None
        elif match["one"]:
            if group is None:
                items.append(())
        else:
            name = match["name"]
            if name in seen:
                raise _error(f"axis {name!r} is there twice", text, at)
            seen.add(name)
            if group is None:
                items.append(name)
            else:
                group.append(name)
    if group is not None:
        raise _error("a parenthesis is not closed", text, end - 1)
    return tuple(items)


def _names(side: _Side) -> list[str]:
    return [name for item in side for name in ((item,) if isinstance(item, str) else item)]


def _side_text(side: _Side) -> str:
    return " ".join(item if isinstance(item, str) else f"({' '.join(item)})" if item else "1" for item in side)


def _error(reason: str, text: str, position: int) -> PatternError:
    return PatternError(f"layout pattern: {reason}", text, f"{' ' * position}^")
