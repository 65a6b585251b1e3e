"""A run as one HTML page: what was gained and lost first, a bar for each ratio, and every number under it.

No script, no network: the filter is a few buttons that the style sheet reads. It is readable on a phone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from benchmarks.table import cells, ratio_text, summary, time_text
from einops_arch._html import page

__all__ = ["change", "html_page"]

_CHANGES = {"slower": "slower than the peer", "level": "level", "faster": "faster"}
_SIDES = {
    "torch": "PyTorch",
    "jax": "JAX and Flax under jit",
    "torch and jax": "Flax under jit against PyTorch",
    "numpy": "numpy",
    "python": "import",
}
_WIDEST = 8.0
"""A ratio at the end of a bar; what is beyond is cut off and said in figures."""

_STYLE = """
main { max-width: 1120px; }
p { margin: 4px 0; } .soft { color: var(--soft); font-size: 14px; } a { color: var(--accent); }
.wide { overflow-x: auto; }
fieldset { display: inline-block; border: 1px solid var(--line); border-radius: 8px; margin: 10px 8px 0 0; }
legend { color: var(--soft); font-size: 13px; } label { margin-right: 10px; white-space: nowrap; }
.faster { --color: var(--good); } .slower { --color: var(--bad); } .level { --color: var(--plain); }
.row { display: grid; grid-template-columns: minmax(0, 25rem) minmax(8rem, 1fr) 12rem; gap: 0 12px; padding: 3px 0;
  font-size: 13px; border-bottom: 1px solid var(--grid); align-items: center; font-variant-numeric: tabular-nums; }
.name { overflow-wrap: anywhere; } .result { color: var(--color); } .missed { color: var(--bad); font-weight: 600; }
.track { position: relative; height: 14px; }
.track i { position: absolute; top: 0; bottom: 0; }
.track .bar { background: var(--color); top: 2px; bottom: 2px; min-width: 1px; }
.track .one { left: 50%; width: 1.5px; background: var(--ink); }
.track .spread { top: 6px; height: 2px; bottom: auto; background: var(--ink); opacity: .55; }
.track .limit { width: 2px; background: var(--doubt); }
td.wrong, td.missed { color: var(--bad); font-weight: 600; }
main:has(#show-slower:checked) .row:not(.slower), main:has(#show-level:checked) .row:not(.level),
main:has(#show-faster:checked) .row:not(.faster), main:has(#show-bar:checked) .row:not(.barred),
main:has(#show-missed:checked) .row:not(.over) { display: none; }
@media (max-width: 700px) {
  .row { grid-template-columns: minmax(0, 1fr) 9rem; } .name { grid-column: 1 / -1; font-weight: 600; }
}
"""


def html_page(run: dict[str, Any], back: tuple[str, str] | None = None) -> str:
    """The page of a run.

    Args:
        run: in the form of the JSON file.
        back: the address and the name of the page that leads here, where there is one.
    """
    rows = run["rows"]
    body = [*_head(run, back), *_filters(rows), *_charts(rows), *_growth(rows), *_numbers(rows)]
    return page(f"einops_arch benchmark: {summary(rows)}", body, _STYLE + _side_rules(rows))


def change(ratio: dict[str, float]) -> str:
    """Whether ours is faster or slower than the peer: level where the middle half of all rounds is on both sides of 1.

    >>> change({"low": 0.7, "median": 0.8, "high": 0.9}), change({"low": 0.9, "median": 1.05, "high": 1.2})
    ('faster', 'level')
    """
    return "faster" if ratio["high"] < 1 else "slower" if ratio["low"] > 1 else "level"


def _head(run: dict[str, Any], back: tuple[str, str] | None) -> Iterator[str]:
    machine, versions, options = run["machine"], run["versions"], run["options"]
    if back is not None:
        yield f'<p><a href="{escape(back[0])}">&larr; {escape(back[1])}</a></p>'
    counts = Counter(change(_ratio(row)) for row in _compared(run["rows"]))
    words = ", ".join(f"{counts[name]} {text}" for name, text in reversed(_CHANGES.items()))
    yield "<h1>Side by side</h1>"
    yield f"<p>Of {counts.total()} comparisons: {words}. {escape(summary(run['rows']))}.</p>"
    yield (
        f'<p class="soft">{escape(machine["processor"])}, {options["threads"]} threads of {machine["cores"]} cores, '
        f"{escape(options['device'])}; {escape(run['when'])}, {run['took'] / 60:.0f} minutes. "
        f"{escape(', '.join(f'{name} {version}' for name, version in versions.items()))}.</p>"
    )
    yield (
        '<p class="soft">Each bar is our time divided by that of the peer, both taken in turn in one process, on a '
        "logarithmic scale: to the left of the line at 1, and green, is faster; to the right, and red, is slower; grey "
        "is level. The thin line is the middle half of all rounds, the amber mark the most that the project allows "
        "itself.</p>"
    )


def _filters(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Buttons without a script: the style sheet hides the rows that are not wanted."""
    compared = _compared(rows)
    counts = Counter(change(_ratio(row)) for row in compared)
    shown = {"all": (len(compared), "all")} | {name: (counts[name], name) for name in _CHANGES}
    shown["bar"] = (sum(bool(row["bar"]) for row in compared), "with a limit")
    shown["missed"] = (sum(row["verdict"] in ("missed", "wrong") for row in compared), "over their limit")
    yield _buttons("show", {key: f"{text} ({count})" for key, (count, text) in shown.items()})
    sides = [side for side in _SIDES if any(row["side"] == side for row in compared)]
    yield _buttons("side", {"all": "all", **{_key(side): _SIDES[side] for side in sides}})


def _buttons(group: str, labels: dict[str, str]) -> str:
    buttons = [
        f'<label><input type="radio" name="{group}" id="{group}-{key}"{" checked" * (key == "all")}> '
        f"{escape(text)}</label>"
        for key, text in labels.items()
    ]
    return f"<fieldset><legend>{group}</legend>{''.join(buttons)}</fieldset>"


def _side_rules(rows: Sequence[dict[str, Any]]) -> str:
    keys = dict.fromkeys(_key(row["side"]) for row in _compared(rows))
    rules = [f"main:has(#side-{key}:checked) section.chart:not(.of-{key}) {{ display: none; }}" for key in keys]
    return "\n".join([*rules, ""])


def _key(side: str) -> str:
    return side.replace(" ", "-")


def _compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if "ratios" in row]


def _ratio(row: dict[str, Any]) -> dict[str, float]:
    ratio: dict[str, float] = row["ratios"][row["against"]]
    return ratio


def _charts(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One chart for each side, the slowest first."""
    for side, title in _SIDES.items():
        of_side = [row for row in _compared(rows) if row["side"] == side]
        if of_side:
            bars = "".join(map(_bar, sorted(of_side, key=lambda row: -_ratio(row)["median"])))
            yield f'<section class="chart of-{_key(side)}"><h2>{title}</h2>{bars}</section>'


def _bar(row: dict[str, Any]) -> str:
    ratio = _ratio(row)
    kind, name = change(ratio), f"{row['name']}, {row['size']}, {row['setting']}"
    marks = [_mark("bar", 1.0, ratio["median"]), '<i class="one"></i>', _mark("spread", ratio["low"], ratio["high"])]
    classes, verdict = ["row", kind], ""
    if row["bar"]:
        marks.append(f'<i class="limit" style="left:{_at(row["bar"]["limit"]):.2f}%"></i>')
        classes.append("barred")
    if row["verdict"] in ("missed", "wrong"):
        classes.append("over")
        verdict = f' <span class="missed">{escape(row["verdict"])}</span>'
    text = f"{ratio['median']:.2f} of {row['against']}"
    return (
        f'<div class="{" ".join(classes)}"><span class="name">{escape(name)}</span>'
        f'<span class="track" title="{escape(ratio_text(ratio))}">{"".join(marks)}</span>'
        f'<span class="result">{escape(text)}{verdict}</span></div>'
    )


def _mark(name: str, one_end: float, other_end: float) -> str:
    low, high = sorted((_at(one_end), _at(other_end)))
    return f'<i class="{name}" style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'


def _at(ratio: float) -> float:
    """The place of a ratio between 1/8 and 8, in percent of the bar's width; 1 is in the middle."""
    bounded = min(_WIDEST, max(1 / _WIDEST, ratio))
    return 50 + 50 * math.log(bounded) / math.log(_WIDEST)


def _growth(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    grown = [row for row in rows if "growth" in row]
    if not grown:
        return
    yield "<section><h2>How the time grows</h2>"
    yield '<p class="soft">The exponent of the power law through the times. Bytes or operations grow with the last.</p>'
    yield '<div class="wide"><table><tr>'
    yield "<th>what</th><th>where</th><th>sizes</th><th>times</th><th>exponent</th><th>expected</th></tr>"
    for row in grown:
        times = ", ".join(map(time_text, row["growth"]["seconds"]))
        values = [row["name"], row["side"], row["size"], times, f"{row['exponent']:.2f}", row["growth"]["expected"]]
        yield "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"
    yield "</table></div></section>"


def _numbers(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = ("what", "where", "size", "setting", "ours", "peer", "theirs", "ratio", "floor", "bar", "verdict")
    yield '<section><h2>All numbers</h2><div class="wide"><table><tr>'
    yield "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    for row in rows:
        if "growth" not in row:
            *values, last = cells(row)
            kind = last.split()[0] if last else "none"
            inner = "".join(f"<td>{escape(value)}</td>" for value in values)
            yield f'<tr>{inner}<td class="{kind}">{escape(last)}</td></tr>'
    yield "</table></div></section>"
