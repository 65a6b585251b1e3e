"""Style transfer in both frameworks: sizes that 4 does not divide, and the losses with their gradients."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from oracle_style_transfer import torchvision_state

from einops_arch.architectures import StyleTransferConfig, VGG16FeaturesConfig
from einops_arch.flax.state import load_state_dict, state_dict
from einops_arch.flax.style_transfer import StyleTransfer as FlaxStyleTransfer
from einops_arch.flax.vgg16_features import VGG16Features as FlaxVGG16Features
from einops_arch.functional import content_loss, gram_matrix, style_loss, total_variation
from einops_arch.torch.style_transfer import StyleTransfer
from einops_arch.torch.vgg16_features import VGG16Features

LIMIT = 1e-12


def _twins(torch_class, flax_class, config, device):
    """The PyTorch model in float64 and the Flax model with its weights."""
    model = torch_class(config).double()
    twin = nnx.eval_shape(lambda: flax_class(config, rngs=nnx.Rngs(0)))
    load_state_dict(twin, model.state_dict())
    return model.to(device), twin


@pytest.fixture
def painters(device):
    torch.manual_seed(31)
    config = replace(StyleTransferConfig.tiny(), residual_blocks=1)
    return _twins(StyleTransfer, FlaxStyleTransfer, config, device)


def _images(*shape, device, seed=37):
    """The same images in both frameworks' order of axes."""
    images = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(images).to(device), jnp.asarray(np.moveaxis(images, 1, -1))


@pytest.mark.parametrize("size", [(13, 18), (5, 7)])
def test_sizes_that_4_does_not_divide(size, painters, device):
    model, twin = painters
    image, flax_image = _images(2, 3, *size, device=device)
    expected = model(image).detach().cpu().numpy()
    received = np.moveaxis(np.asarray(nnx.jit(lambda net, x: net(x))(twin, flax_image)), -1, 1)
    assert received.shape == (2, 3, *model.config.output_size(*size))
    assert np.abs(received - expected).max() <= LIMIT * np.abs(expected).max()


def _loss(image, features, seen, grams, data_format):
    """The loss of the paper: what `relu2_2` sees stays, the style becomes the painting's."""
    layers = features(image)
    content = content_loss(layers[1], seen)
    style = style_loss(layers, grams, normalize="full", distance="frobenius", data_format=data_format)
    return content + 5.0 * style + 0.01 * total_variation(image, data_format=data_format)


def test_the_losses_pull_every_pixel_the_same_way(device):
    config = replace(VGG16FeaturesConfig.tiny(), layers=("relu1_2", "relu2_2"))
    features, flax_features = _twins(VGG16Features, FlaxVGG16Features, config, device)
    # Weights as torchvision names them, for deeper layers and a classifier too, loaded as the docstrings say.
    state = torchvision_state(3, config.widths)
    features.load_state_dict({name: state[name] for name in features.state_dict()})
    load_state_dict(flax_features, {name: state[name] for name in state_dict(flax_features)})
    image, flax_image = _images(2, 3, 8, 13, device=device, seed=41)
    photograph, _ = _images(2, 3, 8, 13, device=device, seed=43)
    painting, _ = _images(1, 3, 9, 7, device=device, seed=47)
    seen = features(photograph)[1].detach()
    grams = [gram_matrix(layer, normalize="full").detach() for layer in features(painting)]

    image.requires_grad_()
    loss = _loss(image, features, seen, grams, "channels_first")
    (expected,) = torch.autograd.grad(loss, image)
    flax_seen = jnp.asarray(np.moveaxis(seen.cpu().numpy(), 1, -1))
    flax_grams = [jnp.asarray(gram.cpu().numpy()) for gram in grams]
    flax_loss, received = jax.jit(
        jax.value_and_grad(lambda x: _loss(x, flax_features, flax_seen, flax_grams, "channels_last"))
    )(flax_image)

    assert abs(float(flax_loss) - loss.item()) <= LIMIT * loss.item()
    expected, received = expected.cpu().numpy(), np.moveaxis(np.asarray(received), -1, 1)
    assert np.abs(received - expected).max() <= LIMIT * np.abs(expected).max()
