"""CONTRIBUTING.md describes the project as it is: its sessions, its four places and its one row exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_session_is_in_the_table():
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    found = re.findall(r'^@nox\.session(?:\(name="([\w-]+)"\))?\s*\ndef (\w+)', source, re.MULTILINE)
    table = TEXT[TEXT.index("| session |") : TEXT.index("Test sessions take")]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([\w-]+)`", rows)) == {name or function for name, function in found}


def test_the_four_places_are_where_it_says():
    places = re.findall(r"^\d\. `([\w/.]+)`", TEXT, re.MULTILINE)
    assert len(places) == 4
    for place in places:
        assert (ROOT / place.replace("x.py", "convnet.py")).is_file(), place
    assert '"convnet": ' in (ROOT / places[3]).read_text(encoding="utf-8")


def test_the_row_of_a_layer_rule_is_the_one_in_the_table():
    (row,) = re.findall(r"```python\n(LayoutRule\(.*\))\n```", TEXT)
    rules = (ROOT / "einops_arch" / "layouts" / "rules.py").read_text(encoding="utf-8")
    assert re.sub(r"\s|,(?=\s*\))", "", row) in re.sub(r"\s|,(?=\s*\))", "", rules)


def test_the_files_it_names_exist():
    named = set(re.findall(r"`((?:backends/|tests/|\.ci/|pyproject|CHANGELOG)[\w./-]*)`", TEXT))
    assert {".ci/run", "pyproject.toml", "backends/"} <= named
    for name in named:
        if "_x.py" not in name:
            assert (ROOT / name).exists(), name
