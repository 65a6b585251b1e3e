"""Super-resolution against the plain PyTorch network that it replaces."""

from __future__ import annotations

import pytest
import torch
from oracle_super_resolution import OldSuperResolution

from einops_arch.architectures import SuperResolutionConfig
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.torch.super_resolution import SuperResolution


@pytest.fixture
def pair(device):
    """Makes the old and the new network with the same weights, in float64."""

    def make(config):
        torch.manual_seed(5)
        old = OldSuperResolution(config.factor, config.channels, config.hidden).to(device).double()
        new = SuperResolution(config).to(device).double()
        new.load_state_dict(old.state_dict())
        return old, new

    return make


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_the_old_network_gives_the_same_pixels_behind_an_axis_of_size_one(factor, pair, device):
    old, new = pair(SuperResolutionConfig(factor=factor, hidden=(6, 7, 5)))
    image = torch.randn(2, 1, 8, 11, dtype=torch.float64, device=device)

    expected = old(image)

    assert expected.shape == (2, 1, 8 * factor, 11 * factor)
    assert new(image).shape == (2, 8 * factor, 11 * factor)
    torch.testing.assert_close(new(image), expected[:, 0], rtol=1e-12, atol=1e-12)


def test_the_published_network_takes_the_old_weights(pair, device):
    old, new = pair(SuperResolutionConfig.espcn_x3())
    image = torch.randn(1, 1, 5, 6, dtype=torch.float64, device=device)
    torch.testing.assert_close(new(image), old(image)[:, 0], rtol=1e-12, atol=1e-12)


def test_colours_keep_their_axis(pair, device):
    old, new = pair(SuperResolutionConfig(factor=2, channels=3, hidden=(6, 7, 5)))
    image = torch.randn(2, 3, 4, 7, dtype=torch.float64, device=device)
    assert new(image).shape == (2, 3, 8, 14)
    torch.testing.assert_close(new(image), old(image), rtol=1e-12, atol=1e-12)


def test_relu_in_place_changes_neither_the_image_nor_the_gradients(pair, device):
    old, new = pair(SuperResolutionConfig.tiny())
    assert all(getattr(new, f"relu{i}").inplace for i in (1, 2, 3))
    image = torch.randn(2, 1, 4, 7, dtype=torch.float64, device=device, requires_grad=True)
    before = image.detach().clone()
    weights = torch.randn(2, 12, 21, dtype=torch.float64, device=device)

    expected = torch.autograd.grad((old(image)[:, 0] * weights).sum(), [image, *old.parameters()])
    received = torch.autograd.grad((new(image) * weights).sum(), [image, *new.parameters()])

    assert torch.equal(image, before)
    for new_gradient, old_gradient in zip(received, expected, strict=True):
        torch.testing.assert_close(new_gradient, old_gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("preset", "parameters"), [("espcn_x2", 58_212), ("espcn_x3", 59_657), ("espcn_x4", 61_680)])
def test_published_sizes(preset, parameters):
    # By hand: 1*64*25 + 64, 64*64*9 + 64, 64*32*9 + 32, 32*r*r*9 + r*r.
    model = SuperResolution(SuperResolutionConfig.preset(preset))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_without_its_last_step_the_network_has_a_square_of_pixels_in_the_channels():
    model = SuperResolution(SuperResolutionConfig.espcn_x4())
    assert model[:-1](torch.zeros(1, 1, 2, 3)).shape == (1, 16, 2, 3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 5, 6),
            "image: expected axes 'b c h w' with c=1, h>=1, w>=1, received 3 axes in shape (2, 5, 6)",
        ),
        (
            (2, 3, 5, 6),
            "image: expected axes 'b c h w' with c=1, h>=1, w>=1, received c=3 in shape (2, 3, 5, 6)",
        ),
        (
            (2, 5, 6, 1),
            (
                "image: expected axes 'b c h w' with c=1, h>=1, w>=1, received c=5 in shape (2, 5, 6, 1); "
                "likely fix: move the axes with rearrange(x, 'b h w c -> b c h w')"
            ),
        ),
        (
            (2, 1, 0, 6),
            "image: expected axes 'b c h w' with c=1, h>=1, w>=1, received h=0 in shape (2, 1, 0, 6)",
        ),
    ],
)
def test_an_image_that_does_not_fit(shape, message):
    model = SuperResolution(SuperResolutionConfig.tiny())
    with pytest.raises(ShapeError) as error:
        model(torch.zeros(shape))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factor": 0}, "factor needs a whole number of at least 1, received 0"),
        ({"factor": 1.5}, "factor needs a whole number of at least 1, received 1.5"),
        ({"channels": -3}, "channels needs a whole number of at least 1, received -3"),
        ({"hidden": (64, 32)}, "expected hidden to be three numbers of channels, received (64, 32)"),
        ({"hidden": (64, 0, 32)}, "hidden needs a whole number of at least 1, received 0"),
    ],
)
def test_a_config_that_is_wrong(fields, message):
    with pytest.raises(ConfigError) as error:
        SuperResolutionConfig(**fields)
    assert str(error.value) == f"SuperResolutionConfig: {message}"
