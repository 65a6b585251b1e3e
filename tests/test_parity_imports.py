"""With both frameworks installed, neither side loads the other's, and the rest loads neither."""

from __future__ import annotations

import pytest
from imports import loaded

BOTH = {"torch", "jax", "flax"}


@pytest.mark.parametrize(
    ("package", "frameworks"), [("einops_arch.torch", {"torch"}), ("einops_arch.flax", {"jax", "flax"})]
)
def test_one_side_loads_its_own_framework_only(package, frameworks):
    assert loaded(f"walk({package!r})") & BOTH == frameworks


def test_the_package_loads_neither():
    assert loaded("import einops_arch, einops_arch.port, einops_arch.architectures").isdisjoint(BOTH)


def test_the_command_line_waits_for_the_command():
    assert loaded("import einops_arch.cli").isdisjoint(BOTH)
