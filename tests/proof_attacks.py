"""Pairs from a round of attacks: inputs that are one integer, packed sequences, complex weights, models of float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from proof_constants import in_float64
from proof_honest import HONEST
from proof_pairs import ROWS, SEQUENCE, TOKENS, Flax, Torch, Trial, draw, nets
from proof_wrong import WRONG, rngs
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from einops_arch.flax import layers

# Inputs of one integer: kinds of tokens that are all the first, lengths that are all the longest.


def with_kinds(flax_function, rows=None, kinds=2):
    tokens = TOKENS[:rows]
    return nets(
        {"token": nn.Embedding(11, 8), "kind": nn.Embedding(kinds, 8)},
        {"token": nnx.Embed(11, 8, rngs=rngs()), "kind": nnx.Embed(kinds, 8, rngs=rngs())},
        lambda m, t, k: m.token(t) + m.kind(k),
        flax_function,
        (tokens, np.zeros_like(tokens)),
    )


for _rows, _name in ((None, "kinds of zero"), (1, "kinds of zero in a batch of one")):
    WRONG.add(
        "inputs",
        f"{_name} that are not read",
        lambda rows=_rows: with_kinds(lambda m, t, k: m.token(t) + m.kind(0 * k), rows),
    )
    HONEST.add("constant inputs", _name, lambda rows=_rows: with_kinds(lambda m, t, k: m.token(t) + m.kind(k), rows))


def packed(flax_function, lengths=(5, 3, 2), *, bidirectional=False):
    def torch_function(m, x, lengths):
        rows = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(m.rnn(rows)[0], batch_first=True, total_length=x.shape[1])[0]

    return nets(
        {"rnn": nn.LSTM(8, 6, batch_first=True, bidirectional=bidirectional)},
        {"rnn": layers.LSTM(8, 6, batch_first=True, bidirectional=bidirectional, rngs=rngs())},
        torch_function,
        flax_function,
        (SEQUENCE, np.asarray(lengths)),
        axes=("b t c", None),
    )


def kept(x, lengths):
    return (jnp.arange(x.shape[1]) < lengths[:, None])[..., None]


for _name, _make in {
    "lengths that are not read": lambda: packed(lambda m, x, n: m.rnn(x)[0], (5, 5, 5)),
    "lengths of rows that are not read": lambda: packed(lambda m, x, n: m.rnn(x)[0]),
    "the other direction through the padding": lambda: packed(
        lambda m, x, n: m.rnn(x * kept(x, n))[0] * kept(x, n), bidirectional=True
    ),
}.items():
    WRONG.add("inputs", _name, _make)
HONEST.add(
    "constant inputs",
    "lengths that are all the longest",
    lambda: packed(lambda m, x, n: m.rnn(x)[0] * kept(x, n), (5, 5, 5)),
)

# Complex weights.
NUMBERS = (draw(6, 6, seed=1) + 1j * draw(6, 6, seed=2)).astype(np.complex64)
TURNED = NUMBERS.copy()
TURNED[1, 1] *= np.exp(1e-6j)


def complex_weights(torch_function, flax_function, numbers=NUMBERS, **settings):
    def flax_call(m, x):
        return flax_function(x @ m.weight[...])

    torch_model = Torch(
        lambda m, x: torch_function(x.to(m.weight.dtype) @ m.weight),
        {"weight": nn.Parameter(torch.from_numpy(NUMBERS.copy()))},
    )
    return Trial(torch_model, Flax(flax_call, {"weight": nnx.Param(jnp.asarray(numbers))}), ROWS, settings)


for _name, _make in {
    "the phase of one weight": lambda: complex_weights(lambda y: y, lambda y: y, TURNED),
    "angles from another branch": lambda: complex_weights(
        torch.angle, lambda y: jnp.mod(jnp.angle(y), 2 * np.pi).astype(y.real.dtype)
    ),
}.items():
    WRONG.add("numbers thrown away", _name, _make)
WRONG.add(
    "gradients",
    "complex weights without one",
    lambda: complex_weights(
        lambda y: y.abs(), lambda y: jnp.abs(jax.lax.stop_gradient(y)) + 0 * y.real, gradients=True
    ),
)
HONEST.add(
    "complex",
    "parts of complex weights, trained",
    lambda: complex_weights(torch.view_as_real, lambda y: jnp.stack([y.real, y.imag], -1), mode="train"),
)

# Models of float64.
FACTORS = np.random.default_rng(3).normal(size=50)
for _name, _torch, _flax in (
    (
        "factors that Flax has rounded",
        lambda y: y * torch.from_numpy(FACTORS).to(y.dtype),
        lambda y: y * FACTORS.astype(np.float32),
    ),
    (
        "factors that PyTorch has rounded",
        lambda y: y * torch.from_numpy(FACTORS).float().to(y.dtype),
        lambda y: y * FACTORS,
    ),
    (
        "a rounded number beside casts of both",
        lambda y: torch.tanh(y.float()).to(y.dtype) * 0.1,
        lambda y: jnp.tanh(y.astype(jnp.float32)).astype(y.dtype) * jnp.asarray(0.1, jnp.float32).astype(y.dtype),
    ),
):
    WRONG.add("constants of the dtype", f"{_name}, in float64", lambda a=_torch, b=_flax: in_float64(a, b))
HONEST.add(
    "constants of the dtype",
    "a number in models of float64",
    lambda: in_float64(lambda y: torch.tanh(y) * 0.1, lambda y: jnp.tanh(y) * 0.1),
)
