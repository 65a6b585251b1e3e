"""A folder of many files says in ten lines what is here, where to begin, and what may import it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MANY = 10
LONGER = {ROOT / "einops_arch" / "translation"}  # it has a guide to its table of operations instead


def folders():
    inits = [*ROOT.glob("einops_arch/**/__init__.py"), ROOT / "benchmarks" / "__init__.py"]
    return sorted({path.parent for path in inits if len(list(path.parent.glob("*.py"))) > MANY} - LONGER)


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_large_folder_has_a_short_readme_that_is_true(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 16
    for part in ("Begin with", "Put here", "Imports"):
        assert f"**{part}**" in text
    for name in re.findall(r"`([\w/]+\.py)`", text):
        places = (folder, folder.parent, ROOT / "einops_arch", ROOT)
        assert any((place / name).is_file() for place in places), name
    for name in re.findall(r"`([\w/]+\*[\w*]*\.py)`", text):
        assert list(ROOT.glob(name)), name
