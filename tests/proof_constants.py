"""Constants that one side has rounded to float32: the same function for users of float32, not for those of float64."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from jax import lax
from proof_honest import HONEST
from proof_pairs import ROWS, WIDTH, Torch, Trial, after_linear, nets
from proof_wrong import WRONG, rngs
from torch import nn

from einops_arch.parity import randomize
from einops_arch.port import transfer

ROOT = np.sqrt(2).astype(np.float32)
ODD = 1 / (1 + math.exp(-1.3))  # no decimal, fraction or root
TENSOR = torch.tensor(2.0).sqrt()
with jax.enable_x64(new_val=False):
    ARRAY = jnp.sqrt(jnp.asarray([2.0]))


def gelu(root):
    return lambda x: 0.5 * x * lax.erfc(-x / root)


def torch_gelu(root):
    return lambda x: 0.5 * x * torch.erfc(-x / root)


ROUNDED = {
    "the root in a GELU of PyTorch's": (F.gelu, gelu(ROOT)),
    "the root in a GELU by hand": (torch_gelu(math.sqrt(2)), gelu(ROOT)),
    "the root in a GELU, as a factor": (F.gelu, lambda x: 0.5 * x * lax.erfc(-x * np.float32(math.sqrt(0.5)))),
    "the root as an array of one number": (torch_gelu(math.sqrt(2)), gelu(ARRAY)),
    "the root in a float": (torch_gelu(math.sqrt(2)), gelu(float(ROOT))),
    "the root in PyTorch's model": (torch_gelu(ROOT), lambda x: jax.nn.gelu(x, approximate=False)),
    "the root in a tensor that is no buffer": (torch_gelu(TENSOR), gelu(math.sqrt(2))),
    "the root on both sides": (torch_gelu(TENSOR), gelu(ROOT)),
    "a number of no known form": (lambda x: x * ODD, lambda x: x * np.float32(ODD)),
    "a number of no known form in PyTorch's model": (lambda x: x * np.float32(ODD), lambda x: x * ODD),
}


def in_float64(torch_function, flax_function):
    """The same for models of float64."""
    torch_model = Torch(lambda m, x: torch_function(m.fc(x)), {"fc": nn.Linear(6, WIDTH).double()})
    with jax.enable_x64(new_val=True):
        trial = after_linear(torch_function, flax_function)
        trial.flax_model.fc = nnx.Linear(6, WIDTH, param_dtype=jnp.float64, dtype=jnp.float64, rngs=nnx.Rngs(0))
        randomize(torch_model)
        transfer(torch_model, trial.flax_model)
    return Trial(torch_model, trial.flax_model, ROWS.astype(np.float64), {})


for name, functions in ROUNDED.items():
    HONEST.add("constants of the dtype", name, lambda functions=functions: after_linear(*functions))
    if "both" not in name:
        WRONG.add("constants of the dtype", f"{name}, in float64", lambda functions=functions: in_float64(*functions))


@WRONG.of("constants of the dtype")
def a_root_that_is_two_roundings_off():
    off = np.nextafter(np.nextafter(ROOT, np.float32(2)), np.float32(2))
    return after_linear(F.gelu, gelu(off))


@WRONG.of("constants of the dtype")
def a_number_of_no_known_form_that_is_one_rounding_off():
    off = np.nextafter(np.float32(ODD), np.float32(2))
    return after_linear(lambda x: x * ODD, lambda x: x * off)


@HONEST.of("constants of the dtype")
def a_buffer_of_one_number():
    return nets(
        {"fc": nn.Linear(6, 6), "root": torch.tensor([math.sqrt(2)])},
        {"fc": nnx.Linear(6, 6, rngs=rngs())},
        lambda m, x: m.fc(x) / m.root,
        lambda m, x: m.fc(x) / math.sqrt(2),
        ROWS,
    )
