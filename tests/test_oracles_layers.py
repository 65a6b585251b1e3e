"""Layers of torchvision's and timm's networks that torch.nn has not, against those libraries."""

from __future__ import annotations

import oracle_checks  # noqa: F401 torchvision and timm cannot be imported before it
import pytest
import timm.layers
import torchvision
from flax import nnx
from layer_leaves import assert_twins

import einops_arch.flax as layers

rngs = nnx.Rngs(0)
CASES = {
    "LayerNorm2d": (lambda: timm.layers.LayerNorm2d(3), lambda: layers.LayerNorm2d(3, rngs=rngs)),
    "FrozenBatchNorm": (
        lambda: torchvision.ops.FrozenBatchNorm2d(3),
        lambda: layers.FrozenBatchNorm(3, rngs=rngs),
    ),
    "StdConv": (
        lambda: timm.layers.StdConv2d(3, 4, (3, 2), padding=1, bias=True),
        lambda: layers.StdConv(3, 4, (3, 2), padding=1, rngs=rngs),
    ),
    "ScaledStdConv": (
        lambda: timm.layers.ScaledStdConv2d(3, 4, (3, 2), padding=1, gamma=1.7),
        lambda: layers.ScaledStdConv(3, 4, (3, 2), padding=1, gamma=1.7, rngs=rngs),
    ),
}


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_one_function_with_the_same_state(name, train):
    assert_twins(*CASES[name], [(2, 3, 5, 6)], train=train)
