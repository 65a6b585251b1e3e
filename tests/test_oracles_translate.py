"""Layers of public libraries that the translator has rows for, and a public model, against the originals."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import oracle_checks  # noqa: F401  makes torchvision importable
import pytest
import timm.layers
import torch
import transformers
from code_blocks import run_page
from torch import nn

from einops_arch.parity import randomize
from einops_arch.translation import translate


@pytest.mark.parametrize("act", [nn.SiLU, nn.ReLU, nn.Identity, nn.Hardswish], ids=lambda act: act.__name__)
def test_a_norm_with_its_activation_keeps_its_statistics(act: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), timm.layers.BatchNormAct2d(6, eps=1e-3, act_layer=act))
    twin = translate(model, torch.randn(2, 3, 5, 7), axes="b 3 h w", name="Net")
    assert twin.passed, twin.report
    assert ("BatchNormAct(" in twin.source) == (act is not nn.Identity)


@pytest.mark.parametrize("apply_act", [True, False], ids=["relu", "no activation"])
def test_groups_with_their_activation_are_a_layer(apply_act: bool) -> None:
    norm = timm.layers.GroupNormAct(6, num_groups=3, apply_act=apply_act)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), norm, timm.layers.GroupNorm1Act(6, act_layer=nn.SiLU))
    twin = translate(model, torch.randn(2, 3, 5, 7), axes="b 3 h w", name="Net")
    assert twin.passed, twin.report
    assert twin.source.count("GroupNormAct(6") == 1 + apply_act


def test_standardized_convolutions_and_groups_of_transformers_are_layers() -> None:
    bit = importlib.import_module("transformers.models.bit.modeling_bit")
    config = transformers.BitConfig(num_groups=2, hidden_act="relu")
    conv = bit.WeightStandardizedConv2d(3, 6, kernel_size=3, stride=2, padding=1, eps=1e-4)
    model = nn.Sequential(conv, bit.BitGroupNormActivation(config, 6))
    twin = translate(model, torch.randn(2, 3, 8, 6), axes="b 3 h w", name="Net")
    assert twin.passed, twin.report
    assert "StdConv(3, 6" in twin.source
    assert "GroupNormAct(6, 2" in twin.source


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


def test_the_commands_of_the_guide_write_what_they_prove(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("nets", "unet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    run_page(Path(__file__).resolve().parent.parent / "docs" / "guides" / "translate-a-model.md")
    assert "class MaxVit(" in Path("maxvit.py").read_text(encoding="utf-8")
    assert "class BertModel(" in Path("bert.py").read_text(encoding="utf-8")
