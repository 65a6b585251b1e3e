"""Draw what a pattern does: the elements before and after, coloured by axis, as SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

import einops
import numpy as np

from einops_arch.errors import ConfigError

__all__ = ["draw"]

_CELL, _GAP, _MARGIN, _LABEL = 22, 8, 12, 24
_MOST = 72
"""Elements of a picture: more cannot be followed by eye."""


def draw(operation: str, pattern: str) -> str:
    """A picture with small sizes, whatever the sizes of the pattern are.

    The colour is the first axis that the pattern names inside a parenthesis or moves, the shade the next one; numbers
    are the order of the elements before.

    Args:
        operation: `"rearrange"`, `"repeat"` or `"reduce"`.
        pattern: of einops.

    Raises:
        ConfigError: the operation is no `rearrange`, `repeat` or `reduce`.
    """
    if operation not in {"rearrange", "repeat", "reduce"}:
        raise ConfigError(f"svg: expected a rearrange, repeat or reduce, received the {operation} '{pattern}'")
    left, _, right = pattern.partition(" -> ")
    names = _names(left)
    sizes = _small(names, [name for name in _names(right) if name not in names])
    flat = einops.rearrange(
        np.arange(math.prod(sizes[name] for name in names)), f"({' '.join(names)}) -> {left}",
        **{name: sizes[name] for name in names},
    )  # fmt: skip
    split = {name: size for name, size in sizes.items() if name in pattern}
    if operation == "reduce":
        # One element stands for the group that is reduced to it.
        after = einops.reduce(flat, pattern, "min", **{name: split[name] for name in names})
    elif operation == "repeat":
        after = einops.repeat(flat, pattern, **split)
    else:
        after = einops.rearrange(flat, pattern, **split)
    colors = _colors(left, right, names, sizes)
    boxes = [(left, flat, list(_cells(flat))), (right, after, list(_cells(after)))]
    parts, x = [], _MARGIN
    height = _LABEL + max(_extent(array)[1] for _, array, _ in boxes) + 2 * _MARGIN
    for place, (label, array, cells) in enumerate(boxes):
        if place:
            middle = _LABEL + _MARGIN + min(_extent(array)[1] for _, array, _ in boxes) / 2 + 6
            parts.append(_text("→", x + 10, middle, size=22))
            x += 44
        width, _ = _extent(array)
        words = len(label) * 8
        parts.append(_text(label, x, _MARGIN + 8, anchor="start", size=13))
        for left_edge, top, number in cells:
            # What a reduction gives is none of the numbered elements.
            shown = "" if place and operation == "reduce" else str(number)
            parts.append(_cell(x + left_edge, _LABEL + _MARGIN + top, shown, colors[number]))
        x += max(width, words) + _MARGIN
    title = escape(pattern)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x} {height}" width="{x}" height="{height}" '
        f'font-family="ui-monospace, monospace" role="img">\n<title>{title}</title>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _names(side: str) -> list[str]:
    return re.findall(r"[A-Za-z]\w*", side)


def _small(names: list[str], new: list[str]) -> dict[str, int]:
    """Sizes of 2, and of 3 for as many axes as there is room for, the last ones first."""
    sizes = dict.fromkeys([*names, *new], 2)
    for name in reversed(names):
        if math.prod(sizes[each] for each in names) // 2 * 3 <= _MOST // 2 ** len(new):
            sizes[name] = 3
    for name in names:
        # An axis that is drawn as a row of blocks says as much with one block less.
        if math.prod(sizes.values()) > _MOST * 2 and sizes[name] == 2:
            sizes[name] = 1
    return sizes


def _colors(left: str, right: str, names: list[str], sizes: dict[str, int]) -> list[str]:
    kept = [name for name in names if name in _names(right)]
    inside = [name for group in re.findall(r"\(([^)]*)\)", left + " " + right) for name in group.split()]
    order = [name for name in dict.fromkeys(inside) if name in kept] or [
        name for name, other in zip(kept, _names(right), strict=False) if name != other
    ]
    order = list(dict.fromkeys([*order, *kept[1:], *kept]))
    index = np.indices([sizes[name] for name in names]).reshape(len(names), -1)
    colors = []
    for number in range(index.shape[1] if names else 1):
        digits = [(index[names.index(name), number], sizes[name]) for name in order[:2]]
        hue = 205 + 360 * (digits[0][0] / digits[0][1]) if digits else 205
        shade = 74 - 24 * (digits[1][0] / max(digits[1][1] - 1, 1)) if len(digits) > 1 else 66
        colors.append(f"hsl({hue % 360:.0f} 62% {shade:.0f}%)")
    return colors


def _extent(array: Any) -> tuple[int, int]:
    """Width and height: the last two axes are rows and columns, the others blocks, side by side and below in turn."""
    if array.ndim == 0:
        return _CELL, _CELL
    if array.ndim == 1:
        return _CELL * len(array), _CELL
    if array.ndim == 2:
        return _CELL * array.shape[1], _CELL * array.shape[0]
    width, height = _extent(array[0])
    gap = _GAP * (array.ndim - 2)
    many = len(array)
    if array.ndim % 2:
        return many * width + (many - 1) * gap, height
    return width, many * height + (many - 1) * gap


def _cells(array: Any, x: int = 0, y: int = 0) -> Iterator[tuple[int, int, int]]:
    if array.ndim == 0:
        yield x, y, int(array)
        return
    if array.ndim <= 2:
        for row, values in enumerate(np.atleast_2d(array)):
            for column, value in enumerate(values):
                yield x + _CELL * column, y + _CELL * row, int(value)
        return
    width, height = _extent(array[0])
    gap = _GAP * (array.ndim - 2)
    for place, block in enumerate(array):
        aside = array.ndim % 2
        yield from _cells(block, x + place * (width + gap) * aside, y + place * (height + gap) * (1 - aside))


def _cell(x: float, y: float, words: str, color: str) -> str:
    box = f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" rx="3" fill="{color}"/>'
    return box + _text(words, x + _CELL / 2, y + _CELL / 2 + 4, size=10, fill="#16202a")


def _text(words: str, x: float, y: float, *, size: int, anchor: str = "middle", fill: str = "#7a8794") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'
