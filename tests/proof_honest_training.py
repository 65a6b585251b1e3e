"""Honest pairs with inputs and weights that hide much, and honest pairs in training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import HONEST
from proof_pairs import IMAGE, ROWS, SEQUENCE, TOKENS, nets
from proof_structures import through
from proof_wrong import TorchPath, rngs, square
from torch import nn

from einops_arch.flax import layers
from einops_arch.port import optimizers, transfer

# Masks and constant inputs, which are honest too.


@HONEST.of("constant inputs")
def a_mask_that_hides_nothing():
    return nets(
        *square(),
        lambda m, x, k: torch.softmax(m.fc(x).masked_fill(~k, -1e9), -1),
        lambda m, x, k: jax.nn.softmax(jnp.where(k, m.fc(x), -1e9), -1),
        (ROWS, np.ones((4, 6), bool)),
    )


@HONEST.of("constant inputs")
def a_mask_of_ones():
    return nets(
        {"embed": nn.Embedding(11, 8)},
        {"embed": nnx.Embed(11, 8, rngs=rngs())},
        lambda m, t, k: (m.embed(t) * k[..., None]).sum(1) / k.sum(1, keepdim=True),
        lambda m, t, k: (m.embed(t) * k[..., None]).sum(1) / k.sum(1, keepdims=True),
        (TOKENS, np.ones_like(TOKENS)),
    )


@HONEST.of("constant inputs")
def full_lengths():
    return nets(
        {"embed": nn.Embedding(11, 8)},
        {"embed": nnx.Embed(11, 8, rngs=rngs())},
        lambda m, t, n: (m.embed(t) * (torch.arange(7) < n[:, None])[..., None]).sum(1) / n[:, None],
        lambda m, t, n: (m.embed(t) * (jnp.arange(7) < n[:, None])[..., None]).sum(1) / n[:, None],
        (TOKENS, np.full(3, 7)),
    )


@HONEST.of("constant inputs")
def a_row_of_ones():
    return nets(*square(), lambda m, x: torch.tanh(m.fc(x)), lambda m, x: jnp.tanh(m.fc(x)), np.ones((4, 6), "float32"))


@HONEST.of("constant inputs")
def an_image_of_zeros():
    return through(
        nn.Conv2d(3, 4, 3, padding=1), nnx.Conv(3, 4, (3, 3), padding=1, rngs=rngs()), 0 * IMAGE, axes="b c h w"
    )


# Training.


def training(torch_layer, flax_layer, inputs, **settings):
    return through(torch_layer, flax_layer, inputs, mode="train", **settings)


for _name, _make in {
    "batch norm": lambda: training(
        nn.BatchNorm2d(3), layers.BatchNorm(3, rngs=rngs()), IMAGE, axes="b c h w", steps=3, gradients=True
    ),
    "dropout of one rate": lambda: training(
        nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3)),
        layers.Sequential(layers.Linear(6, 5, rngs=rngs()), nnx.Dropout(0.3, rngs=rngs())),
        ROWS,
    ),
    "dropout in a call against a module": lambda: nets(
        *(square()[0], square()[1] | {"drop": nnx.Dropout(0.3, rngs=rngs())}),
        lambda m, x: F.dropout(m.fc(x), 0.3, m.training),
        lambda m, x: m.drop(m.fc(x)),
        ROWS,
        mode="train",
    ),
    "paths that are dropped": lambda: nets(
        square()[0] | {"drop": TorchPath(0.2)},
        square()[1] | {"drop": nnx.Dropout(0.2, broadcast_dims=(1,), rngs=rngs())},
        lambda m, x: x + m.drop(m.fc(x)),
        lambda m, x: x + m.drop(m.fc(x)),
        ROWS,
        mode="train",
    ),
    "a rate of zero on one side": lambda: nets(
        square()[0] | {"drop": nn.Dropout(0.0)},
        square()[1],
        lambda m, x: m.drop(m.fc(x)),
        lambda m, x: m.fc(x),
        ROWS,
        mode="train",
    ),
    "dropout in eval on one side": lambda: nets(
        square()[0] | {"drop": nn.Dropout(0.4)}, square()[1], lambda m, x: m.drop(m.fc(x)), lambda m, x: m.fc(x), ROWS
    ),
    "a layer that nothing calls": lambda: nets(
        square()[0] | {"drop": nn.Dropout(0.4)},
        square()[1],
        lambda m, x: m.fc(x),
        lambda m, x: m.fc(x),
        ROWS,
        mode="train",
    ),
}.items():
    HONEST.add("training", _name, _make)

for _optimizer in (
    optimizers.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    optimizers.Adam(lr=0.01),
    optimizers.AdamW(lr=0.01),
    optimizers.RMSprop(lr=0.01, momentum=0.9),
):
    HONEST.add(
        "training",
        type(_optimizer).__name__,
        lambda a=_optimizer: nets(
            *square(), lambda m, x: torch.tanh(m.fc(x)), lambda m, x: jnp.tanh(m.fc(x)), ROWS, optimizer=a
        ),
    )

# Values that no network around can see.


@HONEST.of("weights")
def an_embedding_of_which_few_rows_are_looked_up():
    return through(nn.Embedding(11, 8), nnx.Embed(11, 8, rngs=rngs()), TOKENS % 3)


@HONEST.of("weights")
def a_weight_that_is_stored_less_one():
    """Gemma's norms: the same name, another number."""

    class FlaxLess(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(jnp.zeros(8))

        def __call__(self, x):
            return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6) * (1 + self.weight[...])

    def carry(torch_model, flax_model):
        flax_model.layer.weight[...] = torch_model.layer.weight.detach().numpy() - 1

    return through(nn.RMSNorm(8, eps=1e-6), FlaxLess(), SEQUENCE, carry=carry, change=exact_less_one, axes="b t c")


def exact_less_one(torch_model, flax_model):
    """Weights for which 1 + (w - 1) is w in float32."""
    values = np.arange(1, 9, dtype=np.float32) / 8
    with torch.no_grad():
        torch_model.layer.weight.copy_(torch.from_numpy(values))
    flax_model.layer.weight[...] = values - 1


@HONEST.of("weights")
def gates_that_begin_at_zero():
    def closed(torch_model, flax_model):
        with torch.no_grad():
            torch_model.gamma.zero_()
        flax_model.gamma[...] = jnp.zeros(6, jnp.float32)

    return nets(
        square()[0] | {"gamma": nn.Parameter(torch.zeros(6))},
        square()[1] | {"gamma": nnx.Param(jnp.zeros(6, jnp.float32))},
        lambda m, x: x + m.gamma * torch.tanh(m.fc(x)),
        lambda m, x: x + m.gamma[...] * jnp.tanh(m.fc(x)),
        ROWS,
        change=closed,
    )


@HONEST.of("weights")
def fresh_biases():
    """As models begin: biases of zero, norms of one."""

    def fresh(torch_model, flax_model):
        with torch.no_grad():
            torch_model.layer[0].bias.zero_()
            torch_model.layer[1].bias.zero_()
            torch_model.layer[1].weight.fill_(1)
        transfer(torch_model, flax_model)

    return through(
        nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6)),
        layers.Sequential(layers.Linear(8, 6, rngs=rngs()), layers.LayerNorm(6, rngs=rngs())),
        SEQUENCE,
        change=fresh,
        axes="b t c",
    )
