"""Pairs about what is kept from call to call, where values are dropped, and masks, formulas and places of padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_pairs import IMAGE, ROWS, SEQUENCE, Cases, Trial, after_linear, nets
from proof_wrong import rngs
from torch import nn

from einops_arch.flax import layers
from einops_arch.parity import randomize
from einops_arch.port import transfer

WRONG, HONEST = Cases(), Cases()
ALIVE = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
"""Of the third sequence nothing is left."""


def two_layers():
    return (
        {"a": nn.Linear(8, 8), "b": nn.Linear(8, 8)},
        {"a": nnx.Linear(8, 8, rngs=rngs()), "b": nnx.Linear(8, 8, rngs=rngs())},
    )


def in_sequence(torch_function, flax_function, **settings):
    return nets(*two_layers(), torch_function, flax_function, SEQUENCE, axes="b t c", **settings)


# What is kept from call to call.


class Remembers(nn.Module):
    """Changes what it gives with each call, by an attribute that is no buffer."""

    def __init__(self, start):
        super().__init__()
        self.fc, self.kept = nn.Linear(6, 6), start

    def forward(self, x):
        y = self.fc(x)
        if isinstance(self.kept, list):
            self.kept.append(y)
            return y * len(self.kept)
        if isinstance(self.kept, int):
            self.kept += 1
            return y * self.kept
        result = y if self.kept is None else y + self.kept
        self.kept = y.detach()
        return result


class Plain(nnx.Module):
    def __init__(self, *, adds=False):
        self.fc = nnx.Linear(6, 6, rngs=rngs())
        self.kept = nnx.BatchStat(jnp.zeros((4, 6))) if adds else None

    def __call__(self, x):
        y = self.fc(x)
        if self.kept is None:
            return y
        result = y + self.kept[...].astype(y.dtype)
        self.kept[...] = y
        return result


class Caches(Remembers):
    """Keeps what it gives, and gives the same again."""

    def forward(self, x):
        self.kept = self.fc(x)
        self.scale = self.kept.mean()  # of no axis
        return self.kept


def remembering(torch_model, flax_model):
    randomize(torch_model)
    transfer(torch_model, flax_model)
    return Trial(torch_model, flax_model, ROWS, {})


def _copied(start):
    return list(start) if isinstance(start, list) else start


for _name, _start in (("a counter", 0), ("the last output", None), ("a list that grows", [])):
    WRONG.add("memory", f"{_name}, in eval mode", lambda start=_start: remembering(Remembers(_copied(start)), Plain()))


HONEST.add("memory", "an output that is kept and not read", lambda: remembering(Caches(None), Plain()))


# Where values are dropped.


def dropping(torch_function, flax_function):
    torch_layers, flax_layers = two_layers()
    flax_layers["d"] = nnx.Dropout(0.3, rngs=rngs())
    return nets(torch_layers, flax_layers, torch_function, flax_function, SEQUENCE, axes="b t c", mode="train")


def dropped(model, x):
    return F.dropout(x, 0.3, model.training)


WRONG.add(
    "modes",
    "a function that drops before a layer",
    lambda: dropping(lambda m, x: m.b(dropped(m, m.a(x))), lambda m, x: m.d(m.b(m.a(x)))),
)
WRONG.add(
    "modes",
    "a function that drops behind a sum",
    lambda: dropping(lambda m, x: dropped(m, m.b(m.a(x)) + x), lambda m, x: m.d(m.b(m.a(x))) + x),
)
WRONG.add(
    "modes",
    "a function that drops whole channels",
    lambda: dropping(lambda m, x: m.b(F.dropout1d(m.a(x), 0.3, m.training)), lambda m, x: m.b(m.d(m.a(x)))),
)
WRONG.add(
    "modes",
    "a function that keeps the variance",
    lambda: dropping(lambda m, x: m.b(F.alpha_dropout(m.a(x), 0.3, m.training)), lambda m, x: m.b(m.d(m.a(x)))),
)
HONEST.add(
    "modes",
    "a function that drops at the same place",
    lambda: dropping(lambda m, x: m.b(dropped(m, m.a(x))), lambda m, x: m.b(m.d(m.a(x)))),
)
HONEST.add(
    "modes",
    "a function that drops what is transposed",
    lambda: dropping(lambda m, x: m.b(dropped(m, m.a(x).mT).mT), lambda m, x: m.b(m.d(m.a(x)))),
)


# Masks of whole rows, ties, eps, places.


def attention(m, x, alive, fill):
    scores = (m.a(x) @ m.b(x).mT).masked_fill(~alive[:, None], fill)
    return torch.nan_to_num(torch.softmax(scores, -1) @ x)


def flax_attention(m, x, alive, fill):
    return jax.nn.softmax(jnp.where(alive[:, None], m.a(x) @ m.b(x).swapaxes(1, 2), fill), -1) @ x


WRONG.add(
    "masks",
    "infinity against the least number, of a row that is masked whole",
    lambda: nets(
        *two_layers(),
        lambda m, x, k: attention(m, x, k, -torch.inf),
        lambda m, x, k: flax_attention(m, x, k, jnp.finfo(jnp.float32).min),
        (SEQUENCE, ALIVE),
        axes=("b t c", None),
    ),
)
HONEST.add(
    "masks",
    "infinity against the least number, of rows with something left",
    lambda: nets(
        *two_layers(),
        lambda m, x, k: attention(m, x, k, -torch.inf),
        lambda m, x, k: flax_attention(m, x, k, jnp.finfo(jnp.float32).min),
        (SEQUENCE, ALIVE | np.eye(3, 5, dtype=bool)),
        axes=("b t c", None),
    ),
)


def _last_largest(y):
    steps = jnp.clip(jnp.round(y), -1, 1)
    return steps.shape[-1] - 1 - jnp.argmax(steps[..., ::-1], -1)


def _outside(y):
    return y / (jnp.sqrt(jnp.square(y).mean(-1, keepdims=True)) + 1e-6)


for _name, _torch, _flax in (
    ("the last of equal largest", lambda y: y.round().clamp(-1, 1).argmax(-1), _last_largest),
    ("eps outside the root", lambda y: y / (y.square().mean(-1, True) + 1e-6).sqrt(), _outside),
    ("a floor for a sum", lambda y: (y.relu() + 1e-8).log(), lambda y: jnp.log(jnp.maximum(jax.nn.relu(y), 1e-8))),
    ("the mean of two medians", lambda y: y.median(-1).values, lambda y: jnp.median(y, -1)),
    ("softplus that turns linear", lambda y: F.softplus(y, threshold=2.0), jax.nn.softplus),
):
    WRONG.add("formulas", _name, lambda a=_torch, b=_flax: after_linear(a, b))


for _name, _torch, _flax in (
    ("zeros on the other side", lambda y: F.pad(y, (1, 0)), lambda y: jnp.pad(y, ((0, 0), (0, 0), (0, 1), (0, 0)))),
    (
        "an edge that is mirrored with itself",
        lambda y: F.pad(y, (2, 2, 2, 2), mode="reflect"),
        lambda y: jnp.pad(y, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="symmetric"),
    ),
    (
        "smoothed while it shrinks",
        lambda y: F.interpolate(y, size=(4, 5), mode="bilinear"),
        lambda y: jax.image.resize(y, (y.shape[0], 4, 5, y.shape[3]), "linear"),
    ),
):
    WRONG.add(
        "places",
        _name,
        lambda a=_torch, b=_flax: nets(
            {"c": nn.Conv2d(3, 4, 3, padding=1)},
            {"c": layers.Conv(3, 4, (3, 3), padding=1, rngs=rngs())},
            lambda m, x: a(m.c(x)),
            lambda m, x: b(m.c(x)),
            IMAGE,
            axes="b c h w",
        ),
    )

WRONG.add(
    "weights",
    "one layer in the place of two",
    lambda: in_sequence(lambda m, x: m.b(torch.tanh(m.a(x))), lambda m, x: m.a(jnp.tanh(m.a(x)))),
)
WRONG.add(
    "weights",
    "layers called in the other order",
    lambda: in_sequence(lambda m, x: m.b(torch.tanh(m.a(x))), lambda m, x: m.a(jnp.tanh(m.b(x)))),
)
WRONG.add(
    "gradients",
    "one of two outputs that is cut off",
    lambda: in_sequence(
        lambda m, x: (m.a(x), m.b(x)), lambda m, x: (m.a(x), jax.lax.stop_gradient(m.b(x))), gradients=True
    ),
)
HONEST.add(
    "gradients",
    "fused attention against one by hand",
    lambda: in_sequence(
        lambda m, x: F.scaled_dot_product_attention(m.a(x), m.b(x), x),
        lambda m, x: jax.nn.softmax(jnp.einsum("bqc,bkc->bqk", m.a(x), m.b(x)) / np.sqrt(8), -1) @ x,
        gradients=True,
    ),
)
