"""Pairs in which values inside differ that nothing reads; constants that fill arrays, and tables of one row."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from proof_attacks import kept, packed, with_kinds
from proof_honest import HONEST
from proof_pairs import ROWS, SEQUENCE, nets
from proof_wrong import WRONG, carry_fc, rngs
from proof_wrong_calls import pair
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# Packed sequences, whose padding PyTorch leaves out and Flax masks later.


def last_states(torch_call, flax_call, lengths=(5, 3, 2)):
    """The final hidden state beside the outputs."""

    def torch_function(m, x, lengths):
        rows = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, states = m.rnn(rows)
        return torch_call(pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], states)

    return nets(
        {"rnn": nn.LSTM(8, 6, batch_first=True)},
        {"rnn": nnx.RNN(nnx.OptimizedLSTMCell(8, 6, rngs=rngs()), return_carry=True)},
        torch_function,
        flax_call,
        (SEQUENCE, np.asarray(lengths)),
        axes=("b t c", None),
    )


def with_carry(m, x, n):
    (_, h), y = m.rnn(x, seq_lengths=n)
    return y * kept(x, n), h


def without_lengths(m, x, n):
    (_, h), y = m.rnn(x)
    return y * kept(x, n), h


for _name, _make in {
    "padding that is masked behind the layer": lambda: packed(lambda m, x, n: m.rnn(x)[0] * kept(x, n)),
    "padding that is chosen behind the layer": lambda: packed(
        lambda m, x, n: jnp.where(kept(x, n), m.rnn(x)[0], 0), (2, 4, 3)
    ),
    "final states that are asked for with lengths": lambda: last_states(lambda y, s: (y, s[0][0]), with_carry),
}.items():
    HONEST.add("masks", _name, _make)
for _name, _make in {
    "final states behind the padding": lambda: last_states(lambda y, s: (y, s[0][0]), without_lengths),
    "final states behind the padding, as the only output": lambda: last_states(
        lambda y, s: s[0][0], lambda m, x, n: without_lengths(m, x, n)[1]
    ),
    "padding that is left in": lambda: packed(lambda m, x, n: m.rnn(x)[0]),
}.items():
    WRONG.add("masks", _name, _make)

# Places that these inputs leave out.
KEPT = np.arange(5) < np.asarray([[3], [2], [3]])


class Factor(nn.Module):
    """A module of its own, so that its values are seen."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class FlaxFactor(nnx.Module):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


def masked(torch_part, flax_part, read=None, flax_read=None, inputs=(SEQUENCE, KEPT)):
    return nets(
        {"fc": nn.Linear(8, 6), "part": Factor(torch_part)},
        {"fc": nnx.Linear(8, 6, rngs=rngs()), "part": FlaxFactor(flax_part)},
        read or (lambda m, x, keep: m.part(m.fc(x)) * keep[..., None]),
        flax_read or (lambda m, x, keep: m.part(m.fc(x)) * keep[..., None]),
        inputs,
        axes=("b t c", None),
    )


def by_position(last):
    return lambda x: x * np.asarray([1.0, 2.0, 3.0, 4.0, last], np.float32)[:, None]


def torch_by_position(x):
    return x * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=x.dtype)[:, None]


WRONG.add("masks", "a position that the mask leaves out", lambda: masked(torch_by_position, by_position(6.0)))
HONEST.add("masks", "positions that a mask leaves out", lambda: masked(torch_by_position, by_position(5.0)))
HONEST.add(
    "masks",
    "a part that begins before the first position that is read",
    lambda: masked(
        torch.tanh,
        lambda x: jnp.tanh(x).at[:, :2].set(0.0),
        lambda m, x, keep: m.part(m.fc(x))[:, 2:] * keep.sum(),
        lambda m, x, keep: m.part(m.fc(x))[:, 2:] * keep.sum(),
    ),
)
WRONG.add(
    "hidden modules",
    "a part behind a gate that these inputs close",
    lambda: masked(
        torch.tanh,
        jnp.sin,
        lambda m, x, keep: m.fc(x) + m.part(m.fc(x)) * (x.mean() > 9),
        lambda m, x, keep: m.fc(x) + m.part(m.fc(x)) * (x.mean() > 9),
    ),
)
WRONG.add(
    "hidden modules",
    "logits of which the largest is the same",
    lambda: masked(
        lambda x: x,
        lambda x: jnp.where(x < 0, 2 * x, x),
        lambda m, x, keep: m.part(m.fc(x)).argmax(-1),
        lambda m, x, keep: m.part(m.fc(x)).argmax(-1),
    ),
)

# Constants that fill an array.
for _name, _torch, _flax, _buffer in (
    ("a number in the code, an array in Flax", lambda m, y: y * 0.1, np.full(6, 0.1, np.float32), None),
    ("a number in the code, a list in Flax", lambda m, y: y * 0.1, np.asarray([0.1] * 6), None),
    ("a buffer, a number in Flax", lambda m, y: y * m.scale, 0.1, torch.full((6,), 0.1)),
    ("an array of both", lambda m, y: y * torch.full((6,), 0.1), np.full(6, 0.1), None),
    ("an array of both, in float32", lambda m, y: y * torch.full((6,), 0.1), np.full(6, 0.1, np.float32), None),
    ("a third that fills an array", lambda m, y: y / 3, np.full(6, 1 / 3, np.float32), None),
):

    def _filled(factor, torch_call=_torch, flax=_flax, buffer=_buffer):
        return pair(
            lambda m, x: torch_call(m, m.fc(x)),
            lambda m, x: m.fc(x) * (flax * np.asarray(factor, np.asarray(flax).dtype)),
            ROWS,
            torch_layers=None if buffer is None else {"scale": buffer},
            carry=carry_fc,
        )

    HONEST.add("tables and buffers", f"filled: {_name}", lambda make=_filled: make(1.0))
    WRONG.add("tables", f"filled: {_name}, off by a millionth", lambda make=_filled: make(1 + 1e-6))


# A table of one row leaves no other index.
HONEST.add("constant inputs", "a table of one row", lambda: with_kinds(lambda m, t, k: m.token(t) + m.kind(k), kinds=1))
WRONG.add("inputs", "a table of one row that is left out", lambda: with_kinds(lambda m, t, k: m.token(t), kinds=1))
