"""Layers of public libraries that the translator has rows for, and a public model, against the originals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import oracle_checks  # noqa: F401  makes torchvision importable
import pytest
import timm.layers
import torch
from torch import nn

from einops_arch.parity import randomize
from einops_arch.translation import translate


@pytest.mark.parametrize("act", [nn.SiLU, nn.ReLU, nn.Identity, nn.Hardswish], ids=lambda act: act.__name__)
def test_a_norm_with_its_activation_keeps_its_statistics(act: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), timm.layers.BatchNormAct2d(6, eps=1e-3, act_layer=act))
    twin = translate(model, torch.randn(2, 3, 5, 7), axes="b 3 h w", name="Net")
    assert twin.passed, twin.report
    assert ("BatchNormAct(" in twin.source) == (act is not nn.Identity)


class _Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = timm.layers.LayerNorm(6)
        self.groups = timm.layers.GroupNorm(6, 2)
        self.whole = timm.layers.GroupNorm1(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.whole(self.groups(x))
        return self.rows(y.permute(0, 2, 3, 1))


def test_norms_of_timm_are_layers() -> None:
    model = _Norms()
    randomize(model)
    twin = translate(model, torch.randn(2, 6, 5, 7), axes="b c h w", prove=False)
    x = torch.randn(3, 6, 11, 4)
    received = twin.model(jnp.asarray(x.permute(0, 2, 3, 1).numpy()))
    np.testing.assert_allclose(received, model(x).detach().numpy(), rtol=1e-4, atol=1e-4)
    assert twin.source.count("GroupNorm(6, ") == 2
    assert "self.rows = LayerNorm(6, epsilon=1e-06" in twin.source
    assert len(twin.classes) == 1
