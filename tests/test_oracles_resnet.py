"""ResNet against torchvision's and timm's, with random weights: names, float64, float32, training, folders."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import oracle_checks as checks
import pytest
import timm
import torch
import torchvision
import transformers
from oracle_checks import Public, images

import einops_arch.flax
import einops_arch.torch
from einops_arch.architectures import ResNetConfig
from einops_arch.port.models.recognize import recognize
from einops_arch.port.models.transformers_names import resnet_naming
from einops_arch.torch.resnet import ResNet

# As torchvision publishes them beside the weights.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
}
# One of each kind of block; the others differ from these in numbers only.
WHOLE = ["resnet18", "resnet50", "resnext50_32x4d"]
SIZES = [(1, 3, 64, 97), (3, 3, 33, 40), (2, 3, 1, 1)]


def public(preset: str) -> Public:
    torch.manual_seed(0)
    oracle = checks.unsettle(getattr(torchvision.models, preset)())
    return Public(oracle, ResNetConfig.preset(preset))


def test_every_published_size_is_compared():
    published = {preset for preset in ResNetConfig.PRESETS if not preset.startswith("tiny")}
    assert (
        set(PARAMETERS)
        == published
        == {name for name in torchvision.models.list_models(module=torchvision.models) if "resne" in name}
    )


@pytest.mark.parametrize("preset", PARAMETERS)
def test_names_numbers_and_outputs(preset):
    both = public(preset)
    assert checks.parameter_count(both.oracle) == PARAMETERS[preset]
    checks.assert_state_fits_both_ways(both)
    checks.assert_same_outputs(both, [images(1, 3, 65, 96)])


@pytest.mark.parametrize("preset", WHOLE)
def test_outputs_at_several_sizes(preset):
    checks.assert_same_outputs(public(preset), *([images(*size)] for size in SIZES))


@pytest.mark.parametrize("preset", WHOLE)
def test_training(preset):
    steps = [[images(3, 3, 64, 97, seed=seed)] for seed in range(3)]
    checks.assert_same_training(public(preset), steps)


@pytest.mark.parametrize("preset", WHOLE)
def test_gradients_in_evaluation_mode(preset):
    checks.assert_same_training(public(preset), [[images(2, 3, 33, 64)]], mode="eval")


@pytest.mark.parametrize("preset", WHOLE)
def test_float32_rounds_as_well(preset):
    checks.assert_rounds_as_well(public(preset), [images(2, 3, 97, 128)])


@pytest.mark.parametrize("preset", PARAMETERS)
def test_timm_has_the_same_names_and_shapes(preset):
    with torch.device("meta"):
        theirs = timm.create_model(preset).state_dict()
        ours = ResNet(ResNetConfig.preset(preset)).state_dict()
    assert {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in ours.items()}


@pytest.mark.parametrize("preset", ["resnet18", "resnext50_32x4d"])
def test_timm_computes_the_same(preset):
    torch.manual_seed(1)
    oracle = checks.unsettle(timm.create_model(preset, num_classes=7, in_chans=2))
    both = Public(oracle, dataclasses.replace(ResNetConfig.preset(preset), classes=7, in_channels=2))
    checks.assert_state_fits_both_ways(both)
    checks.assert_same_outputs(both, [images(2, 2, 49, 64)])


def test_a_folder_of_timm_becomes_a_network_in_both_frameworks(tmp_path):
    torch.manual_seed(2)
    oracle = checks.unsettle(timm.create_model("resnet18", num_classes=7)).eval()
    timm.models.save_for_hf(oracle, tmp_path, model_args={"num_classes": 7}, safe_serialization=True)
    config = dataclasses.replace(ResNetConfig.resnet18(), classes=7)
    ours, flax_model = einops_arch.torch.from_pretrained(tmp_path), einops_arch.flax.from_pretrained(tmp_path)
    assert ours.config == flax_model.config == config
    for name, value in oracle.state_dict().items():
        assert checks.same_bits(value, ours.state_dict()[name]), name
    image = images(1, 3, 64, 65)
    with torch.no_grad():
        expected = oracle(torch.from_numpy(image))
        assert torch.equal(ours(torch.from_numpy(image)), expected)
    other = np.asarray(flax_model(image.transpose(0, 2, 3, 1)))
    # How exactly it computes is asked above; here, that it is the right network.
    np.testing.assert_allclose(other, expected, atol=1e-5 * expected.abs().max(), rtol=0)


OF_TRANSFORMERS = {
    "basic": {"layer_type": "basic", "embedding_size": 5, "hidden_sizes": [5, 8, 12], "depths": [2, 1, 2]},
    "bottleneck": {"embedding_size": 6, "hidden_sizes": [8, 12], "depths": [1, 2], "num_channels": 2},
}


@pytest.mark.parametrize("kind", OF_TRANSFORMERS)
def test_a_resnet_of_transformers_is_the_same_under_other_names(kind, tmp_path):
    torch.manual_seed(3)
    settings = OF_TRANSFORMERS[kind]
    oracle = transformers.ResNetForImageClassification(transformers.ResNetConfig(**settings, num_labels=7))
    checks.unsettle(oracle).save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    recognized = recognize(fields, oracle.state_dict())
    naming = resnet_naming(len(settings["depths"]))
    assert recognized.naming == naming
    both = Public(
        oracle,
        recognized.config,
        to_canonical=naming.to_canonical,
        to_oracle=naming.from_canonical,
        call=lambda model, image: model(image).logits,
    )
    channels = recognized.config.in_channels
    checks.assert_state_fits_both_ways(both)
    checks.assert_same_outputs(both, *([images(*size)] for size in [(2, channels, 49, 64), (1, channels, 33, 40)]))
    checks.assert_same_training(both, [[images(3, channels, 64, 49, seed=seed)] for seed in range(2)])
    for package in (einops_arch.torch, einops_arch.flax):
        model = package.from_pretrained(tmp_path)
        assert model.config == recognized.config
    assert all(
        checks.same_bits(value, oracle.state_dict()[name])
        for name, value in naming.from_canonical(einops_arch.torch.from_pretrained(tmp_path).state_dict()).items()
    )


def test_the_published_resnet_of_transformers_has_all_names_of_the_network():
    with torch.device("meta"):
        oracle = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
        network = ResNet(ResNetConfig.resnet50())
    state = resnet_naming(4).to_canonical(oracle.state_dict())
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }
