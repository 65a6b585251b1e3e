"""What `compare` says of a Flax network that computes in half precision, by what PyTorch's computes in."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
import torch
from flax import nnx

from einops_arch.architectures import SuperResolutionConfig
from einops_arch.errors import EinopsArchError
from einops_arch.flax.super_resolution import SuperResolution as FlaxSuperResolution
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.port import transfer
from einops_arch.torch import SuperResolution

CONFIG = SuperResolutionConfig.tiny()


def twins(**dtypes):
    model = SuperResolution(CONFIG)
    randomize(model)
    other = FlaxSuperResolution(CONFIG, rngs=nnx.Rngs(0), **dtypes)
    transfer(model, other)
    return model, other


def test_weights_and_computing_in_half_precision_are_those_of_pytorch_in_half_precision():
    half = twins()[0].to(torch.bfloat16)
    other = FlaxSuperResolution(CONFIG, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    transfer(half, other)
    compare(half, other, example_inputs(CONFIG, batch=2)).assert_same_function()


def test_computing_in_half_precision_beside_pytorch_in_float32_is_one_function_that_rounds_otherwise():
    model, other = twins(dtype=jnp.bfloat16)
    report = compare(model, other, example_inputs(CONFIG, batch=2))
    assert {str(row.verdict) for row in report.rows} == {"rounding"}
    assert max(row.difference for row in report.rows) < 1e-12
    with pytest.raises(EinopsArchError, match=r"conv1 .*: rounding; expected an error ratio of at most 4"):
        report.assert_same_function()
