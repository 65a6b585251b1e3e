"""Honest pairs with hard numerics, and outputs of every form: the same function on both sides, which has to pass."""

from __future__ import annotations

import math
from collections import OrderedDict

import flax
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_pairs import HIDDEN, ROWS, SEQUENCE, WIDTH, Cases, after_linear, draw, nets
from proof_wrong import KEEP, FlaxMap, FlaxOut, Named, Plain, TorchOut, chaos, counts, rms, rngs, square
from proof_wrong import FlaxCounts as FlaxCounter
from torch import nn

from einops_arch.port import optimizers

HONEST = Cases()

for _kind, _name, _torch, _flax in (
    (
        "numerics",
        "softmax of large logits",
        lambda y: torch.softmax(300 * y, -1),
        lambda y: jax.nn.softmax(300 * y, -1),
    ),
    (
        "numerics",
        "softmax of tiny logits",
        lambda y: torch.softmax(1e-4 * y, -1),
        lambda y: jax.nn.softmax(1e-4 * y, -1),
    ),
    (
        "numerics",
        "logarithm of a softmax",
        lambda y: torch.log_softmax(50 * y, -1),
        lambda y: jax.nn.log_softmax(50 * y, -1),
    ),
    ("numerics", "logsumexp", lambda y: torch.logsumexp(40 * y, -1), lambda y: jax.nn.logsumexp(40 * y, -1)),
    ("numerics", "exact GELU", F.gelu, lambda y: jax.nn.gelu(y, approximate=False)),
    ("numerics", "tanh GELU", lambda y: F.gelu(y, approximate="tanh"), lambda y: jax.nn.gelu(y, approximate=True)),
    ("numerics", "softplus", F.softplus, jax.nn.softplus),
    ("numerics", "mish", F.mish, lambda y: y * jnp.tanh(jax.nn.softplus(y))),
    ("numerics", "erf far out", lambda y: torch.erf(3 * y), lambda y: jax.scipy.special.erf(3 * y)),
    ("numerics", "expm1 of little", lambda y: torch.expm1(1e-6 * y), lambda y: jnp.expm1(1e-6 * y)),
    ("numerics", "log1p of little", lambda y: torch.log1p(1e-6 * y.abs()), lambda y: jnp.log1p(1e-6 * jnp.abs(y))),
    ("numerics", "a cumulative sum", lambda y: y.cumsum(-1), lambda y: jnp.cumsum(y, -1)),
    ("numerics", "a cumulative product", lambda y: y.cumprod(-1), lambda y: jnp.cumprod(y, -1)),
    ("numerics", "variance off centre", lambda y: (y + 50).var(-1), lambda y: jnp.var(y + 50, -1, ddof=1)),
    (
        "numerics",
        "a difference that cancels",
        lambda y: (1e4 + y) - (1e4 + 0.5 * y),
        lambda y: (1e4 + y) - (1e4 + 0.5 * y),
    ),
    (
        "numerics",
        "what is zero but for rounding",
        lambda y: torch.stack([y, y - (y / 3) * 3]),
        lambda y: jnp.stack([y, y - (y / 3) * 3]),
    ),
    (
        "numerics",
        "a mean that cancels",
        lambda y: torch.cat([y - y.mean(-1, keepdim=True), (y - y.mean(-1, keepdim=True)).mean(-1, keepdim=True)], -1),
        lambda y: jnp.concatenate(
            [y - y.mean(-1, keepdims=True), (y - y.mean(-1, keepdims=True)).mean(-1, keepdims=True)], -1
        ),
    ),
    (
        "numerics",
        "unit vectors",
        lambda y: F.normalize(y, dim=-1),
        lambda y: y / jnp.maximum(jnp.linalg.norm(y, axis=-1, keepdims=True), 1e-12),
    ),
    (
        "numerics",
        "unit vectors of nothing",
        lambda y: F.normalize(0.0 * y + 1e-20 * y, dim=-1),
        lambda y: 1e-20 * y / jnp.maximum(jnp.linalg.norm(1e-20 * y, axis=-1, keepdims=True), 1e-12),
    ),
    (
        "numerics",
        "channels of every size",
        lambda y: y * torch.logspace(-12, 12, WIDTH, dtype=y.dtype),
        lambda y: y * np.logspace(-12, 12, WIDTH).astype(y.dtype),
    ),
    (
        "numerics",
        "products of every size",
        lambda y: (y * torch.logspace(-6, 6, WIDTH, dtype=y.dtype)) @ y.T,
        lambda y: (y * np.logspace(-6, 6, WIDTH).astype(y.dtype)) @ y.T,
    ),
    ("numerics", "large numbers", lambda y: y * 1e30, lambda y: y * 1e30),
    ("numerics", "small numbers", lambda y: y * 1e-30, lambda y: y * 1e-30),
    (
        "numerics",
        "subnormal numbers beside others",
        lambda y: torch.cat([y, y * 1e-39], -1),
        lambda y: jnp.concatenate([y, y * 1e-39], -1),
    ),
    ("numerics", "powers", lambda y: y.abs() ** 2.5, lambda y: jnp.abs(y) ** 2.5),
    (
        "numerics",
        "a determinant",
        lambda y: torch.linalg.det(y[:, :4] + 4 * torch.eye(4, dtype=y.dtype)),
        lambda y: jnp.linalg.det(y[:, :4] + 4 * jnp.eye(4, dtype=y.dtype)),
    ),
    (
        "numerics",
        "a solution of equations",
        lambda y: torch.linalg.solve(y[:, :4] + 4 * torch.eye(4, dtype=y.dtype), y),
        lambda y: jnp.linalg.solve(y[:, :4] + 4 * jnp.eye(4, dtype=y.dtype), y),
    ),
    ("numerics", "sines of large angles", lambda y: torch.sin(1000 * y), lambda y: jnp.sin(1000 * y)),
    (
        "masks",
        "the smallest number",
        lambda y: y.masked_fill(KEEP, torch.finfo(y.dtype).min),
        lambda y: jnp.where(HIDDEN, jnp.finfo(y.dtype).min, y),
    ),
    (
        "masks",
        "the smallest number of float32",
        lambda y: y.masked_fill(KEEP, torch.finfo(torch.float32).min),
        lambda y: jnp.where(HIDDEN, jnp.finfo(jnp.float32).min, y),
    ),
    ("masks", "-1e9 that is added", lambda y: y + KEEP * -1e9, lambda y: y + HIDDEN * -1e9),
    (
        "masks",
        "-inf before a softmax",
        lambda y: torch.softmax(y.masked_fill(KEEP, -math.inf), -1),
        lambda y: jax.nn.softmax(jnp.where(HIDDEN, -jnp.inf, y), -1),
    ),
    (
        "masks",
        "a softmax of nothing",
        lambda y: torch.softmax(y.masked_fill(torch.arange(4)[:, None] == 2, -math.inf), -1),
        lambda y: jax.nn.softmax(jnp.where(jnp.arange(4)[:, None] == 2, -jnp.inf, y), -1),
    ),
    ("masks", "NaN by design", lambda y: y.masked_fill(KEEP, math.nan), lambda y: jnp.where(HIDDEN, jnp.nan, y)),
    (
        "masks",
        "infinities of both signs",
        lambda y: torch.where(KEEP, torch.sign(y) * math.inf, y),
        lambda y: jnp.where(HIDDEN, jnp.sign(y) * jnp.inf, y),
    ),
    ("masks", "a logarithm of nothing", lambda y: torch.log(F.relu(y)), lambda y: jnp.log(jax.nn.relu(y))),
    ("masks", "a root of less than nothing", torch.sqrt, jnp.sqrt),
    ("integers", "argmax", lambda y: y.argmax(-1), lambda y: y.argmax(-1)),
    (
        "integers",
        "argmax of ties",
        lambda y: torch.zeros_like(y).argmax(-1) + (y > 0).sum(-1),
        lambda y: jnp.zeros_like(y).argmax(-1) + (y > 0).sum(-1),
    ),
    ("integers", "top k", lambda y: tuple(torch.topk(y, 5)), lambda y: tuple(jax.lax.top_k(y, 5))),
    (
        "integers",
        "a stable order",
        lambda y: torch.sort((2 * y).round(), dim=-1, stable=True).indices,
        lambda y: jnp.argsort(jnp.round(2 * y), -1, stable=True),
    ),
    ("integers", "rounding to even", lambda y: (2 * y).round() / 2, lambda y: jnp.round(2 * y) / 2),
    ("integers", "truth values", lambda y: y > 0, lambda y: y > 0),
    ("integers", "counts", lambda y: (y > 0).sum(-1), lambda y: (y > 0).sum(-1)),
    (
        "integers",
        "bytes",
        lambda y: (10 * y).clamp(0, 255).to(torch.uint8),
        lambda y: jnp.clip(10 * y, 0, 255).astype(jnp.uint8),
    ),
    (
        "integers",
        "one hot",
        lambda y: F.one_hot(y.argmax(-1), WIDTH),
        lambda y: jax.nn.one_hot(y.argmax(-1), WIDTH, dtype=jnp.int32),
    ),
    ("complex", "a transform", torch.fft.rfft, jnp.fft.rfft),
    (
        "complex",
        "there and back",
        lambda y: torch.fft.irfft(torch.fft.rfft(y) * 1j),
        lambda y: jnp.fft.irfft(jnp.fft.rfft(y) * 1j),
    ),
    ("complex", "angles", lambda y: torch.polar(y.abs(), y), lambda y: jnp.abs(y) * jnp.exp(1j * y)),
    ("outputs", "a dataclass", TorchOut, FlaxOut),
    ("outputs", "an object", Plain, Plain),
    ("outputs", "a named tuple", lambda y: Named(y, 2 * y), lambda y: Named(y, 2 * y)),
    ("outputs", "mappings in other orders", lambda y: OrderedDict(b=y, a=2 * y), lambda y: {"a": 2 * y, "b": y}),
    ("outputs", "a frozen mapping", lambda y: {"a": y}, lambda y: flax.core.freeze({"a": y})),
    ("outputs", "a tuple against a mapping", lambda y: (y, y + 1), lambda y: {"first": y, "second": y + 1}),
    ("outputs", "deep", lambda y: [{"a": (TorchOut(y), [y, None])}], lambda y: [{"a": (FlaxOut(y), [y, None])}]),
    ("outputs", "a scalar", lambda y: y.square().mean(), lambda y: jnp.square(y).mean()),
    ("outputs", "a size beside", lambda y: {"size": y.shape[1], "y": y}, lambda y: {"size": y.shape[1], "y": y}),
    ("outputs", "a constant beside", lambda y: (y, torch.zeros(3)), lambda y: (y, jnp.zeros(3))),
    ("outputs", "no numbers beside", lambda y: (y, y[:0]), lambda y: (y, y[:0])),
    ("outputs", "words beside", lambda y: (y, None, "word"), lambda y: (y, None, "word")),
):
    HONEST.add(_kind, _name, lambda a=_torch, b=_flax: after_linear(a, b))

HONEST.add(
    "masks",
    "all of a large size but a few",
    lambda: after_linear(
        lambda y: torch.where(torch.arange(WIDTH) < 3, y, y * 1e12),
        lambda y: jnp.where(jnp.arange(WIDTH) < 3, y, y * 1e12),
    ),
)

# Chaos, and depth.
HONEST.add("depth", "20 steps of the logistic map", lambda: chaos(20, FlaxMap()))
HONEST.add("depth", "40 steps of the logistic map", lambda: chaos(40, FlaxMap()))


def deep(steps, torch_step, flax_step, scale=1.0):
    """One layer, called again and again."""

    def torch_run(model, x):
        for _ in range(steps):
            x = torch_step(x, model.fc(x) * scale)
        return x

    def flax_run(model, x):
        for _ in range(steps):
            x = flax_step(x, model.fc(x) * scale)
        return x

    return nets(*square(), torch_run, flax_run, ROWS, causes=True)


for _name, _make in {
    "100 residual layers": lambda: deep(100, lambda x, y: x + 0.1 * torch.tanh(y), lambda x, y: x + 0.1 * jnp.tanh(y)),
    "60 layers of tanh": lambda: deep(60, lambda x, y: torch.tanh(y), lambda x, y: jnp.tanh(y)),
    "60 layers of tanh that amplify": lambda: deep(60, lambda x, y: torch.tanh(y), lambda x, y: jnp.tanh(y), 3.0),
    "sines that amplify": lambda: deep(25, lambda x, y: torch.sin(y), lambda x, y: jnp.sin(y), 4.0),
    "a signal that dies away": lambda: deep(4, lambda x, y: 0.1 * y, lambda x, y: 0.1 * y),
    "a signal that grows": lambda: deep(30, lambda x, y: 3 * y, lambda x, y: 3 * y),
}.items():
    HONEST.add("depth", _name, _make)

# Norms.


def normed(torch_norm, flax_norm, x, axes="b t c", **settings):
    return nets(
        {"norm": torch_norm},
        {"norm": flax_norm},
        lambda m, x: m.norm(x),
        lambda m, x: m.norm(x),
        x,
        axes=axes,
        **settings,
    )


for _scale in (1e-4, 1e-3, 0.02, 1.0, 1e4):
    HONEST.add(
        "constants of the dtype",
        f"eps of float32, inputs of {_scale}",
        lambda a=_scale: rms(2.0**-23, scale=a),
    )
    HONEST.add("constants of the dtype", f"eps 1e-6, inputs of {_scale}", lambda a=_scale: rms(1e-6, scale=a, own=1e-6))
    HONEST.add(
        "numerics",
        f"layer norm, inputs of {_scale}",
        lambda a=_scale: normed(
            nn.LayerNorm(8),
            nnx.LayerNorm(8, epsilon=1e-5, use_fast_variance=False, rngs=rngs()),
            draw(2, 6, 8, scale=a),
        ),
    )


class TorchCast(nn.Module):
    def __init__(self, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), eps

    def forward(self, x):
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class FlaxCast(nnx.Module):
    def __init__(self, eps=1e-6, dtype=jnp.float32):
        self.weight, self.eps = nnx.Param(jnp.ones(8, dtype)), eps

    def __call__(self, x):
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.eps)
        return self.weight[...] * wide.astype(x.dtype)


def cast_norm(eps, scale, **settings):
    return normed(TorchCast(eps), FlaxCast(eps), draw(2, 6, 8, scale=scale), **settings)


for _eps in (1e-6, 1e-5, 1e-8, 1 / 3 * 1e-3):
    for _scale in (1.0, 0.02, 1e-3):
        HONEST.add(
            "casts",
            f"a norm in float32 with eps {_eps:.1e}, inputs of {_scale}",
            lambda a=_eps, b=_scale: cast_norm(a, b),
        )
HONEST.add("casts", "a norm in float32, with gradients", lambda: cast_norm(1e-6, 0.02, gradients=True))
HONEST.add(
    "casts",
    "a norm in float32, trained",
    lambda: nets(
        {"fc": nn.Linear(6, 8), "norm": TorchCast()},
        {"fc": nnx.Linear(6, 8, rngs=rngs()), "norm": FlaxCast()},
        lambda m, x: m.norm(m.fc(x)),
        lambda m, x: m.norm(m.fc(x)),
        ROWS,
        optimizer=optimizers.AdamW(lr=1e-2),
    ),
)

# Models in less than float32.


def narrow(dtype, torch_function, flax_function, inputs=SEQUENCE, width=16, **settings):
    def narrowed(torch_model, flax_model):
        torch_model.to(getattr(torch, dtype))
        kind = getattr(jnp, dtype)
        state = nnx.state(flax_model)
        nnx.update(flax_model, jax.tree.map(lambda leaf: leaf.astype(kind), state))
        for layer in (flax_model.fc, flax_model.out):
            layer.dtype = layer.param_dtype = kind

    return nets(
        {"fc": nn.Linear(8, width), "out": nn.Linear(width, 5)},
        {"fc": nnx.Linear(8, width, rngs=rngs()), "out": nnx.Linear(width, 5, rngs=rngs())},
        lambda m, x: m.out(torch_function(m.fc(x))),
        lambda m, x: m.out(flax_function(m.fc(x))),
        inputs,
        change=narrowed,
        axes="b t c",
        **settings,
    )


for _dtype in ("bfloat16", "float16"):
    for _name, _torch, _flax in (
        ("ReLU", F.relu, jax.nn.relu),
        ("SiLU", F.silu, jax.nn.silu),
        ("exact GELU", F.gelu, lambda y: jax.nn.gelu(y, approximate=False)),
        ("softmax", lambda y: torch.softmax(y, -1), lambda y: jax.nn.softmax(y, -1)),
        (
            "softmax in float32",
            lambda y: torch.softmax(y.float(), -1).to(y.dtype),
            lambda y: jax.nn.softmax(y.astype(jnp.float32), -1).astype(y.dtype),
        ),
        (
            "layer norm",
            lambda y: F.layer_norm(y, (16,)),
            lambda y: nnx.LayerNorm(16, epsilon=1e-5, use_bias=False, use_scale=False, rngs=rngs())(y).astype(y.dtype),
        ),
        (
            "attention",
            lambda y: F.scaled_dot_product_attention(y, y, y),
            lambda y: jax.nn.softmax(y @ y.swapaxes(1, 2) / 4, -1) @ y,
        ),
    ):
        HONEST.add(f"models of {_dtype}", _name, lambda a=_dtype, b=_torch, c=_flax: narrow(a, b, c))

# Tables of float32, and code that makes them.


def table(torch_table, flax_table, use_torch, use_flax, **settings):
    def carry(torch_model, flax_model):
        flax_model.fc.kernel[...] = torch_model.fc.weight.detach().numpy().T
        flax_model.fc.bias[...] = torch_model.fc.bias.detach().numpy()

    return nets(
        {"fc": nn.Linear(6, 6)} | torch_table,
        square()[1] | flax_table,
        use_torch,
        use_flax,
        ROWS,
        carry=carry,
        **settings,
    )


_FREQUENCIES = (1.0 / 10000 ** (np.arange(0, 6, 1) / 6)).astype(np.float32)


def torch_rates(x):
    return 1.0 / 10000 ** (torch.arange(6, dtype=x.dtype, device=x.device) / 6)


for _name, _make in {
    "a table of float32 in both": lambda: table(
        {"table": torch.from_numpy(_FREQUENCIES)},
        {},
        lambda m, x: m.fc(x) * torch.cos(m.table * 3),
        lambda m, x: m.fc(x) * jnp.cos(jnp.asarray(_FREQUENCIES) * 3),
    ),
    "a table of float32 as a variable": lambda: table(
        {"table": torch.from_numpy(_FREQUENCIES)},
        {"table": nnx.Variable(jnp.asarray(_FREQUENCIES))},
        lambda m, x: m.fc(x) * torch.cos(m.table * 3),
        lambda m, x: m.fc(x) * jnp.cos(m.table[...] * 3),
    ),
    "rates in a buffer, and code that makes them": lambda: table(
        {"table": 1.0 / 10000 ** (torch.arange(6, dtype=torch.float32) / 6)},
        {},
        lambda m, x: m.fc(x) * torch.cos(m.table * 3),
        lambda m, x: m.fc(x) * jnp.cos(1 / 10000 ** (jnp.arange(6, dtype=x.dtype) / 6) * 3),
    ),
    "rates that both make": lambda: table(
        {},
        {},
        lambda m, x: m.fc(x) * torch.cos(3 * torch_rates(x)),
        lambda m, x: m.fc(x) * jnp.cos(1 / 10000 ** (jnp.arange(6, dtype=x.dtype) / 6) * 3),
    ),
    "rates in float32 in both": lambda: table(
        {},
        {},
        lambda m, x: m.fc(x) * torch.cos(3 * torch_rates(x.float())).to(x.dtype),
        lambda m, x: m.fc(x) * jnp.cos(3 / 10000 ** (jnp.arange(6, dtype=jnp.float32) / 6)).astype(x.dtype),
    ),
    "a buffer that changes": lambda: counts(FlaxCounter(name="seen"), used=False, mode="train", steps=3),
    "a buffer that acts": lambda: counts(FlaxCounter(name="seen", used=True), used=True, mode="train", steps=3),
    "a buffer that changes in eval": lambda: counts(FlaxCounter(name="seen"), used=False),
}.items():
    HONEST.add("tables and buffers", _name, _make)
