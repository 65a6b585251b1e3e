"""GPT-2 with padding: both twins, masks and positions, and what is refused."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.architectures import GPT2Config
from einops_arch.errors import DtypeError, IndexRangeError, ShapeError
from einops_arch.parity import randomize
from einops_arch.port import to_flax
from einops_arch.torch import GPT2

TOKENS = np.random.default_rng(0).integers(0, 17, (2, 7))
MASK = np.arange(7) >= np.asarray([[0], [3]])
PLACES = np.maximum(MASK.cumsum(1) - 1, 0)


@pytest.fixture(scope="module")
def twins():
    model = GPT2(GPT2Config.tiny()).double().eval()
    randomize(model)
    other = to_flax(model)
    other.eval()
    return model, other


def test_a_padded_text_has_the_logits_that_it_has_alone_in_both_twins(twins):
    model, other = twins
    with torch.no_grad():
        padded = model(*map(torch.from_numpy, (TOKENS, MASK, PLACES))).numpy()
        alone = model(torch.from_numpy(TOKENS[1:, 3:])).numpy()
    call = nnx.jit(type(other).__call__)
    received = np.asarray(call(other, *map(jnp.asarray, (TOKENS, MASK.astype(np.int32), PLACES))))
    np.testing.assert_allclose(padded[1:, 3:], alone, rtol=1e-12, atol=1e-12)
    # At padding too, where a token sees none: both give the values of no attention.
    np.testing.assert_allclose(received, padded, rtol=1e-12, atol=1e-12)
    without = np.asarray(other(jnp.asarray(TOKENS)))
    assert np.abs(without[1, 3:] - alone[0]).max() > 1e-3, "the padding would not have been noticed"


def test_the_gradient_of_a_padded_batch_is_pytorchs_and_finite(twins):
    model, other = twins
    model.zero_grad()
    weight = np.where(MASK[..., None], np.random.default_rng(1).normal(size=(2, 7, 17)), 0.0)
    (model(*map(torch.from_numpy, (TOKENS, MASK, PLACES))) * torch.from_numpy(weight)).sum().backward()

    def loss(model):
        return (model(*map(jnp.asarray, (TOKENS, MASK, PLACES))) * weight).sum()

    gradients = nnx.grad(loss)(other)
    np.testing.assert_allclose(
        gradients.transformer.wpe.embedding[...], model.transformer.wpe.weight.grad, rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(
        gradients.transformer.h[0].attn.c_attn.kernel[...],
        model.transformer.h[0].attn.c_attn.weight.grad,
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize(
    ("mask", "places", "error", "message"),
    [
        (MASK[:, 1:], None, ShapeError, r"attention_mask: .*n=7, received n=6"),
        (MASK.astype(np.float32), None, DtypeError, "attention_mask: .*received dtype .*float32"),
        (None, PLACES[:1], ShapeError, r"position_ids: .*b=2"),
        (None, PLACES + 9, IndexRangeError, "position_ids: .*15"),
    ],
)
@pytest.mark.parametrize("side", ["torch", "flax"])
def test_masks_and_positions_that_do_not_fit_are_refused(twins, side, mask, places, error, message):
    model, move = (twins[0], torch.from_numpy) if side == "torch" else (twins[1], jnp.asarray)
    with pytest.raises(error, match=message):
        model(*(None if array is None else move(array) for array in (TOKENS, mask, places)))
