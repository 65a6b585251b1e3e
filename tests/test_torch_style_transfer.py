"""Style transfer against plain PyTorch networks, gram matrix and losses."""

from __future__ import annotations

import pytest
import torch
from oracle_style_transfer import OldTransformerNet, old_gram_matrix, old_style_loss

from einops_arch.architectures import StyleTransferConfig
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.functional import gram_matrix, style_loss
from einops_arch.torch.style_transfer import StyleTransfer


@pytest.fixture
def pair(device):
    """The old and the new network with the same weights, in float64, no norm being the identity."""
    config = StyleTransferConfig.tiny()
    torch.manual_seed(7)
    old = OldTransformerNet(config.hidden, config.residual_blocks, config.kernel_size)
    for name, parameter in old.named_parameters():
        if ".in" in f".{name}":
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.5)
    new = StyleTransfer(config)
    new.load_state_dict(old.state_dict())
    return old.to(device).double(), new.to(device).double()


# Sides that 4 divides, and each other remainder; the smallest image.
@pytest.mark.parametrize("size", [(16, 24), (13, 18), (15, 17), (5, 5)])
def test_old_and_new_paint_the_same_image(size, pair, device):
    old, new = pair
    image = torch.randn(2, 3, *size, dtype=torch.float64, device=device)
    torch.testing.assert_close(new(image), old(image), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("size", "expected"), [((16, 24), (16, 24)), ((13, 18), (16, 20)), ((15, 17), (16, 20))])
def test_a_side_that_4_does_not_divide_grows_and_nothing_is_cropped(size, expected):
    model = StyleTransfer(StyleTransferConfig.tiny())
    assert model(torch.zeros(1, 3, *size)).shape == (1, 3, *expected)
    assert model.config.output_size(*size) == expected
    # Each pixel of the last row and column has a say.
    image = torch.randn(1, 3, *size, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image).square().sum(), image)
    assert (gradient[..., -1, :] != 0).all()
    assert (gradient[..., :, -1] != 0).all()


def test_relu_in_place_changes_neither_the_image_nor_the_gradients(pair, device):
    old, new = pair
    assert all(module.inplace for module in new.modules() if isinstance(module, torch.nn.ReLU))
    image = torch.randn(2, 3, 8, 10, dtype=torch.float64, device=device, requires_grad=True)
    before = image.detach().clone()
    weights = torch.randn(2, 3, 8, 12, dtype=torch.float64, device=device)

    expected = torch.autograd.grad((old(image) * weights).sum(), [image, *old.parameters()])
    received = torch.autograd.grad((new(image) * weights).sum(), [image, *new.parameters()])

    assert torch.equal(image, before)
    scale = max(gradient.abs().max() for gradient in expected)
    for new_gradient, old_gradient in zip(received, expected, strict=True):
        torch.testing.assert_close(new_gradient, old_gradient, rtol=1e-10, atol=1e-12 * scale.item())


def test_train_and_eval_mode_are_one(pair, device):
    _, new = pair
    image = torch.randn(2, 3, 8, 10, dtype=torch.float64, device=device)
    assert torch.equal(new.train()(image), new.eval()(image))


def test_the_published_size_has_the_names_and_shapes_of_the_published_weights():
    new, old = StyleTransfer(StyleTransferConfig.fast_neural_style()), OldTransformerNet()
    shapes = {name: value.shape for name, value in old.state_dict().items()}
    assert {name: value.shape for name, value in new.state_dict().items()} == shapes
    assert sum(parameter.numel() for parameter in new.parameters()) == 1_679_235


def test_old_files_load_without_their_running_statistics():
    model, source = (StyleTransfer(StyleTransferConfig.tiny()) for _ in range(2))
    state = dict(source.state_dict())
    state |= {"in1.running_mean": torch.zeros(4), "in1.running_var": torch.ones(4)}
    with pytest.raises(RuntimeError, match="running stats"):
        model.load_state_dict(state)

    model.load_state_dict({name: state[name] for name in model.state_dict()})

    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(model(image), source(image))


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (
            StyleTransferConfig.tiny(),
            (1, 3, 4, 8),
            "image: expected axes 'b c h w' with c=3, h>=5, w>=5, received h=4 in shape (1, 3, 4, 8)",
        ),
        (
            # Nine pixels of a kernel reach four beyond the first: a reflection needs a fifth.
            StyleTransferConfig(hidden=(2, 3, 4), residual_blocks=1, kernel_size=13),
            (1, 3, 7, 6),
            "image: expected axes 'b c h w' with c=3, h>=7, w>=7, received w=6 in shape (1, 3, 7, 6)",
        ),
        (
            StyleTransferConfig.tiny(),
            (1, 8, 12, 3),
            (
                "image: expected axes 'b c h w' with c=3, h>=5, w>=5, received c=8, w=3 in shape (1, 8, 12, 3); "
                "likely fix: move the axes with rearrange(x, 'b h w c -> b c h w')"
            ),
        ),
    ],
)
def test_an_image_that_does_not_fit(config, shape, message):
    with pytest.raises(ShapeError) as error:
        StyleTransfer(config)(torch.zeros(shape))
    assert str(error.value) == message


def test_the_smallest_image_of_a_large_kernel_is_painted():
    config = StyleTransferConfig(hidden=(2, 3, 4), residual_blocks=1, kernel_size=13)
    assert StyleTransfer(config)(torch.zeros(1, 3, 7, 7)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel_size": 8}, "expected kernel_size to be odd, received 8"),
        ({"hidden": (32, 64)}, "expected hidden to be three numbers of channels, received (32, 64)"),
        ({"residual_blocks": 0}, "residual_blocks needs a whole number of at least 1, received 0"),
        ({"channels": True}, "channels needs a whole number of at least 1, received True"),
    ],
)
def test_a_config_that_is_wrong(fields, message):
    with pytest.raises(ConfigError) as error:
        StyleTransferConfig(**fields)
    assert str(error.value) == f"StyleTransferConfig: {message}"


def test_the_old_gram_matrix_divides_by_the_channels_as_well(device):
    features = torch.randn(2, 3, 5, 7, dtype=torch.float64, device=device)
    old = old_gram_matrix(features)
    torch.testing.assert_close(gram_matrix(features, normalize="full"), old, rtol=1e-13, atol=1e-13)
    # The definition: the mean over positions, which does not depend on how many channels there are beside.
    torch.testing.assert_close(gram_matrix(features), 3 * old, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gram_matrix(features)[:, :2, :2], gram_matrix(features[:, :2]), rtol=1e-13, atol=1e-13)
    assert not torch.allclose(old[:, :2, :2], old_gram_matrix(features[:, :2]))


def test_the_style_loss_is_that_of_the_examples_and_so_are_its_gradients(device):
    shapes = [(2, 3, 8, 10), (2, 5, 4, 5)]
    features = [torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True) for shape in shapes]
    paintings = [torch.randn(1, *shape[1:], dtype=torch.float64, device=device) for shape in shapes]
    old = old_style_loss(features, [old_gram_matrix(one).expand(2, -1, -1) for one in paintings])

    new = style_loss(features, [gram_matrix(one, normalize="full") for one in paintings], normalize="full")

    torch.testing.assert_close(new, old, rtol=1e-13, atol=0)
    for received, expected in zip(*(torch.autograd.grad(loss, features) for loss in (new, old)), strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-11, atol=1e-15)
