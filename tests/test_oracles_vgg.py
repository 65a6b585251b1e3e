"""VGG against torchvision's, with random weights: names, float64, float32, training; and the features of VGG-16."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracle_checks as checks
import pytest
import torch
import torchvision
from flax import nnx
from oracle_checks import Public, images

from einops_arch.architectures import VGG16FeaturesConfig, VGGConfig
from einops_arch.flax import load_state_dict, state_dict
from einops_arch.flax.vgg16_features import VGG16Features as FlaxFeatures
from einops_arch.torch.vgg16_features import VGG16Features

# As torchvision publishes them beside the weights.
PARAMETERS = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}


def public(preset: str, **changes: float) -> Public:
    torch.manual_seed(0)
    oracle = checks.unsettle(getattr(torchvision.models, preset)(**changes))
    return Public(oracle, dataclasses.replace(VGGConfig.preset(preset), **changes))


def test_every_published_size_is_compared():
    published = {preset for preset in VGGConfig.PRESETS if not preset.startswith("tiny")}
    assert set(PARAMETERS) == published == set(torchvision.models.list_models(include="vgg*"))


# Images whose map of features is smaller than the grid of 7x7, no multiple of it, and the grid itself.
@pytest.mark.parametrize("preset", PARAMETERS)
def test_names_numbers_and_outputs(preset):
    both = public(preset)
    assert checks.parameter_count(both.oracle) == PARAMETERS[preset]
    checks.assert_state_fits_both_ways(both)
    checks.assert_same_outputs(both, [images(1, 3, 97, 64)])


def test_outputs_at_several_sizes():
    checks.assert_same_outputs(public("vgg16"), [images(1, 3, 224, 224)], [images(2, 3, 32, 261)])


# VGG-11 has every layer that the deeper ones have.
@pytest.mark.parametrize("preset", ["vgg11", "vgg11_bn"])
def test_training(preset):
    steps = [[images(2, 3, 97, 128, seed=seed)] for seed in range(3)]
    checks.assert_same_training(public(preset, dropout=0.0), steps)


def test_gradients_in_evaluation_mode():
    checks.assert_same_training(public("vgg11_bn"), [[images(2, 3, 64, 97)]], mode="eval")


@pytest.mark.parametrize("preset", ["vgg16", "vgg11_bn"])
def test_float32_rounds_as_well(preset):
    checks.assert_rounds_as_well(public(preset), [images(1, 3, 97, 128)])


def test_the_features_take_the_same_weights_and_give_what_the_layers_give():
    oracle = checks.unsettle(torchvision.models.vgg16()).double().eval()
    config = VGG16FeaturesConfig.johnson()
    ours, other = VGG16Features(config).double(), FlaxFeatures(config, rngs=nnx.Rngs(0))
    state = {name: value for name, value in oracle.state_dict().items() if name in ours.state_dict()}
    ours.load_state_dict(state)
    load_state_dict(other, {name: state[name] for name in state_dict(other)})
    image = images(1, 3, 33, 48).astype("float64")
    expected, x = [], torch.from_numpy(image)
    with torch.no_grad():
        for position, layer in enumerate(oracle.features[:23]):
            x = layer(x)
            if position in config.positions:
                expected.append(x.clone())
        checks.assert_close("torch", ours(torch.from_numpy(image)), expected)
    moved = [np.moveaxis(np.asarray(features), -1, 1) for features in other(image.transpose(0, 2, 3, 1))]
    checks.assert_close("flax", moved, expected)
