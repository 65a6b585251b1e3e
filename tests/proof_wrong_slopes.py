"""Wrong pairs in what is done with outputs: their gradients, the order of their axes, and optimisers that differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from flax import nnx
from proof_pairs import ROWS, SEQUENCE, TOKENS, after_linear, nets
from proof_wrong import WRONG, rngs, square
from torch import nn

from einops_arch.port import optimizers

# Gradients alone.


@jax.custom_vjp
def straight(x):
    return jnp.tanh(x)


straight.defvjp(lambda x: (jnp.tanh(x), None), lambda _, slope: (slope,))

for _name, _torch, _flax in (
    ("a stopped gradient", F.relu, lambda y: jax.lax.stop_gradient(jax.nn.relu(y))),
    ("a gradient of one's own", torch.tanh, straight),
    ("a detached mean", lambda y: y - y.mean(-1, keepdim=True).detach(), lambda y: y - y.mean(-1, keepdims=True)),
    ("a straight-through estimator", lambda y: y + (y.round() - y).detach(), jnp.round),
    (
        "a complex gradient",
        lambda y: torch.fft.rfft(y).abs(),
        lambda y: jax.lax.stop_gradient(jnp.abs(jnp.fft.rfft(y))),
    ),
):
    WRONG.add("gradients", _name, lambda a=_torch, b=_flax: after_linear(a, b, gradients=True))


@WRONG.of("gradients")
def the_gradient_of_a_padding_token():
    return nets(
        {"embed": nn.Embedding(11, 8, padding_idx=0)},
        {"embed": nnx.Embed(11, 8, rngs=rngs())},
        lambda m, t: m.embed(t),
        lambda m, t: m.embed(t),
        TOKENS % 3,
        gradients=True,
    )


# Axes.
for _name, _torch, _flax, _inputs, _settings in (
    ("a square output transposed", lambda y: y @ y.T, lambda y: (y @ (y * y.sum(-1, keepdims=True)).T).T, ROWS, {}),
    (
        "a map of attention transposed",
        lambda y: torch.softmax(y @ y[:, :3].transpose(1, 2), -1),
        lambda y: jax.nn.softmax(y @ y[:, :3].swapaxes(1, 2), -1).swapaxes(1, 2),
        SEQUENCE,
        {"axes": "b t c"},
    ),
    ("rows and columns of a sequence", lambda y: y, lambda y: y.swapaxes(1, 2), SEQUENCE, {"axes": "b t c"}),
    ("the batch in another order", lambda y: y, lambda y: y[::-1], ROWS, {}),
    ("time reversed", lambda y: y, lambda y: y[:, ::-1], SEQUENCE, {"axes": "b t c"}),
):
    WRONG.add("axes", _name, lambda a=_torch, b=_flax, c=_inputs, d=_settings: after_linear(a, b, c, width=6, **d))

# Optimisers.


def trained(optimizer, change=None):
    return nets(*square(), lambda m, x: m.fc(x), lambda m, x: m.fc(x), ROWS, change=change, optimizer=optimizer)


def _transformations():
    import optax

    def stock(kind, **settings):
        return lambda model: getattr(torch.optim, kind)(model.parameters(), **settings)

    return {
        "weight decay": (stock("AdamW", lr=1e-3), optax.adamw(1e-3)),
        "learning rate": (stock("Adam", lr=1e-3), optax.adam(2e-3)),
        "betas": (stock("Adam", lr=1e-3, betas=(0.9, 0.99)), optax.adam(1e-3)),
        "eps": (stock("RMSprop", lr=1e-3), optax.rmsprop(1e-3, decay=0.99)),
        "Nesterov": (stock("SGD", lr=0.1, momentum=0.9, nesterov=True), optax.sgd(0.1, momentum=0.9)),
        "algorithm": (stock("Adam", lr=1e-3), optax.radam(1e-3)),
        "decay in the gradient": (
            stock("Adam", lr=1e-2, weight_decay=0.1),
            optax.adamw(1e-2, eps=1e-8, weight_decay=0.1),
        ),
    }


for _name in ("weight decay", "learning rate", "betas", "eps", "Nesterov", "algorithm", "decay in the gradient"):
    WRONG.add("optimizers", _name, lambda name=_name: trained(_transformations()[name]))


@WRONG.of("optimizers")
def a_parameter_that_is_frozen_in_torch():
    return trained(optimizers.SGD(lr=0.1), change=lambda t, f: t.fc.bias.requires_grad_(False))
