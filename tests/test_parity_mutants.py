"""A comparison that nothing fails proves nothing: each wrong-but-close model is caught, and at the right module."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from mutant_catches import measured

from einops_arch import architectures
from einops_arch.flax import layers as ours
from einops_arch.parity import Verdict, compare, example_inputs, random_state, randomize
from einops_arch.parity.mutate import FAULTS, Fault, catch_mutants, mutate
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report import limits
from einops_arch.port import transfer
from einops_arch.torch.layers import ChannelShuffle, DepthToSpace

RNGS = nnx.Rngs(0)
NN = torch.nn
NAMES = ("before", "wrong", "after")


def nets(torch_layers, flax_layers):
    """The layer in question between two others, so that it has to be located."""
    torch_net = NN.Sequential()
    for name, layer in zip(NAMES, torch_layers, strict=True):
        torch_net.add_module(name, layer)
    return torch_net, ours.Sequential(dict(zip(NAMES, flax_layers, strict=True)))


def conv_pair(torch_layer, flax_layer):
    """For layers of 8 channels; an image of even sizes, because odd ones hide asymmetric padding."""
    out = torch_layer(torch.zeros(1, 8, 6, 10)).shape[1]
    torch_net, flax_net = nets(
        (NN.Conv2d(4, 8, 1), torch_layer, NN.Conv2d(out, 5, 1)),
        (ours.Conv(4, 8, (1, 1), rngs=RNGS), flax_layer, ours.Conv(out, 5, (1, 1), rngs=RNGS)),
    )
    return torch_net, flax_net, random_numbers("image", (3, 4, 6, 10)), "b c h w"


def linear_pair(torch_layer, flax_layer):
    """For layers of 7 features."""
    torch_net, flax_net = nets(
        (NN.Linear(5, 7), torch_layer, NN.Linear(7, 3)),
        (ours.Linear(5, 7, rngs=RNGS), flax_layer, ours.Linear(7, 3, rngs=RNGS)),
    )
    return torch_net, flax_net, random_numbers("features", (300, 5)), None


def gelu(*, mutant):
    return linear_pair(NN.GELU(), ours.GELU(approximate=mutant))


def layer_norm_eps(*, mutant):
    return linear_pair(NN.LayerNorm(7), ours.LayerNorm(7, epsilon=1e-6 if mutant else 1e-5, rngs=RNGS))


def same_padding(*, mutant):
    padding = "SAME" if mutant else 1
    layer = nnx.Conv(8, 6, (3, 3), strides=2, padding=padding, rngs=RNGS)
    return conv_pair(NN.Conv2d(8, 6, 3, stride=2, padding=1), layer)


def depth_to_space(*, mutant):
    return conv_pair(DepthToSpace(2), ours.DepthToSpace(2, order="DCR" if mutant else "CRD"))


def channel_shuffle(*, mutant):
    return conv_pair(ChannelShuffle(2), ours.ChannelShuffle(4 if mutant else 2))


FORWARD = [gelu, layer_norm_eps, same_padding, depth_to_space, channel_shuffle]


def run(pair, *, spoil=None, **keywords):
    """Both with the same weights; `spoil` changes the Flax model after that."""
    torch_model, flax_model, x, axes = pair
    randomize(torch_model)
    transfer(torch_model, flax_model)
    if spoil is not None:
        spoil(flax_model)
    return compare(torch_model, flax_model, x, axes=axes, **keywords)


@pytest.mark.parametrize("make", FORWARD, ids=lambda make: make.__name__)
def test_a_wrong_layer_is_caught_and_located(make):
    report = run(make(mutant=True))
    assert report.verdict is Verdict.SEMANTIC
    assert report.first_divergence.path == "wrong"
    assert [row.path for row in report.rows if row.verdict.passed] == ["before"]


@pytest.mark.parametrize("make", FORWARD, ids=lambda make: make.__name__)
def test_the_right_layer_passes(make):
    report = run(make(mutant=False))
    assert report.passed, str(report)
    assert [row.path for row in report.rows] == ["before", "wrong", "after", ""]


def test_swapped_axes_of_a_kernel_are_caught_and_located():
    def swap(model):
        swap_height_and_width(model.wrong)

    def pair():
        return conv_pair(NN.Conv2d(8, 6, 3), ours.Conv(8, 6, (3, 3), rngs=RNGS))

    assert run(pair()).passed
    assert run(pair(), spoil=swap).first_divergence.path == "wrong"


def fast_variance(*, mutant):
    layer = nnx.LayerNorm(40, epsilon=1e-5, use_fast_variance=mutant, rngs=RNGS)
    # Off-centre, and more than a thousand numbers.
    return NN.LayerNorm(40), layer, 30 + random_numbers("features", (60, 40)), None


def test_a_worse_formula_of_the_same_function_is_rounding():
    report = run(fast_variance(mutant=True))
    assert report.verdict is Verdict.ROUNDING
    assert report.rows[0].difference < 1e-12
    assert report.rows[0].ratio > 4
    assert "expected an error ratio of at most 4" in str(report)


def test_the_better_formula_is_not():
    assert run(fast_variance(mutant=False)).passed


def batch_norm(flax_layer):
    return NN.BatchNorm2d(3), flax_layer, random_numbers("image", (2, 3, 2, 5)), "b c h w"


BATCH_NORM_MUTANTS = {
    # What is caught, and in which statistics.
    "momentum the other way round": (
        lambda: ours.BatchNorm(3, momentum=0.9, rngs=RNGS),
        ["running_mean", "running_var"],
    ),
    "biased running variance": (lambda: nnx.BatchNorm(3, momentum=0.9, rngs=RNGS), ["running_var"]),
}


@pytest.mark.parametrize("name", BATCH_NORM_MUTANTS)
def test_wrong_statistics_are_seen_by_training_only(name):
    make, caught = BATCH_NORM_MUTANTS[name]
    report = run(batch_norm(make()), mode="train", steps=3)
    assert report.verdict is Verdict.SEMANTIC
    assert all(row.verdict.passed for row in (*report.rows, *report.outputs))
    assert [row.path for row in report.statistics if not row.verdict.passed] == caught
    assert report.first_divergence.path == caught[0]


def test_the_right_statistics_pass():
    report = run(batch_norm(ours.BatchNorm(3, rngs=RNGS)), mode="train", steps=3)
    assert report.passed, str(report)
    assert [row.path for row in report.statistics] == ["running_mean", "running_var", "num_batches_tracked"]


class Frozen(nnx.Module):
    """The values of a ReLU without its gradient."""

    def __call__(self, x):
        return jax.lax.stop_gradient(nnx.relu(x))


def test_a_wrong_gradient_is_seen_by_gradients_only():
    assert run(linear_pair(NN.ReLU(), ours.ReLU()), gradients=True).passed
    assert run(linear_pair(NN.ReLU(), Frozen())).passed
    report = run(linear_pair(NN.ReLU(), Frozen()), gradients=True)
    assert [row.path for row in report.gradients if row.verdict.passed] == ["after.weight", "after.bias"]
    assert report.verdict is Verdict.SEMANTIC


def swap_height_and_width(conv):
    conv.kernel[...] = jnp.swapaxes(conv.kernel[...], 0, 1)


def swap_gates(model):
    weights = model.rnn.weight_ih_l0
    i, f, g, o = jnp.split(weights[...], 4, axis=1)
    weights[...] = jnp.concatenate([i, g, f, o], axis=1)


def wrong_order(model):
    _find(model, ours.DepthToSpace).order = "DCR"


def wrong_groups(model):
    _find(model, ours.ChannelShuffle).groups = 1


def wrong_window(model):
    swap_height_and_width(model.conv2)


def _find(model, kind):
    return next(module for _, module in nnx.iter_modules(model) if isinstance(module, kind))


TWINS = {
    "language_model": ("tiny", swap_gates, "rnn"),
    # With one colour, both orders are the same function.
    "super_resolution": ("tiny_rgb", wrong_order, "depth_to_space"),
    "shuffle_unit": ("tiny", wrong_groups, "c_shuffle"),
    "convnet": ("tiny", wrong_window, "conv2"),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_layer_of_a_network_is_located(name):
    preset, spoil, path = TWINS[name]
    architecture = architectures.get(name)
    config = architecture.config.preset(preset)
    torch_model = architecture.torch_class()(config)
    flax_model = architecture.flax_class()(config, rngs=nnx.Rngs(0))
    randomize(torch_model)
    transfer(torch_model, flax_model)
    inputs = example_inputs(config)
    spoil(flax_model)
    report = compare(torch_model, flax_model, inputs)
    assert report.verdict is Verdict.SEMANTIC
    assert report.first_divergence.path == path


@pytest.mark.parametrize("name", architectures.names())
def test_every_fault_in_every_architecture_is_caught_and_located(name):
    _, catches = measured(name)
    assert len(catches.catches) >= 3
    assert catches.all_caught, str(catches)
    # The table says of each what caught it.
    assert len(str(catches).splitlines()) == 1 + len(catches.catches)


# Here, where a process has what was measured already: the number that decides is no fit.


def test_two_decades_lie_between_the_limit_and_the_worst_honest_difference():
    worst = max(measured(name)[0] for name in architectures.names())
    assert 0 < worst < limits.FLOAT64 / 100


def test_two_decades_lie_between_the_limit_and_the_smallest_fault():
    differences = [catch.difference for name in architectures.names() for catch in measured(name)[1].catches]
    assert len(differences) > 20
    assert min(differences) > limits.FLOAT64 * 100


def test_mutants_are_copies():
    model = ours.Sequential(ours.Conv(4, 4, (3, 3), padding=1, rngs=RNGS), ours.BatchNorm(4, rngs=RNGS))
    before = nnx.to_pure_dict(nnx.state(model))
    mutants = list(mutate(model, every=True))
    assert {one.path for one in mutants} == {"0", "1"}
    assert mutants[0].fault == "eps"
    assert len(mutants) == 8
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), before, nnx.to_pure_dict(nnx.state(model))))
    assert (model[1].epsilon, model[0].padding, type(model[1])) == (1e-5, ((1, 1), (1, 1)), ours.BatchNorm)


def test_a_mutant_that_gets_away_is_said():
    """A comparison in the wrong mode sees no momentum."""
    fault = [Fault("momentum", one.apply, "eval") for one in FAULTS if one.name == "momentum"]
    torch_model, flax_model, x, axes = batch_norm(ours.BatchNorm(3, rngs=RNGS))
    randomize(torch_model)
    transfer(torch_model, flax_model)
    catches = catch_mutants(torch_model, flax_model, x, axes=axes, faults=fault)
    assert not catches.all_caught
    assert "NOTHING" in str(catches)


def test_the_probe_state_is_what_the_mutants_need():
    state = random_state({"norm.bias": ((50,), "floating-point"), "norm.weight": ((50,), "floating-point")})
    assert np.abs(state["norm.bias"]).min() >= 0.1
    assert np.abs(state["norm.weight"] - 1).max() <= 0.5
