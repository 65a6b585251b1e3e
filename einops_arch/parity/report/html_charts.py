"""The charts of the HTML report, as inline SVG whose colours are the page's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from einops_arch.parity.report.error_maps import ErrorMaps

__all__ = ["Point", "channel_bars", "layer_chart", "position_map"]

_WIDTH, _LEFT, _RIGHT, _TOP = 960, 64, 16, 14
_LETTERS = 22
_NAMED = 48
"""With more modules than this their names would lie over each other; pointing at a mark still says them."""


@dataclass(frozen=True)
class Point:
    """One module in a chart: its name, its value (None where there is none), and the class of its verdict."""

    name: str
    value: float | None
    kind: str


def layer_chart(points: Sequence[Point], *, limit: float, decades: tuple[int, int], label: str) -> str:
    """A value for each module in call order, on a logarithmic scale, with the limit as a line.

    Args:
        points: the modules.
        limit: values above it are over.
        decades: the smallest and the largest power of ten of the scale; what is beyond stands at the edge.
        label: what the chart shows, for those who do not see it.
    """
    low, high = decades
    height = 200
    named = len(points) <= _NAMED
    below = (
        min(150, 14 + int(5.4 * min(_LETTERS, max((len(point.name) for point in points), default=0)))) if named else 28
    )
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points))

    def x(n: int) -> float:
        return _LEFT + (n + 0.5) * step

    def y(value: float) -> float:
        decade = math.log10(value) if value > 0 else low
        if math.isinf(decade):
            decade = high
        return _TOP + (high - min(high, max(low, decade))) / (high - low) * height

    marks = list(_scale(low, high, y))
    marks.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    marks.append(f'<text class="limit-text" x="{_WIDTH - _RIGHT}" y="{y(limit) - 4:.1f}">limit {limit:g}</text>')
    for n, point in enumerate(points):
        name = escape(point.name)
        if named:
            at = f"{x(n):.1f},{_TOP + height + 10}"
            marks.append(f'<text class="name" transform="translate({at}) rotate(-60)">{_short(name)}</text>')
        if point.value is not None:
            title = f"<title>{name}: {point.value:.3g}</title>"
            marks.append(f'<g class="{point.kind}">{title}{_mark(point.kind, x(n), y(point.value))}</g>')
        elif point.kind == "bad":
            title = f"<title>{name}: no value to show; see the table</title>"
            marks.append(f'<g class="bad">{title}{_mark("none", x(n), _TOP + 6)}</g>')
    if not named and points:
        marks.append(f'<text class="tick" x="{_LEFT}" y="{_TOP + height + 20}">first</text>')
        marks.append(
            f'<text class="tick end" x="{_WIDTH - _RIGHT}" y="{_TOP + height + 20}">last of {len(points)} modules, '
            "in call order</text>"
        )
    return _svg(_WIDTH, _TOP + height + below, label, marks)


def channel_bars(maps: ErrorMaps) -> str:
    """The difference by channel; a comb means that channels are in another order."""
    values = maps.channels
    top, height = max(values, default=0.0) or 1.0, 120
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(values))
    gap = 1 if step > 4 else 0
    marks = []
    for fraction in (0.0, 0.5, 1.0):
        at = _TOP + height * (1 - fraction)
        marks.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        marks.append(f'<text class="tick end" x="{_LEFT - 6}" y="{at + 4:.1f}">{top * fraction:.2g}</text>')
    for n, value in enumerate(values):
        bar = height * value / top
        marks.append(
            f'<rect class="bar" x="{_LEFT + n * step:.2f}" y="{_TOP + height - bar:.2f}" '
            f'width="{max(0.5, step - gap):.2f}" height="{bar:.2f}"><title>channel {n}: {value:.3g}</title></rect>'
        )
    under = _TOP + height + 18
    marks.append(f'<text class="tick" x="{_LEFT}" y="{under}">channel 0</text>')
    marks.append(f'<text class="tick end" x="{_WIDTH - _RIGHT}" y="{under}">{len(values) - 1}</text>')
    return _svg(_WIDTH, under + 8, f"difference by channel of {maps.path}", marks)


def position_map(maps: ErrorMaps) -> str:
    """The difference by position; a ring at the border means padding."""
    rows = maps.positions
    columns = len(rows[0])
    cell = max(4.0, min(36.0, 480 / max(len(rows), columns)))
    top = max((value for row in rows for value in row), default=0.0) or 1.0
    left, above = 64, 24
    width, height = max(left + columns * cell, 180), len(rows) * cell
    marks = [
        f'<text class="tick" x="{left}" y="{above - 8}">{escape(maps.axes[1])} &#8594; ({columns})</text>',
        f'<text class="tick end" x="{left - 6}" y="{above + 12}">{escape(_row_axis(maps))}</text>',
    ]
    for m, row in enumerate(rows):
        for n, value in enumerate(row):
            # The square root, so that what is small beside the largest can still be seen.
            share = math.sqrt(value / top)
            marks.append(
                f'<rect class="cell-back" x="{left + n * cell:.1f}" y="{above + m * cell:.1f}" width="{cell:.1f}" '
                f'height="{cell:.1f}"/><rect class="cell" x="{left + n * cell:.1f}" y="{above + m * cell:.1f}" '
                f'width="{cell:.1f}" height="{cell:.1f}" fill-opacity="{share:.3f}">'
                f"<title>{m}, {n}: {value:.3g}</title></rect>"
            )
    foot = f'<text class="tick" x="{left}" y="{above + height + 18:.1f}">none = 0, full colour = {top:.2g}</text>'
    return _svg(width + 16, above + height + 26, f"difference by position of {maps.path}", [*marks, foot], fixed=True)


def _row_axis(maps: ErrorMaps) -> str:
    return f"{maps.axes[0]} ↓ ({len(maps.positions)})" if maps.axes[0] else ""


def _scale(low: int, high: int, y: Callable[[float], float]) -> Iterable[str]:
    for decade in range(low, high + 1, max(1, (high - low) // 6)):
        at = y(10.0**decade)
        label = f"1e{decade}" if abs(decade) > 2 else f"{10.0**decade:g}"
        label = f"≤ {label}" if decade == low else label
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick end" x="{_LEFT - 6}" y="{at + 4:.1f}">{label}</text>'


def _mark(kind: str, x: float, y: float) -> str:
    """Shapes as well as colours: not everybody sees both."""
    if kind == "good":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if kind == "none":
        return f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10" class="cross"/>'
    return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'


def _short(name: str) -> str:
    """The last parts of a path, as many as there is room for."""
    if len(name) <= _LETTERS:
        return name
    cut = name[-_LETTERS:]
    return f"…{cut.partition('.')[2] or cut}"


def _svg(width: float, height: float, label: str, marks: Iterable[str], *, fixed: bool = False) -> str:
    size = f' width="{width:.0f}"' if fixed else ""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg {box}{size} role="img" aria-label="{escape(label)}">{"".join(marks)}</svg>'
