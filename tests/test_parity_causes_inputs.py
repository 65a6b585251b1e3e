"""Causes with bfloat16, and with masks in every form in which people pass them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.flax import layers as ours
from einops_arch.parity import compare, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer

NN = torch.nn
RNGS = nnx.Rngs(0)
ROWS = random_numbers("rows", (3, 5, 12))
KEEP = np.arange(5) < np.array([3, 5, 2])[:, None]


@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float32])
def test_bfloat16(weights):
    torch_model = NN.Sequential(NN.LayerNorm(12), NN.Linear(12, 8), NN.GELU())
    flax_model = ours.Sequential(ours.LayerNorm(12, rngs=RNGS), ours.Linear(12, 8, rngs=RNGS), ours.GELU())
    randomize(torch_model)
    transfer(torch_model.to(weights), flax_model)
    rows = torch.from_numpy(ROWS).bfloat16()
    assert compare(torch_model, flax_model, rows, axes="b n c").passed
    flax_model[0].epsilon = 1e-6
    flax_model[2].approximate = True
    report = compare(torch_model, flax_model, rows, axes="b n c")
    # In bfloat16 itself the eps is a hundredth of the rounding.
    assert (report.rows[0].ratio < 1.1) == (weights is torch.bfloat16)
    assert report.causes == (
        "0: would be explained by epsilon=1e-5, the Flax module has 1e-6",
        "2: would be explained by approximate=False, the Flax module has True",
    )


def flax_module(function):
    class Flax(nnx.Module):
        def __call__(self, *args):
            return function(*args)

    return Flax()


def module(function):
    class Torch(NN.Module):
        def forward(self, *args):
            return function(*args)

    return Torch()


def attention(xp, softmax, shut):
    def attend(x, mask):
        return softmax(x @ xp.swapaxes(x, -1, -2) + shut(mask[:, None]), -1) @ x

    return attend


def unpacked(packed):
    return ((packed[:, :, None] >> torch.arange(8)) & 1).reshape(3, 8)[:, :5]


MASKS = {
    # The mask; what PyTorch and Flax add to the logits; how the sentence goes on.
    "integers": (KEEP.astype(np.int64), lambda m: (1 - m) * -1e9, lambda m: m * -1e9, "the other way round: what is 1"),
    "floats": (KEEP.astype(np.float32), lambda m: (1 - m) * -1e9, lambda m: m * -1e9, "the other way round: what is 1"),
    "added": (
        np.where(KEEP, 0, -1e9).astype(np.float32),
        lambda m: -1e9 - m,
        lambda m: m,
        "the other way round: what is shut out here is open",
    ),
    "packed": (
        np.packbits(KEEP, axis=-1, bitorder="little"),
        lambda m: (1 - unpacked(m[:, 0]))[:, None] * -1e9,
        lambda m: (1 - jnp.unpackbits(m[:, 0], axis=-1).astype(int)[:, None, :5]) * -1e9,
        "with its packed bits in the other order",
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    mask, torch_shut, flax_shut, words = MASKS[name]
    models = (
        module(attention(torch, torch.softmax, torch_shut)),
        flax_module(attention(jnp, jax.nn.softmax, flax_shut)),
    )
    report = compare(*models, (ROWS, mask), axes=("b n c", None))
    assert report.cause.startswith(f"the network: would be explained by the mask in argument 0.1 {words}")


def test_a_mask_made_of_lengths():
    models = (
        module(lambda x, n: (x * (torch.arange(5) < n[:, None])[..., None]).sum(1)),
        flax_module(lambda x, n: (x * (jnp.arange(5) <= n[:, None])[..., None]).sum(1)),
    )
    report = compare(*models, (ROWS, np.array([3, 5, 2])), axes=("b n c", None))
    assert report.cause.startswith("the network: would be explained by '<', where the Flax module compares with '<='")
