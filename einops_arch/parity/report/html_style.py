"""The looks of the HTML report, light and dark."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --panel: #fff; --ink: #1d2327; --soft: #5d6a70; --line: #dfe3e4; --grid: #e9eced;
  --good: #11705f; --good-back: #e3f3ef; --doubt: #8f5a00; --doubt-back: #fdf1d8;
  --bad: #b3261e; --bad-back: #fbe6e4; --heat: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181a; --panel: #1c2225; --ink: #e6eaeb; --soft: #9aa7ac; --line: #313a3e; --grid: #2a3235;
    --good: #5fd0b7; --good-back: #153029; --doubt: #f0b955; --doubt-back: #33280f;
    --bad: #ff8a80; --bad-back: #3a1a18; --heat: #ff8a80;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 64px; }
header { border-radius: 10px; padding: 18px 22px; border-left: 6px solid; }
header.good { background: var(--good-back); border-color: var(--good); }
header.doubt { background: var(--doubt-back); border-color: var(--doubt); }
header.bad { background: var(--bad-back); border-color: var(--bad); }
header h1 { margin: 2px 0 6px; font-size: 30px; line-height: 1.2; }
header.good h1 { color: var(--good); } header.doubt h1 { color: var(--doubt); } header.bad h1 { color: var(--bad); }
header p { margin: 4px 0; overflow-wrap: anywhere; }
.sign { margin-right: 12px; }
.what, .facts, .note { color: var(--soft); }
.cause { font-weight: 600; }
.facts { margin: 10px 2px 0; font-size: 14px; }
* + header { margin-top: 48px; }
section { margin-top: 18px; padding: 16px 22px 18px; border: 1px solid var(--line); border-radius: 10px;
  background: var(--panel); }
h2 { margin: 0; font-size: 18px; } h3 { margin: 14px 0 4px; font-size: 15px; }
.note { margin: 2px 0 10px; font-size: 14px; }
.reading { margin: 6px 0; padding-left: 12px; border-left: 3px solid var(--bad); }
svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); }
.grid { stroke: var(--grid); }
.limit { stroke: var(--bad); stroke-dasharray: 6 4; }
svg .limit-text { fill: var(--bad); text-anchor: end; }
.end, .name { text-anchor: end; } svg .name { font-size: 11px; }
g.good { fill: var(--good); } g.doubt { fill: var(--doubt); } g.bad { fill: var(--bad); }
.cross { stroke: var(--bad); stroke-width: 2; fill: none; }
.bar { fill: var(--heat); } .cell { fill: var(--heat); } .cell-back { fill: var(--panel); stroke: var(--grid); }
.wide { overflow-x: auto; } .chart svg { min-width: 720px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
th.number, td.number { text-align: right; white-space: nowrap; }
td:first-child { overflow-wrap: anywhere; min-width: 9em; }
.verdict.good { color: var(--good); } .verdict.doubt { color: var(--doubt); font-weight: 600; }
.verdict.bad { color: var(--bad); font-weight: 600; }
tr.first td { background: var(--bad-back); }
ul { margin: 8px 0 0; padding-left: 20px; } dt { margin-top: 8px; font-weight: 600; } dd { margin: 0; }
@media print { section { break-inside: avoid; } }
"""
