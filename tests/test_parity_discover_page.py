"""The pictures of the page "Read old code" are what its code draws."""

from __future__ import annotations

import re

from read_old_code import PAGE, PICTURES, pictures


def test_the_page_shows_ten_pairs_with_the_pictures_that_its_code_draws():
    drawn = pictures()
    assert len(drawn) >= 10
    shown = re.findall(r"!\[[^\]]+\]\(\.\./pictures/read-old-code/(\w+)\.svg\)", PAGE.read_text(encoding="utf-8"))
    assert shown == list(drawn)
    for name, picture in drawn.items():
        assert (PICTURES / f"{name}.svg").read_text(encoding="utf-8") == picture, "run python tests/read_old_code.py"
