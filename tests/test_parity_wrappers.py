"""The layers of both frameworks are the same functions, with the same weights and the same initial distributions."""

from __future__ import annotations

import inspect

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.flax import layers as flax_layers
from einops_arch.functional import to_channels_first, to_channels_last
from einops_arch.torch import layers as torch_layers

SHARED = torch_layers.__all__
# Those of einops in PyTorch, and those without arguments.
NO_OWN_CONSTRUCTOR = {"Rearrange", "Reduce", "EinMix", "MergeHeads", "MergeDirections"}

# Class, arguments, shape of an input as PyTorch has it, and whether input and output have channels.
MOVES = [
    ("ChannelShuffle", {"groups": 3}, (2, 6, 5, 7), True, True),
    ("ChannelShuffle", {"groups": 3}, (2, 6, 3, 5, 7), True, True),
    ("ChannelUnshuffle", {"groups": 3}, (2, 6, 5, 7), True, True),
    ("DepthToSpace", {"factor": 3}, (2, 18, 5, 7), True, True),
    ("DepthToSpace", {"factor": (3, 2), "order": "DCR"}, (2, 30, 5, 7), True, True),
    ("DepthToSpace", {"factor": (3, 2), "drop_channel": True}, (2, 6, 5, 7), True, False),
    ("DepthToSpace", {"factor": 2}, (2, 24, 3, 5, 7), True, True),
    ("SpaceToDepth", {"factor": (5, 2)}, (2, 3, 10, 14), True, True),
    ("SpaceToDepth", {"factor": 2, "order": "DCR"}, (2, 3, 10, 14), True, True),
    ("UpsampleNearest", {"factor": (2, 3)}, (2, 3, 5, 7), True, True),
    ("Patchify", {"patch": (5, 2)}, (2, 3, 10, 14), True, False),
    ("Unpatchify", {"patch": (5, 2), "grid": (3, 7)}, (2, 21, 110), False, True),
    ("FlattenFeatures", {"channels": 3, "spatial": (5, 7)}, (2, 3, 5, 7), True, False),
    ("UnflattenFeatures", {"channels": 3, "spatial": (5, 7)}, (2, 105), False, True),
    ("FlattenSequence", {}, (5, 2, 3), False, False),
    ("UnflattenSequence", {"b": 2, "batch_first": True}, (10, 3), False, False),
    ("SplitHeads", {"heads": 3}, (2, 7, 15), False, False),
    ("MergeHeads", {}, (2, 3, 7, 5), False, False),
    ("SplitDirections", {}, (6, 5, 7), False, False),
    ("MergeDirections", {}, (3, 2, 5, 7), False, False),
]
EINMIX = [
    (("b c -> b o", "c o", "o"), {"c": 5, "o": 3}, (2, 5)),
    (("b c -> b o", "o c"), {"c": 5, "o": 3}, (2, 5)),
    (("b ... c -> b ... o", "c o", "o"), {"c": 5, "o": 3}, (2, 7, 11, 5)),
    (("b n (heads c) -> b heads n k", "heads c k", "heads k"), {"heads": 3, "c": 5, "k": 2}, (2, 7, 15)),
    (("b (h r1) c -> b h (o r1)", "h o c", "r1 o"), {"h": 2, "r1": 3, "o": 7, "c": 5}, (2, 6, 5)),
    (("b c -> b c", "c", "c"), {"c": 5}, (2, 5)),
    (("... c h -> ... o", "c h o"), {"c": 5, "h": 3, "o": 2}, (2, 7, 5, 3)),
]


def distinct(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_both_frameworks_have_the_same_layers():
    assert set(SHARED) <= set(flax_layers.__all__)
    for name in set(SHARED) - NO_OWN_CONSTRUCTOR:
        # Of the constructor: NNX hides the signature of the class.
        there, here = (inspect.signature(getattr(layers, name).__init__) for layers in (torch_layers, flax_layers))
        assert list(there.parameters) == list(here.parameters), name
        for argument, one in there.parameters.items():
            other = here.parameters[argument]
            assert one.kind == other.kind
            if argument == "data_format":
                assert (one.default, other.default) == ("channels_first", "channels_last")
            else:
                assert one.default == other.default


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "image_in", "image_out"), MOVES, ids=[f"{case[0]}-{case[1]}" for case in MOVES]
)
def test_a_move_is_the_same_bit_for_bit(name, arguments, shape, image_in, image_out, device):
    x = distinct(shape)
    there = getattr(torch_layers, name)(**arguments)(torch.from_numpy(x).to(device)).cpu().numpy()
    here = getattr(flax_layers, name)(**arguments)(jnp.asarray(to_channels_last(x) if image_in else x))
    assert here.dtype == there.dtype
    np.testing.assert_array_equal(to_channels_first(np.asarray(here)) if image_out else here, there)


@pytest.mark.parametrize("normalize", ["spatial", "full", "none"])
def test_gram_matrices_are_the_same_in_float64(normalize, device):
    x = normal((2, 3, 5, 7), seed=0)
    there = torch_layers.GramMatrix(normalize)(torch.from_numpy(x).to(device)).cpu().numpy()
    here = np.asarray(flax_layers.GramMatrix(normalize)(jnp.asarray(to_channels_last(x))))
    assert here.dtype == there.dtype == np.float64
    assert np.abs(here - there).max() <= 1e-12 * np.abs(there).max()


@pytest.mark.parametrize(
    ("name", "arguments", "sizes"),
    [
        ("Rearrange", ("b (c k) h -> (b h) k c",), {"k": 3}),
        ("Repeat", ("b c h -> b (n c) h 2",), {"n": 3}),
        ("Reduce", ("b (c k) h -> b k", "max"), {"k": 3}),
        ("Reduce", ("b ... -> ...", "min"), {}),
    ],
)
def test_patterns_are_einops_in_both(name, arguments, sizes, device):
    x = distinct((2, 6, 5))
    wanted = getattr(einops, name.lower())(x, *arguments, **sizes)
    there = getattr(torch_layers, name)(*arguments, **sizes)
    here = getattr(flax_layers, name)(*arguments, **sizes)
    assert repr(there) == repr(here)
    np.testing.assert_array_equal(there(torch.from_numpy(x).to(device)).cpu().numpy(), wanted)
    np.testing.assert_array_equal(here(jnp.asarray(x)), wanted)


@pytest.mark.parametrize(("arguments", "sizes", "shape"), EINMIX, ids=[case[0][0] for case in EINMIX])
def test_einmix_is_the_same_layer(arguments, sizes, shape, device):
    there = torch_layers.EinMix(*arguments, **sizes).double().to(device)
    here = flax_layers.EinMix(*arguments, **sizes, rngs=nnx.Rngs(0))
    state = {name: value.detach().cpu().numpy() for name, value in there.state_dict().items()}
    assert {name: value.shape for name, value in nnx.to_pure_dict(nnx.state(here)).items()} == {
        name: value.shape for name, value in state.items()
    }
    for name, value in state.items():
        getattr(here, name).set_value(jnp.asarray(value))

    x = normal(shape, seed=1)
    wanted = there(torch.from_numpy(x).to(device))
    cotangent = normal(tuple(wanted.shape), seed=2)
    wanted.backward(torch.from_numpy(cotangent).to(device))
    got, pull = jax.vjp(lambda weights: weights(jnp.asarray(x)), here)
    (gradients,) = pull(jnp.asarray(cotangent))

    def same(one: np.ndarray, other: np.ndarray) -> None:
        assert one.dtype == other.dtype == np.float64
        assert np.abs(one - other).max() <= 1e-12 * np.abs(other).max()

    same(np.asarray(got), wanted.detach().cpu().numpy())
    for name, parameter in there.named_parameters():
        same(np.asarray(getattr(gradients, name)[...]), parameter.grad.cpu().numpy())


@pytest.mark.parametrize(
    ("arguments", "sizes", "fan_in"),
    [
        (("b c h -> b o n", "c h o n", "o n"), {"c": 2, "h": 6, "o": 500, "n": 10}, 12),
        (("b c -> b c", "c", "c"), {"c": 50_000}, 1),
    ],
)
def test_einmix_draws_from_the_same_distribution(arguments, sizes, fan_in):
    """Uniform between minus and plus the bound, on both sides: 5,000 values and more of each parameter."""
    torch.manual_seed(0)
    there = torch_layers.EinMix(*arguments, **sizes)
    here = flax_layers.EinMix(*arguments, **sizes, rngs=nnx.Rngs(0))
    for name, bound in (("weight", (3 / fan_in) ** 0.5), ("bias", (1 / fan_in) ** 0.5)):
        for values in (getattr(there, name).detach().numpy(), np.asarray(getattr(here, name)[...])):
            n = values.size
            assert n >= 5_000
            scaled = np.sort(values.ravel()) / bound
            assert np.abs(scaled).max() <= 1 + 1e-6  # the bound in float32
            # The chance to miss a uniform distribution's value by six standard errors is one in 500 million.
            assert abs(scaled.mean()) <= 6 * (1 / 3 / n) ** 0.5
            assert abs(scaled.var() - 1 / 3) <= 6 * (4 / 45 / n) ** 0.5
            # Kolmogorov's distance to the uniform distribution, at a chance of about one in a billion.
            assert np.abs((scaled + 1) / 2 - (np.arange(n) + 0.5) / n).max() <= 3.3 / n**0.5
