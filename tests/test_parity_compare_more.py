"""Models with other paths, and inputs that bring out what a plain one hides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.errors import ConfigError
from einops_arch.flax import layers as ours
from einops_arch.flax.state import load_state_dict
from einops_arch.parity import Verdict, compare, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer

NN = torch.nn
RNGS = nnx.Rngs(0)
ROWS = random_numbers("rows", (6, 5, 12))
IMAGE = random_numbers("image", (2, 3, 5, 7))


class TorchNet(NN.Module):
    def __init__(self):
        super().__init__()
        self.encoder = NN.Sequential(NN.Linear(12, 12), NN.LayerNorm(12))
        self.head = NN.Linear(12, 3)

    def forward(self, x):
        return self.head(self.encoder(x))


class FlaxNet(nnx.Module):
    """The same with names of its own; `head` is another layer here."""

    def __init__(self):
        self.head = ours.Sequential({"fc": ours.Linear(12, 12, rngs=RNGS), "ln": ours.LayerNorm(12, rngs=RNGS)})
        self.out = ours.Linear(12, 3, rngs=RNGS)

    def __call__(self, x):
        return self.out(self.head(x))


PATHS = {"encoder": "head", "encoder.0": "head.fc", "encoder.1": "head.ln", "head": "out"}


def other_paths():
    models = TorchNet(), FlaxNet()
    randomize(models[0])
    names = {f"{one}.{leaf}": f"{two}.{leaf}" for one, two in PATHS.items() for leaf in ("weight", "bias")}
    load_state_dict(models[1], {names[name]: value.numpy() for name, value in models[0].state_dict().items()})
    return models


@pytest.mark.parametrize("paths", [PATHS, PATHS.get], ids=["dict", "function"])
def test_models_with_other_paths(paths):
    models = other_paths()
    report = compare(*models, ROWS, axes="b t c", paths=paths if isinstance(paths, dict) else lambda p: PATHS.get(p, p))
    report.assert_same_function()
    assert [row.path for row in report.rows] == ["encoder.0", "encoder.1", "encoder", "head", ""]
    models[1].head.ln.epsilon = 1e-6
    report = compare(*models, ROWS, axes="b t c", paths=PATHS, gradients=True)
    assert report.cause == "encoder.1: would be explained by epsilon=1e-5, the Flax module has 1e-6"
    assert [row.path for row in report.gradients if row.verdict.passed] == ["encoder.1.bias", "head.bias"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"encodr": "head"}, "paths: no module of PyTorch at 'encodr'; did you mean 'encoder'?"),
        ({"encoder": "hed"}, "paths: no module of Flax at 'hed'; did you mean 'head'?"),
        ({"encoder": "out", "head": "out"}, "paths: 'encoder' and 'head' of PyTorch both go to 'out' of Flax"),
    ],
)
def test_paths_that_are_not_there(paths, message):
    with pytest.raises(ConfigError) as caught:
        compare(*other_paths(), ROWS, axes="b t c", paths=paths)
    assert str(caught.value) == message


def probes(torch_model, flax_model, x, axes):
    transfer(torch_model, flax_model)
    plain = compare(torch_model, flax_model, x, axes=axes)
    report = compare(torch_model, flax_model, x, axes=axes, probes=True)
    assert plain.passed, str(plain)
    return report, [row.path for row in report.probes if not row.verdict.passed]


def test_even_sizes_show_a_padding_that_odd_ones_hide():
    conv = NN.Conv2d(3, 4, 3, stride=2, padding=1)
    other = nnx.Conv(3, 4, (3, 3), strides=2, padding="SAME", rngs=RNGS)
    report, failed = probes(conv, other, IMAGE, "b c h w")
    assert failed == ["sizes one smaller"]
    assert report.verdict is Verdict.SEMANTIC
    assert report.first_divergence.path == "sizes one smaller"


def test_an_input_off_its_centre_shows_a_variance_in_one_pass():
    other = nnx.LayerNorm(12, epsilon=1e-5, use_fast_variance=True, rngs=RNGS)
    report, failed = probes(NN.LayerNorm(12), other, random_numbers("rows", (60, 5, 12)), "b t c")
    assert failed == ["off-centre"]
    assert report.verdict is Verdict.ROUNDING


def test_random_biases_show_one_that_is_lost():
    class Lost(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(np.zeros((3, 12), np.float32))
            self.bias = nnx.Param(np.zeros(3, np.float32))

        def __call__(self, x):
            return x @ self.weight[...].T

    torch_model = NN.Linear(12, 3)
    NN.init.zeros_(torch_model.bias)
    _, failed = probes(torch_model, Lost(), ROWS[0], None)
    assert failed == ["random state"]


def test_honest_models_pass_every_probe():
    torch_model = NN.Sequential(NN.Conv2d(3, 4, 3, padding=1), NN.BatchNorm2d(4), NN.GELU())
    flax_model = ours.Sequential(
        ours.Conv(3, 4, (3, 3), padding=1, rngs=RNGS), ours.BatchNorm(4, rngs=RNGS), ours.GELU()
    )
    report, failed = probes(torch_model, flax_model, IMAGE, "b c h w")
    assert failed == []
    assert [row.path for row in report.probes] == [
        "low variance",
        "off-centre",
        "around 2.7",
        "sizes one smaller",
        "sizes two smaller",
        "a smaller batch",
        "random state",
    ]


def test_what_is_being_done_is_told():
    said = []
    layers = torch.nn.LayerNorm(5), ours.LayerNorm(5, rngs=nnx.Rngs(0))
    transfer(*layers)
    x = np.random.default_rng(0).normal(size=(3, 5))
    compare(*layers, x, gradients=True, probes=True, progress=said.append)
    runs = ["PyTorch in float64", "Flax in float64", "PyTorch in float32", "Flax in float32"]
    assert said[:6] == [*runs, "PyTorch's gradients", "Flax's gradients"]
    assert said[6:8] == ["probe: low variance", "probe: off-centre"]
    assert said[-1] == "probe: random state"
    said.clear()
    layers[1].epsilon = 1e-3
    compare(*layers, x, progress=said.append)
    assert said == [*runs, "looking for the cause", "cause 1 of the network: epsilon=1e-5, the Flax module has 0.001"]


def test_without_the_own_dtype_the_function_is_judged_all_the_same():
    models = other_paths()
    report = compare(*models, ROWS, axes="b t c", paths=PATHS, own_dtype=False)
    report.assert_same_function()
    assert all(row.torch_error is None and row.flax_error is None for row in report.outputs)
    bias = models[1].out.bias
    bias[...] = bias[...] + 1e-4
    assert not compare(*models, ROWS, axes="b t c", paths=PATHS, own_dtype=False).passed
