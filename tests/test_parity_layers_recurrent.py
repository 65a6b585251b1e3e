"""LSTM, GRU and RNN in Flax are those of PyTorch, with states, lengths, layers, directions and all gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_parity import QUICKLY, SAME_FUNCTION, compare, draw, randomise, rms, twin, unchanged
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from einops_arch.flax.layers import GRU, LSTM, RNN

pytestmark = pytest.mark.usefixtures("strict_promotion")

KINDS = {"LSTM": (torch.nn.LSTM, LSTM), "GRU": (torch.nn.GRU, GRU), "RNN": (torch.nn.RNN, RNN)}
TIME, BATCH, INPUTS, HIDDEN = 5, 3, 4, 2
LENGTHS = [3, 5, 1]  # not sorted, the shortest possible and the full one among them


def build(kind: str, settings: dict):
    theirs, ours = KINDS[kind]
    words = {"bias": "use_bias"}
    own = {words.get(name, name): value for name, value in settings.items()}
    return theirs(INPUTS, HIDDEN, **settings), lambda: ours(INPUTS, HIDDEN, **own, rngs=nnx.Rngs(0))


def states(kind: str, settings: dict) -> list[np.ndarray]:
    rows = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    return [draw(20 + n, rows, BATCH, HIDDEN) for n in range(2 if kind == "LSTM" else 1)]


def state_of(parts):
    return tuple(parts) if len(parts) > 1 else (parts[0] if parts else None)


def packed(layer, x, *state):
    sequence = pack_padded_sequence(x, LENGTHS, batch_first=layer.batch_first, enforce_sorted=False)
    output, final = layer(sequence, state_of(state))
    return pad_packed_sequence(output, batch_first=layer.batch_first, total_length=TIME)[0], final


TWO_BY_TWO = {"num_layers": 2, "bidirectional": True}


@pytest.mark.parametrize(
    ("kind", "settings", "with_state", "lengths"),
    [
        ("LSTM", {}, False, False),
        ("LSTM", {**TWO_BY_TWO, "batch_first": True}, True, True),
        ("LSTM", {"num_layers": 2, "bias": False}, True, False),
        ("GRU", {}, True, False),
        ("GRU", TWO_BY_TWO, False, True),
        ("RNN", {"bidirectional": True, "batch_first": True}, True, False),
        ("RNN", {"nonlinearity": "relu", "bias": False}, False, True),
    ],
    ids=str,
)
def test_recurrent(kind, settings, with_state, lengths):
    x = draw(3, TIME, BATCH, INPUTS)
    if settings.get("batch_first"):
        x = np.swapaxes(x, 0, 1)
    layer, own = build(kind, settings)
    compare(
        layer,
        own,
        x,
        *(states(kind, settings) if with_state else []),
        enter=unchanged,
        leave=unchanged,
        torch_call=packed if lengths else lambda layer, x, *state: layer(x, state_of(state)),
        flax_call=lambda module, x, *state: module(x, state_of(state), lengths=LENGTHS if lengths else None),
    )


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_float32_is_as_accurate_as_in_pytorch(kind):
    theirs, ours = KINDS[kind]
    compare(
        theirs(8, 16),
        lambda: ours(8, 16, rngs=nnx.Rngs(0)),
        draw(3, 12, 8, 8),
        enter=unchanged,
        leave=unchanged,
        torch_call=lambda layer, x: layer(x)[0],
        flax_call=lambda module, x: module(x)[0],
        float32=True,
    )


def test_a_sequence_without_a_batch_axis():
    layer, own = build("LSTM", {"batch_first": True})
    compare(
        layer,
        own,
        draw(3, TIME, INPUTS),
        *[part[:, 0] for part in states("LSTM", {})],
        enter=unchanged,
        leave=unchanged,
        torch_call=lambda layer, x, *state: layer(x, state),
        flax_call=lambda module, x, *state: module(x, state),
    )


def test_what_lies_beyond_a_length_has_no_influence_not_even_nan():
    layer, own = build("GRU", {"bidirectional": True})
    layer = randomise(layer).double()
    module, x = twin(layer, own, "float64"), draw(3, TIME, BATCH, INPUTS)
    expected, expected_state = packed(layer, torch.from_numpy(x))
    for sequence, length in enumerate(LENGTHS):
        x[length:, sequence] = np.nan
    graph, state = nnx.split(module)

    def loss(state, x, lengths):
        output, final = nnx.merge(graph, state)(x, lengths=lengths)
        return output.sum() + final.sum(), (output, final)

    gradients, (output, final) = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICKLY)(
        state, jnp.asarray(x), jnp.asarray(LENGTHS)
    )
    for found, wanted in ((output, expected), (final, expected_state)):
        assert rms(np.asarray(found) - wanted.detach().numpy()) <= SAME_FUNCTION * rms(wanted.detach().numpy())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def test_the_state_carries_a_sequence_over_from_one_call_to_the_next():
    layer, own = build("LSTM", {"num_layers": 2})
    module, x = twin(randomise(layer), own, "float64"), jnp.asarray(draw(3, 6, BATCH, INPUTS))
    whole, state = module(x)
    first, between = module(x[:3])
    second, after = module(x[3:], between)
    np.testing.assert_allclose(np.asarray(jnp.concatenate([first, second])), np.asarray(whole), rtol=1e-12)
    for found, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-12)
