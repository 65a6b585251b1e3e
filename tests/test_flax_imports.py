"""`einops_arch.flax` never imports torch, where that would work too."""

from __future__ import annotations

from imports import lay_traps, loaded


def test_no_module_of_the_flax_side_loads_torch(tmp_path):
    names = loaded("walk('einops_arch.flax')", path=lay_traps(tmp_path, "torch"))
    assert {"jax", "flax"} <= names
    assert "torch" not in names


def test_the_probe_notices_the_real_jax():
    assert "jax" not in loaded("import einops_arch")
    assert "jax" in loaded("import einops_arch, jax")
