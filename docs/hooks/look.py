"""Photographs of every built page, and a check of its links: `python docs/hooks/look.py [PAGE...]`.

It needs Chromium on the path and nothing else. Each page is taken at 1280 and 400 pixels, light and dark, so that a
person can look at them; what a machine can see is checked: links that lead nowhere, and pages wider than the screen.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 400)
HEIGHT = 2400
HEAVIEST = 120_000
"""Bytes of a page of the Flax layers."""


class _Links(HTMLParser):
    """The links of a page, and the places in it that links can lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"a", "link"} and values.get("href"):
            self.links.append(str(values["href"]))
        if tag in {"img", "script"} and values.get("src"):
            self.links.append(str(values["src"]))
        self.places |= {str(values[name]) for name in ("id", "name") if values.get(name)}


def broken_links(site: Path) -> Iterator[str]:
    """Every link inside of the site that leads to no file, or to no place in its page.

    Args:
        site: the built folder.
    """
    pages = {path.resolve(): _parsed(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            where = path.relative_to(site.resolve())
            if not target.is_file():
                yield f"{where}: {link}: there is no such file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                yield f"{where}: {link}: the page has no such place"


def heavy_pages(site: Path) -> Iterator[str]:
    """Every page of the Flax layers that is heavier than a phone should have to load."""
    for path in sorted(site.glob("api/flax*.html")):
        size = path.stat().st_size
        if size > HEAVIEST:
            yield f"{path.relative_to(site)}: expected at most {HEAVIEST:,} bytes, received {size:,}"


def photograph(browser: str, page: Path, out: Path, width: int, *, dark: bool) -> Path:
    """Take a picture of a page.

    Args:
        browser: Chromium.
        page: the file.
        out: the folder of the pictures.
        width: of the window, in pixels.
        dark: as a system in dark colors asks for it.
    """
    picture = out / f"{page.parent.name}-{page.stem}-{width}-{'dark' if dark else 'light'}.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    options += ["--blink-settings=preferredColorScheme=" + ("0" if dark else "1"), f"--window-size={width},{HEIGHT}"]
    command = [browser, *options, f"--screenshot={picture.resolve()}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603 - pages of our own
    return picture


def main() -> int:
    """Check the links and take the pictures; exit code 1 if a link is broken or a page too heavy."""
    parser = argparse.ArgumentParser(description="Photograph the built pages and check their links.")
    parser.add_argument("pages", nargs="*", help="such as index.html; all if left out")
    parser.add_argument("--site", type=Path, default=Path("site"))
    parser.add_argument("--out", type=Path, default=Path("look"))
    parser.add_argument("--links-only", action="store_true", help="take no pictures")
    options = parser.parse_args()
    if not (options.site / "index.html").is_file():
        sys.exit(f"{options.site}: expected the built pages; likely fix: nox -s docs")
    broken = [*broken_links(options.site), *heavy_pages(options.site)]
    for line in broken:
        sys.stdout.write(f"{line}\n")
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not options.links_only:
        if browser is None:
            sys.exit(f"expected one of {', '.join(BROWSERS)} on the path; likely fix: install Chromium")
        options.out.mkdir(parents=True, exist_ok=True)
        for page in [options.site / name for name in options.pages] or sorted(options.site.rglob("*.html")):
            for width in WIDTHS:
                for dark in (False, True):
                    photograph(browser, page, options.out, width, dark=dark)
        sys.stdout.write(f"look at the pictures in {options.out}\n")
    return 1 if broken else 0


def _parsed(path: Path) -> _Links:
    links = _Links()
    # Code in a page of the reference may hold anything, but not tags.
    links.feed(re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    return links


if __name__ == "__main__":
    sys.exit(main())
