"""Wrong pairs that are aimed at the comparison itself: each has a fault that something about it might hide."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_pairs import HIDDEN, IMAGE, ROWS, SEQUENCE, TOKENS, WIDTH, Cases, after_linear, draw, nets
from torch import nn

from einops_arch.flax import layers

WRONG = Cases()
KEEP = torch.from_numpy(HIDDEN)
MASK = (np.random.default_rng(1).random((4, 6)) > 0.5).astype(np.float32)


def rngs():
    return nnx.Rngs(0)


def square():
    """A layer from 6 to 6 on both sides."""
    return {"fc": nn.Linear(6, 6)}, {"fc": nnx.Linear(6, 6, rngs=rngs())}


# Rounding that a network magnifies, and a fault beneath it.


class TorchBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x, mask=None):
        y = torch.tanh(self.fc(x))
        return y if mask is None else y * mask


class FlaxBlock(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=rngs())

    def __call__(self, x, mask=None):
        y = jnp.tanh(self.fc(x))
        return y if mask is None else y * mask


@WRONG.of("magnified rounding")
def a_mask_forgotten_in_the_second_call():
    return nets(
        {"b": TorchBlock()},
        {"b": FlaxBlock()},
        lambda m, x, k: m.b(m.b(x), k),
        lambda m, x, k: m.b(m.b(x)),
        (ROWS, MASK),
    )


@WRONG.of("magnified rounding")
def code_between_two_calls_of_a_module():
    return nets(
        {"b": TorchBlock()},
        {"b": FlaxBlock()},
        lambda m, x: m.b(F.gelu(m.b(x), approximate="tanh")),
        lambda m, x: m.b(jax.nn.gelu(m.b(x), approximate=False)),
        ROWS,
    )


class TorchMap(nn.Module):
    def forward(self, x):
        return 3.99 * x * (1 - x)


class FlaxMap(nnx.Module):
    def __init__(self, fault=0.0):
        self.fault = fault

    def __call__(self, x):
        return (3.99 + self.fault) * x * (1 - x)


def chaos(steps, flax_map, before=lambda x: x, after=lambda x: x, torch_after=lambda x: x):
    """A layer, steps of the logistic map, a layer."""

    def torch_steps(model, x):
        x = torch.sigmoid(model.first(x))
        for _ in range(steps):
            x = model.step(x)
        return torch_after(model.last(x))

    def flax_steps(model, x):
        x = before(jax.nn.sigmoid(model.first(x)))
        for _ in range(steps):
            x = model.step(x)
        return after(model.last(x))

    return nets(
        {"first": nn.Linear(6, 6), "step": TorchMap(), "last": nn.Linear(6, 5)},
        {
            "first": nnx.Linear(6, 6, rngs=rngs()),
            "step": flax_map,
            "last": nnx.Linear(6, 5, rngs=rngs()),
        },
        torch_steps,
        flax_steps,
        ROWS,
        causes=True,
    )


for _name, _make in {
    "a fault in each step of a chaotic network": lambda: chaos(30, FlaxMap(1e-9)),
    "a fault of 1e-11 before a chaotic network": lambda: chaos(30, FlaxMap(), before=lambda x: x * (1 + 1e-11)),
    "a fault after a chaotic network": lambda: chaos(30, FlaxMap(), after=lambda y: y * 1.001),
    "another activation after a chaotic network": lambda: chaos(30, FlaxMap(), after=jax.nn.gelu, torch_after=F.gelu),
}.items():
    WRONG.add("magnified rounding", _name, _make)

# Values that are lost on the way to the comparison.


@dataclasses.dataclass
class TorchOut:
    values: Any


@flax.struct.dataclass
class FlaxOut:
    values: Any


class Plain:
    def __init__(self, values):
        self.values = values


class Named(NamedTuple):
    first: Any
    second: Any


def doubled(y):
    return y * 2


def twice_the_small(p):
    return jnp.where(p < 1e-14, p * 2, p)


_TOP = 2**53
for _kind, _name, _torch, _flax in (
    ("numbers thrown away", "conjugate", torch.fft.rfft, lambda y: jnp.conj(jnp.fft.rfft(y))),
    ("numbers thrown away", "imaginary part lost", torch.fft.rfft, lambda y: jnp.fft.rfft(y).real + 0j),
    ("numbers thrown away", "phase turned", torch.fft.rfft, lambda y: jnp.fft.rfft(y) * 1j),
    ("numbers thrown away", "real part of a complex output", torch.fft.rfft, lambda y: jnp.fft.rfft(y).real),
    (
        "numbers thrown away",
        "a large integer off by one",
        lambda y: (y > 0).sum() * 1_000_003 + _TOP,
        lambda y: jnp.sum(y > 0) * 1_000_003 + (_TOP + 1 if y.dtype == jnp.float64 else 0),
    ),
    (
        "numbers thrown away",
        "integers that wrap",
        lambda y: (300 + 40 * torch.sign(y)).to(torch.int32),
        lambda y: (300 + 40 * jnp.sign(y)).astype(jnp.uint8),
    ),
    ("numbers thrown away", "rounding of integers", lambda y: (9 * y).int(), lambda y: jnp.round(9 * y).astype(int)),
    ("numbers thrown away", "one truth value of many", lambda y: y > 0, lambda y: (y > 0).at[2, 7].set(y[2, 7] <= 0)),
    ("numbers thrown away", "smallest for largest", lambda y: y.argmax(-1), lambda y: y.argmin(-1)),
    (
        "numbers thrown away",
        "an order that is another at ties",
        lambda y: torch.sort((2 * y).round(), dim=-1, stable=True).indices,
        lambda y: jnp.argsort(-jnp.round(2 * y), -1, stable=True)[..., ::-1],
    ),
    ("containers", "a dataclass", TorchOut, lambda y: FlaxOut(y * 2)),
    ("containers", "an object", Plain, lambda y: Plain(y * 2)),
    (
        "containers",
        "two entries exchanged",
        lambda y: {"mean": y, "spread": y + 1},
        lambda y: {"mean": y + 1, "spread": y},
    ),
    ("containers", "named tuple", lambda y: Named(y, y + 1), lambda y: Named(y, y + 2)),
    ("containers", "deep", lambda y: [{"a": (y, [y, 2 * y])}], lambda y: [{"a": (y, [y, 3 * y])}]),
    ("containers", "an iterator", lambda y: iter([y]), lambda y: iter([y * 2])),
    ("containers", "a set", lambda y: {"only"}, lambda y: {y.sum().tolist() if False else "only"}),
    ("containers", "an output too few", lambda y: (y, 2 * y), lambda y: (y,)),
    ("containers", "an output too much", lambda y: y, lambda y: (y, 2 * y)),
    ("containers", "None for an array", lambda y: (y, y + 1), lambda y: (y, None)),
    ("containers", "a number of Python", lambda y: (y, 3.5), lambda y: (y, 3.25)),
    ("containers", "an axis more", lambda y: y, lambda y: y[None]),
    ("containers", "an axis of one", lambda y: y.sum(-1), lambda y: y.sum(-1, keepdims=True)),
    ("containers", "broadcast", lambda y: y, lambda y: y[:1]),
    # Many scales in one array.
    (
        "scales",
        "the smallest number as a mask",
        lambda y: y.masked_fill(KEEP, torch.finfo(torch.float32).min),
        lambda y: jnp.where(HIDDEN, jnp.finfo(jnp.float32).min, y * 2 + 1),
    ),
    (
        "scales",
        "a mask of -1e9",
        lambda y: y.masked_fill(KEEP, -1e9),
        lambda y: jnp.where(HIDDEN, -1e9, y * (1 + 1e-7)),
    ),
    ("scales", "-inf", lambda y: y.masked_fill(KEEP, -math.inf), lambda y: jnp.where(HIDDEN, -jnp.inf, y + 1e-6)),
    (
        "scales",
        "another filler",
        lambda y: y.masked_fill(KEEP, -1e9),
        lambda y: jnp.where(HIDDEN, jnp.finfo(jnp.float32).min, y),
    ),
    (
        "scales",
        "a few large channels",
        lambda y: torch.where(torch.arange(WIDTH) < 3, y * 1e14, y),
        lambda y: jnp.where(jnp.arange(WIDTH) < 3, y * 1e14, y * 1.5),
    ),
    (
        "scales",
        "channels of every size",
        lambda y: y * torch.logspace(-10, 10, WIDTH, dtype=y.dtype),
        lambda y: jnp.where(jnp.arange(WIDTH) < 15, 1.5, 1.0) * y * jnp.logspace(-10, 10, WIDTH, dtype=y.dtype),
    ),
    (
        "scales",
        "small probabilities",
        lambda y: torch.softmax(y * torch.linspace(0.1, 30, WIDTH, dtype=y.dtype), -1),
        lambda y: twice_the_small(jax.nn.softmax(y * jnp.linspace(0.1, 30, WIDTH, dtype=y.dtype), -1)),
    ),
    (
        "scales",
        "rows of another size",
        lambda y: y * torch.tensor([1e-9, 1.0, 1e3, 1e8], dtype=y.dtype)[:, None],
        lambda y: (
            jnp.tanh(y * 1e-9).at[1:].set(0)
            + 1e-9 * (y * 0.1).at[1:].set(0)
            + (y * jnp.array([0, 1.0, 1e3, 1e8], y.dtype)[:, None])
        ),
    ),
    (
        "infinities",
        "NaN at other places",
        lambda y: y.masked_fill(KEEP, math.nan),
        lambda y: jnp.where(~HIDDEN, jnp.nan, y),
    ),
    ("infinities", "zero for NaN", lambda y: y.masked_fill(KEEP, math.nan), lambda y: jnp.where(HIDDEN, 0.0, y)),
    ("infinities", "the other infinity", lambda y: y / y.new_tensor(0.0), lambda y: -y / jnp.zeros((), y.dtype)),
    (
        "infinities",
        "NaN for infinity",
        lambda y: y.masked_fill(KEEP, math.inf),
        lambda y: jnp.where(HIDDEN, jnp.nan, y),
    ),
    ("infinities", "NaN on one side", torch.log, lambda y: jnp.log(jnp.abs(y))),
    # Less than the models' own dtype.
    ("dtypes", "half in Flax", torch.tanh, lambda y: jnp.tanh(y.astype(jnp.float16)).astype(y.dtype)),
    ("dtypes", "bfloat16 in Flax", torch.exp, lambda y: jnp.exp(y.astype(jnp.bfloat16)).astype(y.dtype)),
    ("dtypes", "bfloat16 in PyTorch", lambda y: torch.exp(y.bfloat16()).to(y.dtype), jnp.exp),
    ("dtypes", "reduced precision", lambda y: y, lambda y: jax.lax.reduce_precision(y, 8, 7)),
    (
        "dtypes",
        "a product in less",
        lambda y: y @ y.T,
        lambda y: jnp.matmul(y, y.T, preferred_element_type=jnp.bfloat16).astype(y.dtype),
    ),
    (
        "dtypes",
        "a sum in half",
        lambda y: y.softmax(-1),
        lambda y: jnp.exp(y) / jnp.exp(y).astype(jnp.float16).sum(-1, keepdims=True).astype(y.dtype),
    ),
    # What the comparison rests on does not change, or is not there.
    ("no evidence", "constant", torch.ones_like, jnp.ones_like),
    (
        "no evidence",
        "a softmax of one class",
        lambda y: torch.softmax(y[:, :1], -1),
        lambda y: jax.nn.softmax(2 * y[:, :1], -1),
    ),
    ("no evidence", "a size", lambda y: {"size": y.shape[0]}, lambda y: {"size": y.shape[0]}),
    ("no evidence", "nothing", lambda y: (), lambda y: ()),
    ("no evidence", "all NaN", lambda y: y * math.nan, lambda y: 2 * y * jnp.nan),
    ("no evidence", "dead ReLU", lambda y: F.relu(y - 1e4), lambda y: jax.nn.relu(y - 2e4)),
    ("no evidence", "saturated", lambda y: torch.sigmoid(y + 1e5), lambda y: jax.nn.sigmoid(y + 2e5)),
    ("no evidence", "a norm of one number", lambda y: F.layer_norm(y[..., :1], (1,)), lambda y: y[..., :1] * 0),
):
    WRONG.add(_kind, _name, lambda a=_torch, b=_flax: after_linear(a, b))


@WRONG.of("no evidence")
def no_rows_at_all():
    return after_linear(lambda y: y, doubled, ROWS[:0])


@WRONG.of("no evidence")
def a_head_of_zeros():
    def zero(torch_model, flax_model):
        with torch.no_grad():
            torch_model.head.weight.zero_()
            torch_model.head.bias.zero_()
        flax_model.head.kernel[...] = 0 * flax_model.head.kernel[...]
        flax_model.head.bias[...] = 0 * flax_model.head.bias[...]

    return nets(
        {"head": nn.Linear(6, 5)},
        {"head": nnx.Linear(6, 5, rngs=rngs())},
        lambda m, x: m.head(torch.tanh(x)),
        lambda m, x: m.head(jax.nn.sigmoid(x)),
        ROWS,
        change=zero,
    )


@WRONG.of("no evidence")
def inputs_of_zeros():
    return after_linear(lambda y: y, doubled, 0 * ROWS, change=without_bias)


def without_bias(torch_model, flax_model):
    with torch.no_grad():
        torch_model.fc.bias.zero_()
    flax_model.fc.bias[...] = 0 * flax_model.fc.bias[...]


@WRONG.of("no evidence")
def inputs_of_zeros_and_a_bias():
    def turned(torch_model, flax_model):
        flax_model.fc.kernel[...] = -flax_model.fc.kernel[...]

    return after_linear(lambda y: y, lambda y: y, 0 * ROWS, change=turned)


@WRONG.of("no evidence")
def a_mask_that_hides_nothing():
    return nets(
        *square(),
        lambda m, x, k: torch.softmax(m.fc(x).masked_fill(~k, -1e9), -1),
        lambda m, x, k: jax.nn.softmax(m.fc(x), -1),
        (ROWS, np.ones((4, 6), bool)),
    )


@WRONG.of("no evidence")
def a_mask_of_ones_that_is_not_read():
    return nets(
        {"embed": nn.Embedding(11, 8)},
        {"embed": nnx.Embed(11, 8, rngs=rngs())},
        lambda m, t, k: (m.embed(t) * k[..., None]).sum(1) / k.sum(1, keepdim=True),
        lambda m, t, k: m.embed(t).mean(1),
        (TOKENS, np.ones_like(TOKENS)),
    )


@WRONG.of("no evidence")
def a_gate_of_zero_before_a_branch():
    def gates():
        return {"fc": nn.Linear(6, 6), "gamma": nn.Parameter(torch.zeros(6))}, {
            "fc": nnx.Linear(6, 6, rngs=rngs()),
            "gamma": nnx.Param(jnp.zeros(6, jnp.float32)),
        }

    def closed(torch_model, flax_model):
        with torch.no_grad():
            torch_model.gamma.zero_()
        flax_model.gamma[...] = jnp.zeros(6, jnp.float32)

    return nets(
        *gates(),
        lambda m, x: x + m.gamma * torch.tanh(m.fc(x)),
        lambda m, x: x + m.gamma[...] * jax.nn.sigmoid(m.fc(x)),
        ROWS,
        change=closed,
    )


@WRONG.of("no evidence")
def a_row_of_an_embedding_that_is_not_looked_up():
    def spoiled(torch_model, flax_model):
        flax_model.embed.embedding[...] = flax_model.embed.embedding[...].at[10].multiply(2)

    return nets(
        {"embed": nn.Embedding(11, 8)},
        {"embed": nnx.Embed(11, 8, rngs=rngs())},
        lambda m, t: m.embed(t),
        lambda m, t: m.embed(t),
        np.minimum(TOKENS, 9),
        change=spoiled,
    )


# Narrower than declared, and constants of the dtype.


@WRONG.of("dtypes")
def a_layer_of_bfloat16():
    return after_linear(lambda y: y, lambda y: y, change=lambda t, f: setattr(f.fc, "dtype", jnp.bfloat16))


@WRONG.of("dtypes")
def a_layer_of_half():
    return after_linear(lambda y: y, lambda y: y, change=lambda t, f: setattr(f.fc, "dtype", jnp.float16))


@WRONG.of("dtypes")
def weights_stored_in_less():
    def stored(torch_model, flax_model):
        flax_model.fc.kernel[...] = flax_model.fc.kernel[...].astype(jnp.bfloat16).astype(jnp.float32)

    return after_linear(lambda y: y, lambda y: y, change=stored)


@WRONG.of("dtypes")
def a_layer_of_half_in_torch():
    def half(model, x):
        if x.dtype != torch.float32:
            return model.fc(x)
        return F.linear(x.half(), model.fc.weight.half(), model.fc.bias.half()).float()

    return nets(*square(), half, lambda m, x: m.fc(x), ROWS)


@WRONG.of("dtypes")
def a_table_of_bfloat16():
    angles = np.arange(6)[None] * (0.1 + np.arange(4)[:, None])

    return nets(
        {"fc": nn.Linear(6, 6), "table": torch.from_numpy(angles).bfloat16().float()},
        square()[1],
        lambda m, x: m.fc(x) * torch.cos(m.table),
        lambda m, x: m.fc(x) * jnp.cos(angles.astype(x.dtype)),
        ROWS,
        carry=carry_fc,
    )


def carry_fc(torch_model, flax_model):
    """The layer alone."""
    flax_model.fc.kernel[...] = torch_model.fc.weight.detach().numpy().T
    flax_model.fc.bias[...] = torch_model.fc.bias.detach().numpy()


def rms(eps, *, scale=1e-3, own=None):
    """RMS norms whose eps is left to the dtype in PyTorch."""
    return nets(
        {"norm": nn.RMSNorm(8, eps=own)},
        {"norm": nnx.RMSNorm(8, epsilon=eps, rngs=rngs())},
        lambda m, x: m.norm(x),
        lambda m, x: m.norm(x),
        draw(2, 6, 8, scale=scale),
        axes="b t c",
    )


for _eps, _scale in ((2.0**-52, 1e-3), (1e-6, 1e-3), (2.0**-52, 1.0), (1e-5, 30.0)):
    WRONG.add(
        "constants of the dtype",
        f"eps {_eps:.0e} for that of float32, inputs of {_scale}",
        lambda a=_eps, b=_scale: rms(a, scale=b),
    )


@WRONG.of("constants of the dtype")
def the_smallest_number_for_eps():
    return after_linear(
        lambda y: y / (y.abs() + torch.finfo(y.dtype).eps),
        lambda y: y / (jnp.abs(y) + jnp.finfo(y.dtype).tiny),
        1e-4 * ROWS,
        change=without_bias,
    )


@WRONG.of("constants of the dtype")
def an_eps_that_only_a_small_variance_shows():
    return nets(
        {"fc": nn.Linear(6, 8), "norm": nn.LayerNorm(8)},
        {"fc": nnx.Linear(6, 8, rngs=rngs()), "norm": nnx.LayerNorm(8, epsilon=1.01e-5, rngs=rngs())},
        lambda m, x: m.norm(m.fc(x)),
        lambda m, x: m.norm(m.fc(x)),
        ROWS,
    )


# Buffers and statistics, steps, rates, modes.


class TorchCounts(nn.Module):
    def __init__(self, *, used, persistent=True):
        super().__init__()
        self.fc, self.used = nn.Linear(6, 5), used
        self.register_buffer("seen", torch.ones(()), persistent=persistent)

    def forward(self, x):
        y = self.fc(x) * (self.seen if self.used else 1.0)
        self.seen += 0.5
        return y


class FlaxCounts(nnx.Module):
    def __init__(self, *, name="", step=0.5, used=False):
        self.fc = nnx.Linear(6, 5, rngs=rngs())
        self.name, self.step, self.used = name, step, used
        if name:
            setattr(self, name, nnx.Variable(jnp.ones((), jnp.float32)))

    def __call__(self, x):
        count = getattr(self, self.name) if self.name else None
        y = self.fc(x) * (count[...] if self.used else 1.0)
        if count is not None:
            count[...] += self.step
        return y


def counts(flax_model, *, used, persistent=True, **settings):
    return nets(
        {"net": TorchCounts(used=used, persistent=persistent)},
        {"net": flax_model},
        lambda m, x: m.net(x),
        lambda m, x: m.net(x),
        ROWS,
        carry=lambda t, f: carry_fc(t.net, f.net),
        change=lambda t, f: t.net.seen.fill_(1),
        **settings,
    )


_STEPS = {"mode": "train", "steps": 3}
for _name, _make in {
    "a buffer without a counterpart": lambda: counts(FlaxCounts(), used=False, **_STEPS, gradients=True),
    "a buffer that acts on the next step": lambda: counts(FlaxCounts(), used=True, **_STEPS),
    "a buffer that changes in eval": lambda: counts(FlaxCounts(), used=False),
    "a buffer that is not kept": lambda: counts(FlaxCounts(), used=False, persistent=False, **_STEPS),
    "a buffer by another name": lambda: counts(FlaxCounts(name="counted"), used=False, **_STEPS),
    "a buffer that changes by less": lambda: counts(FlaxCounts(name="seen", step=0.25), used=False, **_STEPS),
    "the outputs of the last step": lambda: counts(FlaxCounts(name="seen", step=0.25, used=True), used=True, **_STEPS),
}.items():
    WRONG.add("buffers", _name, _make)


def batch_norm(flax_norm, torch_norm=None, **settings):
    return nets(
        {"norm": torch_norm or nn.BatchNorm2d(3)},
        {"norm": flax_norm},
        lambda m, x: m.norm(x),
        lambda m, x: m.norm(x),
        IMAGE,
        axes="b c h w",
        **settings,
    )


for _name, _make in {
    "momentum the other way round": lambda: batch_norm(layers.BatchNorm(3, momentum=0.9, rngs=rngs()), **_STEPS),
    "biased variance": lambda: batch_norm(nnx.BatchNorm(3, momentum=0.9, rngs=rngs()), **_STEPS),
    "frozen statistics in training": lambda: batch_norm(
        nnx.BatchNorm(3, momentum=0.9, use_running_average=True, rngs=rngs()), **_STEPS
    ),
}.items():
    WRONG.add("buffers", _name, _make)


@WRONG.of("modes")
def batch_statistics_in_eval():
    return nets(
        {"norm": nn.BatchNorm2d(3)},
        {"norm": nnx.BatchNorm(3, momentum=0.9, epsilon=1e-5, rngs=rngs())},
        lambda m, x: m.norm(x),
        lambda m, x: m.norm(x, use_running_average=False),
        IMAGE,
        axes="b c h w",
    )


@WRONG.of("modes")
def dropout_that_is_on_in_eval():
    return after_linear(lambda y: F.dropout(y, 0.3), lambda y: y)


class TorchTrains(nn.Module):
    def forward(self, x):
        return x * 2 if self.training else x


class FlaxTrains(nnx.Module):
    def __call__(self, x):
        return x


@WRONG.of("modes")
def code_for_training_that_is_missing():
    return nets(
        square()[0] | {"noise": TorchTrains()},
        square()[1] | {"noise": FlaxTrains()},
        lambda m, x: m.noise(m.fc(x)),
        lambda m, x: m.noise(m.fc(x)),
        ROWS,
        mode="train",
    )


class TorchPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.drop_prob = rate

    def forward(self, x):
        if not self.training or not self.drop_prob:
            return x
        keep = torch.rand(len(x), 1) >= self.drop_prob
        return x * keep / (1 - self.drop_prob)


def dropped(torch_function, flax_function, torch_layers=None, flax_layers=None):
    return nets(
        square()[0] | (torch_layers or {}),
        square()[1] | (flax_layers or {}),
        torch_function,
        flax_function,
        ROWS,
        mode="train",
        carry=carry_fc,
    )


for _name, _make in {
    "dropout": lambda: dropped(
        lambda m, x: m.drop(m.fc(x)),
        lambda m, x: m.drop(m.fc(x)),
        {"drop": nn.Dropout(0.1)},
        {"drop": nnx.Dropout(0.5, rngs=rngs())},
    ),
    "dropout on one side": lambda: dropped(
        lambda m, x: m.drop(m.fc(x)), lambda m, x: m.fc(x), {"drop": nn.Dropout(0.1)}
    ),
    "dropout in Flax alone": lambda: dropped(
        lambda m, x: m.fc(x), lambda m, x: m.drop(m.fc(x)), None, {"drop": nnx.Dropout(0.5, rngs=rngs())}
    ),
    "a path that is dropped": lambda: dropped(
        lambda m, x: x + m.drop(m.fc(x)),
        lambda m, x: x + m.drop(m.fc(x)),
        {"drop": TorchPath(0.2)},
        {"drop": nnx.Dropout(0.4, broadcast_dims=(1,), rngs=rngs())},
    ),
    "a rate that is written in a call": lambda: dropped(
        lambda m, x: F.dropout(m.fc(x), 0.3, m.training),
        lambda m, x: m.drop(m.fc(x)),
        None,
        {"drop": nnx.Dropout(0.1, rngs=rngs())},
    ),
    "dropout in a call, on one side": lambda: dropped(
        lambda m, x: F.dropout(m.fc(x), 0.3, m.training), lambda m, x: m.fc(x)
    ),
}.items():
    WRONG.add("rates", _name, _make)


@WRONG.of("rates")
def dropout_of_attention():
    torch_layer = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)
    flax_layer = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=rngs())
    return nets(
        {"attention": torch_layer},
        {"attention": flax_layer},
        lambda m, x: m.attention(x, x, x)[0],
        lambda m, x: m.attention(x),
        SEQUENCE,
        axes="b t c",
        mode="train",
    )


# What hides modules.


class FlaxWrong(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=rngs())

    def __call__(self, x):
        return jax.nn.sigmoid(self.fc(x))


class FlaxJitted(FlaxWrong):
    @nnx.jit
    def __call__(self, x):
        return jax.nn.sigmoid(self.fc(x))


def hidden(flax_block, call):
    return nets(
        {"block": TorchBlock()},
        {"block": flax_block},
        lambda m, x: m.block(x),
        lambda m, x: call(m.block, x),
        ROWS,
    )


for _name, _make in {
    "an inner jit": lambda: hidden(FlaxJitted(), lambda block, x: block(x)),
    "a jit of a call": lambda: hidden(FlaxWrong(), nnx.jit(lambda block, x: block(x))),
    "remat": lambda: hidden(FlaxWrong(), nnx.remat(lambda block, x: block(x))),
    "a loop": lambda: hidden(FlaxWrong(), lambda block, x: jax.lax.fori_loop(0, 1, lambda n, v: block(v), x)),
}.items():
    WRONG.add("hidden modules", _name, _make)


@WRONG.of("hidden modules")
def a_stack_in_another_order():
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(key):
        return nnx.Linear(6, 6, rngs=nnx.Rngs(key))

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def run(x, layer):
        return jnp.tanh(layer(x))

    def carry(torch_model, flax_model):
        stack = list(torch_model.blocks)[::-1]
        flax_model.blocks.kernel[...] = np.stack([layer.weight.detach().numpy().T for layer in stack])
        flax_model.blocks.bias[...] = np.stack([layer.bias.detach().numpy() for layer in stack])

    def torch_run(model, x):
        for layer in model.blocks:
            x = torch.tanh(layer(x))
        return x

    return nets(
        {"blocks": nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])},
        {"blocks": make(jax.random.split(jax.random.key(0), 3))},
        torch_run,
        lambda m, x: run(x, m.blocks),
        ROWS,
        carry=carry,
    )


@WRONG.of("hidden modules")
def other_paths_and_a_module_left_out():
    return nets(
        {"fc": nn.Linear(6, 6), "act": nn.Tanh()},
        {"fc": nnx.Linear(6, 6, rngs=rngs()), "activation": FlaxTrains()},
        lambda m, x: m.act(m.fc(x)),
        lambda m, x: jax.nn.sigmoid(m.activation(m.fc(x))),
        ROWS,
        paths={"act": None},
    )
