"""What every page gets: arXiv numbers as links, and the version. Links to the source are left out while there is none.

What a page says to readers of a clone, in which nobody has filled it in, is left out where it is filled in.

`repo_url` of mkdocs.yml is the one setting: empty, no page has a link to a repository or for editing; set, all do.
"""

from __future__ import annotations

import re
from typing import Any

from einops_arch import __version__

_TAG = re.compile(r"(<[^>]+>)")
_NO_LINKS = re.compile(r"<(?P<end>/?)(?:a|code|pre|svg|script|style)\b[^>]*>")
_IN_A_CLONE = re.compile(r"^\*In a clone this page is .*\.\*\n\n", re.MULTILINE)
_ARXIV = re.compile(r"\barXiv:\s?(?P<number>\d{4}\.\d{4,5})\b")


def on_config(config: Any) -> Any:
    """Say which version these pages are of, and drop what an unset repository cannot have."""
    config.extra["version_text"] = __version__
    config.copyright = f"einops-arch {__version__}"
    if not config.repo_url:
        config.edit_uri = None
        features = config.theme["features"]
        config.theme["features"] = [
            name for name in features if name not in {"content.action.edit", "content.action.view"}
        ]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Take out what is said to readers of a clone."""
    return _IN_A_CLONE.sub("", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Make links of the numbers of arXiv, those of docstrings as well."""
    return linked(html)


def linked(html: str) -> str:
    """The page with every number of arXiv as a link, but for those in code and those that are links already.

    >>> linked("<p>arXiv:1609.05158, <code>arXiv:1609.05158</code></p>")
    '<p><a href="https://arxiv.org/abs/1609.05158">arXiv:1609.05158</a>, <code>arXiv:1609.05158</code></p>'
    """
    parts, inside = [], 0
    for part in _TAG.split(html):
        if tag := _NO_LINKS.fullmatch(part):
            inside += -1 if tag["end"] else 1
        plain = inside or part.startswith("<")
        parts.append(part if plain else _ARXIV.sub(r'<a href="https://arxiv.org/abs/\g<number>">\g<0></a>', part))
    return "".join(parts)
