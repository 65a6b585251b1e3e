"""`einops_arch.torch` never imports jax, where that would work too."""

from __future__ import annotations

from imports import lay_traps, loaded


def test_no_module_of_the_torch_side_loads_jax(tmp_path):
    names = loaded("walk('einops_arch.torch')", path=lay_traps(tmp_path, "jax", "flax"))
    assert "torch" in names
    assert names.isdisjoint({"jax", "flax"})
