"""Honest pairs of another structure: other modules, other containers of them, wrappers, layouts, modes and training."""

from __future__ import annotations

import flax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from proof_honest import HONEST
from proof_pairs import IMAGE, ROWS, SEQUENCE, TOKENS, draw, nets
from proof_wrong import FlaxBlock, TorchBlock, rngs, square
from torch import nn

from einops_arch.flax import layers
from einops_arch.port import transfer

SETTINGS = {"axes": "b t c"}


def through(torch_layer, flax_layer, inputs, *, take=lambda out: out, take_flax=None, **settings):
    """One layer on both sides."""
    return nets(
        {"layer": torch_layer},
        {"layer": flax_layer},
        lambda m, *x: take(m.layer(*x)),
        lambda m, *x: (take_flax or take)(m.layer(*x)),
        inputs,
        **settings,
    )


# Attention in other parts.


class TorchHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (layer(x).reshape(b, t, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = torch.softmax(q @ k.transpose(2, 3) / 2, -1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, 8))


class FlaxGeneral(nnx.Module):
    """Heads as axes of the weights."""

    def __init__(self):
        self.q, self.k, self.v = (nnx.LinearGeneral(8, (2, 4), rngs=rngs()) for _ in range(3))
        self.out = nnx.LinearGeneral((2, 4), 8, axis=(-2, -1), rngs=rngs())

    def __call__(self, x):
        weights = jax.nn.softmax(jnp.einsum("bqhk,bthk->bhqt", self.q(x), self.k(x)) / 2, -1)
        return self.out(jnp.einsum("bhqt,bthk->bqhk", weights, self.v(x)))


class FlaxEinsum(nnx.Module):
    """The same with `nnx.Einsum`."""

    def __init__(self):
        self.q, self.k, self.v = (nnx.Einsum("btc,chk->bthk", (8, 2, 4), (2, 4), rngs=rngs()) for _ in range(3))
        self.out = nnx.Einsum("bthk,hkc->btc", (2, 4, 8), (8,), rngs=rngs())

    def __call__(self, x):
        return jnp.swapaxes(
            self.out(
                jnp.einsum(
                    "bhqt,bthk->bqhk",
                    jax.nn.softmax(jnp.einsum("bqhk,bthk->bhqt", self.q(x), self.k(x)) / 2, -1),
                    self.v(x),
                )
            ),
            0,
            0,
        )


class FlaxFused(nnx.Module):
    """Query, key and value in one layer."""

    def __init__(self):
        self.qkv, self.out = nnx.Linear(8, 24, rngs=rngs()), nnx.Linear(8, 8, rngs=rngs())

    def __call__(self, x):
        q, k, v = (part.reshape(*x.shape[:2], 2, 4) for part in jnp.split(self.qkv(x), 3, -1))
        y = jax.nn.dot_product_attention(q, k, v)
        return self.out(y.reshape(x.shape))


def in_heads(torch_model, flax_model):
    """The weights of separate layers, their axes split into heads."""
    for name in ("q", "k", "v"):
        layer, twin = getattr(torch_model.net, name), getattr(flax_model.net, name)
        twin.kernel[...] = layer.weight.detach().numpy().T.reshape(8, 2, 4)
        twin.bias[...] = layer.bias.detach().numpy().reshape(2, 4)
    flax_model.net.out.kernel[...] = torch_model.net.out.weight.detach().numpy().T.reshape(2, 4, 8)
    flax_model.net.out.bias[...] = torch_model.net.out.bias.detach().numpy()


def in_one(torch_model, flax_model):
    """The weights of three layers in one."""
    parts = [getattr(torch_model.net, name) for name in ("q", "k", "v")]
    flax_model.net.qkv.kernel[...] = np.concatenate([part.weight.detach().numpy().T for part in parts], -1)
    flax_model.net.qkv.bias[...] = np.concatenate([part.bias.detach().numpy() for part in parts])
    flax_model.net.out.kernel[...] = torch_model.net.out.weight.detach().numpy().T
    flax_model.net.out.bias[...] = torch_model.net.out.bias.detach().numpy()


def in_multi_head(torch_model, flax_model):
    """The weights of separate layers in `nnx.MultiHeadAttention`."""
    for name, twin in (("q", "query"), ("k", "key"), ("v", "value")):
        layer, other = getattr(torch_model.net, name), getattr(flax_model.net, twin)
        other.kernel[...] = layer.weight.detach().numpy().T.reshape(8, 2, 4)
        other.bias[...] = layer.bias.detach().numpy().reshape(2, 4)
    flax_model.net.out.kernel[...] = torch_model.net.out.weight.detach().numpy().T.reshape(2, 4, 8)
    flax_model.net.out.bias[...] = torch_model.net.out.bias.detach().numpy()


def heads(flax_net, carry, **settings):
    return nets(
        {"net": TorchHeads()},
        {"net": flax_net},
        lambda m, x: m.net(x),
        lambda m, x: m.net(x),
        SEQUENCE,
        carry=carry,
        **(SETTINGS | settings),
    )


for _name, _make in {
    "LinearGeneral for separate layers": lambda: heads(FlaxGeneral(), in_heads),
    "Einsum for separate layers": lambda: heads(FlaxEinsum(), in_heads),
    "one layer for query, key and value": lambda: heads(FlaxFused(), in_one),
    "MultiHeadAttention for separate layers": lambda: heads(
        nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs()), in_multi_head
    ),
}.items():
    HONEST.add("structure", _name, _make)


def attention(*, weights=True, rate=0.0, **settings):
    return nets(
        {"attention": nn.MultiheadAttention(8, 2, dropout=rate, batch_first=True)},
        {"attention": nnx.MultiHeadAttention(2, 8, dropout_rate=rate, decode=False, rngs=rngs())},
        lambda m, x: m.attention(x, x, x, need_weights=weights)[0],
        lambda m, x: m.attention(x),
        SEQUENCE,
        **(SETTINGS | settings),
    )


for _name, _make in {
    "attention of both frameworks": attention,
    "attention without its weights": lambda: attention(weights=False),
    "attention with dropout": lambda: attention(rate=0.1, mode="train"),
    "attention with dropout, in eval": lambda: attention(rate=0.1),
    "attention, gradients": lambda: attention(gradients=True),
}.items():
    HONEST.add("structure", _name, _make)

# Recurrent layers.


def recurrent(torch_layer, flax_layer, **settings):
    return nets(
        {"rnn": torch_layer},
        {"rnn": flax_layer},
        lambda m, x: m.rnn(x)[0],
        lambda m, x: m.rnn(x),
        SEQUENCE,
        **(SETTINGS | settings),
    )


for _name, _make in {
    "nnx.RNN of an LSTM cell": lambda: recurrent(
        nn.LSTM(8, 6, batch_first=True), nnx.RNN(nnx.OptimizedLSTMCell(8, 6, rngs=rngs()))
    ),
    "nnx.RNN of a plain LSTM cell": lambda: recurrent(
        nn.LSTM(8, 6, batch_first=True), nnx.RNN(nnx.LSTMCell(8, 6, rngs=rngs()))
    ),
    "nnx.RNN of a simple cell": lambda: recurrent(
        nn.RNN(8, 6, batch_first=True), nnx.RNN(nnx.SimpleCell(8, 6, rngs=rngs()))
    ),
    "a layer of two directions": lambda: recurrent(
        nn.LSTM(8, 6, batch_first=True, bidirectional=True),
        nnx.Bidirectional(
            nnx.RNN(nnx.OptimizedLSTMCell(8, 6, rngs=rngs())), nnx.RNN(nnx.OptimizedLSTMCell(8, 6, rngs=rngs()))
        ),
    ),
}.items():
    HONEST.add("structure", _name, _make)


class TorchSteps(nn.Module):
    """A cell, called in a loop."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 6)

    def forward(self, x):
        h = x.new_zeros(len(x), 6)
        states = []
        for n in range(x.shape[1]):
            h = self.cell(x[:, n], h)
            states.append(h)
        return torch.stack(states, 1)


class FlaxLayer(nnx.Module):
    """The layer over time."""

    def __init__(self):
        self.rnn = layers.GRU(8, 6, batch_first=True, rngs=rngs())

    def __call__(self, x):
        return self.rnn(x)[0]


@HONEST.of("structure")
def a_cell_in_a_loop_against_a_layer():
    def carry(torch_model, flax_model):
        cell = torch_model.net.cell
        transfer({f"net.rnn.{name}_l0": value for name, value in cell.state_dict().items()}, flax_model)

    return nets(
        {"net": TorchSteps()},
        {"net": FlaxLayer()},
        lambda m, x: m.net(x),
        lambda m, x: m.net(x),
        SEQUENCE,
        carry=carry,
        **SETTINGS,
    )


# Stacks, loops, transformations.


def stacked(run, *, torch_blocks=None):
    """Three layers in a list in PyTorch, and in one stack in Flax."""

    @nnx.vmap(in_axes=0, out_axes=0)
    def make(key):
        return nnx.Linear(6, 6, rngs=nnx.Rngs(key))

    def carry(torch_model, flax_model):
        stack = list(torch_model.blocks)
        flax_model.blocks.kernel[...] = np.stack([layer.weight.detach().numpy().T for layer in stack])
        flax_model.blocks.bias[...] = np.stack([layer.bias.detach().numpy() for layer in stack])

    def torch_run(model, x):
        for layer in model.blocks:
            x = torch.tanh(layer(x))
        return x

    return nets(
        {"blocks": torch_blocks or nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])},
        {"blocks": make(jax.random.split(jax.random.key(0), 3))},
        torch_run,
        lambda m, x: run(m.blocks, x),
        ROWS,
        carry=carry,
    )


@nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
def scanned(x, layer):
    return jnp.tanh(layer(x))


def scanned_weights(blocks, x):
    def step(x, weights):
        return jnp.tanh(x @ weights[0] + weights[1]), None

    return jax.lax.scan(step, x, (blocks.kernel[...], blocks.bias[...]))[0]


HONEST.add("structure", "a scanned stack against a list", lambda: stacked(lambda blocks, x: scanned(x, blocks)))
HONEST.add("structure", "a scan of weights against a list", lambda: stacked(scanned_weights))


class FlaxJitted(FlaxBlock):
    @nnx.jit
    def __call__(self, x):
        return jnp.tanh(self.fc(x))


class FlaxUnrolled(nnx.Module):
    """The block without a module of its own."""

    def __init__(self):
        self.block = FlaxBlock()


def wrapped(flax_block, call, torch_call=lambda block, x: block(x), **settings):
    return nets(
        {"block": TorchBlock()},
        {"block": flax_block},
        lambda m, x: torch_call(m.block, x),
        lambda m, x: call(m.block, x),
        ROWS,
        **settings,
    )


def checkpointed(block, x):
    from torch.utils.checkpoint import checkpoint

    return checkpoint(block, x, use_reentrant=False)


def twenty(block, x):
    for _ in range(20):
        x = block(x)
    return x


for _name, _make in {
    "a jitted method": lambda: wrapped(FlaxJitted(), lambda block, x: block(x)),
    "a jit of a call": lambda: wrapped(FlaxBlock(), nnx.jit(lambda block, x: block(x))),
    "remat": lambda: wrapped(FlaxBlock(), nnx.remat(lambda block, x: block(x)), gradients=True),
    "checkpointing in PyTorch": lambda: wrapped(FlaxBlock(), lambda block, x: block(x), checkpointed, gradients=True),
    "a loop of one step": lambda: wrapped(
        FlaxBlock(), lambda block, x: jax.lax.fori_loop(0, 1, lambda n, v: block(v), x)
    ),
    "a loop of 20 steps": lambda: wrapped(
        FlaxBlock(), lambda block, x: jax.lax.fori_loop(0, 20, lambda n, v: block(v), x), twenty
    ),
    "a module that is called 20 times": lambda: wrapped(FlaxBlock(), twenty, twenty),
    "a condition": lambda: wrapped(FlaxBlock(), lambda block, x: jax.lax.cond(x.sum() < 1e9, block, lambda v: v, x)),
    "vmap over the batch": lambda: wrapped(FlaxBlock(), lambda block, x: jax.vmap(block)(x)),
    "without jit": lambda: wrapped(FlaxBlock(), lambda block, x: block(x), jit=False),
    "the teacher": lambda: wrapped(FlaxBlock(), lambda block, x: block(x), teacher=True),
}.items():
    HONEST.add("structure", _name, _make)


@HONEST.of("structure")
def a_module_of_linen():
    class Dense(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            return jnp.tanh(flax.linen.Dense(5, name="fc")(x))

    linen = nnx.bridge.ToNNX(Dense(), rngs=nnx.Rngs(0))
    nnx.bridge.lazy_init(linen, ROWS)

    def carry(torch_model, flax_model):
        flax_model.net.fc["kernel"][...] = torch_model.net[0].weight.detach().numpy().T
        flax_model.net.fc["bias"][...] = torch_model.net[0].bias.detach().numpy()

    return nets(
        {"net": nn.Sequential(nn.Linear(6, 5), nn.Tanh())},
        {"net": linen},
        lambda m, x: m.net(x),
        lambda m, x: m.net(x),
        ROWS,
        carry=carry,
    )


@HONEST.of("structure")
def a_compiled_model():
    trial = wrapped(FlaxBlock(), lambda block, x: block(x))
    trial.torch_model = torch.compile(trial.torch_model)
    return trial


@HONEST.of("structure")
def data_parallel():
    trial = wrapped(FlaxBlock(), lambda block, x: block(x))
    trial.torch_model = nn.DataParallel(trial.torch_model)
    return trial


@HONEST.of("structure")
def the_models_in_the_other_order():
    trial = wrapped(FlaxBlock(), lambda block, x: block(x))
    trial.torch_model, trial.flax_model = trial.flax_model, trial.torch_model
    return trial


@HONEST.of("structure")
def other_paths():
    def carry(torch_model, flax_model):
        transfer(torch_model.encoder, flax_model.enc)

    return nets(
        {"encoder": nn.Linear(6, 5)},
        {"enc": nnx.Linear(6, 5, rngs=rngs())},
        lambda m, x: m.encoder(x),
        lambda m, x: m.enc(x),
        ROWS,
        carry=carry,
        paths={"encoder": "enc"},
    )


@HONEST.of("structure")
def activations_that_are_modules_on_one_side():
    return nets(
        {"fc": nn.Linear(6, 5), "act": nn.GELU()},
        {"fc": nnx.Linear(6, 5, rngs=rngs())},
        lambda m, x: m.act(m.fc(x)),
        lambda m, x: jax.nn.gelu(m.fc(x), approximate=False),
        ROWS,
    )


class TorchTied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.embed(tokens)))


@HONEST.of("structure")
def tied_weights_that_attend():
    def carry(torch_model, flax_model):
        flax_model.embed.embedding[...] = torch_model.net.embed.weight.detach().numpy()

    return nets(
        {"net": TorchTied()},
        {"embed": nnx.Embed(11, 8, rngs=rngs())},
        lambda m, t: m.net(t),
        lambda m, t: m.embed.attend(jnp.tanh(m.embed(t))),
        TOKENS,
        carry=carry,
        paths={"net.embed": "embed"},
    )


@HONEST.of("structure")
def weight_norm():
    from torch.nn.utils.parametrizations import weight_norm as normed

    return through(normed(nn.Linear(6, 5)), layers.WeightNorm(layers.Linear(6, 5, rngs=rngs())), ROWS)


@HONEST.of("structure")
def weight_norm_that_is_folded():
    from torch.nn.utils.parametrizations import weight_norm as normed

    def carry(torch_model, flax_model):
        layer = torch_model.layer
        flax_model.layer.kernel[...] = layer.weight.detach().numpy().T
        flax_model.layer.bias[...] = layer.bias.detach().numpy()

    return through(normed(nn.Linear(6, 5)), nnx.Linear(6, 5, rngs=rngs()), ROWS, carry=carry)


@HONEST.of("structure")
def a_batch_norm_that_is_folded():
    torch.manual_seed(0)

    def carry(torch_model, flax_model):
        conv, norm = torch_model.conv, torch_model.norm
        factor = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
        kernel = conv.weight.detach().numpy().transpose(2, 3, 1, 0)
        flax_model.conv.kernel[...] = kernel * factor
        flax_model.conv.bias[...] = (conv.bias.detach().numpy() - norm.running_mean.numpy()) * factor + (
            norm.bias.detach().numpy()
        )

    return nets(
        {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4)},
        {"conv": nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs())},
        lambda m, x: m.norm(m.conv(x)),
        lambda m, x: m.conv(x),
        IMAGE,
        carry=carry,
        axes="b c h w",
        paths={"conv": None},
    )


# Layers and axes.
SEQUENCE_C = draw(2, 4, 9, seed=4)
for _name, _torch, _flax, _inputs, _axes in (
    (
        "Conv1d",
        lambda: nn.Conv1d(4, 5, 3, padding=1),
        lambda: nnx.Conv(4, 5, (3,), padding=1, rngs=rngs()),
        SEQUENCE_C,
        "b c t",
    ),
    (
        "strided Conv2d",
        lambda: nn.Conv2d(3, 4, 3, stride=2),
        lambda: nnx.Conv(3, 4, (3, 3), strides=2, padding="VALID", rngs=rngs()),
        IMAGE,
        "b c h w",
    ),
    (
        "depthwise Conv2d",
        lambda: nn.Conv2d(3, 6, 3, groups=3),
        lambda: nnx.Conv(3, 6, (3, 3), padding="VALID", feature_group_count=3, rngs=rngs()),
        IMAGE,
        "b c h w",
    ),
    (
        "Conv3d",
        lambda: nn.Conv3d(2, 3, 2),
        lambda: nnx.Conv(2, 3, (2, 2, 2), padding="VALID", rngs=rngs()),
        draw(2, 2, 4, 5, 6),
        "b c d h w",
    ),
    (
        "ConvTranspose2d",
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1),
        lambda: layers.ConvTranspose(3, 4, (3, 3), strides=2, padding=1, rngs=rngs()),
        IMAGE,
        "b c h w",
    ),
    (
        "GroupNorm",
        lambda: nn.GroupNorm(2, 4),
        lambda: nnx.GroupNorm(4, num_groups=2, epsilon=1e-5, rngs=rngs()),
        draw(2, 4, 8, 10),
        "b c h w",
    ),
    (
        "InstanceNorm2d",
        lambda: nn.InstanceNorm2d(3, affine=True),
        lambda: nnx.InstanceNorm(3, epsilon=1e-5, rngs=rngs()),
        IMAGE,
        "b c h w",
    ),
    (
        "BatchNorm2d",
        lambda: nn.BatchNorm2d(3),
        lambda: nnx.BatchNorm(3, epsilon=1e-5, momentum=0.9, rngs=rngs()),
        IMAGE,
        "b c h w",
    ),
    ("Embedding", lambda: nn.Embedding(11, 8), lambda: nnx.Embed(11, 8, rngs=rngs()), TOKENS, None),
    ("Bilinear features", lambda: nn.Linear(10, 4), lambda: nnx.Linear(10, 4, rngs=rngs()), draw(2, 3, 10), "b t c"),
):
    HONEST.add("layers", _name, lambda a=_torch, b=_flax, c=_inputs, d=_axes: through(a(), b(), c, axes=d))


@HONEST.of("axes")
def channels_first_in_and_last_out():
    return nets(
        {"conv": nn.Conv1d(4, 5, 3), "norm": nn.LayerNorm(5)},
        {
            "conv": nnx.Conv(4, 5, (3,), padding="VALID", rngs=rngs()),
            "norm": nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs()),
        },
        lambda m, x: m.norm(m.conv(x).transpose(1, 2)),
        lambda m, x: m.norm(m.conv(x)),
        SEQUENCE_C,
        axes="b c t",
    )


@HONEST.of("axes")
def channels_first_out_of_an_image():
    return nets(
        {"conv": nn.Conv2d(3, 5, 3)},
        {"conv": nnx.Conv(3, 5, (3, 3), padding="VALID", rngs=rngs())},
        lambda m, x: m.conv(x).flatten(2),
        lambda m, x: m.conv(x).reshape(2, -1, 5),
        IMAGE,
        axes="b c h w",
    )


@HONEST.of("axes")
def a_map_of_attention_beside_an_image():
    def torch_map(model, x):
        y = model.conv(x).flatten(2)
        return torch.softmax(y.transpose(1, 2) @ y[..., :7], -1)

    def flax_map(model, x):
        y = model.conv(x).reshape(2, -1, 5)
        return jax.nn.softmax(y @ y[:, :7].swapaxes(1, 2), -1)

    return nets(
        {"conv": nn.Conv2d(3, 5, 3)},
        {"conv": nnx.Conv(3, 5, (3, 3), padding="VALID", rngs=rngs())},
        torch_map,
        flax_map,
        IMAGE,
        axes="b c h w",
    )


@HONEST.of("axes")
def time_first_in_torch():
    return nets(
        {"rnn": nn.LSTM(8, 6), "fc": nn.Linear(6, 5)},
        {"rnn": nnx.RNN(nnx.OptimizedLSTMCell(8, 6, rngs=rngs())), "fc": nnx.Linear(6, 5, rngs=rngs())},
        lambda m, x: m.fc(m.rnn(x.transpose(0, 1))[0]).transpose(0, 1),
        lambda m, x: m.fc(m.rnn(x)),
        SEQUENCE,
        axes="b t c",
        layouts={"fc": "t b c -> b t c"},
    )


@HONEST.of("axes")
def an_output_of_channels_first_from_a_sequence():
    return nets(
        {"fc": nn.Linear(8, 5)},
        {"fc": nnx.Linear(8, 5, rngs=rngs())},
        lambda m, x: m.fc(x).transpose(1, 2),
        lambda m, x: m.fc(x),
        SEQUENCE,
        axes="b t c",
        layouts={"": "b c t -> b t c"},
    )


@HONEST.of("axes")
def inputs_by_name_and_nested():
    return nets(
        *square(),
        lambda m, batch, scale: m.fc(batch["rows"]) * scale,
        lambda m, batch, scale: m.fc(batch["rows"]) * scale,
        {"batch": {"rows": ROWS}, "scale": np.float32(3.5) * np.ones(1, np.float32)},
    )
