"""The pictures of the page "Read old code", drawn by its own code; `python tests/read_old_code.py` writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from einops_arch.discovery import Discovery

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "guides" / "read-old-code.md"
PICTURES = DOCS / "pictures" / "read-old-code"


def pictures() -> dict[str, str]:
    """The picture of each discovery of the page, by the name of its variable."""
    namespace: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), namespace)
    return {name: value.svg() for name, value in namespace.items() if isinstance(value, Discovery)}


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        (PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
