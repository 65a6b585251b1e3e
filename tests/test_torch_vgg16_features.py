"""VGG-16 features against plain PyTorch, with torchvision's names."""

from __future__ import annotations

import pytest
import torch
from oracle_style_transfer import VGG16_CONVOLUTIONS, torchvision_state, vgg16_relus

from einops_arch.architectures import VGG16FeaturesConfig
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.torch.vgg16_features import VGG16Features


@pytest.mark.parametrize(
    "layers",
    [
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        ("relu1_1",),
        ("relu1_1", "relu1_2", "relu3_1"),
        ("relu2_1", "relu5_1", "relu5_3"),
    ],
)
def test_a_torchvision_state_gives_the_features_of_each_layer(layers, device):
    torch.manual_seed(11)
    config = VGG16FeaturesConfig(widths=(4, 5, 6, 7, 8), layers=layers)
    state = {name: value.to(device) for name, value in torchvision_state(3, config.widths).items()}
    model = VGG16Features(config).to(device).double()
    image = torch.randn(2, 3, 18, 33, dtype=torch.float64, device=device)

    # As the docstring says: the state has more than is asked for.
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    results = model(image)

    expected = vgg16_relus(state, image, config.layers[-1])
    assert len(results) == len(layers)
    for name, axes, result in zip(layers, config.outputs(), results, strict=True):
        assert axes.name == name
        assert axes.sizes["c"] == result.shape[1]
        torch.testing.assert_close(result, expected[name], rtol=1e-12, atol=1e-12)


def test_relu_in_place_spoils_no_feature_and_no_gradient(device):
    torch.manual_seed(13)
    config = VGG16FeaturesConfig(widths=(4, 5, 6, 7, 8), layers=("relu1_1", "relu1_2", "relu2_1", "relu3_3"))
    state = {name: value.to(device) for name, value in torchvision_state(3, config.widths).items()}
    model = VGG16Features(config).to(device).double()
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    assert all(module.inplace for module in model.modules() if isinstance(module, torch.nn.ReLU))
    image = torch.randn(1, 3, 9, 8, dtype=torch.float64, device=device, requires_grad=True)

    relus = vgg16_relus(state, image, config.layers[-1])
    (expected,) = torch.autograd.grad(sum(relus[name].square().sum() for name in config.layers), image)
    (received,) = torch.autograd.grad(sum(result.square().sum() for result in model(image)), image)

    torch.testing.assert_close(received, expected, rtol=1e-11, atol=1e-11)


def test_the_published_size_has_the_first_ten_convolutions_of_torchvision():
    state = VGG16Features(VGG16FeaturesConfig.johnson()).state_dict()
    numbers = [number for block in VGG16_CONVOLUTIONS[:4] for number in block]
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    expected = {}
    for number, width, before in zip(numbers, widths, [3, *widths], strict=False):
        expected[f"features.{number}.weight"] = (width, before, 3, 3)
        expected[f"features.{number}.bias"] = (width,)
    assert {name: tuple(value.shape) for name, value in state.items()} == expected


@pytest.mark.parametrize(("layer", "side"), [("relu1_2", 1), ("relu2_1", 2), ("relu4_3", 8)])
def test_the_smallest_image_is_one_pixel_in_the_end(layer, side):
    model = VGG16Features(VGG16FeaturesConfig(widths=(4, 5, 6, 7, 8), layers=(layer,)))
    (features,) = model(torch.zeros(1, 3, side, side))
    assert features.shape[2:] == (1, 1)
    with pytest.raises(ShapeError) as error:
        model(torch.zeros(1, 3, side, side - 1))
    assert str(error.value) == (
        f"image: expected axes 'b c h w' with c=3, h>={side}, w>={side}, received w={side - 1} "
        f"in shape (1, 3, {side}, {side - 1})"
    )


KNOWN = (
    "relu1_1, relu1_2, relu2_1, relu2_2, relu3_1, relu3_2, relu3_3, "
    "relu4_1, relu4_2, relu4_3, relu5_1, relu5_2, relu5_3"
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": ()}, f"expected layers to be some of {KNOWN}, in this order, received ()"),
        ({"layers": ("relu2_3",)}, f"expected layers to be some of {KNOWN}, in this order, received ('relu2_3',)"),
        (
            {"layers": ("relu2_1", "relu1_1")},
            f"expected layers to be some of {KNOWN}, in this order, received ('relu2_1', 'relu1_1')",
        ),
        ({"widths": (1, 2, 3, 4)}, "expected widths to be five numbers of channels, received (1, 2, 3, 4)"),
        ({"channels": 0}, "channels needs a whole number of at least 1, received 0"),
    ],
)
def test_a_config_that_is_wrong(fields, message):
    with pytest.raises(ConfigError) as error:
        VGG16FeaturesConfig(**fields)
    assert str(error.value) == f"VGG16FeaturesConfig: {message}"
