"""Linear, Embed, dropout and activations in Flax are those of PyTorch, initial distributions included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_parity import SAME_FUNCTION, compare, draw, rms, twin, unchanged

from einops_arch.flax.layers import (
    GELU,
    GRU,
    Conv,
    ConvTranspose,
    Dropout,
    Embed,
    Identity,
    Linear,
    LogSoftmax,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)

pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    compare(
        torch.nn.Linear(7, 5, bias=bias),
        lambda: Linear(7, 5, use_bias=bias, rngs=nnx.Rngs(0)),
        draw(3, 9, 13, 7),
        enter=unchanged,
        leave=unchanged,
        float32=bias,
    )


ACTIVATIONS = [
    (torch.nn.ReLU(), ReLU()),
    (torch.nn.GELU(), GELU()),
    (torch.nn.GELU(approximate="tanh"), GELU(approximate=True)),
    (torch.nn.Tanh(), Tanh()),
    (torch.nn.Sigmoid(), Sigmoid()),
    (torch.nn.LogSoftmax(dim=-1), LogSoftmax()),
    (torch.nn.LogSoftmax(dim=1), LogSoftmax(axis=1)),
    (torch.nn.Identity(), Identity()),
]


@pytest.mark.parametrize(
    ("layer", "module"), ACTIVATIONS, ids=lambda value: repr(value) if isinstance(value, torch.nn.Module) else ""
)
def test_activations(layer, module):
    x = np.concatenate([draw(1, 4, 5), np.full((4, 1), 2.7), np.full((4, 1), -2.7), np.zeros((4, 1))], axis=1) * 2
    weights = draw(2, *x.shape)
    given = torch.from_numpy(x).requires_grad_()
    expected = layer(given)
    (expected * torch.from_numpy(weights)).sum().backward()
    found, back = jax.vjp(module, jnp.asarray(x))
    for ours, theirs in ((found, expected.detach()), (back(jnp.asarray(weights))[0], given.grad)):
        assert rms(np.asarray(ours) - theirs.numpy()) <= SAME_FUNCTION * rms(theirs.numpy())


@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embed(padding):
    indices = np.asarray([[0, 2, 6, 2], [5, 1, 0, 6]])
    layer = torch.nn.Embedding(7, 3, padding_idx=padding).double()
    with torch.no_grad():  # a checkpoint may hold anything in the padding row; it is looked up like any other
        layer.weight.copy_(torch.from_numpy(draw(1, 7, 3)))
    module = twin(layer, lambda: Embed(7, 3, padding_idx=padding, rngs=nnx.Rngs(0)), "float64")
    expected, weights = layer(torch.from_numpy(indices)), draw(2, 2, 4, 3)
    (expected * torch.from_numpy(weights)).sum().backward()
    np.testing.assert_array_equal(np.asarray(module(indices)), expected.detach().numpy())
    graph, state = nnx.split(module)
    gradient = jax.grad(lambda state: (nnx.merge(graph, state)(indices) * jnp.asarray(weights)).sum())(state)
    np.testing.assert_allclose(np.asarray(gradient["embedding"][...]), layer.weight.grad.numpy(), rtol=1e-14)
    untouched = {None: [3, 4], 2: [2, 3, 4], -1: [3, 4, 6]}[padding]
    assert np.flatnonzero(~layer.weight.grad.numpy().any(axis=1)).tolist() == untouched


def test_dropout_in_evaluation_and_at_its_ends():
    x = jnp.asarray(draw(1, 3, 4))
    for rate in (0.0, 1.0):
        expected = torch.nn.Dropout(rate)(torch.from_numpy(np.array(x))).numpy()
        np.testing.assert_array_equal(np.asarray(Dropout(rate, rngs=nnx.Rngs(0))(x)), expected)
    module = Dropout(0.5, rngs=nnx.Rngs(0))
    module.eval()
    assert module(x) is x


def test_the_paths_of_sequential_are_those_of_pytorch():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    module = Sequential(Linear(3, 4, rngs=nnx.Rngs(0)), ReLU(), Linear(4, 2, rngs=nnx.Rngs(0)))
    names = {"kernel": "weight", "bias": "bias"}
    paths = {".".join((*path[:-1], names[path[-1]])) for path, _ in nnx.to_flat_state(nnx.state(module))}
    assert paths == set(layer.state_dict())


# (PyTorch's layer, ours, the bound of the uniform distribution)
INITIAL = {
    "Linear": (lambda: torch.nn.Linear(50, 400), lambda r: Linear(50, 400, rngs=r), 50**-0.5),
    "Conv": (
        lambda: torch.nn.Conv2d(12, 400, (3, 2), groups=4),
        lambda r: Conv(12, 400, (3, 2), feature_group_count=4, rngs=r),
        18**-0.5,
    ),
    "ConvTranspose": (
        lambda: torch.nn.ConvTranspose2d(400, 20, (3, 2), groups=4),
        lambda r: ConvTranspose(400, 20, (3, 2), feature_group_count=4, rngs=r),
        30**-0.5,
    ),
    "GRU": (lambda: torch.nn.GRU(40, 100), lambda r: GRU(40, 100, rngs=r), 100**-0.5),
}


@pytest.mark.parametrize("name", INITIAL)
def test_initial_distributions(name):
    build, build_ours, bound = INITIAL[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = {key: value.detach().numpy() for key, value in build().named_parameters()}
    ours = nnx.to_pure_dict(nnx.state(build_ours(nnx.Rngs(0)), nnx.Param))
    assert len(ours) == len(theirs)
    for key, value in ours.items():
        drawn, of_torch = np.asarray(value, np.float64), theirs[{"kernel": "weight"}.get(key, key)]
        assert value.dtype == "float32"
        assert drawn.size == of_torch.size
        for sample in (drawn, of_torch):  # ours and PyTorch's are held to the same distribution
            size = sample.size
            assert bound * (1 - 20 / size) < np.abs(sample).max() <= bound * (1 + 1e-6)
            # A uniform variable: deviation bound / sqrt(3); of the mean and of the deviation, five standard errors.
            deviation = bound / np.sqrt(3)
            assert abs(sample.mean()) < 5 * deviation / np.sqrt(size)
            assert abs(sample.std() / deviation - 1) < 5 * np.sqrt((9 / 5 - 1) / 4 / size)


def test_the_initial_table_of_embed_is_standard_normal():
    table = np.asarray(Embed(200, 50, padding_idx=3, rngs=nnx.Rngs(0)).embedding[...], np.float64)
    assert not table[3].any()
    rows = np.delete(table, 3, axis=0)
    assert abs(rows.mean()) < 5 / np.sqrt(rows.size)
    assert abs(rows.std() - 1) < 5 / np.sqrt(2 * rows.size)
    theirs = torch.nn.Embedding(200, 50, padding_idx=3).weight.detach().numpy()
    assert not theirs[3].any()
    assert abs(np.delete(theirs, 3, axis=0).std() - 1) < 5 / np.sqrt(2 * rows.size)
