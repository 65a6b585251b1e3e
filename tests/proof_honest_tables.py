"""Honest pairs in which one model holds a table and the other computes it, and others that hard numerics tell apart."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import HONEST
from proof_pairs import ROWS, Flax, Trial, draw
from proof_wrong import WRONG, carry_fc, rngs
from proof_wrong_calls import pair
from torch import nn

from einops_arch.port import optimizers, transfer

LENGTH, WIDTH = 40, 8
X = draw(2, LENGTH, WIDTH, seed=2)
FREQUENCIES = (1.0 / 10000 ** (np.arange(0, WIDTH, 2, dtype=np.float32) / WIDTH)).astype(np.float32)
ANGLES = np.arange(64, dtype=np.float32)[:, None] * FREQUENCIES


def rotated(package, halves, x, cos, sin):
    first, second = halves(x)
    join = package.concatenate
    return x * join([cos, cos], -1) + join([-second, first], -1) * join([sin, sin], -1)


def in_torch(model, x, cos, sin):
    return rotated(torch, lambda y: y.chunk(2, -1), model.fc(x), cos, sin)


def in_flax(model, x, cos, sin):
    return rotated(jnp, lambda y: jnp.split(y, 2, -1), model.fc(x), cos, sin)


def torch_code(base=10000.0):
    """Frequencies in float32, computed in each call."""

    def call(model, x):
        angles = torch.arange(x.shape[1], dtype=torch.float32)[:, None]
        angles = angles / base ** (torch.arange(0, WIDTH, 2, dtype=torch.float32) / WIDTH)
        return in_torch(model, x, angles.cos(), angles.sin())

    return call


def flax_code(base=10000.0, dtype=jnp.float32):
    """The same in Flax, in float32 or in what is usual."""

    def call(model, x):
        angles = jnp.arange(x.shape[1], dtype=dtype)[:, None] / base ** (jnp.arange(0, WIDTH, 2, dtype=dtype) / WIDTH)
        return in_flax(model, x, jnp.cos(angles), jnp.sin(angles))

    return call


def torch_frequencies(model, x):
    angles = torch.arange(x.shape[1]).float()[:, None] * model.table.float()
    return in_torch(model, x, angles.cos().to(x.dtype), angles.sin().to(x.dtype))


def torch_waves(model, x):
    return in_torch(model, x, model.cos[: x.shape[1]], model.sin[: x.shape[1]])


def held(value):
    return value[...] if isinstance(value, nnx.Variable) else value


def flax_frequencies(model, x):
    angles = jnp.arange(x.shape[1])[:, None] * held(model.table)
    return in_flax(model, x, jnp.cos(angles), jnp.sin(angles))


def flax_waves(model, x):
    return in_flax(model, x, held(model.cos)[: x.shape[1]], held(model.sin)[: x.shape[1]])


def waves(of):
    return {"cos": of(np.cos(ANGLES)), "sin": of(np.sin(ANGLES))}


TORCH = {
    "code": (dict, torch_code()),
    "frequencies": (lambda: {"table": torch.from_numpy(FREQUENCIES.copy())}, torch_frequencies),
    "waves": (lambda: waves(torch.from_numpy), torch_waves),
}
FLAX = {
    "code": (dict, flax_code()),
    "code of the usual dtype": (dict, flax_code(dtype=float)),
    "a variable of frequencies": (lambda: {"table": nnx.Variable(jnp.asarray(FREQUENCIES))}, flax_frequencies),
    "an array of frequencies": (lambda: {"table": nnx.data(FREQUENCIES)}, flax_frequencies),
    "variables of waves": (lambda: waves(lambda array: nnx.Variable(jnp.asarray(array))), flax_waves),
}


def rotary(torch_side, flax_side, **settings):
    """A layer and a rotation by the position, the table of which each side has in its own way."""
    (torch_table, torch_call), (flax_table, flax_call) = torch_side, flax_side
    return pair(
        torch_call,
        flax_call,
        X,
        width=WIDTH,
        torch_layers=torch_table(),
        flax_layers=flax_table(),
        carry=carry_fc,
        axes="b t c",
        **settings,
    )


for _torch in TORCH:
    for _flax in FLAX:
        HONEST.add(
            "tables and buffers",
            f"a rotation: {_torch} in torch, {_flax} in Flax",
            lambda a=_torch, b=_flax: rotary(TORCH[a], FLAX[b]),
        )
    # A base that is off by a thousandth is no rounding.
    WRONG.add(
        "tables",
        f"another base of a rotation, {_torch} in torch",
        lambda a=_torch: rotary(TORCH[a], (dict, flax_code(10010.0, float))),
    )
for _flax in FLAX:
    WRONG.add(
        "tables",
        f"another base of a rotation, {_flax} in Flax",
        lambda b=_flax: rotary((dict, torch_code(10010.0)), FLAX[b]),
    )


def flax_jitted_waves(model, x):
    return nnx.jit(flax_waves)(model, x)


JITTED = (FLAX["variables of waves"][0], flax_jitted_waves)
HONEST.add(
    "tables and buffers",
    "a rotation: code in torch, variables of waves within a jit in Flax",
    lambda: rotary(TORCH["code"], JITTED),
)
WRONG.add(
    "tables",
    "another base of a rotation, variables of waves within a jit in Flax",
    lambda: rotary((dict, torch_code(10010.0)), JITTED),
)
HONEST.add(
    "tables and buffers",
    "a rotation with gradients",
    lambda: rotary(TORCH["frequencies"], FLAX["code"], gradients=True),
)
HONEST.add(
    "training",
    "a rotation",
    lambda: rotary(TORCH["frequencies"], FLAX["code of the usual dtype"], optimizer=optimizers.SGD(lr=0.1)),
)


@HONEST.of("tables and buffers")
def a_rotation_of_complex_numbers():
    rotations = torch.polar(torch.ones(64, WIDTH // 2), torch.from_numpy(ANGLES))

    def torch_call(model, x):
        y = torch.view_as_complex(model.fc(x).reshape(*x.shape[:2], -1, 2)) * model.table[: x.shape[1]]
        return torch.view_as_real(y).flatten(2)

    def flax_call(model, x):
        angles = jnp.arange(x.shape[1])[:, None] / 10000 ** (jnp.arange(0, WIDTH, 2) / WIDTH)
        even, odd = jnp.moveaxis(model.fc(x).reshape(*x.shape[:2], -1, 2), -1, 0)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)

    return rotary((lambda: {"table": rotations}, torch_call), (dict, flax_call))


@HONEST.of("tables and buffers")
def a_window():
    def flax_call(model, x):
        return model.fc(x) * (0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.arange(LENGTH) / LENGTH))[:, None]

    torch_side = (lambda: {"table": torch.hann_window(LENGTH)}, lambda m, x: m.fc(x) * m.table[:, None])
    return rotary(torch_side, (dict, flax_call), gradients=True)


# Norms that magnify rounding: the more exact side is no measure of the other.


def normed(scale, **settings):
    return pair(
        lambda m, x: F.instance_norm(m.fc(scale * x).transpose(1, 2)).transpose(1, 2),
        lambda m, x: nnx.InstanceNorm(WIDTH, epsilon=1e-5, use_bias=False, use_scale=False, rngs=rngs(), **settings)(
            m.fc(scale * x)
        ),
        X,
        width=WIDTH,
        axes="b t c",
    )


for _scale in (1e-1, 1e-2, 1e-3):
    HONEST.add(
        "numerics",
        f"an instance norm of inputs of {_scale}, in two passes",
        lambda a=_scale: normed(a, use_fast_variance=False),
    )


# What a model does in place, and orders of containers.


class TorchInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(x.mul_(2))


def in_place(**settings):
    torch_model, flax_model = TorchInPlace(), Flax(lambda m, x: m.fc(2 * x), {"fc": nnx.Linear(6, 6, rngs=rngs())})
    transfer(torch_model, flax_model)
    return Trial(torch_model, flax_model, ROWS, settings)


HONEST.add("constant inputs", "inputs that are changed in place", in_place)
HONEST.add("training", "inputs that are changed in place", lambda: in_place(mode="train", steps=3))
HONEST.add("training", "gradients of inputs that are changed in place", lambda: in_place(gradients=True))
HONEST.add(
    "outputs",
    "a mapping against a tuple",
    lambda: pair(lambda m, x: {"z": m.fc(x), "a": m.fc(x).tanh()}, lambda m, x: (m.fc(x), jnp.tanh(m.fc(x)))),
)
HONEST.add(
    "outputs",
    "mappings in another order",
    lambda: pair(lambda m, x: {"z": m.fc(x), "a": m.fc(x).tanh()}, lambda m, x: {"a": jnp.tanh(m.fc(x)), "z": m.fc(x)}),
)
HONEST.add(
    "constant inputs",
    "inputs of few digits",
    lambda: pair(lambda m, x: m.fc(x), lambda m, x: m.fc(x), (np.round(8 * ROWS) / 8).astype(np.float32)),
)


# Another structure of hard numerics.


def attended(torch_function, flax_function, **settings):
    return pair(
        lambda m, x: torch_function(m.fc(x), x),
        lambda m, x: flax_function(m.fc(x), x),
        draw(3, 32, 16, seed=2),
        width=16,
        axes="b t c",
        **settings,
    )


def blockwise(y, x):
    """Attention over blocks of keys, as kernels do it."""
    blocks = y.reshape(3, 4, 8, 16).swapaxes(0, 1)

    def step(carry, keys):
        largest, total, result = carry
        scores = y @ keys.swapaxes(1, 2) / 4
        new = jnp.maximum(largest, scores.max(-1))
        weights, kept = jnp.exp(scores - new[..., None]), jnp.exp(largest - new)
        return (new, total * kept + weights.sum(-1), result * kept[..., None] + weights @ keys), None

    start = jnp.full((3, 32), -jnp.inf, y.dtype), jnp.zeros((3, 32), y.dtype), jnp.zeros_like(y)
    (_, total, result), _ = jax.lax.scan(step, start, blocks)
    return result / total[..., None]


def convolved(y, x):
    """A causal convolution in the frequencies."""
    spectrum = jnp.fft.rfft(y, 64, axis=1) * jnp.fft.rfft(y.mean(0), 64, axis=0)
    return jnp.fft.irfft(spectrum, 64, axis=1)[:, :32]


def gated_loop(y, x):
    gate, state, states = torch.sigmoid(y), torch.zeros_like(x[:, 0]), []
    for n in range(x.shape[1]):
        state = gate[:, n] * state + (1 - gate[:, n]) * x[:, n]
        states.append(state)
    return torch.stack(states, 1)


def gated_scan(y, x):
    gate = jax.nn.sigmoid(y)

    def joined(left, right):
        return left[0] * right[0], right[0] * left[1] + right[1]

    return jax.lax.associative_scan(joined, (gate, (1 - gate) * x), axis=1)[1]


for _name, _torch, _flax in (
    ("attention in blocks", lambda y, x: F.scaled_dot_product_attention(y, y, y), blockwise),
    (
        "a convolution by Fourier transforms",
        lambda y, x: F.conv1d(F.pad(y.transpose(1, 2), (31, 0)), y.mean(0).flip(0).T[:, None], groups=16).transpose(
            1, 2
        ),
        convolved,
    ),
    ("a recurrence in parallel", gated_loop, gated_scan),
    (
        "a softmax without its maximum",
        lambda y, x: torch.softmax(y, -1),
        lambda y, x: jnp.exp(y) / jnp.exp(y).sum(-1, keepdims=True),
    ),
    (
        "numbers that are rounded",
        lambda y, x: (1000 * y).round().long(),
        lambda y, x: jnp.round(1000 * y).astype(int),
    ),
):
    HONEST.add("numerics", _name, lambda a=_torch, b=_flax: attended(a, b))


# Tables of narrow models: each rounds what it stores, and no more than that.

MEAN, ANOTHER_MEAN = [0.485, 0.456, 0.406], [0.48145466, 0.4578275, 0.40821073]


SCALES = np.arange(1, 5, dtype=np.float32)


def frozen():
    return nn.Parameter(torch.from_numpy(SCALES.copy()), requires_grad=False)


def set_table(torch_model, flax_model):
    """A parameter was given random numbers as all others were; here it is a table."""
    if isinstance(getattr(torch_model, "table", None), nn.Parameter):
        torch_model.table.copy_(torch.from_numpy(SCALES))


def narrow(torch_function, flax_function, x, *, torch_table=None, flax_table=None, width=WIDTH, **settings):
    """Both models in bfloat16, with what they hold beside a layer."""
    torch_layers = {} if torch_table is None else {"table": torch_table}
    flax_layers = {} if flax_table is None else {"table": flax_table}
    trial = pair(
        torch_function,
        flax_function,
        x,
        width=width,
        torch_layers=torch_layers,
        flax_layers=flax_layers,
        carry=carry_fc,
        change=set_table,
        **settings,
    )
    trial.torch_model.to(torch.bfloat16)
    for leaf in (trial.flax_model.fc.kernel, trial.flax_model.fc.bias):
        leaf.set_value(leaf.get_value().astype(jnp.bfloat16))
    return dataclasses.replace(trial, inputs=jnp.asarray(trial.inputs, jnp.bfloat16))


def narrow_rotary(base, stored=None):
    """A rotation in bfloat16, the table of which is computed in float32 on both sides, or stored by PyTorch."""

    def torch_call(model, x):
        angles = torch.arange(x.shape[1], dtype=torch.float32)[:, None]
        angles = angles * (torch.from_numpy(FREQUENCIES) if stored is None else model.table)
        return in_torch(model, x, angles.cos().to(x.dtype), angles.sin().to(x.dtype))

    def flax_call(model, x):
        y = base ** (jnp.arange(0, WIDTH, 2, dtype=jnp.float32) / WIDTH)
        angles = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None] * (1.0 / y)
        return in_flax(model, x, jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype))

    return narrow(torch_call, flax_call, X, torch_table=stored, axes="b t c")


def scaled(torch_table, flax_table, flax_function):
    return narrow(
        lambda m, x: m.fc(x) * m.table, flax_function, ROWS, width=4, torch_table=torch_table, flax_table=flax_table
    )


def narrow_mean(values, kind):
    """Inputs without a mean, which both store in bfloat16 or which Flax writes down."""
    flax_table = nnx.Variable(jnp.asarray(values, jnp.bfloat16)) if kind == "stored" else None

    def flax_call(model, x):
        return model.fc(x - (jnp.asarray(values, x.dtype) if flax_table is None else model.table[...]))

    return narrow(
        lambda m, x: m.fc(x - m.table),
        flax_call,
        draw(64, 3, seed=4),
        torch_table=torch.tensor(MEAN),
        flax_table=flax_table,
    )


for _kind in ("stored", "written down"):
    WRONG.add(
        "tables", f"another mean in bfloat16, {_kind} in Flax", lambda kind=_kind: narrow_mean(ANOTHER_MEAN, kind)
    )
    HONEST.add("tables and buffers", f"a mean in bfloat16, {_kind} in Flax", lambda kind=_kind: narrow_mean(MEAN, kind))
for _base in (9900.0, 9500.0):
    WRONG.add("tables", f"a base of {_base} of a rotation in bfloat16", lambda base=_base: narrow_rotary(base))
HONEST.add("tables and buffers", "a rotation in bfloat16, computed in float32", lambda: narrow_rotary(10000.0))
STEP = [1.0078, 2.0156, 3.03, 4.03]
WRONG.add(
    "tables",
    "a scale in bfloat16 that is off by a percent",
    lambda: scaled(torch.arange(1.0, 5.0), None, lambda m, x: m.fc(x) * jnp.asarray(STEP, x.dtype)),
)
WRONG.add(
    "tables",
    "a frozen scale in bfloat16 that is off by a percent",
    lambda: scaled(
        frozen(),
        nnx.Variable(jnp.asarray(1.012 * SCALES, jnp.bfloat16)),
        lambda m, x: m.fc(x) * m.table[...],
    ),
)
WRONG.add(
    "tables",
    "a frozen scale that is off by a millionth",
    lambda: pair(
        lambda m, x: m.fc(x) * m.table,
        lambda m, x: m.fc(x) * m.table[...],
        torch_layers={"table": frozen()},
        flax_layers={"table": nnx.Variable(jnp.asarray((1 + 8e-7) * SCALES))},
        width=4,
        carry=carry_fc,
        change=set_table,
    ),
)


# Tables beside a state that calls change.


class Count(nnx.Variable):
    """A counter, of a kind of its own."""


def counted(torch_call, flax_call):
    table = torch.from_numpy(FREQUENCIES.copy())
    return pair(
        torch_call,
        flax_call,
        width=len(FREQUENCIES),
        torch_layers={"inv": table, "count": torch.zeros(())},
        flax_layers={"count": Count(jnp.zeros(()))},
        carry=carry_fc,
        mode="train",
        steps=3,
    )


def table_in_flax():
    return 1.0 / 10000.0 ** (jnp.arange(0, WIDTH, 2) / WIDTH)


def torch_filled(model, x):
    model.count.fill_(1)
    return model.fc(x) * model.inv


def torch_counts(model, x):
    y = model.fc(x) * model.inv + 0.1 * model.count
    model.count += 1
    return y


def flax_counts(factor):
    def call(model, x):
        y = model.fc(x) * table_in_flax() + factor * model.count[...]
        model.count[...] = model.count[...] + 1
        return y

    return call


def torch_fresh(model, x):
    numbers = torch.tensor([3.0, 5.0, 7.0, 9.0])
    numbers *= 0.5
    return model.fc(x) * model.inv * numbers


@HONEST.of("tables and buffers")
def a_table_that_is_written_down_and_changed_in_place():
    return counted(
        torch_fresh, lambda m, x: m.fc(x) * table_in_flax() * (jnp.asarray([3.0, 5.0, 7.0, 9.0], x.dtype) * 0.5)
    )


def torch_written(model, x):
    numbers = torch.zeros(4, 2, dtype=x.dtype)
    numbers[:, 0] = x.mean(0)[:4]
    return model.fc(x) * model.inv + numbers.sum(1)


@HONEST.of("tables and buffers")
def zeros_that_inputs_are_written_to():
    return counted(torch_written, lambda m, x: m.fc(x) * table_in_flax() + x.mean(0)[:4])


WRONG.add("steps", "a counter beside a table", lambda: counted(torch_filled, flax_counts(0.5)))
HONEST.add("tables and buffers", "a counter beside a table", lambda: counted(torch_counts, flax_counts(0.1)))
