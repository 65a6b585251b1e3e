"""Images as torchvision and timm prepare them."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracle_checks  # noqa: F401 - makes torchvision importable
import pytest
import timm
import torchvision
from PIL import Image

from einops_arch.architectures import ResNetConfig, VGGConfig
from einops_arch.architectures.images import IMAGENET, ImagePreprocessing
from einops_arch.cli.images import read_image


@pytest.fixture(params=[(300, 401), (401, 300), (225, 224), (97, 64), (1, 1)], ids=str)
def photograph(request, tmp_path):
    """Smooth and rough parts, both orders of the sides, larger and smaller than what is asked for."""
    height, width = request.param
    ramp = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 80, width))[..., None]
    noise = np.random.default_rng(0).integers(0, 56, (height, width, 3))
    Image.fromarray((ramp + noise).astype(np.uint8)).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


@pytest.mark.parametrize(
    ("size", "resize", "interpolation"), [(224, 256, "bilinear"), (224, 232, "bicubic"), (49, 30, "bilinear")]
)
def test_the_same_as_torchvision(photograph, size, resize, interpolation):
    mode = torchvision.transforms.InterpolationMode(interpolation)
    transform = torchvision.transforms._presets.ImageClassification(
        crop_size=size, resize_size=resize, interpolation=mode
    )
    ours = dataclasses.replace(IMAGENET, size=size, resize=resize, interpolation=interpolation)
    with Image.open(photograph) as picture:
        expected = transform(picture)[None].numpy()
    np.testing.assert_allclose(read_image(photograph, ours), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "resnet50.a1_in1k", "vit_base_patch16_224.augreg_in1k"])
def test_the_same_as_timm(photograph, name):
    fields = timm.get_pretrained_cfg(name).to_dict()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=fields))
    with Image.open(photograph) as picture:
        expected = transform(picture)[None].numpy()
    np.testing.assert_allclose(read_image(photograph, ImagePreprocessing.of_timm(fields)), expected, atol=1e-6, rtol=0)


def test_what_torchvision_says_of_its_first_weights_is_what_the_architectures_say():
    for weights in (torchvision.models.ResNet50_Weights.IMAGENET1K_V1, torchvision.models.VGG16_Weights.DEFAULT):
        said = weights.transforms()
        assert (tuple(said.mean), tuple(said.std)) == (IMAGENET.mean, IMAGENET.std)
        assert (said.crop_size, said.resize_size) == ([IMAGENET.size], [IMAGENET.resize])
        assert said.interpolation.value == IMAGENET.interpolation
    assert ResNetConfig.IMAGES == VGGConfig.IMAGES == IMAGENET
