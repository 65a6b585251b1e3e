"""Pairs in what conventions decide: ties, rounding, remainders, empty axes, special functions, batches of one."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import HONEST
from proof_pairs import IMAGE, ROWS, SEQUENCE, TOKENS, Flax, Torch, Trial, draw, nets
from proof_wrong import WRONG, carry_fc, rngs
from proof_wrong_calls import linear, pair
from torch import nn

from einops_arch.port import transfer

HALVES = np.round(2 * draw(4, 6)) / 2
SIGNED = np.random.default_rng(7).integers(-9, 10, (4, 6))
BYTES = np.random.default_rng(8).integers(0, 256, (4, 6)).astype(np.uint8)


def with_layer(torch_function, flax_function, inputs=ROWS, **settings):
    """What a function makes of the inputs, beside a layer."""
    return pair(
        lambda m, x: (m.fc(x.to(m.fc.weight.dtype)), torch_function(x)),
        lambda m, x: (m.fc(x.astype(m.fc.kernel[...].dtype)), flax_function(x)),
        inputs,
        **settings,
    )


def flipped_argmax(x):
    return x.shape[-1] - 1 - jnp.argmax(x[..., ::-1], -1)


# Of each: the name, PyTorch's function, the right one of Flax, a wrong one, and the inputs. There is no right one where
# jax is many times less exact in float32: that is what the verdict says.
CONVENTIONS = (
    ("halves to even", torch.round, jnp.round, lambda x: jnp.floor(x + 0.5), HALVES),
    (
        "halves beside a layer",
        lambda x: torch.round(3 * x),
        lambda x: jnp.round(3 * x),
        lambda x: jnp.trunc(3 * x),
        ROWS,
    ),
    (
        "remainders of negative integers",
        lambda x: torch.remainder(x, 4),
        lambda x: jnp.mod(x, 4),
        lambda x: jax.lax.rem(x, jnp.full_like(x, 4)),
        SIGNED,
    ),
    (
        "quotients of negative integers",
        lambda x: torch.div(x, 4, rounding_mode="trunc"),
        lambda x: jax.lax.div(x, jnp.full_like(x, 4)),
        lambda x: x // 4,
        SIGNED,
    ),
    ("the first of equal maxima", lambda x: x.argmax(-1), lambda x: jnp.argmax(x, -1), flipped_argmax, SIGNED // 6),
    (
        "the order of equal numbers",
        lambda x: torch.sort(x, dim=-1, descending=True, stable=True).indices,
        lambda x: jnp.argsort(-x, -1, stable=True),
        lambda x: jnp.argsort(x, -1, stable=True)[..., ::-1],
        SIGNED // 4,
    ),
    (
        "the order of the largest",
        lambda x: x.topk(3).values,
        lambda x: jax.lax.top_k(x, 3)[0],
        lambda x: jnp.sort(x, -1)[..., -3:],
        ROWS,
    ),
    (
        "bytes that overflow",
        lambda x: x + 200,
        lambda x: x + jnp.uint8(200),
        lambda x: (x.astype(jnp.int32) + 200).clip(0, 255).astype(jnp.uint8),
        BYTES,
    ),
    (
        "a hash of integers",
        lambda x: (x * 1_000_003 * 7919) % 101,
        lambda x: ((x * 1_000_003 % 101) * 7919) % 101,
        lambda x: (x * 1_000_003 * 7919).astype(jnp.int32) % 101,
        TOKENS[:, :6] % 5,
    ),
    (
        "a mean over numbers that are there",
        lambda x: torch.nanmean(torch.where(x > 0.2, x, torch.nan), -1),
        lambda x: jnp.nanmean(jnp.where(x > 0.2, x, jnp.nan), -1),
        lambda x: jnp.where(x > 0.2, x, 0).mean(-1),
        ROWS,
    ),
    (
        "a maximum of NaN",
        lambda x: torch.where(x > 1, torch.nan, x).amax(0),
        lambda x: jnp.where(x > 1, jnp.nan, x).max(0),
        lambda x: jnp.nanmax(jnp.where(x > 1, jnp.nan, x), 0),
        ROWS,
    ),
    (
        "the sign of zero",
        lambda x: 1 / (-torch.relu(x)),
        lambda x: 1 / (-jnp.maximum(x, 0)),
        lambda x: 1 / (0 - jnp.maximum(x, 0)),
        ROWS,
    ),
    (
        "a sum over nothing",
        lambda x: torch.cat([x[:, 6:].sum(-1), x.sum(-1)]),
        lambda x: jnp.concatenate([x[:, 6:].sum(-1), x.sum(-1)]),
        lambda x: jnp.concatenate([x[:, 6:].sum(-1) + 1, x.sum(-1)]),
        ROWS,
    ),
    ("truth values", lambda x: x > 0, lambda x: x > 0, lambda x: (x > 0).astype(jnp.int32), ROWS),
    ("zero by the sign", torch.sign, jnp.sign, lambda x: jnp.where(x >= 0, 1.0, -1.0), HALVES),
    (
        "bins of numbers on the border",
        lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0], dtype=x.dtype)),
        lambda x: jnp.searchsorted(jnp.asarray([-1.0, 0.0, 1.0]), x),
        lambda x: jnp.searchsorted(jnp.asarray([-1.0, 0.0, 1.0]), x, side="right"),
        HALVES,
    ),
    (
        "the middle of six",
        lambda x: x.median(-1).values,
        lambda x: jnp.sort(x, -1)[..., 2],
        lambda x: jnp.median(x, -1),
        ROWS,
    ),
    (
        "sums of what has the same index",
        lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 1, 1, 2, 2, 2]), x),
        lambda x: jnp.zeros_like(x).at[:, jnp.asarray([0, 1, 1, 2, 2, 2])].add(x),
        lambda x: jnp.zeros_like(x).at[:, jnp.asarray([0, 1, 1, 2, 2, 2])].set(x),
        ROWS,
    ),
    ("the logarithm of gamma", torch.lgamma, None, lambda x: jnp.log(jnp.abs(x)), 1 + np.abs(ROWS)),
    ("the inverse of erf", lambda x: torch.erfinv(torch.tanh(x)), None, jnp.tanh, ROWS),
    ("digamma", torch.digamma, jsp.digamma, lambda x: jnp.log(x) - 0.5 / x, 1 + np.abs(ROWS)),
    ("the function of Bessel", torch.special.i0, jsp.i0, jsp.i0e, ROWS),
    ("sinc", torch.sinc, jnp.sinc, lambda x: jnp.sinc(x / np.pi), HALVES),
    (
        "entropy of zeros",
        lambda x: torch.special.entr(torch.relu(x)),
        lambda x: jsp.entr(jnp.maximum(x, 0)),
        lambda x: -x * jnp.log(jnp.maximum(x, 1e-9)),
        ROWS,
    ),
)
for _name, _torch, _right, _wrong, _inputs in CONVENTIONS:
    if _right is not None:
        HONEST.add("conventions", _name, lambda a=_torch, b=_right, c=_inputs: with_layer(a, b, c))
    WRONG.add("conventions", _name, lambda a=_torch, b=_wrong, c=_inputs: with_layer(a, b, c))

# What is done along the batch shows in no batch of one.
ONE, ONE_IMAGE, ONE_SEQUENCE = ROWS[:1], IMAGE[:1], SEQUENCE[:1]
for _name, _torch, _flax, _inputs in (
    ("a mean over the batch", lambda m, x: m.fc(x), lambda m, x: m.fc(x).mean(0, keepdims=True) + 0 * x[:, :1], ONE),
    (
        "a softmax over batch and features",
        lambda m, x: m.fc(x).softmax(-1),
        lambda m, x: nnx.softmax(m.fc(x), (0, 1)),
        ONE,
    ),
    ("the first row for all", lambda m, x: m.fc(x), lambda m, x: m.fc(x)[:1].repeat(x.shape[0], 0), ONE),
    (
        "a norm over the batch too",
        lambda m, x: m.fc(x) / m.fc(x).norm(dim=-1, keepdim=True),
        lambda m, x: m.fc(x) / jnp.linalg.norm(m.fc(x)),
        ONE,
    ),
):
    WRONG.add("batches of one", _name, lambda a=_torch, b=_flax, c=_inputs: pair(a, b, c))
WRONG.add(
    "batches of one",
    "the last state of the first row",
    lambda: pair(
        lambda m, x: m.fc(x)[:, -1], lambda m, x: m.fc(x)[0, -1:] + 0 * x[:, 0, :6], ONE_SEQUENCE, axes="b t c"
    ),
)
# Nor in one whose rows are all one, nor does what is done along an axis of one entry.
EQUAL = np.repeat(ONE, 3, 0)
STEP = SEQUENCE[:, :1]
WRONG.add(
    "batches of one",
    "a mean over equal rows",
    lambda: pair(linear, lambda m, x: m.fc(x).mean(0, keepdims=True).repeat(x.shape[0], 0), EQUAL),
)
HONEST.add("batches of one", "equal rows", lambda: pair(linear, linear, EQUAL))
for _name, _torch, _flax in (
    ("a sum along one step", lambda m, x: m.fc(x), lambda m, x: jnp.cumsum(m.fc(x), 1)),
    (
        "attention of one step that looks ahead",
        lambda m, x: F.scaled_dot_product_attention(x, x, m.fc(x), is_causal=True),
        lambda m, x: nnx.softmax(x @ x.swapaxes(1, 2) / math.sqrt(8)) @ m.fc(x),
    ),
):
    WRONG.add("batches of one", _name, lambda a=_torch, b=_flax: pair(a, b, STEP, width=8, axes="b t c"))
HONEST.add(
    "batches of one",
    "causal attention of one step",
    lambda: pair(
        lambda m, x: F.scaled_dot_product_attention(x, x, m.fc(x), is_causal=True),
        lambda m, x: (
            nnx.softmax(
                jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2, bool)), x @ x.swapaxes(1, 2) / math.sqrt(8), -jnp.inf)
            )
            @ m.fc(x)
        ),
        STEP,
        width=8,
        axes="b t c",
    ),
)
HONEST.add(
    "batches of one",
    "a model for one step alone",
    lambda: pair(lambda m, x: m.fc(x.reshape(3, 8)), lambda m, x: m.fc(x.reshape(3, 8)), STEP, axes="b t c"),
)
for _is_wrong, _cases in ((True, WRONG), (False, HONEST)):
    _cases.add(
        "batches of one",
        "one token",
        lambda is_wrong=_is_wrong: nets(
            {"token": nn.Embedding(11, 8)},
            {"token": nnx.Embed(11, 8, rngs=rngs())},
            lambda m, t: m.token(t).sum(1),
            (lambda m, t: m.token(t)[:, 0]) if is_wrong else (lambda m, t: m.token(t).sum(1)),
            TOKENS[:, :1],
        ),
    )
HONEST.add("batches of one", "a layer", lambda: pair(linear, linear, ONE))
HONEST.add(
    "batches of one",
    "a model that takes no more",
    lambda: pair(lambda m, x: m.fc(x.reshape(6)), lambda m, x: m.fc(x.reshape(6)), ONE),
)

# What hooks and modes do.


def hooked(flax_function, **settings):
    layer = nn.Linear(6, 6)
    layer.register_forward_hook(lambda module, args, output: output * 2)
    return nets({"fc": layer}, {"fc": nnx.Linear(6, 6, rngs=rngs())}, linear, flax_function, ROWS, **settings)


WRONG.add("hidden modules", "a hook of PyTorch's that doubles", lambda: hooked(linear))
HONEST.add(
    "structure", "a hook of PyTorch's that doubles", lambda: hooked(lambda m, x: 2 * m.fc(x), paths={"fc": None})
)


class Frozen(Torch):
    """Keeps its norm as in evaluation, whatever it is told."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


def frozen_norm(use_running_average):
    torch_model = Frozen(lambda m, x: m.norm(m.fc(x)), {"fc": nn.Linear(6, 6), "norm": nn.BatchNorm1d(6)})
    norm = nnx.BatchNorm(6, epsilon=1e-5, momentum=0.9, use_running_average=use_running_average, rngs=rngs())
    flax_model = Flax(
        lambda m, x: m.norm(m.fc(x), use_running_average=True if use_running_average else None),
        {"fc": nnx.Linear(6, 6, rngs=rngs()), "norm": norm},
    )
    transfer(torch_model, flax_model)
    return Trial(torch_model, flax_model, draw(8, 6), {"mode": "train"})


WRONG.add("modes", "a norm that is frozen in PyTorch alone", lambda: frozen_norm(False))
HONEST.add("modes", "a norm that is frozen", lambda: frozen_norm(True))


class Remembering(nnx.Module):
    """Gives what it gave first, for ever."""

    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=rngs())
        self.first, self.known = nnx.Variable(jnp.zeros((4, 6))), nnx.Variable(jnp.zeros((), bool))

    def __call__(self, x):
        y = jnp.where(self.known[...], self.first[...], self.fc(x))
        self.first[...], self.known[...] = y, jnp.ones((), bool)
        return y


@WRONG.of("memory")
def the_first_result_for_ever():
    torch_model, flax_model = Torch(linear, {"fc": nn.Linear(6, 6)}), Remembering()
    carry_fc(torch_model, flax_model)
    return Trial(torch_model, flax_model, ROWS, {})


# One function in other operations.


def by_one_hot():
    return nets(
        {"token": nn.Embedding(11, 5)},
        {"token": nnx.Embed(11, 5, rngs=rngs())},
        lambda m, t: m.token(t),
        lambda m, t: jax.nn.one_hot(t, 11) @ m.token.embedding[...],
        TOKENS,
    )


def unfolded():
    def flax_call(m, x):
        patches = jax.lax.conv_general_dilated_patches(
            x, (3, 3), (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return patches @ m.conv.kernel[...].transpose(2, 0, 1, 3).reshape(-1, 5) + m.conv.bias[...]

    return nets(
        {"conv": nn.Conv2d(3, 5, 3, padding=1)},
        {"conv": nnx.Conv(3, 5, (3, 3), padding=1, rngs=rngs())},
        lambda m, x: m.conv(x),
        flax_call,
        IMAGE,
        axes="b c h w",
        layouts={"": "b c h w -> b h w c"},
    )


def welford(x):
    def step(carry, value):
        count, mean, total = carry
        new = mean + (value - mean) / (count + 1)
        return (count + 1, new, total + (value - mean) * (value - new)), None

    start = (0.0, jnp.zeros(x.shape[:-1], x.dtype), jnp.zeros(x.shape[:-1], x.dtype))
    (count, _, total), _ = jax.lax.scan(step, start, jnp.moveaxis(x, -1, 0))
    return total / count


def online_attention(q, k, v):
    """Softmax by parts, as fused kernels have it."""

    def step(carry, part):
        top, total, result = carry
        keys, values = part
        scores = q @ keys.T / math.sqrt(q.shape[-1])
        new = jnp.maximum(top, scores.max(-1))
        weights, decay = jnp.exp(scores - new[:, None]), jnp.exp(top - new)
        return (new, total * decay + weights.sum(-1), result * decay[:, None] + weights @ values), None

    start = (jnp.full(q.shape[0], -jnp.inf, q.dtype), jnp.zeros(q.shape[0], q.dtype), jnp.zeros_like(q))
    parts = (k.reshape(2, -1, k.shape[-1]), v.reshape(2, -1, v.shape[-1]))
    (_, total, result), _ = jax.lax.scan(step, start, parts)
    return result / total[:, None]


def circular(x, kernel):
    return jnp.fft.irfft(jnp.fft.rfft(x, axis=-1) * jnp.fft.rfft(kernel, x.shape[-1]), x.shape[-1], axis=-1)


def torch_circular(x, kernel):
    return sum(kernel[n] * torch.roll(x, n, -1) for n in range(len(kernel)))


KERNEL = draw(4, seed=9)
for _name, _make in {
    "an embedding by products": by_one_hot,
    "a convolution by patches": unfolded,
    "a variance number by number": lambda: pair(
        lambda m, x: m.fc(x).var(-1, unbiased=False), lambda m, x: welford(m.fc(x)), width=50
    ),
    "attention part by part": lambda: pair(
        lambda m, x: F.scaled_dot_product_attention(m.fc(x), m.fc(x), x),
        lambda m, x: online_attention(m.fc(x), m.fc(x), x),
        draw(8, 6),
    ),
    "a convolution by frequencies": lambda: pair(
        lambda m, x: torch_circular(m.fc(x), torch.from_numpy(KERNEL).to(x.dtype)),
        lambda m, x: circular(m.fc(x), jnp.asarray(KERNEL)),
        width=16,
    ),
    "a system of equations by an inverse": lambda: pair(
        lambda m, x: torch.linalg.solve(m.fc.weight, m.fc(x).T).T,
        lambda m, x: m.fc(x) @ jnp.linalg.inv(m.fc.kernel[...]),
    ),
    "singular values": lambda: pair(
        lambda m, x: torch.linalg.svdvals(m.fc(x)),
        lambda m, x: jnp.sqrt(jnp.linalg.eigvalsh(m.fc(x) @ m.fc(x).T))[::-1],
    ),
    "a group norm by a layer norm": lambda: pair(
        lambda m, x: F.group_norm(m.fc(x), 2), lambda m, x: _grouped(m.fc(x)), draw(5, 6)
    ),
    "a logarithm of sums": lambda: pair(
        lambda m, x: m.fc(x).logsumexp(-1),
        lambda m, x: m.fc(x).max(-1) + jnp.log(jnp.exp(m.fc(x) - m.fc(x).max(-1, keepdims=True)).sum(-1)),
    ),
    "a product step by step": lambda: pair(
        lambda m, x: m.fc(x).cumprod(-1), lambda m, x: jax.lax.associative_scan(jnp.multiply, m.fc(x), axis=1)
    ),
}.items():
    HONEST.add("other operations", _name, _make)


def _grouped(x):
    x = x.reshape(len(x), 2, -1)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x.reshape(len(x), -1)


# Gradients that somebody wrote.


class Straight(torch.autograd.Function):
    """Rounds, and lets gradients through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, slope):
        return slope


def straight(x):
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


for _gradients, _cases in ((True, WRONG), (False, HONEST)):
    _cases.add(
        "gradients",
        f"rounding that lets gradients through{' in PyTorch alone' if _gradients else ', values alone'}",
        lambda gradients=_gradients: pair(
            lambda m, x: Straight.apply(3 * m.fc(x)), lambda m, x: jnp.round(3 * m.fc(x)), gradients=gradients
        ),
    )
HONEST.add(
    "gradients",
    "rounding that lets gradients through",
    lambda: pair(lambda m, x: Straight.apply(3 * m.fc(x)), lambda m, x: straight(3 * m.fc(x)), gradients=True),
)
WRONG.add(
    "gradients",
    "a root of zero",
    lambda: pair(
        lambda m, x: torch.sqrt(torch.relu(m.fc(x)) + 1e-9),
        lambda m, x: jnp.where(m.fc(x) > 0, jnp.sqrt(jnp.maximum(m.fc(x), 0) + 1e-9), 1e-9**0.5 + 0 * jnp.sqrt(0 * x)),
        gradients=True,
    ),
)
