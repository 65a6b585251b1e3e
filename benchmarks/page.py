"""A run as one HTML page: bars of ratios with a line at 1, and every number under it. No script, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from benchmarks.table import cells, ratio_text, summary, time_text
from einops_arch._html import page

__all__ = ["html_page"]

_WIDTH, _NAMES, _BAR, _RIGHT = 1070, 440, 20, 210
_TICKS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1, 1.25, 2, 4, 8, 16]

_STYLE = """
main { max-width: 1120px; }
p { margin: 4px 0; } .soft { color: var(--soft); font-size: 14px; }
section { overflow-x: auto; }
svg text.name { fill: var(--ink); text-anchor: end; } svg text.mid { text-anchor: middle; }
.one { stroke: var(--ink); stroke-width: 1.5; } .grid { stroke: var(--grid); }
.held, .same { fill: var(--good); } .level { fill: var(--doubt); } .missed, .wrong { fill: var(--bad); }
.none { fill: var(--plain); } .spread { stroke: var(--ink); stroke-opacity: .55; stroke-width: 2; }
.bar { stroke: var(--bad); stroke-width: 2; }
td.held, td.same { color: var(--good); }
td.level { color: var(--doubt); }
td.missed, td.wrong { color: var(--bad); font-weight: 600; }
"""


def html_page(run: dict[str, Any]) -> str:
    """The page of a run.

    Args:
        run: in the form of the JSON file.
    """
    rows = run["rows"]
    body = [*_head(run), *_charts(rows), *_growth(rows), *_numbers(rows)]
    return page(f"einops_arch benchmark: {summary(rows)}", body, _STYLE)


def _head(run: dict[str, Any]) -> Iterator[str]:
    machine, versions, options = run["machine"], run["versions"], run["options"]
    yield "<h1>Side by side</h1>"
    yield f"<p>{escape(summary(run['rows']))}.</p>"
    yield (
        f'<p class="soft">{escape(machine["processor"])}, {options["threads"]} threads of {machine["cores"]} cores, '
        f"{escape(options['device'])}; {escape(run['when'])}, {run['took'] / 60:.0f} minutes. "
        f"{escape(', '.join(f'{name} {version}' for name, version in versions.items()))}.</p>"
    )
    yield (
        '<p class="soft">Each bar is our time divided by that of the peer, both taken in turn in one process: left of '
        "the line at 1 is quicker. The thin line is the middle half of all rounds, the red mark is the bar that the "
        "project holds itself to.</p>"
    )


def _charts(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One chart for each side, of the rows with a bar first."""
    titles = {
        "torch": "PyTorch",
        "jax": "JAX and Flax under jit",
        "torch and jax": "Flax under jit against PyTorch",
        "numpy": "numpy",
        "python": "Import",
    }
    for side, title in titles.items():
        for heading, wanted in (("with a bar", True), ("without a bar", False)):
            of_side = [row for row in rows if row["side"] == side and "ratios" in row and bool(row["bar"]) == wanted]
            if of_side:
                yield f"<section><h2>{title}, {heading}</h2>{_chart(of_side)}</section>"


def _scale(rows: Sequence[dict[str, Any]]) -> tuple[list[float], Callable[[float], float]]:
    """The ticks that the rows need, and the position of a ratio on a logarithmic scale between the outer two."""
    ratios = [row["ratios"][row["against"]] for row in rows]
    least = min([one["median"] for one in ratios] + [row["bar"]["limit"] for row in rows if row["bar"]])
    most = max(one["median"] for one in ratios)
    low = max([tick for tick in _TICKS if tick <= least] or _TICKS[:1])
    high = min([tick for tick in _TICKS if tick >= most] or _TICKS[-1:])
    low, high = min(low, 0.8), max(high, 1.25)

    def x(ratio: float) -> float:
        share = math.log(min(high, max(low, ratio)) / low) / math.log(high / low)
        return _NAMES + share * (_WIDTH - _NAMES - _RIGHT)

    # Over a wide range the marks beside 1 would lie on it.
    crowded = {0.3, 0.8, 1.25} if high / low > 10 else set()
    return [tick for tick in _TICKS if low <= tick <= high and tick not in crowded], x


def _chart(rows: Sequence[dict[str, Any]]) -> str:
    height = 24 + _BAR * len(rows)
    ticks, x = _scale(rows)
    marks = []
    for tick in ticks:
        kind = "one" if tick == 1 else "grid"
        marks.append(f'<line class="{kind}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="18" y2="{height}"/>')
        marks.append(f'<text class="mid" x="{x(tick):.1f}" y="12">{tick:g}</text>')
    for number, row in enumerate(rows):
        marks += _bar(row, 24 + _BAR * number, x)
    size = f'viewBox="0 0 {_WIDTH} {height + 4}" width="{_WIDTH}" height="{height + 4}"'
    return f'<svg {size} role="img" aria-label="ratios">{"".join(marks)}</svg>'


def _bar(row: dict[str, Any], y: int, x: Callable[[float], float]) -> Iterator[str]:
    ratio = row["ratios"][row["against"]]
    start, end = sorted((x(1.0), x(ratio["median"])))
    name = f"{row['name']}, {row['size']}, {row['setting']}"
    kind = row["verdict"].split()[0] if row["verdict"] else "none"
    yield f'<text class="name" x="{_NAMES - 8}" y="{y + 12}">{escape(_short(name, 68))}</text>'
    yield (
        f'<rect class="{kind}" x="{start:.1f}" y="{y + 3}" width="{max(1.0, end - start):.1f}" height="11">'
        f"<title>{escape(name)} against {escape(row['against'])}: {ratio_text(ratio)}</title></rect>"
    )
    middle = y + 8.5
    yield f'<line class="spread" x1="{x(ratio["low"]):.1f}" x2="{x(ratio["high"]):.1f}" y1="{middle}" y2="{middle}"/>'
    if row["bar"]:
        at = x(row["bar"]["limit"])
        yield f'<line class="bar" x1="{at:.1f}" x2="{at:.1f}" y1="{y + 1}" y2="{y + 16}"/>'
    said = _short(f"{ratio['median']:.2f} of {row['against']}", 25)
    yield f'<text x="{_WIDTH - _RIGHT + 8}" y="{y + 12}">{escape(said)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _growth(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    grown = [row for row in rows if "growth" in row]
    if not grown:
        return
    yield "<section><h2>How the time grows</h2>"
    yield '<p class="soft">The exponent of the power law through the times. Bytes or operations grow with the last.</p>'
    yield "<table><tr><th>what</th><th>where</th><th>sizes</th><th>times</th><th>exponent</th><th>expected</th></tr>"
    for row in grown:
        times = ", ".join(map(time_text, row["growth"]["seconds"]))
        values = [row["name"], row["side"], row["size"], times, f"{row['exponent']:.2f}", row["growth"]["expected"]]
        yield "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"
    yield "</table></section>"


def _numbers(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = ("what", "where", "size", "setting", "ours", "peer", "theirs", "ratio", "floor", "bar", "verdict")
    yield "<section><h2>All numbers</h2><table><tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    for row in rows:
        if "growth" not in row:
            *values, last = cells(row)
            kind = last.split()[0] if last else "none"
            inner = "".join(f"<td>{escape(value)}</td>" for value in values)
            yield f'<tr>{inner}<td class="{kind}">{escape(last)}</td></tr>'
    yield "</table></section>"
