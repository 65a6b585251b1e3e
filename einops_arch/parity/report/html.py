"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from einops_arch._html import page
from einops_arch.parity.report import limits
from einops_arch.parity.report.html_charts import Point, channel_bars, layer_chart, position_map
from einops_arch.parity.report.html_style import STYLE
from einops_arch.parity.report.seen import NO_EVIDENCE
from einops_arch.parity.report.summary import Shown, answer
from einops_arch.parity.report.text import COLUMNS, Row, cells, columns, describe, named_shape
from einops_arch.parity.report.verdicts import Verdict, worst

__all__ = ["html_page", "html_pages"]

_EXPLAINED = {
    "modules": "One row for each module, in call order: inner modules before those around them.",
    "outputs": "What the network gives.",
    "gradients": "Of a random projection of the outputs, in float64.",
    "statistics": "Buffers, after the steps in train mode.",
    "rates": "Of dropout and stochastic depth, read on both sides.",
    "probes": "Further inputs and states that bring hidden differences out.",
    "training": "After some steps of the same optimiser on both sides, in float64.",
}


def html_page(report: Shown, *, title: str = "PyTorch and Flax") -> str:
    """The page.

    Args:
        report: what to show.
        title: what was compared.
    """
    return html_pages([(title, report)])


def html_pages(reports: Sequence[tuple[str, Shown]]) -> str:
    """One page with several reports, one below the other.

    Args:
        reports: each with a title.
    """
    worst_of_all = worst([report.verdict for _, report in reports])
    names = ", ".join(dict.fromkeys(title for title, _ in reports))
    body = [*(line for title, report in reports for line in _body(report, title)), *_limits()]
    return page(f"{names}: {worst_of_all}", body, STYLE)


def _body(report: Shown, title: str) -> Iterator[str]:
    yield from _head(report, title)
    yield from _charts(report)
    yield from _maps(report)
    yield from _tables(report)
    yield from _remarks(report)


def _head(report: Shown, title: str) -> Iterator[str]:
    first = report.first_divergence
    kind = kind_of(report.verdict)
    yield f'<header class="{kind}"><p class="what">{escape(title)}</p>'
    yield f'<h1><span class="sign" aria-hidden="true">{_SIGNS[kind]}</span>{escape(str(report.verdict))}</h1>'
    if first is None and not report.passed:
        yield f"<p>{escape(_sentence(NO_EVIDENCE))}</p>"
    elif first is None:
        count = sum(len(rows) for rows in report.sections.values())
        yield f"<p>The two models compute the same function: none of the {count} rows is over a limit.</p>"
    else:
        yield f"<p>{escape(_sentence(describe(first)))}</p>"
    for cause in report.causes:
        yield f'<p class="cause">{escape(cause)}</p>'
    if fix := answer(report):
        yield f'<p class="cause">{escape(_sentence(f"likely fix: {fix}"))}</p>'
    yield "</header>"
    yield f'<p class="facts">{escape(" · ".join(_facts(report)))}</p>'
    if report.seen is not None:
        yield f'<p class="facts">{"<br>".join(escape(line) for line in report.seen)}</p>'


def _facts(report: Shown) -> Iterator[str]:
    yield f"{report.mode} mode"
    for name, rows in report.sections.items():
        if rows:
            over = sum(not row.verdict.passed for row in rows)
            word = name.removesuffix("s") if len(rows) == 1 else name
            yield f"{len(rows)} {word}" + (f", {over} over" if over else "")


def _charts(report: Shown) -> Iterator[str]:
    rows = report.rows
    if not rows:
        return
    points = [Point(_name(row), row.difference, kind_of(row.verdict)) for row in rows]
    yield "<section><h2>Difference in float64, by module in call order</h2>"
    yield '<p class="note">What is computed. Rounding stays far below the limit, another formula far above.</p>'
    label = "float64 difference by module"
    chart = layer_chart(points, limit=limits.FLOAT64, decades=(-18, 0), label=label)
    yield f'<div class="wide chart">{chart}</div></section>'
    if any(row.ratio is not None for row in rows):
        ratios = [Point(_name(row), row.ratio, kind_of(row.verdict)) for row in rows]
        yield "<section><h2>Error in the models' own dtype: Flax by PyTorch</h2>"
        yield (
            '<p class="note">How well it is rounded, both against the one float64 result. At 1 both are equally exact; '
            "small tensors count only together.</p>"
        )
        chart = layer_chart(ratios, limit=limits.RATIO, decades=(-2, 4), label="error ratio by module")
        yield f'<div class="wide chart">{chart}</div></section>'


def _maps(report: Shown) -> Iterator[str]:
    maps = report.maps
    if maps is None:
        return
    yield f"<section><h2>Where it differs: {escape(maps.path or 'the network')}</h2>"
    shape = " by ".join(map(str, maps.shape))
    yield f'<p class="note">The first wrong output, of shape {shape} in PyTorch; relative to its rms.</p>'
    for line in maps.reading:
        yield f'<p class="reading">{escape(_sentence(line))}</p>'
    if maps.positions:
        yield "<h3>By position</h3>"
        yield f'<div class="wide">{position_map(maps)}</div>'
    if maps.channels:
        yield "<h3>By channel</h3>"
        yield f'<div class="wide chart">{channel_bars(maps)}</div>'
    yield "</section>"


def _tables(report: Shown) -> Iterator[str]:
    for name, rows in report.sections.items():
        if rows:
            yield f"<section><h2>{escape(name.capitalize())}</h2>"
            yield f'<p class="note">{escape(_EXPLAINED.get(name, ""))}</p>'
            yield from _table(name, rows, report.first_divergence)
            yield "</section>"


def _table(section: str, rows: Sequence[Row], first: Row | None) -> Iterator[str]:
    names = columns(section)
    place = COLUMNS.index("shape")
    texts = [
        (*line[:place], named_shape(row), *line[place + 1 :]) for row, line in zip(rows, map(cells, rows), strict=True)
    ]
    shown = [n for n in range(len(names)) if any(line[n] for line in texts)]
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f'<th class="{_align(n)}">{escape(names[n])}</th>' for n in shown) + "</tr></thead><tbody>"
    last = len(names) - 1
    for row, line in zip(rows, texts, strict=True):
        yield '<tr class="first">' if row is first else "<tr>"
        yield "".join(
            f'<td class="{_align(n)}{" verdict " + kind_of(row.verdict) if n == last else ""}">{escape(line[n])}</td>'
            for n in shown
        )
        yield "</tr>"
    yield "</tbody></table></div>"


def _remarks(report: Shown) -> Iterator[str]:
    for name, lines in (("Casts", report.casts), ("Notes", report.notes)):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            yield f"<section><h2>{name}</h2><ul>{items}</ul></section>"


def _limits() -> Iterator[str]:
    yield "<section><h2>The limits</h2><dl>"
    for limit in limits.LIMITS:
        yield f"<dt>{escape(limit.name)} = {limit.value:g}</dt>"
        yield f"<dd>{escape(_sentence(limit.meaning))}. Measured: {escape(limit.measured)}.</dd>"
    yield "</dl></section>"


def kind_of(verdict: Verdict) -> str:
    """The class of a verdict on the page."""
    if verdict.passed:
        return "good"
    return "doubt" if verdict in (Verdict.ROUNDING, Verdict.HIDDEN_CAST) else "bad"


_SIGNS = {"good": "✓", "doubt": "!", "bad": "✗"}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(row: Row) -> str:
    return row.path or "(network)"


def _align(column: int) -> str:
    return "number" if 3 <= column <= 7 else "text"
