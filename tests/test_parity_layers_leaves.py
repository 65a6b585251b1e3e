"""Layers with leaves of their own: a state goes to the twin and back bit for bit, and both compute one function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_leaves import assert_bits, assert_twins

import einops_arch.flax as layers

rngs = nnx.Rngs(0)
legacy_weight_norm, legacy_spectral_norm = torch.nn.utils.weight_norm, torch.nn.utils.spectral_norm
weight_norm = torch.nn.utils.parametrizations.weight_norm
spectral_norm = torch.nn.utils.parametrizations.spectral_norm


def conv(**kwargs):
    return layers.Conv(3, 4, (3, 2), padding=1, rngs=rngs, **kwargs)


def torch_conv(**kwargs):
    return torch.nn.Conv2d(3, 4, (3, 2), padding=1, **kwargs)


def up():
    return layers.ConvTranspose(3, 4, (3, 2), strides=2, rngs=rngs)


def torch_up():
    return torch.nn.ConvTranspose2d(3, 4, (3, 2), stride=2)


IMAGE, ROWS = (2, 3, 5, 6), (2, 3)
# Each: PyTorch's layer, ours, the shapes of the inputs in PyTorch's order.
CASES = {
    "PReLU": (lambda: torch.nn.PReLU(3), lambda: layers.PReLU(3), [IMAGE]),
    "PReLU with one slope": (torch.nn.PReLU, layers.PReLU, [IMAGE]),
    "LayerNorm of c h w": (
        lambda: torch.nn.LayerNorm((3, 5, 6)),
        lambda: layers.LayerNorm((3, 5, 6), axis=(-1, -3, -2), rngs=rngs),
        [IMAGE],
    ),
    "LayerNorm of h w": (
        lambda: torch.nn.LayerNorm((5, 6)),
        lambda: layers.LayerNorm((5, 6), axis=(-3, -2), rngs=rngs),
        [IMAGE],
    ),
    "RMSNorm of c h w": (
        lambda: torch.nn.RMSNorm((3, 5, 6)),
        lambda: layers.RMSNorm((3, 5, 6), axis=(-1, -3, -2), rngs=rngs),
        [IMAGE],
    ),
    "BatchNorm without statistics": (
        lambda: torch.nn.BatchNorm2d(3, track_running_stats=False),
        lambda: layers.BatchNorm(3, track_running_stats=False, rngs=rngs),
        [IMAGE],
    ),
    "InstanceNorm with running statistics": (
        lambda: torch.nn.InstanceNorm2d(3, affine=True, track_running_stats=True, momentum=0.3),
        lambda: layers.InstanceNorm(
            3, use_scale=True, use_bias=True, track_running_stats=True, momentum=0.3, rngs=rngs
        ),
        [IMAGE],
    ),
    "InstanceNorm with statistics and nothing else": (
        lambda: torch.nn.InstanceNorm1d(3, track_running_stats=True),
        lambda: layers.InstanceNorm(3, track_running_stats=True, rngs=rngs),
        [(2, 3, 5)],
    ),
    "LocalResponseNorm": (
        lambda: torch.nn.LocalResponseNorm(2, 0.5, 0.75, 2.0),
        lambda: layers.LocalResponseNorm(2, 0.5, 0.75, 2.0),
        [IMAGE],
    ),
    "Bilinear": (
        lambda: torch.nn.Bilinear(3, 5, 7),
        lambda: layers.Bilinear(3, 5, 7, rngs=rngs),
        [ROWS, (2, 5)],
    ),
    "WeightNorm of a convolution": (lambda: weight_norm(torch_conv()), lambda: layers.WeightNorm(conv()), [IMAGE]),
    "WeightNorm along the kernel": (
        lambda: weight_norm(torch_conv(), dim=2),
        lambda: layers.WeightNorm(conv(), dim=2),
        [IMAGE],
    ),
    "WeightNorm of a transposed convolution": (
        lambda: weight_norm(torch_up()),
        lambda: layers.WeightNorm(up()),
        [IMAGE],
    ),
    "WeightNorm as a whole, PyTorch's older form": (
        lambda: legacy_weight_norm(torch.nn.Linear(3, 4), dim=None),
        lambda: layers.WeightNorm(layers.Linear(3, 4, rngs=rngs), dim=None, legacy=True),
        [ROWS],
    ),
    "SpectralNorm of a convolution": (
        lambda: spectral_norm(torch_conv(), n_power_iterations=2),
        lambda: layers.SpectralNorm(conv(), n_power_iterations=2, rngs=rngs),
        [IMAGE],
    ),
    "SpectralNorm of a transposed convolution": (
        lambda: spectral_norm(torch_up()),
        lambda: layers.SpectralNorm(up(), rngs=rngs),
        [IMAGE],
    ),
    "SpectralNorm, PyTorch's older form": (
        lambda: legacy_spectral_norm(torch.nn.Linear(3, 4)),
        lambda: layers.SpectralNorm(layers.Linear(3, 4, rngs=rngs), legacy=True, rngs=rngs),
        [ROWS],
    ),
    "LSTMCell": (lambda: torch.nn.LSTMCell(3, 4), lambda: layers.LSTMCell(3, 4, rngs=rngs), [ROWS]),
    "GRUCell": (lambda: torch.nn.GRUCell(3, 4), lambda: layers.GRUCell(3, 4, rngs=rngs), [ROWS, (2, 4)]),
    "RNNCell": (
        lambda: torch.nn.RNNCell(3, 4, bias=False, nonlinearity="relu"),
        lambda: layers.RNNCell(3, 4, use_bias=False, nonlinearity="relu", rngs=rngs),
        [ROWS],
    ),
    "LSTM with a projection": (
        lambda: torch.nn.LSTM(3, 5, 2, proj_size=2, bidirectional=True),
        lambda: layers.LSTM(3, 5, 2, proj_size=2, bidirectional=True, rngs=rngs),
        [(4, 2, 3)],
    ),
    "padding same, even kernel, circular": (
        lambda: torch.nn.Conv2d(3, 4, (2, 3), padding="same", dilation=(3, 1), padding_mode="circular"),
        lambda: layers.Conv(3, 4, (2, 3), padding="same", kernel_dilation=(3, 1), padding_mode="circular", rngs=rngs),
        [IMAGE],
    ),
    "padding same of zeros": (
        lambda: torch.nn.Conv1d(3, 4, 4, padding="same"),
        lambda: layers.Conv(3, 4, (4,), padding="same", rngs=rngs),
        [(2, 3, 5)],
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_one_function_with_the_same_state(name, train):
    # A spectral norm's vectors have length 1 and belong to the weight, so they are not drawn anew.
    assert_twins(*CASES[name], train=train, randomized="Spectral" not in name, images="LSTM" not in name)


@pytest.mark.parametrize("build", [lambda: layers.WeightNorm(conv()), lambda: layers.SpectralNorm(up(), rngs=rngs)])
def test_a_folded_layer_is_the_plain_one_with_the_same_function(build):
    layer = build()
    layer.eval()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6, 3)))
    folded = layer.folded()
    assert type(folded) is type(layer.layer)
    np.testing.assert_array_equal(folded(x), layer(x))
    assert set(layers.state_dict(folded)) == {"weight", "bias"}


def test_a_layer_without_a_weight_has_none_to_normalize():
    with pytest.raises(ValueError, match=r"WeightNorm: expected a layer .* received ReLU"):
        layers.WeightNorm(layers.ReLU())


def test_an_empty_batch_counts_and_leaves_the_statistics():
    module, layer = torch.nn.BatchNorm1d(3, momentum=None), layers.BatchNorm(3, momentum=None, rngs=rngs)
    for batch in (np.zeros((0, 3)), np.random.default_rng(0).normal(size=(4, 3))):
        module(torch.from_numpy(batch).float())
        layer(jnp.asarray(batch, "float32"))
    assert int(layer.num_batches_tracked[...]) == int(module.num_batches_tracked) == 2
    np.testing.assert_allclose(layer.mean[...], module.running_mean, rtol=1e-6)


def test_epsilon_of_zero_is_refused_where_statistics_of_a_batch_are_taken():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    module, layer = torch.nn.BatchNorm1d(3, eps=0.0), layers.BatchNorm(3, epsilon=0.0, rngs=rngs)
    with pytest.raises(ValueError, match="must be positive"):
        module(torch.from_numpy(x))
    with pytest.raises(ValueError, match="BatchNorm: expected epsilon above 0"):
        layer(jnp.asarray(x))
    layer.eval()
    np.testing.assert_allclose(layer(jnp.asarray(x)), module.eval()(torch.from_numpy(x)).detach(), rtol=1e-6)


def test_the_gradient_of_an_instance_norm_over_nothing_is_zero():
    module = torch.nn.InstanceNorm2d(3, affine=True)
    module(torch.zeros(2, 3, 0, 4)).sum().backward()
    layer = layers.InstanceNorm(3, use_scale=True, use_bias=True, rngs=rngs)
    graph, parameters = nnx.split(layer)
    gradient = jax.grad(lambda p: nnx.merge(graph, p)(jnp.zeros((2, 0, 4, 3))).sum())(parameters)
    np.testing.assert_array_equal(gradient["scale"][...], module.weight.grad)
    np.testing.assert_array_equal(gradient["bias"][...], module.bias.grad)


def test_parameters_in_lists_and_dicts_have_pytorchs_names():
    class Model(nnx.Module):
        def __init__(self):
            self.scales = layers.ParameterList([jnp.ones(2), jnp.ones((3, 5))])
            self.named = layers.ParameterDict({"left": jnp.ones(7)})

    module = torch.nn.Module()
    module.scales = torch.nn.ParameterList([torch.randn(2), torch.randn(3, 5)])
    module.named = torch.nn.ParameterDict({"left": torch.randn(7)})
    state, model = {key: value.numpy() for key, value in module.state_dict().items()}, Model()
    layers.load_state_dict(model, state)
    assert_bits(layers.state_dict(model), state)
