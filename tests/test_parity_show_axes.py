"""Axes in `show` come from a table that users extend, and from no documentation."""

from __future__ import annotations

import subprocess
import sys

from torch import nn

from einops_arch import architectures
from einops_arch.layouts.named_axes import stated_axes
from einops_arch.port import register_axes

SHOW = """
from einops_arch.cli import main

for name in ("convnet", "shuffle_unit"):
    if main(["show", name, "--preset", "tiny"]):
        raise SystemExit(1)
"""


def test_show_prints_the_same_without_documentation():
    plain, stripped = (
        subprocess.run([sys.executable, *flags, "-c", SHOW], capture_output=True, text=True, check=True).stdout
        for flags in ((), ("-OO",))
    )
    assert stripped == plain
    assert len(plain.splitlines()) > 20


def test_every_network_says_what_it_is():
    for name in architectures.names():
        assert architectures.get(name).summary == architectures.get(name).config.__doc__.partition("\n")[0]


def test_users_name_the_axes_of_their_own_layers():
    class Mixer(nn.Module):
        """`wrong -> never read`."""

    assert stated_axes(Mixer()) == ((), ())
    register_axes(Mixer, "b n e", "b e")
    assert stated_axes(Mixer()) == (("b n e",), ("b e",))
    assert stated_axes(type("Finer", (Mixer,), {})()) == (("b n e",), ("b e",))
    assert stated_axes(nn.Linear(2, 3)) == (("... i",), ("... o",))
