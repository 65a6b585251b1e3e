"""ShuffleNet V2 against torchvision's, with random weights: names, float64, float32, training."""

from __future__ import annotations

import oracle_checks as checks
import pytest
import torch
import torchvision
from oracle_checks import Public, images

from einops_arch.architectures import ShuffleNetV2Config

# As torchvision publishes them beside the weights.
PARAMETERS = {"x0_5": 1_366_792, "x1_0": 2_278_604, "x1_5": 3_503_624, "x2_0": 7_393_996}


def public(preset: str) -> Public:
    torch.manual_seed(0)
    oracle = checks.unsettle(getattr(torchvision.models, f"shufflenet_v2_{preset}")())
    return Public(oracle, ShuffleNetV2Config.preset(preset))


def test_every_published_size_is_compared():
    published = {preset for preset in ShuffleNetV2Config.PRESETS if not preset.startswith("tiny")}
    theirs = torchvision.models.list_models(module=torchvision.models, include="shufflenet_v2*")
    assert set(PARAMETERS) == published == {name.removeprefix("shufflenet_v2_") for name in theirs}


@pytest.mark.parametrize("preset", PARAMETERS)
def test_names_numbers_and_outputs(preset):
    both = public(preset)
    assert checks.parameter_count(both.oracle) == PARAMETERS[preset]
    checks.assert_state_fits_both_ways(both)
    checks.assert_same_outputs(both, [images(1, 3, 65, 96)])


def test_outputs_at_several_sizes():
    sizes = [(1, 3, 224, 224), (3, 3, 33, 40), (2, 3, 1, 1)]
    checks.assert_same_outputs(public("x1_0"), *([images(*size)] for size in sizes))


def test_training():
    checks.assert_same_training(public("x1_0"), [[images(3, 3, 64, 97, seed=seed)] for seed in range(3)])


def test_gradients_in_evaluation_mode():
    checks.assert_same_training(public("x1_0"), [[images(2, 3, 33, 64)]], mode="eval")


def test_float32_rounds_as_well():
    checks.assert_rounds_as_well(public("x1_0"), [images(2, 3, 97, 128)])
