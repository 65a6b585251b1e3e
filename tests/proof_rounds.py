"""Pairs from a round of attacks: what one draw of inputs does not show, state that is not registered, and constants."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import HONEST
from proof_pairs import IMAGE, ROWS, SEQUENCE, TOKENS, Flax, Torch, Trial, draw, nets
from proof_wrong import WRONG, carry_fc, rngs
from proof_wrong_calls import linear, pair
from torch import nn

from einops_arch.flax import layers
from einops_arch.parity import randomize
from einops_arch.port import transfer

# What the inputs do not show: they count up, are one number, or take one way through the model.


@WRONG.of("inputs")
def positions_that_are_not_read():
    return nets(
        {"token": nn.Embedding(11, 5), "position": nn.Embedding(9, 5)},
        {"token": nnx.Embed(11, 5, rngs=rngs()), "position": nnx.Embed(9, 5, rngs=rngs())},
        lambda m, t, p: m.token(t) + m.position(p),
        lambda m, t, p: m.token(t) + m.position(jnp.broadcast_to(jnp.arange(p.shape[1]), p.shape)),
        (TOKENS, np.arange(7)[None].repeat(3, 0)),
    )


@HONEST.of("constant inputs")
def positions_that_count_up():
    return nets(
        {"token": nn.Embedding(11, 5), "position": nn.Embedding(9, 5)},
        {"token": nnx.Embed(11, 5, rngs=rngs()), "position": nnx.Embed(9, 5, rngs=rngs())},
        lambda m, t, p: m.token(t) + m.position(p),
        lambda m, t, p: m.token(t) + m.position(p),
        (TOKENS, np.arange(7)[None].repeat(3, 0)),
    )


def scaled(flax_function):
    """A second input that is a single number."""
    return nets(
        {"fc": nn.Linear(6, 6)},
        {"fc": nnx.Linear(6, 6, rngs=rngs())},
        lambda m, x, scale: m.fc(x) * scale,
        flax_function,
        (ROWS, np.ones((), np.float32)),
    )


WRONG.add("inputs", "a scale of one that is not read", lambda: scaled(lambda m, x, scale: m.fc(x)))
HONEST.add("constant inputs", "a scale of one", lambda: scaled(lambda m, x, scale: m.fc(x) * scale))


def two_ways(change=None):
    """Two layers, of which the inputs take one."""
    return nets(
        {"near": nn.Linear(6, 6), "far": nn.Linear(6, 6)},
        {"near": nnx.Linear(6, 6, rngs=rngs()), "far": nnx.Linear(6, 6, rngs=rngs())},
        lambda m, x: m.near(x) if x.mean() > -9 else m.far(x),
        lambda m, x: jax.lax.cond(x.mean() > -9, lambda: m.near(x), lambda: m.far(x)),
        ROWS,
        change=change,
    )


def other_bias(torch_model, flax_model):
    del torch_model
    flax_model.far.bias[...] = flax_model.far.bias[...] + 1


WRONG.add("weights", "a layer that these inputs do not reach", lambda: two_ways(other_bias))
HONEST.add("weights", "a layer that these inputs do not reach", two_ways)

# State that is not registered.


class TorchAverage(nn.Module):
    """Keeps a mean as a plain attribute, for later."""

    def __init__(self, rate):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.rate, self.average = rate, torch.zeros(6)

    def forward(self, x):
        y = self.fc(x)
        if self.training:
            self.average = (1 - self.rate) * self.average.to(y.dtype) + self.rate * y.detach().mean(0)
        return y


def with_plain_state(rate):
    torch_model, flax_model = TorchAverage(rate), Flax(linear, {"fc": nnx.Linear(6, 6, rngs=rngs())})
    randomize(torch_model)
    transfer(torch_model, flax_model)
    return Trial(torch_model, flax_model, ROWS, {"mode": "train", "steps": 3})


WRONG.add("buffers", "a mean that is a plain attribute", lambda: with_plain_state(0.1))
HONEST.add("training", "a plain attribute that remembers the last call", lambda: with_plain_state(1.0))


@WRONG.of("rates")
def one_layer_of_dropout_twice_in_the_place_of_two():
    return pair(
        lambda m, x: m.second(m.first(m.fc(x))),
        lambda m, x: m.first(m.first(m.fc(x))),
        torch_layers={"first": nn.Dropout(0.1), "second": nn.Dropout(0.3)},
        flax_layers={"first": nnx.Dropout(0.1, rngs=rngs()), "second": nnx.Dropout(0.3, rngs=rngs())},
        mode="train",
    )


# Constants that one side holds and the other writes down or computes.

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3)).astype(np.uint8)


def constant(torch_function, flax_function, *, torch_layers=None, flax_layers=None):
    return pair(torch_function, flax_function, torch_layers=torch_layers, flax_layers=flax_layers, carry=carry_fc)


for _name, _make in {
    "a number in a buffer, written down in Flax": lambda: constant(
        lambda m, x: m.fc(x) * m.scale, lambda m, x: m.fc(x) * 0.1, torch_layers={"scale": torch.tensor(0.1)}
    ),
    "a number in a variable, written down in torch": lambda: constant(
        lambda m, x: m.fc(x) * 0.1,
        lambda m, x: m.fc(x) * m.scale[...],
        flax_layers={"scale": nnx.Variable(jnp.asarray(0.1))},
    ),
    "a number in a buffer, of float32 in Flax": lambda: constant(
        lambda m, x: m.fc(x) * m.scale,
        lambda m, x: m.fc(x) * jnp.float32(0.1),
        torch_layers={"scale": torch.tensor(0.1)},
    ),
    "a root of float32": lambda: constant(
        lambda m, x: m.fc(x) / math.sqrt(6), lambda m, x: m.fc(x) * jax.lax.rsqrt(jnp.float32(6))
    ),
    "a root of float32 in torch": lambda: constant(
        lambda m, x: m.fc(x) / torch.sqrt(torch.tensor(6.0)), lambda m, x: m.fc(x) / jnp.sqrt(6.0)
    ),
    "pixels that are normalized": lambda: nets(
        {"fc": nn.Linear(3, 5), "mean": torch.tensor(MEAN), "deviation": torch.tensor(DEVIATION)},
        {"fc": nnx.Linear(3, 5, rngs=rngs())},
        lambda m, x: m.fc((x / 255 - m.mean) / m.deviation),
        lambda m, x: m.fc((x / 255 - jnp.asarray(MEAN)) / jnp.asarray(DEVIATION)),
        PIXELS,
        carry=carry_fc,
    ),
}.items():
    HONEST.add("tables and buffers", _name, _make)

for _name, _make in {
    "a number in a buffer, another in Flax": lambda: constant(
        lambda m, x: m.fc(x) * m.scale, lambda m, x: m.fc(x) * 0.100001, torch_layers={"scale": torch.tensor(0.1)}
    ),
    "a root of another number": lambda: constant(
        lambda m, x: m.fc(x) / math.sqrt(6), lambda m, x: m.fc(x) * jax.lax.rsqrt(jnp.float32(6.00001))
    ),
    "pixels by 256": lambda: nets(
        {"fc": nn.Linear(3, 5), "mean": torch.tensor(MEAN), "deviation": torch.tensor(DEVIATION)},
        {"fc": nnx.Linear(3, 5, rngs=rngs())},
        lambda m, x: m.fc((x / 255 - m.mean) / m.deviation),
        lambda m, x: m.fc((x / 256 - jnp.asarray(MEAN)) / jnp.asarray(DEVIATION)),
        PIXELS,
        carry=carry_fc,
    ),
}.items():
    WRONG.add("tables", _name, _make)

# Numbers of other sizes, ties and loops.

for _kind, _name, _torch, _flax, _settings in (
    (
        "scales",
        "small numbers beside large ones",
        lambda m, x: torch.cat([1e15 * m.fc(x), torch.tanh(m.fc(x))], -1),
        lambda m, x: jnp.concatenate([1e15 * m.fc(x), jnp.sin(m.fc(x))], -1),
        {},
    ),
    (
        "gradients",
        "the slope of a maximum at ties",
        lambda m, x: (m.fc(x), x.max(-1).values),
        lambda m, x: (m.fc(x), x.max(-1)),
        {"gradients": True},
    ),
    (
        "containers",
        "keys that are numbers",
        lambda m, x: {0: m.fc(x), 1: 2 * m.fc(x)},
        lambda m, x: {1: m.fc(x), 0: 2 * m.fc(x)},
        {},
    ),
    (
        "numbers thrown away",
        "the sign of a remainder",
        lambda m, x: torch.fmod(m.fc(x), 0.7),
        lambda m, x: jnp.mod(m.fc(x), 0.7),
        {},
    ),
    (
        "infinities",
        "a softmax that overflows in float32",
        lambda m, x: torch.softmax(90 * m.fc(x), -1),
        lambda m, x: jnp.exp(90 * m.fc(x)) / jnp.exp(90 * m.fc(x)).sum(-1, keepdims=True),
        {},
    ),
):
    WRONG.add(_kind, _name, lambda a=_torch, b=_flax, c=_settings: pair(a, b, np.round(3 * ROWS), **c))


@WRONG.of("dtypes")
def a_scan_that_carries_bfloat16():
    def summed(m, x):
        def step(total, row):
            total = total.astype(jnp.bfloat16) + row.astype(jnp.bfloat16)
            return total, total

        start = jnp.zeros((x.shape[0], 8), jnp.bfloat16)
        return jax.lax.scan(step, start, m.fc(x).swapaxes(0, 1))[1].swapaxes(0, 1).astype(x.dtype)

    layouts = {"": "b t c -> b t c", "fc": "b t c -> b t c"}
    return pair(lambda m, x: m.fc(x).cumsum(1), summed, SEQUENCE, width=8, axes="b t c", layouts=layouts)


@HONEST.of("numerics")
def weights_that_are_standardized():
    def torch_call(m, x):
        kernel = m.conv.weight
        variance = kernel.var((1, 2, 3), keepdim=True, unbiased=False)
        kernel = (kernel - kernel.mean((1, 2, 3), keepdim=True)) / torch.sqrt(variance + 1e-6)
        return F.conv2d(x, kernel, m.conv.bias, padding=1)

    def flax_call(m, x):
        kernel = m.conv.kernel[...]
        kernel = (kernel - kernel.mean((0, 1, 2))) / jnp.sqrt(kernel.var((0, 1, 2)) + 1e-6)
        numbers = ("NHWC", "HWIO", "NHWC")
        return (
            jax.lax.conv_general_dilated(x, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=numbers)
            + m.conv.bias[...]
        )

    return nets(
        {"conv": nn.Conv2d(3, 5, 3, padding=1)},
        {"conv": nnx.Conv(3, 5, (3, 3), padding=1, rngs=rngs())},
        torch_call,
        flax_call,
        IMAGE,
        axes="b c h w",
        layouts={"": "b c h w -> b h w c"},
    )


@HONEST.of("integers")
def experts_by_the_two_largest():
    def torch_call(m, x):
        weights, chosen = torch.softmax(m.fc(x), -1).topk(2, -1)
        experts = torch.stack([m.expert(x * (n + 1)) for n in range(6)], 1)
        return (experts.gather(1, chosen[..., None].expand(-1, -1, 6)) * weights[..., None]).sum(1)

    def flax_call(m, x):
        weights, chosen = jax.lax.top_k(nnx.softmax(m.fc(x)), 2)
        experts = jnp.stack([m.expert(x * (n + 1)) for n in range(6)], 1)
        return jnp.einsum("be,bec->bc", (jax.nn.one_hot(chosen, 6) * weights[..., None]).sum(1), experts)

    return pair(
        torch_call,
        flax_call,
        draw(16, 6),
        torch_layers={"expert": nn.Linear(6, 6)},
        flax_layers={"expert": nnx.Linear(6, 6, rngs=rngs())},
    )


# Where each module is called by itself, what calls change and what is dropped is compared all the same.

TAUGHT = {"mode": "train", "teacher": True}


def taught(torch_norm, flax_norm):
    return nets(
        {"norm": torch_norm},
        {"norm": flax_norm},
        lambda m, x: m.norm(x),
        lambda m, x: m.norm(x),
        draw(8, 6),
        axes="b c",
        steps=2,
        **TAUGHT,
    )


WRONG.add(
    "buffers",
    "momentum, module by module",
    lambda: taught(nn.BatchNorm1d(6), layers.BatchNorm(6, momentum=0.8, rngs=rngs())),
)
HONEST.add(
    "training", "batch norm, module by module", lambda: taught(nn.BatchNorm1d(6), layers.BatchNorm(6, rngs=rngs()))
)


def dropped(rate):
    return pair(
        lambda m, x: m.drop(m.fc(x)),
        lambda m, x: m.drop(m.fc(x)),
        torch_layers={"drop": nn.Dropout(0.2)},
        flax_layers={"drop": nnx.Dropout(rate, rngs=rngs())},
        **TAUGHT,
    )


WRONG.add("rates", "dropout, module by module", lambda: dropped(0.5))
HONEST.add("training", "dropout, module by module", lambda: dropped(0.2))


@HONEST.of("complex")
def slopes_of_complex_weights():
    numbers = (draw(6, 6, seed=1) + 1j * draw(6, 6, seed=2)).astype(np.complex64)
    torch_model = Torch(
        lambda m, x: (x.to(m.weight.dtype) @ m.weight).abs(), {"weight": nn.Parameter(torch.from_numpy(numbers))}
    )
    flax_model = Flax(lambda m, x: jnp.abs(x @ m.weight[...]), {"weight": nnx.Param(jnp.asarray(numbers))})
    return Trial(torch_model, flax_model, ROWS, {"gradients": True})
