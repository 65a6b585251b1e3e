"""The frame of every page that is written: the head, one palette in light and dark, and nothing to load."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["page"]

# A page comes from models and files of anyone: no script runs, and nothing is fetched.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --panel: #fff; --ink: #1d2327; --soft: #5d6a70; --line: #dfe3e4; --grid: #e9eced;
  --good: #11705f; --good-back: #e3f3ef; --doubt: #8f5a00; --doubt-back: #fdf1d8;
  --bad: #b3261e; --bad-back: #fbe6e4; --accent: #3358d4; --plain: #7b8a91;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181a; --panel: #1c2225; --ink: #e6eaeb; --soft: #9aa7ac; --line: #313a3e; --grid: #2a3235;
    --good: #5fd0b7; --good-back: #153029; --doubt: #f0b955; --doubt-back: #33280f;
    --bad: #ff8a80; --bad-back: #3a1a18; --accent: #9eb1ff; --plain: #71808a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { margin: 2px 0 6px; font-size: 30px; line-height: 1.2; } h2 { margin: 0; font-size: 18px; }
section { margin-top: 18px; padding: 16px 22px 18px; border: 1px solid var(--line); border-radius: 10px;
  background: var(--panel); }
svg { display: block; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
"""


def page(title: str, body: Iterable[str], style: str = "", *, images: bool = False) -> str:
    """A whole page.

    Args:
        title: as plain text.
        body: HTML, line by line.
        style: the page's own rules, after those of the frame.
        images: whether the body holds pictures, as `data:` addresses.

    >>> print(page("a < b", ["<h1>Sizes</h1>"]).partition("<style>")[0])
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>a &lt; b</title>
    <BLANKLINE>
    """
    policy = f"{_POLICY}; img-src data:" if images else _POLICY
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}{style.lstrip()}</style></head><body><main>",
            *body,
            "</main></body></html>",
            "",
        ]
    )
