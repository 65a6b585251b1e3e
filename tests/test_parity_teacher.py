"""Every module with the same inputs on both sides: errors do not pile up, with float64 and without."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import torch
from flax import nnx

from einops_arch.flax import layers as ours
from einops_arch.parity import Verdict, compare, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer

NN = torch.nn
RNGS = nnx.Rngs(0)
ROWS = random_numbers("rows", (3, 5, 12))


def deep(*, eps=1e-5):
    """Six layers, of which one may have another eps."""
    torch_layers, flax_layers = [], []
    for n in range(3):
        torch_layers += [NN.Linear(12, 12), NN.LayerNorm(12)]
        flax_layers += [
            ours.Linear(12, 12, rngs=RNGS),
            ours.LayerNorm(12, epsilon=eps if n == 1 else 1e-5, rngs=RNGS),
        ]
    models = NN.Sequential(*torch_layers), ours.Sequential(*flax_layers)
    randomize(models[0])
    transfer(*models)
    return models


def test_only_the_wrong_module_is_over_the_limit():
    assert compare(*deep(), ROWS, axes="b t c", teacher=True).passed
    report = compare(*deep(eps=1e-4), ROWS, axes="b t c", teacher=True)
    assert [row.path for row in report.rows if not row.verdict.passed] == ["3", ""]
    assert report.first_divergence.path == "3"
    assert "each module was given the inputs that PyTorch's had" in report.notes


class OnlyFloat32(NN.Module):
    """As a kernel that was written for one type."""

    def forward(self, x):
        if x.dtype is torch.float64:
            raise TypeError("only float32 is implemented")
        return torch.relu(x)


def narrow(models):
    return NN.Sequential(*models[0], OnlyFloat32()), ours.Sequential(*models[1], ours.ReLU())


def test_without_float64_the_first_wrong_module_is_still_named():
    report = compare(*narrow(deep()), ROWS, axes="b t c")
    assert report.passed, str(report)
    assert report.notes[-1] == (
        "float64 is not available (PyTorch: TypeError in 6: only float32 is implemented): modules were given the same "
        "inputs in float32, and a difference below 16 roundoffs of a module cannot be seen"
    )
    report = compare(*narrow(deep(eps=1e-4)), ROWS, axes="b t c")
    assert report.first_divergence.path == "3"
    assert report.verdict is Verdict.SEMANTIC
    # The network is the only other, and it holds the wrong one.
    assert [row.path for row in report.rows if not row.verdict.passed] == ["3", ""]


def test_a_flax_model_without_float64():
    class Narrow(nnx.Module):
        def __call__(self, x):
            if x.dtype == jnp.float64:
                raise TypeError("only float32 is implemented")
            return jax.nn.relu(x)

    models = deep()
    pair = NN.Sequential(*models[0], NN.ReLU()), ours.Sequential(*models[1], Narrow())
    report = compare(*pair, ROWS, axes="b t c")
    assert report.passed, str(report)
    assert "Flax: TypeError in 6: only float32 is implemented" in report.notes[-1]


def test_what_cannot_be_seen_is_what_the_limit_says():
    """An eps that is 1e-6 off in one norm of a variance near one is below the roundoffs of float32."""
    assert compare(*narrow(deep(eps=1.1e-5)), ROWS, axes="b t c").passed
    assert not compare(*deep(eps=1.1e-5), ROWS, axes="b t c").passed


def test_inputs_that_do_not_correspond_are_noted():
    class Torch(NN.Module):
        def __init__(self):
            super().__init__()
            self.fc = NN.Linear(12, 12)

        def forward(self, x):
            return self.fc(x.reshape(15, 12)).reshape(3, 5, 12)

    class Flax(nnx.Module):
        def __init__(self):
            self.fc = ours.Linear(12, 12, rngs=RNGS)

        def __call__(self, x):
            return self.fc(x)

    models = Torch(), Flax()
    randomize(models[0])
    transfer(*models)
    report = compare(*models, ROWS, axes="b t c", teacher=True)
    assert "fc: not given PyTorch's inputs: shapes (15, 12) and (3, 5, 12)" in report.seen.not_seen
