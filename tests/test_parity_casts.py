"""Casts inside of a float64 run: seen, named with the operation, recognised on both sides, and lifted."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.flax import layers as ours
from einops_arch.parity import Verdict, compare, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.runs.casts import flax_casts
from einops_arch.parity.runs.jaxprs import lifted
from einops_arch.port import transfer

NN = torch.nn
RNGS = nnx.Rngs(0)
ROWS = random_numbers("rows", (3, 5, 12))


class TorchRoot(NN.Module):
    """The root mean square as most language models compute it: in float32, whatever comes in."""

    def __init__(self, *, casts="float32"):
        super().__init__()
        self.weight = NN.Parameter(torch.ones(12))
        self.casts = casts

    def forward(self, x):
        wide = x.to(getattr(torch, self.casts)) if self.casts else x
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


class FlaxRoot(nnx.Module):
    def __init__(self, *, casts="float32", epsilon=1e-6):
        self.weight = nnx.Param(jnp.ones(12))
        self.casts, self.epsilon = casts, epsilon

    def __call__(self, x):
        wide = x.astype(self.casts) if self.casts else x
        wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.epsilon)
        return self.weight[...] * wide.astype(x.dtype)


def report(torch_norm, flax_norm, **keywords):
    models = (
        NN.Sequential(NN.Linear(12, 12), torch_norm, NN.Linear(12, 12)),
        ours.Sequential(ours.Linear(12, 12, rngs=RNGS), flax_norm, ours.Linear(12, 12, rngs=RNGS)),
    )
    randomize(models[0])
    transfer(*models)
    return compare(*models, ROWS, axes="b t c", **keywords)


def test_the_same_casts_on_both_sides_are_lifted_and_said():
    outcome = report(TorchRoot(), FlaxRoot(), gradients=True)
    assert outcome.passed, str(outcome)
    assert max(row.difference for row in outcome.rows) < 1e-14
    assert outcome.notes == (
        "both models cast to a narrower type in 1; the float64 run was made with these casts lifted",
    )
    torch_cast, flax_cast = outcome.casts
    assert torch_cast == "PyTorch: _to_copy to float32 in 1"
    assert flax_cast.startswith("Flax: convert_element_type to float32 in 1 at test_parity_casts.py:")


def test_what_lies_under_the_same_casts_is_still_compared():
    outcome = report(TorchRoot(), FlaxRoot(epsilon=1e-5))
    assert outcome.first_divergence.path == "1"
    assert outcome.verdict is Verdict.SEMANTIC
    assert outcome.cause.startswith("1: would be explained by epsilon=1e-6, the Flax module has 1e-5")


@pytest.mark.parametrize(
    ("norms", "words"),
    [
        (
            (TorchRoot(casts=None), FlaxRoot(casts="bfloat16")),
            "Flax: convert_element_type to bfloat16 in 1 at test_parity_casts.py:",
        ),
        ((TorchRoot(casts="bfloat16"), FlaxRoot(casts=None)), "PyTorch: _to_copy to bfloat16 in 1"),
    ],
    ids=["flax", "torch"],
)
def test_a_narrower_cast_on_one_side_is_a_hidden_cast_with_the_operation(norms, words):
    narrowed = report(*norms)
    assert not narrowed.passed
    assert narrowed.first_divergence.path == "1"
    assert words in str(narrowed)
    assert [row.path for row in narrowed.rows if row.verdict.passed] == ["0"]


@pytest.mark.parametrize(
    "norms", [(TorchRoot(casts=None), FlaxRoot()), (TorchRoot(), FlaxRoot(casts=None))], ids=["flax", "torch"]
)
def test_a_cast_to_the_dtype_of_the_models_is_no_narrowing(norms):
    lifted_report = report(*norms)
    assert lifted_report.passed, str(lifted_report)
    # Not lifted it shows, in float64: rounding of float32.
    assert 1e-9 < max(row.difference for row in report(*norms, lift_casts=False).rows) < 1e-6


def test_a_cast_does_not_excuse_another_difference():
    outcome = report(TorchRoot(casts=None), FlaxRoot(epsilon=1e-5))
    assert outcome.verdict is Verdict.SEMANTIC


def test_casts_that_are_not_to_be_lifted_are_not():
    outcome = report(TorchRoot(), FlaxRoot(), lift_casts=False)
    assert len(outcome.casts) == 2
    assert 1e-9 < max(row.difference for row in outcome.rows) < 1e-6


def test_attention_of_jax_casts_in_its_softmax():
    class Torch(NN.Module):
        def forward(self, x):
            x = x[:, :, None].transpose(1, 2)
            return NN.functional.scaled_dot_product_attention(x, x, x).transpose(1, 2)

    class Flax(nnx.Module):
        def __call__(self, x):
            return jax.nn.dot_product_attention(x[:, :, None], x[:, :, None], x[:, :, None])

    outcome = compare(Torch(), Flax(), ROWS, axes="b t c")
    assert outcome.passed, str(outcome)
    assert any("convert_element_type to float32" in cast for cast in outcome.casts)
    unlifted = compare(Torch(), Flax(), ROWS, axes="b t c", lift_casts=False)
    assert 1e-9 < unlifted.outputs[0].difference < 1e-6


def narrow(x):
    """Casts in a loop, a branch, a call and a rule of differentiation."""

    def step(carry, row):
        return carry + jnp.sin(row.astype(jnp.float32)).astype(row.dtype), jax.nn.relu(row.astype(jnp.bfloat16))

    total, rows = jax.lax.scan(step, jnp.zeros(12), x)
    total = jax.lax.cond(total.sum() > 0, lambda y: jnp.exp(y.astype(jnp.float16)).astype(y.dtype), lambda y: y, total)
    return (
        total,
        jax.jit(lambda y: jax.lax.reduce_precision(y, 8, 7))(rows.astype(x.dtype)),
        jnp.arange(3, dtype=jnp.float32),
    )


def test_casts_are_found_and_lifted_wherever_they_are():
    x = np.asarray(ROWS[0])
    with jax.enable_x64(new_val=True):
        program = jax.make_jaxpr(narrow)(jnp.asarray(x))
        assert sorted(one.dtype for one in flax_casts(program)) == ["bfloat16", "float16", "float32"]
        total, rows, count = lifted(program, [jnp.asarray(x)])
        expected = np.sin(x).sum(0)
        expected = np.exp(expected) if expected.sum() > 0 else expected
        np.testing.assert_allclose(total, expected, rtol=1e-14)
        np.testing.assert_array_equal(rows, np.maximum(x, 0))
        assert total.dtype == rows.dtype == count.dtype == np.float64
