"""The looks of the HTML report beyond those of every page."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
main { max-width: 1040px; }
header { border-radius: 10px; padding: 18px 22px; border-left: 6px solid; }
header.good { background: var(--good-back); border-color: var(--good); }
header.doubt { background: var(--doubt-back); border-color: var(--doubt); }
header.bad { background: var(--bad-back); border-color: var(--bad); }
header.good h1 { color: var(--good); } header.doubt h1 { color: var(--doubt); } header.bad h1 { color: var(--bad); }
header p { margin: 4px 0; overflow-wrap: anywhere; }
.sign { margin-right: 12px; }
.what, .facts, .note { color: var(--soft); }
.cause { font-weight: 600; }
.facts { margin: 10px 2px 0; font-size: 14px; }
* + header { margin-top: 48px; }
h3 { margin: 14px 0 4px; font-size: 15px; }
.note { margin: 2px 0 10px; font-size: 14px; }
.reading { margin: 6px 0; padding-left: 12px; border-left: 3px solid var(--bad); }
svg { max-width: 100%; }
.grid { stroke: var(--grid); }
.limit { stroke: var(--bad); stroke-dasharray: 6 4; }
svg .limit-text { fill: var(--bad); text-anchor: end; }
.end, .name { text-anchor: end; } svg .name { font-size: 11px; }
g.good { fill: var(--good); } g.doubt { fill: var(--doubt); } g.bad { fill: var(--bad); }
.cross { stroke: var(--bad); stroke-width: 2; fill: none; }
.bar { fill: var(--bad); } .cell { fill: var(--bad); } .cell-back { fill: var(--panel); stroke: var(--grid); }
.wide { overflow-x: auto; } .chart svg { min-width: 720px; }
th.number, td.number { text-align: right; white-space: nowrap; }
td:first-child { overflow-wrap: anywhere; min-width: 9em; }
.verdict.good { color: var(--good); } .verdict.doubt { color: var(--doubt); font-weight: 600; }
.verdict.bad { color: var(--bad); font-weight: 600; }
tr.first td { background: var(--bad-back); }
ul { margin: 8px 0 0; padding-left: 20px; } dt { margin-top: 8px; font-weight: 600; } dd { margin: 0; }
@media print { section { break-inside: avoid; } }
"""
