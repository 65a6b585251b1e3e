"""ResNet, VGG and ShuffleNet V2: published sizes, initial distributions, parts of a network, and errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from einops_arch import architectures
from einops_arch.architectures import ResNetConfig, ShuffleNetV2Config, VGGConfig
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.torch import VGG, ResNet, ShuffleNetV2

# Parameters, and multiply-adds at 224x224 in thousand millions, as torchvision publishes them beside its weights.
PUBLISHED = [
    ("resnet", "resnet18", 11_689_512, 1.814),
    ("resnet", "resnet34", 21_797_672, 3.664),
    ("resnet", "resnet50", 25_557_032, 4.089),
    ("resnet", "resnet101", 44_549_160, 7.801),
    ("resnet", "resnet152", 60_192_808, 11.514),
    ("resnet", "wide_resnet50_2", 68_883_240, 11.398),
    ("resnet", "wide_resnet101_2", 126_886_696, 22.753),
    ("resnet", "resnext50_32x4d", 25_028_904, 4.23),
    ("resnet", "resnext101_32x8d", 88_791_336, 16.414),
    ("resnet", "resnext101_64x4d", 83_455_272, 15.46),
    ("vgg", "vgg11", 132_863_336, 7.609),
    ("vgg", "vgg11_bn", 132_868_840, 7.609),
    ("vgg", "vgg13", 133_047_848, 11.308),
    ("vgg", "vgg13_bn", 133_053_736, 11.308),
    ("vgg", "vgg16", 138_357_544, 15.47),
    ("vgg", "vgg16_bn", 138_365_992, 15.47),
    ("vgg", "vgg19", 143_667_240, 19.632),
    ("vgg", "vgg19_bn", 143_678_248, 19.632),
    ("shufflenet_v2", "x0_5", 1_366_792, 0.04),
    ("shufflenet_v2", "x1_0", 2_278_604, 0.145),
    ("shufflenet_v2", "x1_5", 3_503_624, 0.296),
    ("shufflenet_v2", "x2_0", 7_393_996, 0.583),
]


@pytest.mark.parametrize(("name", "preset", "parameters", "operations"), PUBLISHED)
def test_published_sizes(name, preset, parameters, operations):
    architecture = architectures.get(name)
    counted = 0

    def count(layer, _, output):
        nonlocal counted
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Each of the values that come out is a sum over what one row of the weight covers.
            counted += output.numel() * layer.weight[0].numel()

    with torch.device("meta"):
        model = architecture.torch_class()(architecture.config.preset(preset)).eval()
        for module in model.modules():
            module.register_forward_hook(count)
        assert model(torch.empty(1, 3, 224, 224)).shape == (1, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert counted / 1e9 == pytest.approx(operations, abs=6e-4)


def test_every_published_size_is_here():
    presets = {
        (name, preset)
        for name in ("resnet", "vgg", "shufflenet_v2")
        for preset in architectures.get(name).config.PRESETS
        if not preset.startswith("tiny")
    }
    assert {(name, preset) for name, preset, *_ in PUBLISHED} == presets


def test_weights_begin_as_in_torchvision():
    torch.manual_seed(0)
    block = ResNet(ResNetConfig(depths=(1,), widths=(64,))).layer1[0]
    # Standard deviations of He et al.: by what goes out of a weight, groups or not.
    assert block.conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert block.conv3.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    grouped = ResNet(ResNetConfig(depths=(1,), widths=(64,), groups=2, width_per_group=64)).layer1[0].conv2
    assert grouped.weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    network = VGG(VGGConfig(convolutions=(2,), widths=(64,), hidden=100))
    assert network.features[2].weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert network.classifier[3].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not network.features[2].bias.any()
    assert not network.classifier[6].bias.any()


@pytest.mark.parametrize(("build", "config"), [(ResNet, ResNetConfig), (ShuffleNetV2, ShuffleNetV2Config)])
def test_a_slice_gives_the_feature_map(build, config):
    config = config.tiny()
    image = torch.randn(2, config.in_channels, 33, 64)
    model = build(config).eval()
    features = model[:-2](image)
    assert features.ndim == 4
    assert torch.equal(model[-2:](features), model(image))
    assert model[:-2](image.contiguous(memory_format=torch.channels_last)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_one_pixel_is_an_image_and_vgg_says_how_many_it_needs():
    assert ResNet(ResNetConfig.tiny()).eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 9)
    with pytest.raises(ShapeError) as caught:
        VGG(VGGConfig.tiny())(torch.zeros(1, 2, 3, 5))
    assert str(caught.value) == (
        "image: expected axes 'b c h w' with c=2, h>=4, w>=4, received h=3 in shape (1, 2, 3, 5)"
    )


def test_gradients_pass_what_is_done_in_place():
    for model in (ResNet(ResNetConfig.tiny()), ShuffleNetV2(ShuffleNetV2Config.tiny()), VGG(VGGConfig.tiny())):
        image = torch.randn(4, model.config.in_channels, 64, 33, requires_grad=True)
        model(image).square().sum().backward()
        assert image.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ResNetConfig(block="dense"),
            "ResNetConfig: block needs 'basic' or 'bottleneck', received 'dense'",
        ),
        (
            lambda: ResNetConfig(depths=(1, 2)),
            "ResNetConfig: expected depths to be one for each of widths=(64, 128, 256, 512), received (1, 2)",
        ),
        (
            lambda: ResNetConfig(block="basic", groups=2),
            "ResNetConfig: expected groups to be 1 where block='basic', received 2",
        ),
        (
            lambda: ResNetConfig(block="basic", width_per_group=32),
            "ResNetConfig: expected width_per_group to be 64 where block='basic', received 32",
        ),
        (
            lambda: ResNetConfig(widths=(2, 4, 8, 16), width_per_group=8),
            (
                "ResNetConfig: expected width_per_group to be large enough that each of widths=(2, 4, 8, 16) has a "
                "channel a group, received 8"
            ),
        ),
        (
            lambda: VGGConfig(convolutions=(1, 1)),
            (
                "VGGConfig: expected convolutions to be one number for each of widths=(64, 128, 256, 512, 512), "
                "received (1, 1)"
            ),
        ),
        (lambda: VGGConfig(grid=(7,)), "VGGConfig: expected grid to be a height and a width, received (7,)"),
        (lambda: VGGConfig(dropout=1.0), "VGGConfig: dropout needs a number in [0, 1), received 1.0"),
        (
            lambda: ShuffleNetV2Config(stage_channels=(116, 233, 464)),
            "ShuffleNetV2Config: expected stage_channels to be even numbers, received (116, 233, 464)",
        ),
        (
            lambda: ShuffleNetV2Config(repeats=(4, 8)),
            (
                "ShuffleNetV2Config: expected repeats to be one number for each of stage_channels=(116, 232, 464), "
                "received (4, 8)"
            ),
        ),
    ],
)
def test_configs_check_themselves(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message
