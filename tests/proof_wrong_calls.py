"""Wrong pairs in what calls do beside giving numbers: later steps, weights, words, kinds of values, types, sizes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from proof_honest import HONEST
from proof_pairs import ROWS, SEQUENCE, TOKENS, Flax, Torch, Trial, draw, nets
from proof_wrong import WRONG, carry_fc, rngs, square
from torch import nn

from einops_arch.port import optimizers, transfer

STEPS = {"mode": "train", "steps": 3}


def pair(torch_function, flax_function, inputs=ROWS, *, torch_layers=None, flax_layers=None, width=6, **settings):
    """One layer on both sides, and more of them."""
    return nets(
        {"fc": nn.Linear(np.shape(inputs)[-1], width)} | (torch_layers or {}),
        {"fc": nnx.Linear(np.shape(inputs)[-1], width, rngs=rngs())} | (flax_layers or {}),
        torch_function,
        flax_function,
        inputs,
        **settings,
    )


def linear(model, x):
    return model.fc(x)


# What a later step does.


class TorchCounting(nn.Module):
    """Gives something else in the second step alone."""

    def __init__(self, buffer):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        if buffer:
            self.register_buffer("count", torch.zeros(()))
        else:
            self.count = 0

    def forward(self, x):
        self.count += 1
        return self.fc(x) * (2 if int(self.count) == 2 else 1)


class FlaxCounting(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=rngs())
        self.count = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        self.count[...] = self.count[...] + 1
        return self.fc(x)


def carried(torch_model, flax_model, inputs, settings):
    transfer(torch_model, flax_model)
    return Trial(torch_model, flax_model, inputs, settings)


@WRONG.of("steps")
def the_second_of_three_steps():
    return carried(TorchCounting(buffer=False), Flax(linear, {"fc": nnx.Linear(6, 6, rngs=rngs())}), ROWS, STEPS)


@WRONG.of("steps")
def a_counter_that_acts_in_the_second_step():
    return carried(TorchCounting(buffer=True), FlaxCounting(), ROWS, STEPS)


# Weights that a call changes, and weights that one side alone has.


class TorchDecaying(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        y = self.fc(x)
        self.fc.weight.data.mul_(0.9)
        return y


class FlaxDecaying(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=rngs())

    def __call__(self, x):
        y = self.fc(x)
        self.fc.kernel[...] = self.fc.kernel[...] * 0.9
        return y


@WRONG.of("weights")
def a_weight_that_a_call_of_torch_changes():
    return carried(TorchDecaying(), Flax(linear, {"fc": nnx.Linear(6, 6, rngs=rngs())}), ROWS, {})


@WRONG.of("weights")
def a_weight_that_a_call_of_flax_changes():
    return carried(Torch(linear, {"fc": nn.Linear(6, 6)}), FlaxDecaying(), ROWS, {})


BANK = np.asarray([1.0, 2.0, 3.0, -1.0, -2.0, -3.0], np.float32)


def banked(change):
    """A weight that each call of PyTorch's changes, though not the sum of its bits."""

    def torch_call(model, x):
        y = model.fc(x) + model.bank[0]
        with torch.no_grad():
            change(model.bank)
        return y

    return pair(
        torch_call,
        lambda m, x: m.fc(x) + m.bank[...][0],
        torch_layers={"bank": nn.Parameter(torch.from_numpy(BANK.copy()))},
        flax_layers={"bank": nnx.Param(jnp.asarray(BANK))},
        carry=carry_bank,
    )


def carry_bank(torch_model, flax_model):
    carry_fc(torch_model, flax_model)
    # The numbers that are not random: their signs balance.
    with torch.no_grad():
        torch_model.bank.copy_(torch.from_numpy(BANK))


WRONG.add("weights", "a weight of which torch rolls the rows", lambda: banked(lambda bank: bank.copy_(bank.roll(1, 0))))
WRONG.add("weights", "a weight of which torch turns the signs", lambda: banked(lambda bank: bank.neg_()))


def with_more(**settings):
    """Flax's model has a bias of zeros that PyTorch's has not."""
    return pair(
        linear,
        lambda m, x: m.fc(x) + m.extra[...],
        flax_layers={"extra": nnx.Param(jnp.zeros(6))},
        carry=carry_fc,
        **settings,
    )


WRONG.add("weights", "a bias that Flax alone trains", lambda: with_more(gradients=True))
WRONG.add(
    "weights",
    "a bias that Flax alone trains, after a step",
    lambda: with_more(optimizer=optimizers.SGD(lr=0.1), steps=1),
)


class TorchTied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 5), nn.Linear(5, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens))


@WRONG.of("weights")
def weights_that_are_tied_in_torch_alone():
    torch_model = TorchTied()
    flax_model = Flax(
        lambda m, tokens: m.head(m.embed(tokens)),
        {"embed": nnx.Embed(11, 5, rngs=rngs()), "head": nnx.Linear(5, 11, use_bias=False, rngs=rngs())},
    )
    table = torch_model.embed.weight.detach().numpy()
    flax_model.embed.embedding[...], flax_model.head.kernel[...] = jnp.asarray(table), jnp.asarray(table.T)
    return Trial(torch_model, flax_model, TOKENS, {"gradients": True})


class FlaxLazy(nnx.Module):
    """Makes a layer when it is called."""

    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=rngs())

    def __call__(self, x):
        if not hasattr(self, "late"):
            self.late = nnx.Linear(6, 6, rngs=rngs())
        return self.late(self.fc(x))


@WRONG.of("weights")
def a_layer_that_is_made_in_a_call():
    return carried(Torch(linear, {"fc": nn.Linear(6, 6)}), FlaxLazy(), ROWS, {})


@WRONG.of("weights")
def a_layer_whose_weights_were_never_made():
    return Trial(Torch(linear, {"fc": nn.LazyLinear(6)}), Flax(linear, square()[1]), ROWS, {})


# Layers of dropout of one rate, and of another kind.

for _name, _torch, _flax in (
    ("dropout of channels against dropout", nn.Dropout1d, {}),
    ("dropout against dropout of channels", nn.Dropout, {"broadcast_dims": (2,)}),
    ("dropout that keeps the variance against dropout", nn.AlphaDropout, {}),
):
    WRONG.add(
        "rates",
        _name,
        lambda a=_torch, b=_flax: nets(
            {"fc": nn.Linear(8, 8), "drop": a(0.3)},
            {"fc": nnx.Linear(8, 8, rngs=rngs()), "drop": nnx.Dropout(0.3, rngs=rngs(), **b)},
            lambda m, x: m.drop(m.fc(x)),
            lambda m, x: m.drop(m.fc(x)),
            SEQUENCE,
            axes="b t c",
            mode="train",
            layouts={"drop": "b t c -> b t c", "": "b t c -> b t c"},
        ),
    )

# Integers that are right in float64 alone, and types that the inputs or a scale hide.


class Cast(nnx.Module):
    """Rounds to a type that is a setting, as layers of Flax have it."""

    def __init__(self, dtype=jnp.bfloat16):
        self.dtype = dtype

    def __call__(self, y):
        return y.astype(self.dtype).astype(y.dtype)


def normalized(y):
    return y / jnp.maximum(jnp.linalg.norm(y, axis=-1, keepdims=True), 1e-12)


QUARTERS = (np.random.default_rng(3).integers(-8, 9, (4, 6)) / 4).astype(np.float32)
LARGE = np.random.default_rng(1).integers(0, 2**20, (5, 7))


def narrow_on_each_side():
    """The first layer in bfloat16 in PyTorch, the second in Flax."""

    def narrowed(torch_model, flax_model):
        torch_model.first.bfloat16()
        flax_model.first.kernel[...] = jnp.asarray(torch_model.first.weight.detach().float().numpy().T)
        flax_model.first.bias[...] = jnp.asarray(torch_model.first.bias.detach().float().numpy())

    return nets(
        {"second": nn.Linear(6, 6), "first": nn.Linear(6, 6)},
        {"second": nnx.Linear(6, 6, dtype=jnp.bfloat16, rngs=rngs()), "first": nnx.Linear(6, 6, rngs=rngs())},
        lambda m, x: m.second(m.first(x.to(m.first.weight.dtype)).to(x.dtype)),
        lambda m, x: m.second(m.first(x)).astype(x.dtype),
        ROWS,
        change=narrowed,
    )


def hidden_classes():
    """A layer of bfloat16 within `jit`, of which only the classes are given."""
    return nets(
        {"inner": Torch(linear, {"fc": nn.Linear(6, 50)})},
        {"inner": Flax(linear, {"fc": nnx.Linear(6, 50, dtype=jnp.bfloat16, rngs=rngs())})},
        lambda m, x: m.inner(x).argmax(-1),
        lambda m, x: nnx.jit(lambda inner, x: inner(x))(m.inner, x).argmax(-1),
        draw(4000, 6, seed=8),
    )


for _name, _make in {
    "classes of a hidden layer of bfloat16": hidden_classes,
    "numbers that are rounded in half": lambda: pair(
        lambda m, x: torch.round(100 * m.fc(x)).int(),
        lambda m, x: jnp.round(m.cast(100 * m.fc(x))).astype(jnp.int32),
        draw(40, 6, seed=9),
        width=40,
        flax_layers={"cast": Cast(jnp.float16)},
    ),
    "integers that overflow": lambda: nets(
        {"embed": nn.Embedding(13, 4)},
        {"embed": nnx.Embed(13, 4, rngs=rngs())},
        lambda m, x: (m.embed(x % 13), (x * 40503) % 1009),
        lambda m, x: (m.embed(x % 13), (x * 40503) % 1009),
        LARGE,
    ),
    "a layer of bfloat16 on each side": narrow_on_each_side,
    "small numbers of bfloat16 behind large ones": lambda: pair(
        lambda m, x: F.normalize(m.fc(1e5 * x), dim=-1),
        lambda m, x: m.cast(normalized(m.fc(1e5 * x))),
        flax_layers={"cast": Cast()},
    ),
    "inputs that are cast and lose nothing": lambda: pair(
        linear, lambda m, x: m.fc(x.astype(jnp.bfloat16).astype(x.dtype)), QUARTERS
    ),
    "inputs that fit the type of a layer": lambda: pair(
        linear, lambda m, x: m.fc(m.cast(x)), QUARTERS, flax_layers={"cast": Cast(jnp.float16)}
    ),
    "another function in float32": lambda: pair(linear, lambda m, x: m.fc(x) * (1 if x.dtype == jnp.float64 else 1.01)),
    "another function in float32 in torch": lambda: pair(
        lambda m, x: m.fc(x) * (1 if x.dtype == torch.float64 else 1.01), linear
    ),
}.items():
    WRONG.add("dtypes", _name, _make)

# Where a network magnifies rounding, what computes in less, or in one pass, is still seen.

OFF_CENTER = (100 + draw(3, 64, 8)).astype(np.float32)


def one_pass(y):
    mean = y.mean(1, keepdims=True)
    return (y - mean) / jnp.sqrt((y * y).mean(1, keepdims=True) - mean * mean + 1e-5)


def two_passes(y):
    mean = y.mean(1, keepdims=True)
    return (y - mean) / jnp.sqrt(((y - mean) ** 2).mean(1, keepdims=True) + 1e-5)


for _name, _flax in {
    "a variance in one pass": lambda m, x: one_pass(m.fc(x)),
    "a layer of bfloat16 before what magnifies": lambda m, x: two_passes(m.cast(m.fc(x))),
    "a layer of bfloat16 behind what magnifies": lambda m, x: m.cast(two_passes(m.fc(x))),
}.items():
    WRONG.add(
        "magnified rounding",
        _name,
        lambda a=_flax: pair(
            lambda m, x: F.instance_norm(m.fc(x).transpose(1, 2)).transpose(1, 2),
            a,
            OFF_CENTER,
            width=8,
            flax_layers={"cast": Cast()},
            axes="b t c",
        ),
    )


def idle(count, offset):
    """A norm with its variance in one pass, behind many layers that do not round."""
    x = (offset + np.abs(draw(64, 64, seed=2))).astype(np.float32)
    return nets(
        {
            "idle": nn.Sequential(*[nn.ReLU() for _ in range(count)]),
            "norm": nn.LayerNorm(64),
            "fc": nn.Linear(64, 32),
        },
        {
            "norm": nnx.LayerNorm(64, epsilon=1e-5, use_fast_variance=True, rngs=rngs()),
            "fc": nnx.Linear(64, 32, rngs=rngs()),
        },
        lambda m, x: m.fc(m.norm(m.idle(x))),
        lambda m, x: m.fc(m.norm(nnx.relu(x))),
        x,
    )


for _count, _offset in ((100, 10), (12, 5)):
    WRONG.add(
        "magnified rounding",
        f"a variance in one pass behind {_count} layers that do not round, {_offset} off the center",
        lambda count=_count, offset=_offset: idle(count, offset),
    )


class TorchLevels(nn.Module):
    """Gives numbers, and what level each is on."""

    def forward(self, x):
        y = torch.tanh(x)
        return y, (y * 50).long()


class FlaxLevels(nnx.Module):
    """The same, the levels from less in float32."""

    def __call__(self, x):
        y = jnp.tanh(x)
        less = y.astype(jnp.bfloat16).astype(jnp.float32) if y.dtype == jnp.float32 else y
        return y, (less * 50).astype(int)


@WRONG.of("dtypes")
def integers_inside_that_are_made_of_bfloat16():
    return pair(
        lambda m, x: m.inner(m.fc(x))[0],
        lambda m, x: m.inner(m.fc(x))[0],
        draw(64, 6),
        width=32,
        torch_layers={"inner": TorchLevels()},
        flax_layers={"inner": FlaxLevels()},
        carry=carry_fc,
    )


# Containers: what is no number, and what kind of value it is.


@WRONG.of("containers")
def outputs_of_which_some_have_other_names():
    return pair(lambda m, x: {"a": m.fc(x), "b": 2 * m.fc(x)}, lambda m, x: {"b": m.fc(x), "c": 2 * m.fc(x)})


@WRONG.of("containers")
def another_word_beside_a_place_that_one_side_has():
    return pair(
        lambda m, x: {"kind": "probs", "y": m.fc(x)}, lambda m, x: {"kind": "logits", "y": m.fc(x), "extra": None}
    )


def dropped(torch_layer, flax_layer):
    return pair(
        lambda m, x: m.drop(m.fc(x).permute(0, 3, 1, 2)),
        lambda m, x: m.drop(m.fc(x)),
        draw(4, 3, 5, 6),
        torch_layers={"drop": torch_layer},
        flax_layers={"drop": flax_layer},
        mode="train",
        axes="b u t e",
    )


for _axes in ((0,), (3,), (1, 3)):
    WRONG.add(
        "rates",
        f"whole channels dropped along {_axes}",
        lambda axes=_axes: dropped(nn.Dropout2d(0.2), nnx.Dropout(0.2, broadcast_dims=axes, rngs=rngs())),
    )
HONEST.add(
    "training",
    "dropout of whole channels",
    lambda: dropped(nn.Dropout2d(0.2), nnx.Dropout(0.2, broadcast_dims=(1, 2), rngs=rngs())),
)


class Output:
    def __init__(self, y, count):
        self.y, self.count = y, count


for _name, _torch, _flax in (
    ("words", lambda y: {"y": y, "kind": "logits"}, lambda y: {"y": y, "kind": "probabilities"}),
    ("truth values against numbers", lambda y: (y, y > 0), lambda y: (y, (y > 0).astype(jnp.float32))),
    ("integers against numbers", lambda y: (y, y.argmax(-1)), lambda y: (y, y.argmax(-1).astype(jnp.float32))),
    ("nothing in another place", lambda y: (y, None, y.tanh()), lambda y: (y, jnp.tanh(y), None)),
    ("a mapping against a tuple", lambda y: {"z": y, "a": y.tanh()}, lambda y: (jnp.tanh(y), y)),
    ("a setting of an object", lambda y: Output(y, 3), lambda y: Output(y, 4)),
    ("no rows of another shape", lambda y: (y, y[:0]), lambda y: (y, y[:, :0])),
):
    WRONG.add("containers", _name, lambda a=_torch, b=_flax: pair(lambda m, x: a(m.fc(x)), lambda m, x: b(m.fc(x))))

# Inputs that a model changes, inputs of other names, and outputs that no loss takes.


class TorchInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        y = self.fc(x)
        return y + x.mul_(2)


@jax.custom_vjp
def doubled(x):
    return x


doubled.defvjp(lambda x: (x, None), lambda _, slope: (2 * slope,))


@WRONG.of("inputs")
def inputs_that_are_changed_before_they_are_used_again():
    return carried(TorchInPlace(), Flax(lambda m, x: m.fc(x) + x, {"fc": nnx.Linear(6, 6, rngs=rngs())}), ROWS, {})


@WRONG.of("inputs")
def the_gradient_of_an_input_of_another_name():
    return nets(*square(), linear, lambda m, x: m.fc(doubled(x)), {"x": ROWS}, flax_inputs=(ROWS,), gradients=True)


@WRONG.of("inputs")
def a_mean_over_a_batch_that_is_written_down():
    return pair(lambda m, x: m.fc(x) - m.fc(x).mean(0), lambda m, x: m.fc(x) - m.fc(x).sum(0) / 4, probes=True)


@WRONG.of("inputs")
def another_function_at_another_size_of_the_batch():
    return pair(linear, lambda m, x: m.fc(x) * (1 if len(x) == 4 else 2), probes=True)


@WRONG.of("optimizers")
def complex_outputs():
    return pair(
        lambda m, x: torch.fft.rfft(m.fc(x)),
        lambda m, x: jnp.conj(jnp.fft.rfft(m.fc(x))),
        optimizer=optimizers.SGD(lr=0.1),
    )


@WRONG.of("optimizers")
def outputs_without_a_slope():
    return pair(lambda m, x: m.fc(x).argmax(-1), lambda m, x: m.fc(x).argmax(-1), optimizer=optimizers.SGD(lr=0.1))
