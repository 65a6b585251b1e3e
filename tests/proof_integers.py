"""Pairs in which integers are made of integers by way of other numbers, which lie at the edges between two of them."""

from __future__ import annotations

import math

import jax.numpy as jnp
import torch
from flax import nnx
from proof_honest import HONEST
from proof_pairs import draw, nets
from proof_wrong import WRONG, rngs
from torch import nn

from einops_arch.port import optimizers

BUCKETS, HALF, FAR = 16, 8, 128
X = draw(2, 80, 6, seed=2)


def torch_buckets(distance, dtype, far=FAR):
    """T5's buckets of a distance: for every power of two the logarithm is at the edge between two."""
    large = HALF + (torch.log(distance.to(dtype) / HALF) / math.log(far / HALF) * HALF).long()
    return torch.where(distance < HALF, distance, torch.minimum(large, torch.full_like(large, BUCKETS - 1)))


def flax_buckets(distance, dtype, far=FAR, more=0.0, near=HALF):
    large = HALF + (jnp.log(distance.astype(dtype) / HALF) / math.log(far / HALF) * HALF + more).astype(jnp.int32)
    return jnp.where(distance < near, distance, jnp.minimum(large, BUCKETS - 1))


def flax_up(distance, dtype):
    """The next bucket where the logarithm is between two."""
    large = HALF + jnp.ceil(jnp.log(distance.astype(dtype) / HALF) / math.log(FAR / HALF) * HALF).astype(jnp.int32)
    return jnp.where(distance < HALF, distance, jnp.minimum(large, BUCKETS - 1))


def biased(torch_of, flax_of, **settings):
    """Attention by a bias of buckets alone."""

    def torch_call(model, x):
        places = torch.arange(x.shape[1])
        bias = model.bias(torch_of((places[:, None] - places).abs(), x.dtype))[..., 0]
        return model.fc(x) + bias.softmax(-1) @ x

    def flax_call(model, x):
        places = jnp.arange(x.shape[1])
        bias = model.bias(flax_of(jnp.abs(places[:, None] - places), x.dtype))[..., 0]
        return model.fc(x) + nnx.softmax(bias) @ x

    return nets(
        {"fc": nn.Linear(6, 6), "bias": nn.Embedding(BUCKETS, 1)},
        {"fc": nnx.Linear(6, 6, rngs=rngs()), "bias": nnx.Embed(BUCKETS, 1, rngs=rngs())},
        torch_call,
        flax_call,
        X,
        axes="b t c",
        **settings,
    )


def torch_float(distance, dtype):
    del dtype
    return torch_buckets(distance, torch.float32)


def flax_float(distance, dtype, **changed):
    del dtype
    return flax_buckets(distance, jnp.float32, **changed)


for _name, _torch, _flax in (
    ("cast to float32 in both", torch_float, flax_float),
    ("in the dtype of the inputs in both", torch_buckets, flax_buckets),
    ("cast to float32 in torch", torch_float, flax_buckets),
    ("cast to float32 in Flax", torch_buckets, flax_float),
):
    HONEST.add("integers", f"buckets of distances, {_name}", lambda a=_torch, b=_flax: biased(a, b))
for _name, _settings in {
    "gradients": {"gradients": True},
    "casts lifted": {"gradients": True, "lift_casts": True},
    "trained": {"optimizer": optimizers.SGD(lr=0.1), "steps": 2},
}.items():
    HONEST.add("integers", f"buckets of distances, {_name}", lambda a=_settings: biased(torch_float, flax_buckets, **a))

for _name, _changed in {
    "the largest distance": {"far": 64},
    "a bucket further": {"more": 1.0},
    "rounded to the nearest": {"more": 0.5},
    "one near distance less": {"near": HALF - 1},
}.items():
    WRONG.add(
        "integers",
        f"buckets of distances, {_name}",
        lambda a=_changed: biased(torch_float, lambda distance, dtype: flax_float(distance, dtype, **a)),
    )
WRONG.add("integers", "buckets of distances, rounded up", lambda: biased(torch_float, flax_up))


def resized(torch_of, flax_of):
    """Places that are looked up at a scale, as nearest neighbours are, among them at edges."""
    return nets(
        {"fc": nn.Linear(6, 6)},
        {"fc": nnx.Linear(6, 6, rngs=rngs())},
        lambda m, x: m.fc(x)[:, torch_of(torch.arange(110))],
        lambda m, x: m.fc(x)[:, flax_of(jnp.arange(110))],
        X,
        axes="b t c",
        layouts={"": "b t c -> b t c"},
    )


SCALE = 0.7
HONEST.add(
    "integers",
    "places at a scale",
    lambda: resized(lambda n: torch.floor(n * SCALE).long(), lambda n: jnp.floor(n * SCALE).astype(jnp.int32)),
)
WRONG.add(
    "integers",
    "places at a scale, of centers",
    lambda: resized(
        lambda n: torch.floor(n * SCALE).long(), lambda n: jnp.floor((n + 0.5) * SCALE - 0.5).astype(jnp.int32)
    ),
)
