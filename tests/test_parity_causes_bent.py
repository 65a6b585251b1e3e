"""Causes in what bends or adds up: another beta, bound, exponent, and the end at which a sum begins."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from proof_pairs import draw
from proof_wrong_calls import pair

ROWS = draw(5, 6)


@pytest.mark.parametrize(
    ("torch_function", "flax_function", "words"),
    [
        (
            lambda y: F.softplus(y, beta=2),
            nnx.softplus,
            "the activation Softplus of 2 times what goes in, divided by 2",
        ),
        (
            lambda y: 20 * torch.tanh(y / 20),
            lambda y: 30 * jnp.tanh(y / 30),
            "the bound 20, the Flax module has 30",
        ),
        (lambda y: y.abs() ** 1.5, lambda y: jnp.abs(y) ** 2, "to the power of 1.5, the Flax module has 2"),
        (
            lambda y: y.cumsum(-1),
            lambda y: jax.lax.cumsum(y, 1, reverse=True),
            "cumsum from the first entry of axis 1 on, the Flax module begins at the last",
        ),
        (
            lambda y: y.cumsum(-1) - y,
            lambda y: jnp.cumsum(y, -1),
            "cumsum along axis 1 without the entry that it stands at",
        ),
        (
            lambda y: 1 + F.softplus(y),
            lambda y: 1 + nnx.relu(y),
            "the activation Softplus, the Flax module has ReLU",
        ),
        (
            lambda y: 3 - torch.sigmoid(y),
            lambda y: 3 - jnp.tanh(y),
            "the activation Sigmoid, the Flax module has Tanh",
        ),
    ],
)
def test_the_cause_is_named(torch_function, flax_function, words):
    trial = pair(lambda m, x: torch_function(m.fc(x)), lambda m, x: flax_function(m.fc(x)), ROWS)
    report = trial.report(causes=True)
    assert not report.passed
    (cause,) = report.causes
    assert cause.startswith("the network: would be explained by ")
    assert words in cause


@pytest.mark.parametrize("flax_function", [nnx.softplus, lambda y: 20 * jnp.tanh(y / 20), lambda y: jnp.abs(y) ** 2])
def test_what_is_none_of_these_is_not_explained(flax_function):
    trial = pair(lambda m, x: torch.sin(m.fc(x)) * torch.tanh(x), lambda m, x: flax_function(m.fc(x)), ROWS)
    (cause,) = trial.report(causes=True).causes
    assert "not explained by any of the" in cause
