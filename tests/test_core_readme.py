"""The README's tables name everything that there is, and its commands are the two that were promised."""

from __future__ import annotations

import re
from pathlib import Path

import einops_arch
from einops_arch import architectures, functional

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def table_under(heading):
    """The first cells of the table under a heading."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_table_of_architectures_names_registered_ones():
    """A new architecture needs no line here, so the table may lack one; it may not name what is not there."""
    names = table_under("The architectures")
    assert len(names) >= 8
    assert set(names) <= set(architectures.names())


def test_every_core_is_in_the_table():
    cores = {name for name in functional.__all__ if name.islower()}
    assert set(table_under("The cores")) == cores
    assert cores <= set(einops_arch.__all__)


def test_there_are_exactly_two_commands_to_copy():
    commands = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    assert commands == ["pip install nox && nox -s demo", "pip install nox && nox -s tests-torch tests-jax"]


def test_the_error_that_the_readme_shows_is_the_one_that_users_get():
    import numpy as np
    import pytest

    with pytest.raises(einops_arch.ShapeError) as caught:
        einops_arch.depth_to_space(np.zeros((1, 10, 4, 4)), 3)
    assert " ".join(README.split()).find(str(caught.value).partition(";")[0]) > 0
