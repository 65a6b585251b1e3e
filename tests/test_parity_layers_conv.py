"""Convolutions and pooling in Flax are those of PyTorch: values and all gradients, in float64 and float32."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_parity import QUICKLY, channels_first, compare, draw

from einops_arch.flax.layers import AvgPool, Conv, ConvTranspose, MaxPool, ReflectionPad

pytestmark = pytest.mark.usefixtures("strict_promotion")

CONVS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
TRANSPOSED = {1: torch.nn.ConvTranspose1d, 2: torch.nn.ConvTranspose2d, 3: torch.nn.ConvTranspose3d}
WORDS = {"stride": "strides", "dilation": "kernel_dilation", "groups": "feature_group_count", "bias": "use_bias"}


def in_flax(settings: dict) -> dict:
    return {WORDS.get(name, name): value for name, value in settings.items()}


# Sizes are odd and even and never equal: a wrong axis or an unequal padding shows in one of the two.
@pytest.mark.parametrize(
    ("channels", "kernel", "size", "settings"),
    [
        ((3, 4), (3,), (8,), {"stride": 2, "padding": 1}),
        ((4, 6), (4,), (9,), {"padding": 2, "dilation": 2, "groups": 2}),
        ((3, 4), (3, 2), (7, 10), {"stride": (2, 1), "padding": (1, 0), "bias": False}),
        ((8, 12), (3, 3), (14, 15), {"stride": 2, "padding": 1, "dilation": (1, 2)}),
        ((6, 4), (3, 2), (6, 7), {"padding": 1, "groups": 2}),
        ((6, 9), (1, 1), (5, 6), {"stride": 2, "groups": 3}),
        ((6, 9), (1, 1), (5, 6), {"padding": (1, 2), "groups": 3}),
        ((5, 5), (3, 3), (14, 15), {"stride": (2, 1), "padding": 1, "groups": 5}),
        ((3, 6), (2, 3), (6, 9), {"padding": (0, 2), "dilation": (1, 2), "groups": 3}),
        ((2, 3), (2, 3, 1), (5, 4, 6), {"stride": (1, 2, 1), "padding": (1, 0, 0)}),
        ((2, 4), (2, 3, 2), (4, 5, 6), {"padding": (0, 1, 1), "groups": 2}),
        ((3, 4), (3, 2), (6, 7), {"padding": (2, 1), "padding_mode": "reflect"}),
        ((2, 2), (3, 3), (6, 7), {"padding": (2, 1), "padding_mode": "circular", "groups": 2}),
        ((3, 4), (3,), (6,), {"padding": 2, "padding_mode": "replicate", "stride": 2}),
    ],
    ids=str,
)
def test_conv(channels, kernel, size, settings):
    layer = CONVS[len(kernel)](*channels, kernel, **settings)
    compare(
        layer,
        lambda: Conv(*channels, kernel, **in_flax(settings), rngs=nnx.Rngs(0)),
        draw(5, 2, channels[0], *size),
        float32=size == (14, 15),
    )


@pytest.mark.parametrize(
    ("channels", "kernel", "size", "settings"),
    [
        ((3, 4), (3,), (6,), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((4, 6), (4,), (5,), {"stride": 3, "padding": 4, "dilation": 2, "groups": 2}),
        ((3, 4), (3, 2), (5, 6), {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}),
        ((8, 6), (4, 3), (6, 7), {"stride": 2, "padding": 1, "bias": False}),
        ((4, 6), (3, 2), (4, 5), {"stride": (2, 3), "output_padding": (1, 2), "groups": 2}),
        ((6, 9), (1, 1), (4, 5), {"stride": 2, "output_padding": 1, "groups": 3}),
        ((3, 3), (3, 2), (4, 5), {"stride": 2, "padding": 2, "output_padding": 1, "groups": 3}),
        ((3, 6), (2, 3), (4, 5), {"dilation": (3, 1), "output_padding": (2, 0), "groups": 3}),
        ((2, 3), (2, 3, 1), (3, 2, 4), {"stride": (1, 2, 1), "padding": (1, 0, 0)}),
        ((4, 2), (2, 1, 3), (3, 2, 4), {"stride": 2, "padding": (0, 0, 1), "groups": 2}),
    ],
    ids=str,
)
def test_conv_transpose(channels, kernel, size, settings):
    layer = TRANSPOSED[len(kernel)](*channels, kernel, **settings)
    compare(
        layer,
        lambda: ConvTranspose(*channels, kernel, **in_flax(settings), rngs=nnx.Rngs(0)),
        draw(5, 2, channels[0], *size),
        float32=size == (6, 7),
    )


@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
def test_an_image_without_a_batch_axis(kind):
    pairs = {Conv: torch.nn.Conv2d, ConvTranspose: torch.nn.ConvTranspose2d}
    compare(
        pairs[kind](3, 4, (2, 3)),
        lambda: kind(3, 4, (2, 3), rngs=nnx.Rngs(0)),
        draw(5, 3, 5, 6),
        enter=lambda x: np.moveaxis(x, 0, -1),
        leave=lambda x: np.moveaxis(x, -1, 0),
    )


def assert_pools_alike(x: np.ndarray, layer, module) -> None:
    """Values and gradients equal; pooling has no weights."""
    given = torch.from_numpy(x).requires_grad_()
    expected = layer(given)
    weights = draw(7, *expected.shape)
    (expected * torch.from_numpy(weights)).sum().backward()
    entered = jnp.asarray(np.moveaxis(x, 1, -1))

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def both(x, weights):
        found, back = jax.vjp(module, x)
        return found, *back(weights)

    found, gradient = both(entered, jnp.asarray(np.moveaxis(weights, 1, -1)))
    np.testing.assert_allclose(channels_first(np.asarray(found)), expected.detach().numpy(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(channels_first(np.asarray(gradient)), given.grad.numpy(), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    [
        ((7,), (3,), None, 1),
        ((7, 10), (2, 3), None, 0),
        ((8, 9), (3, 2), (2, 1), (1, 0)),
        ((4, 5, 6), (2, 2, 3), None, 1),
    ],
    ids=str,
)
def test_pooling(size, window, strides, padding):
    axes, x = len(size), draw(3, 2, 3, *size)
    largest = {1: torch.nn.MaxPool1d, 2: torch.nn.MaxPool2d, 3: torch.nn.MaxPool3d}[axes]
    mean = {1: torch.nn.AvgPool1d, 2: torch.nn.AvgPool2d, 3: torch.nn.AvgPool3d}[axes]
    assert_pools_alike(x, largest(window, strides, padding), MaxPool(window, strides, padding))
    for count in (True, False):
        assert_pools_alike(
            x,
            mean(window, strides, padding, count_include_pad=count),
            AvgPool(window, strides, padding, count_include_pad=count),
        )


def test_a_window_of_one_integer_is_for_all_axes():
    assert_pools_alike(draw(3, 2, 3, 6, 9), torch.nn.MaxPool2d(2, padding=1), MaxPool(2, padding=1))
    assert_pools_alike(draw(3, 2, 3, 9), torch.nn.AvgPool1d(3, 2), AvgPool(3, 2))


def test_the_first_of_equal_values_takes_the_gradient_of_max_pooling():
    x = np.random.default_rng(0).integers(0, 2, (2, 3, 6, 8)).astype(np.float64)
    assert_pools_alike(x, torch.nn.MaxPool2d(3, 2, 1), MaxPool(3, 2, 1))


def test_reflection_padding():
    assert_pools_alike(draw(3, 2, 3, 5, 6), torch.nn.ReflectionPad2d(2), ReflectionPad(2))
    assert_pools_alike(draw(3, 2, 3, 5, 6), torch.nn.ReflectionPad2d((1, 2, 3, 4)), ReflectionPad(((3, 4), (1, 2))))
    assert_pools_alike(draw(3, 2, 3, 5), torch.nn.ReflectionPad1d(3), ReflectionPad((3,)))
    assert_pools_alike(draw(3, 2, 3, 4, 5, 6), torch.nn.ReflectionPad3d(1), ReflectionPad(1))
