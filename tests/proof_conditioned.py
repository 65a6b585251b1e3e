"""Pairs that magnify rounding inside of one module, as norms of numbers far from zero do, and faults beneath that."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import HONEST
from proof_pairs import ROWS, SEQUENCE, nets
from proof_wrong import WRONG, rngs
from proof_wrong_calls import pair
from torch import nn


def torch_norm(x, eps=1e-5):
    x = x - x.mean(-1, keepdim=True)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def flax_norm(x, eps=1e-5):
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps)


def torch_in_one_pass(x, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) * torch.rsqrt(x.square().mean(-1, keepdim=True) - mean.square() + eps)


def flax_in_one_pass(x, eps=1e-5):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) - jnp.square(mean) + eps)


def functional(torch_function, flax_function, shift, **settings):
    return pair(
        lambda m, x: torch_function(m.fc(x) + shift), lambda m, x: flax_function(m.fc(x) + shift), ROWS, **settings
    )


def layer_norm(x):
    return F.layer_norm(x, (6,))


def layers(shift, *, scale=1.0, eps=1e-5, fast=False, **settings):
    """A layer norm alone, of inputs far from zero."""
    return nets(
        {"norm": nn.LayerNorm(8)},
        {"norm": nnx.LayerNorm(8, epsilon=eps, use_fast_variance=fast, rngs=rngs())},
        lambda m, x: m.norm(x),
        lambda m, x: m.norm(x),
        (scale * SEQUENCE + shift).astype(np.float32),
        axes="b t c",
        **settings,
    )


def behind(shift, flax_shift=None):
    """A layer norm behind a layer, and a layer behind it."""
    flax_shift = shift if flax_shift is None else flax_shift
    return pair(
        lambda m, x: m.head(m.norm(m.fc(x) + shift)),
        lambda m, x: m.head(m.norm(m.fc(x) + flax_shift)),
        ROWS,
        torch_layers={"norm": nn.LayerNorm(6), "head": nn.Linear(6, 5)},
        flax_layers={
            "norm": nnx.LayerNorm(6, epsilon=1e-5, use_fast_variance=False, rngs=rngs()),
            "head": nnx.Linear(6, 5, rngs=rngs()),
        },
    )


for _shift in (1e4, 1e5):
    for _name, _make in {
        "a function that normalizes": lambda a=_shift: functional(layer_norm, flax_norm, a),
        "lines of code that normalize": lambda a=_shift: functional(torch_norm, flax_norm, a),
        "a layer norm": lambda a=_shift: layers(a),
        "a layer norm of hundredths": lambda a=_shift: layers(a, scale=0.01),
        "the gradient of a layer norm": lambda a=_shift: layers(a, gradients=True),
        "a layer norm between layers": lambda a=_shift: behind(a),
    }.items():
        HONEST.add("numerics", f"{_name}, at a mean of {_shift:.0e}", _make)
    for _name, _make in {
        "an eps that is off by a thousandth": lambda a=_shift: layers(a, eps=1.001e-5),
        "lines of code with another eps": lambda a=_shift: functional(torch_norm, lambda x: flax_norm(x, 1.001e-5), a),
        "a variance in one pass": lambda a=_shift: layers(a, fast=True),
        "lines of code with a variance in one pass": lambda a=_shift: functional(torch_norm, flax_in_one_pass, a),
        "an unbiased deviation": lambda a=_shift: functional(
            torch_norm,
            lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-5),
            a,
        ),
    }.items():
        WRONG.add("magnified rounding", f"{_name}, at a mean of {_shift:.0e}", _make)
HONEST.add(
    "numerics",
    "a function that normalizes and its gradient, at a mean of 1e+04",
    lambda: functional(layer_norm, flax_norm, 1e4, gradients=True),
)
HONEST.add(
    "numerics",
    "a variance in one pass on both sides, at a mean of 1e+03",
    lambda: functional(torch_in_one_pass, flax_in_one_pass, 1e3),
)
