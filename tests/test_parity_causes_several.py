"""Several faults in one model: each is found behind the others, with its own cause, in one comparison."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
import torch
from einops import rearrange
from flax import nnx

from einops_arch.flax import layers as ours
from einops_arch.parity import compare, randomize
from einops_arch.parity.causes import search as causes_search
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer

NN = torch.nn
RNGS = nnx.Rngs(0)
ROWS = random_numbers("rows", (3, 5, 12))


class TorchBlock(NN.Module):
    def __init__(self):
        super().__init__()
        self.norm = NN.LayerNorm(12)
        self.rnn = NN.LSTM(12, 6, batch_first=True)
        self.act = NN.GELU()
        self.fc = NN.Linear(6, 12)

    def forward(self, x):
        return x + self.fc(self.act(rearrange(self.rnn(self.norm(x))[0], "b n (g k) -> b n (k g)", g=2)))


class FlaxBlock(nnx.Module):
    def __init__(self):
        self.norm = ours.LayerNorm(12, rngs=RNGS)
        self.rnn = ours.LSTM(12, 6, batch_first=True, rngs=RNGS)
        self.act = ours.GELU()
        self.fc = ours.Linear(6, 12, rngs=RNGS)
        self.pattern = "b n (g k) -> b n (k g)"

    def __call__(self, x):
        return x + self.fc(self.act(rearrange(self.rnn(self.norm(x))[0], self.pattern, g=2)))


def pair(*, blocks=2):
    models = (
        NN.Sequential(*(TorchBlock() for _ in range(blocks))),
        ours.Sequential(*(FlaxBlock() for _ in range(blocks))),
    )
    randomize(models[0])
    transfer(*models)
    return models


def causes(models, **settings):
    report = compare(*models, ROWS, axes="b n c", **settings)
    assert report.cause == report.causes[0]
    return report.causes


def exchange_gates(rnn):
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        leaf = getattr(rnn, name)
        i, f, g, o = jnp.split(leaf[...], 4, axis=-1)
        leaf[...] = jnp.concatenate([i, g, f, o], axis=-1)


def test_two_norms_that_are_wrong_in_two_ways_and_a_form_of_gelu():
    models = pair()
    models[1][0].norm.epsilon = 1e-6
    models[1][1].norm.epsilon = 1e-3
    models[1][1].act.approximate = True
    assert causes(models) == (
        "0.norm: would be explained by epsilon=1e-5, the Flax module has 1e-6",
        "1.norm: would be explained by epsilon=1e-5, the Flax module has 0.001",
        "1.act: would be explained by approximate=False, the Flax module has True",
    )


def test_one_mistake_in_many_modules_is_one_sentence():
    models = pair(blocks=4)
    for block in models[1]:
        block.norm.epsilon = 1e-6
    assert causes(models) == (
        "0.norm, 1.norm, 2.norm and 1 more: would be explained by epsilon=1e-5, the Flax module has 1e-6",
    )


def test_a_fault_between_modules_behind_faults_in_them():
    models = pair()
    block = models[1][1]
    # One before the fault between them, with two outputs, and one after.
    exchange_gates(block.rnn)
    block.pattern = "b n (g k) -> b n (g k)"
    block.fc.bias[...] = -block.fc.bias[...]
    found = causes(models)
    assert len(found) == 3
    assert found[0].startswith(
        "1.rnn: would be explained by PyTorch's weights: weight_ih_l0 has its gates in the order i g f o"
    )
    assert found[1].startswith("1: ")
    assert "would be explained by" in found[1]
    assert found[2].startswith("1.fc: would be explained by PyTorch's weights: bias has other values")
    report = compare(*models, ROWS, axes="b n c")
    assert report.first_divergence.path == "1.rnn"
    assert "\n".join(found) in str(report)
    assert report.to_dict()["causes"] == list(found)


def test_a_fault_between_modules_is_not_said_where_there_is_none():
    """The network and both blocks are right once the layer in them is."""
    models = pair()
    exchange_gates(models[1][0].rnn)
    assert [one.partition(":")[0] for one in causes(models)] == ["0.rnn"]


def test_a_module_that_is_called_again_and_whose_attributes_are_used():
    class Torch(NN.Module):
        def __init__(self):
            super().__init__()
            self.embed = NN.LayerNorm(12)
            self.act = NN.Tanh()

        def forward(self, x):
            return self.act(self.embed(self.embed(x) + 1)) * self.embed.weight.sum()

    class Flax(nnx.Module):
        def __init__(self):
            self.embed = ours.LayerNorm(12, rngs=RNGS)

        def __call__(self, x):
            # The activation is no module here, and another.
            return jax.nn.sigmoid(self.embed(self.embed(x) + 1)) * self.embed.scale[...].sum()

    models = Torch(), Flax()
    randomize(models[0])
    transfer(*models)
    models[1].embed.epsilon = 1e-4
    found = causes(models)
    assert found[0] == "embed: would be explained by epsilon=1e-5, the Flax module has 0.0001"
    assert found[1].startswith("the network: not explained by any of the ")
    assert len(found) == 2


def test_modules_of_other_paths_are_looked_into():
    class Renamed(FlaxBlock):
        def __init__(self):
            super().__init__()
            self.recurrent, self.last = self.rnn, self.fc
            del self.rnn, self.fc

        def __call__(self, x):
            return x + self.last(self.act(rearrange(self.recurrent(self.norm(x))[0], self.pattern, g=2)))

    torch_model, flax_model = TorchBlock(), Renamed()
    randomize(torch_model)
    names = {"rnn": "recurrent", "fc": "last"}
    state = {
        f"{names.get(a := key.partition('.')[0], a)}.{key.partition('.')[2]}": v
        for key, v in torch_model.state_dict().items()
    }
    transfer(state, flax_model)
    flax_model.norm.epsilon = 1e-6
    flax_model.pattern = "b n (g k) -> b n (g k)"
    found = causes((torch_model, flax_model), paths=names)
    assert found[0].startswith("norm: would be explained by epsilon=1e-5")
    assert found[1].startswith("the network: would be explained by '(b a)'")


@pytest.mark.parametrize(("name", "value"), [("_MOST", 1), ("_PATIENCE", 0.0)])
def test_the_search_comes_to_an_end_and_says_so(monkeypatch, name, value):
    monkeypatch.setattr(causes_search, name, value)
    models = pair()
    models[1][0].norm.epsilon = 1e-6
    models[1][1].norm.epsilon = 1e-3
    assert causes(models) == (
        "0.norm: would be explained by epsilon=1e-5, the Flax module has 1e-6",
        "after 1 causes no further ones were looked for",
    )
