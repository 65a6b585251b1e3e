"""An order of parts is named as a cause only where each part that moves is seen in what comes out."""

from __future__ import annotations

import jax.numpy as jnp
import torch
import torch.nn.functional as F
from flax import nnx
from proof_pairs import SEQUENCE, nets

RNGS = nnx.Rngs(0)


def cause(torch_function, flax_function, width=6):
    """Of two models with the layers `fc` and `head` around what their functions do with `(b t c)`."""
    trial = nets(
        {"fc": torch.nn.Linear(8, width), "head": torch.nn.Linear(3, 4)},
        {"fc": nnx.Linear(8, width, rngs=RNGS), "head": nnx.Linear(3, 4, rngs=RNGS)},
        lambda m, x: m.head(torch_function(m.fc(x))),
        lambda m, x: m.head(flax_function(m.fc(x))),
        SEQUENCE,
        axes="b t c",
    )
    report = trial.report(causes=True)
    assert not report.passed
    return report.cause


def test_what_is_padded_and_cut_away_again_is_in_no_other_order():
    found = cause(
        lambda x: F.pad(x, (0, 0, 1, 1), mode="replicate")[:, 1:-1, 1:4],
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")[:, 2:, 1:4],
    )
    assert "a slice that begins -1 later than (0, 2, 1) along axis 1" in found
    assert "in the order" not in found


def test_parts_that_are_all_seen_are_in_another_order():
    def mixed(array, halves):
        return halves[0] + array[..., :3] * halves[1]

    found = cause(
        lambda x: mixed(torch.cat([x[..., 3:], x[..., :3]], -1), x.split(3, -1)),
        lambda x: mixed(jnp.concatenate([x[..., :3], x[..., 3:]], -1), jnp.split(x, 2, -1)),
    )
    assert "in the order" not in found  # the second part of the concatenation goes nowhere
    found = cause(
        lambda x: torch.cat([x[..., 4:], x[..., :4].sin()], -1).unflatten(-1, (2, 3)).sum(-2),
        lambda x: jnp.concatenate([jnp.sin(x[..., :4]), x[..., 4:]], -1).reshape(3, 5, 2, 3).sum(-2),
    )
    assert "the parts of a concatenation along axis 2 in the order (1, 0)" in found


def test_two_arrays_change_places_only_where_both_are_used():
    found = cause(lambda x: x.chunk(2, -1)[1].tanh(), lambda x: jnp.tanh(jnp.split(x, 2, -1)[0]))
    assert "in each other's place" not in found
    found = cause(
        lambda x: x.chunk(2, -1)[1].tanh() * x.chunk(2, -1)[0],
        lambda x: jnp.tanh(jnp.split(x, 2, -1)[0]) * jnp.split(x, 2, -1)[1],
    )
    assert "in each other's place" in found


def test_an_array_is_reversed_only_where_both_of_its_ends_are_seen():
    found = cause(lambda x: x[..., :3] + x[:, :1, 3:], lambda x: x[..., :3] + jnp.flip(x, 1)[:, :1, 3:])
    assert "not reversed" not in found
    found = cause(lambda x: x[..., :3] + x[..., 3:], lambda x: x[..., :3] + jnp.flip(x, 1)[..., 3:])
    assert "an array that is not reversed" in found
