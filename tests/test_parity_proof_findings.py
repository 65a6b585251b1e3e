"""Findings of the first hunt that no pair or fault of the suite holds: causes behind others, gradients, words."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import FlaxCast, TorchCast
from proof_pairs import ROWS, SEQUENCE, TOKENS, nets
from proof_structures import TorchTied
from torch import nn

from einops_arch.errors import ParityError
from einops_arch.parity import Verdict, compare
from einops_arch.parity.causes import explain

RNGS = nnx.Rngs(0)


def cast_and(torch_function, flax_function, change=None):
    """A norm that casts on both sides, so that all is judged with casts lifted, and what is done to it."""
    return nets(
        {"norm": TorchCast(), "fc": nn.Linear(8, 6)},
        {"norm": FlaxCast(), "fc": nnx.Linear(8, 6, rngs=RNGS)},
        lambda m, x: torch_function(m.fc(m.norm(x))),
        lambda m, x: flax_function(m.fc(m.norm(x))),
        SEQUENCE,
        change=change,
        axes="b t c",
    ).report(causes=True)


def test_an_operation_is_a_cause_with_casts_lifted():
    report = cast_and(F.gelu, jax.nn.gelu)
    assert report.lifted
    assert "would be explained by the exact form of GELU" in report.cause


def test_a_weight_is_a_cause_with_casts_lifted():
    def lose(torch_model, flax_model):
        del torch_model
        flax_model.fc.bias[...] = 0 * flax_model.fc.bias[...]

    report = cast_and(torch.tanh, jnp.tanh, change=lose)
    assert report.lifted
    assert "bias is zero" in report.cause


class TorchLonger(nn.Module):
    def forward(self, x):
        return F.pad(x, (0, 1))


class FlaxPlain(nnx.Module):
    def __call__(self, x):
        return x


@pytest.mark.parametrize("kind", [Verdict.SHAPE, Verdict.HIDDEN_CAST])
def test_causes_are_looked_for_behind_a_row_of_another_kind(kind):
    class FlaxNarrow(nnx.Module):
        def __call__(self, x):
            return x.astype(jnp.float16).astype(x.dtype)

    torch_first, flax_first = (TorchLonger(), FlaxPlain()) if kind is Verdict.SHAPE else (nn.Identity(), FlaxNarrow())
    report = nets(
        {"first": torch_first, "norm": nn.LayerNorm(6)},
        {"first": flax_first, "norm": nnx.LayerNorm(6, epsilon=1e-3, rngs=RNGS)},
        lambda m, x: m.norm(m.first(x)[:, :6]),
        lambda m, x: m.norm(m.first(x)),
        ROWS,
    ).report(causes=True)
    assert report.rows[0].verdict is kind
    assert any("norm: would be explained by epsilon=1e-5" in cause for cause in report.causes), report.causes


def test_a_search_is_limited_by_cpu_time_and_not_by_the_clock(monkeypatch):
    def cause():
        return nets(
            {"fc": nn.Linear(6, 6)},
            {"fc": nnx.Linear(6, 6, rngs=RNGS)},
            lambda m, x: F.gelu(m.fc(x)),
            lambda m, x: jax.nn.gelu(m.fc(x)),
            ROWS,
        ).report(causes=True)

    slow = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(explain, "time", SimpleNamespace(process_time=lambda: 0.0, monotonic=lambda: next(slow)))
    assert "would be explained by the exact form of GELU" in cause().cause
    assert next(slow) == 0, "the clock was looked at"


def test_that_no_cause_could_be_tried_is_said():
    case = SimpleNamespace(name="fc", before=0.5, patience=1.0, deadline=0.0, is_over=False, say=lambda text: None)
    assert explain._search(case, [], []) == "fc: not explained: no cause could be tried"


def gradients_of(torch_layers, flax_layers, torch_function, flax_function, **settings):
    report = nets(torch_layers, flax_layers, torch_function, flax_function, TOKENS, gradients=True, **settings).report(
        causes=True
    )
    assert not report.passed
    assert all(row.verdict.passed for row in report.outputs)
    return report.causes


def test_the_gradient_of_a_row_for_padding_is_named():
    tokens = int(TOKENS[0, 0])
    (cause,) = gradients_of(
        {"embed": nn.Embedding(11, 8, padding_idx=tokens)},
        {"embed": nnx.Embed(11, 8, rngs=RNGS)},
        lambda m, t: torch.tanh(m.embed(t)),
        lambda m, t: jnp.tanh(m.embed(t)),
    )
    assert cause.startswith(f"embed.weight: would be explained by padding_idx={tokens}")


class FlaxUntied(nnx.Module):
    def __init__(self):
        self.embed, self.head = nnx.Embed(11, 8, rngs=RNGS), nnx.Linear(8, 11, use_bias=False, rngs=RNGS)

    def __call__(self, tokens):
        return self.head(jnp.tanh(self.embed(tokens)))


class FlaxTied(nnx.Module):
    def __init__(self):
        self.embed = nnx.Embed(11, 8, rngs=RNGS)

    def __call__(self, tokens):
        return self.embed.attend(jnp.tanh(self.embed(tokens)))


def carry(torch_model, flax_model):
    weight = torch_model.net.embed.weight.detach().numpy()
    flax_model.net.embed.embedding[...] = weight
    if hasattr(flax_model.net, "head"):
        flax_model.net.head.kernel[...] = weight.T


def tied(flax_net, **settings):
    return (
        {"net": TorchTied()},
        {"net": flax_net},
        lambda m, t: m.net(t),
        lambda m, t: m.net(t),
        TOKENS,
    ), {"carry": carry} | settings


def test_a_branch_that_is_untied_is_named():
    parts, settings = tied(FlaxUntied())
    report = nets(*parts, **settings, gradients=True).report(causes=True)
    assert not report.passed
    words = "net.embed.weight: would be explained by net.embed.weight and net.head.weight as one parameter"
    assert any(cause.startswith(words) for cause in report.causes), report.causes


def test_the_tie_of_an_embedding_that_attends_needs_no_paths():
    parts, settings = tied(FlaxTied())
    for gradients in (False, True):
        report = nets(*parts, **settings, gradients=gradients).report()
        assert report.passed, str(report)


def test_a_module_of_equinox_is_said():
    class Linear:
        def __call__(self, x):
            return x

    Linear.__module__ = "equinox.nn._linear"
    model = nn.Linear(6, 6)
    with pytest.raises(ParityError, match=r"an Equinox module \(Linear\).*nnx.Module whose __call__ calls it"):
        compare(model, Linear(), np.ones((2, 6), np.float32))
