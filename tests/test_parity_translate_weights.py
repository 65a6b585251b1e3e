"""Translate: a network that magnifies rounding at random weights is proved near its own, under the same limits."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from torch import Tensor, nn

import einops_arch.translation.prove as proving
from einops_arch.parity import randomize
from einops_arch.parity.report.verdicts import Verdict
from einops_arch.translation import translate
from einops_arch.translation.inputs import arguments_of
from einops_arch.translation.prove import prove
from einops_arch.translation.weights import moved_pair


class Waves(nn.Module):
    """Each layer turns what comes in by several times pi, unless its weights are small."""

    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(4 * layer(x))
        return x


@pytest.fixture(scope="module")
def waves():
    torch.manual_seed(0)
    model, x = Waves(), torch.randn(4, 8)
    return model, translate(model, x, axes="b c", prove=False).module, {"b=4": arguments_of(x, "b c")}


def test_rounding_that_random_weights_magnify_is_compared_near_the_models_own(waves):
    model, module, runs = waves
    proof = prove(model, lambda rngs: module.Waves(rngs=rngs), runs, {}, lambda text: None)
    titles = list(proof.reports)
    assert proof.passed, proof
    assert any("own weights moved by a tenth (at random ones" in title for title in titles), titles


def test_a_fault_of_the_size_of_that_rounding_is_seen_there(waves):
    model, module, runs = waves

    class Wrong(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.layers = module.Waves(rngs=rngs).layers

        def __call__(self, x):
            for number, layer in enumerate(self.layers):
                x = jnp.sin(4 * layer(x)) * (1 + 5e-11 * (number == 9))
            return x

    said: list[str] = []
    proof = prove(model, Wrong, runs, {}, said.append)
    assert any("near its own weights" in text for text in said)
    assert proof.verdict == "semantic difference"
    assert not any("moved by a tenth" in title for title in proof.reports)


class Normed(nn.Module):
    """Batch statistics of as many numbers as there are rows."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.fc(x))


@pytest.mark.parametrize("stays", [False, True])
def test_rounding_over_few_numbers_is_compared_over_more_and_a_fault_stays(stays, monkeypatch):
    model, x = Normed(), torch.randn(8, 4)
    make = translate(model, x, axes="b c", prove=False).module.Normed
    compared = proving._compared

    def magnified(pair, arguments, *args, mode="eval", **options):
        """As if the outputs of a batch of 8 in training, or of every one, were off by what rounding may become."""
        report = compared(pair, arguments, *args, mode=mode, **options)
        if mode == "eval" or (arguments.letters["b"] > 8 and not stays):
            return report
        rows = [dataclasses.replace(row, difference=3e-12, verdict=Verdict.SEMANTIC) for row in report.outputs]
        return dataclasses.replace(report, outputs=tuple(rows))

    monkeypatch.setattr(proving, "_compared", magnified)
    said: list[str] = []
    proof = prove(model, lambda rngs: make(rngs=rngs), {"first size": arguments_of(x, "b c")}, {}, said.append)
    assert "comparing first size, train and gradients, with b=32" in said
    if stays:
        assert proof.verdict == "semantic difference"
        assert any("near its own weights" in text for text in said)
    else:
        assert proof.passed
        assert (
            "first size, train and gradients, with b=32 (at that size 1 result off by up to 3.0e-12)" in proof.reports
        )


def test_weights_in_between_keep_ties_and_leave_no_bias_at_zero():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
            self.second.weight = self.first.weight
            nn.init.zeros_(self.first.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    model = Tied()
    module = translate(model, torch.randn(2, 5), axes="b c", prove=False).module
    pair = moved_pair(model, lambda rngs: module.Tied(rngs=rngs))
    random = Tied()
    randomize(random)
    weight = 0.9 * model.first.weight.double() + 0.1 * random.first.weight.double()
    assert pair.model.second.weight is pair.model.first.weight
    torch.testing.assert_close(pair.model.first.weight, weight.float(), rtol=0, atol=0)
    assert (pair.model.first.bias.abs() > 0.005).all()


class Mixed(nn.Module):
    """As Glow mixes channels: an orthogonal matrix, the logarithm of whose determinant is nothing but rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linalg.qr(torch.randn(8, 8))[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.w, x.new_zeros(x.shape[0]) + torch.slogdet(self.w)[1]


def test_own_weights_of_which_a_result_is_rounding_are_moved_by_a_tenth() -> None:
    torch.manual_seed(1)
    twin = translate(Mixed(), torch.randn(2, 8), axes="b 8")
    assert twin.passed, str(twin.report)
    titles = list(twin.report.reports)
    assert any("own weights, at its own weights moved by a tenth (at these" in title for title in titles), titles
