"""Every module with the same inputs on both sides: errors do not pile up, with float64 and without."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.errors import PatternError
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


class TorchGate(NN.Module):
    """A module with code of its own between two others, whose input is no module's output."""

    def __init__(self):
        super().__init__()
        self.up = NN.Conv1d(12, 12, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(x.mean(-1, keepdim=True)))


class FlaxGate(nnx.Module):
    def __init__(self):
        self.up = ours.Conv(12, 12, (1,), rngs=RNGS)

    def __call__(self, x):
        return x * jax.nn.sigmoid(self.up(jnp.mean(x, axis=1, keepdims=True)))


class TorchBlock(NN.Module):
    """Of what goes into the gate, nothing but the block around it tells the order of the axes."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = NN.Conv1d(12, 12, 3, padding=1), TorchGate()

    def forward(self, x):
        return x + self.gate(torch.nn.functional.gelu(self.conv(x)))


class FlaxBlock(nnx.Module):
    def __init__(self, approximate=False):
        self.conv, self.gate = ours.Conv(12, 12, (3,), padding=1, rngs=RNGS), FlaxGate()
        self.approximate = approximate

    def __call__(self, x):
        return x + self.gate(jax.nn.gelu(self.conv(x), approximate=self.approximate))


@pytest.mark.parametrize("steps", [5, 12])
@pytest.mark.parametrize("teacher", [False, True])
def test_a_module_inside_of_one_with_channels_is_given_its_inputs_in_flax_order(steps, teacher):
    x = random_numbers("x", (2, 12, steps))
    models = TorchBlock(), FlaxBlock()
    randomize(models[0])
    transfer(*models)
    report = compare(*models, x, axes="b c t", teacher=teacher)
    assert report.passed, str(report)
    assert report.seen.modules == 4
    assert not report.seen.not_seen
    models[1].approximate = True
    report = compare(*models, x, axes="b c t", teacher=teacher)
    assert report.first_divergence.path == ""
    if not teacher:
        assert len(report.causes) == 1
        assert "the exact form of GELU, the Flax module has the tanh form" in report.causes[0]


def test_a_layout_can_be_that_of_one_output():
    class Torch(NN.Module):
        def __init__(self):
            super().__init__()
            self.pool = TorchPool()

        def forward(self, x):
            return self.pool(x)[0]

    class TorchPool(NN.Module):
        def forward(self, x):
            return x.mean(-1), torch.softmax(x, -1)

    class FlaxPool(nnx.Module):
        def __call__(self, x):
            return jnp.mean(x, 1), 1.5 * jnp.moveaxis(jax.nn.softmax(x, axis=1), 1, 0)

    class Flax(nnx.Module):
        def __init__(self):
            self.pool = FlaxPool()

        def __call__(self, x):
            return self.pool(x)[0]

    x = random_numbers("x", (5, 5, 5))
    for layouts in ({"pool.1": "b c t -> t b c"}, {"p*": "b c t -> b t c", "pool.1": "b c t -> t b c"}):
        report = compare(Torch(), Flax(), x, axes="b c t", layouts=layouts)
        row = next(row for row in report.rows if row.path == "pool")
        assert np.isclose(row.difference, 0.5), str(report)
    with pytest.raises(PatternError, match=r"no module was called at 'pool\.2'"):
        compare(Torch(), Flax(), x, axes="b c t", layouts={"pool.2": "b c t -> t b c"})
