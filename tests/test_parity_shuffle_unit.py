"""The ShuffleNet unit's variants that no preset has: the same function in PyTorch and Flax."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from oracle_shuffle_unit import randomize_norms

from einops_arch.architectures import ShuffleUnitConfig
from einops_arch.flax.shuffle_unit import ShuffleUnit as FlaxShuffleUnit
from einops_arch.flax.state import load_state_dict
from einops_arch.torch.shuffle_unit import ShuffleUnit as TorchShuffleUnit

VARIANTS = {
    "add": ShuffleUnitConfig(12, 12, groups=3),
    "add, first not grouped": ShuffleUnitConfig(24, 24, groups=3, grouped_conv=False),
    "concat, shortcut last": ShuffleUnitConfig(6, 32, groups=2, combine="concat", shortcut_first=False),
}


@pytest.mark.parametrize("config", list(VARIANTS.values()), ids=list(VARIANTS))
def test_variants_agree_in_float64(config: ShuffleUnitConfig, device: str) -> None:
    torch.manual_seed(0)
    unit = randomize_norms(TorchShuffleUnit(config)).double().eval()
    twin = FlaxShuffleUnit(config, rngs=nnx.Rngs(0))
    load_state_dict(twin, {name: value.numpy() for name, value in unit.state_dict().items()})
    twin.eval()
    x = torch.randn(2, config.in_channels, 7, 10, dtype=torch.float64)
    expected = unit.to(device)(x.to(device)).detach().cpu().numpy()
    forward = nnx.jit(lambda model, features: model(features))
    received = np.moveaxis(np.asarray(forward(twin, jnp.asarray(np.moveaxis(x.numpy(), 1, -1)))), -1, 1)
    assert received.dtype == np.float64
    assert np.abs(received - expected).max() <= 1e-12 * np.abs(expected).max()
