"""A hundred faults of known cause, each an edit of one line of a twin, and what came of each."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import time
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
from flax import nnx

from einops_arch.parity import compare, randomize
from einops_arch.port import transfer

SOURCE = Path(__file__).with_name("fault_networks.py")
BETWEEN = ""


@dataclasses.dataclass(frozen=True)
class Fault:
    """An edit of the text of a twin.

    Args:
        network: that it is in.
        name: in a few words.
        old: the text that is right, which is there once.
        new: the text that is wrong.
        where: the module in whose code it is.
        right: what a sentence has to say to be right, as a pattern.
        spoil: what is wrong with the weights, if it is that.
        settings: of `compare`.
    """

    network: str
    name: str
    old: str
    new: str
    where: str
    right: str
    spoil: str = ""
    settings: tuple[tuple[str, object], ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a fault."""

    fault: Fault
    caught: bool
    located: bool
    causes: tuple[str, ...]
    seconds: float

    @property
    def claims(self):
        """The sentences that claim a cause."""
        return [text for text in self.causes if "would be explained by" in text]

    @property
    def right(self):
        """A sentence names the cause, and none is there that does not."""
        return bool(self.claims) and not self.wrong

    @property
    def wrong(self):
        """A sentence claims a cause, and does not name the one that it is."""
        return any(not re.search(self.fault.right, text) for text in self.claims)


C, R, T, U = "Convolutional", "Recurrent", "Transformer", "UNet"
TRAIN = (("mode", "train"), ("steps", 2))
FAULTS = (
    # The convolutional network.
    Fault(C, "eps of a batch norm", "BatchNorm(8, epsilon=1e-3", "BatchNorm(8, epsilon=1e-5", "bn2", r"epsilon=0\.001"),
    Fault(C, "eps of a group norm", "num_groups=3, epsilon=1e-5", "num_groups=3", "norm", r"epsilon=1e-5"),
    Fault(C, "tanh GELU", "(x)), approximate=False)", "(x)))", "", r"exact.*GELU"),
    Fault(
        C,
        "quick GELU",
        "jax.nn.gelu(self.norm(self.conv3(x)), approximate=False)",
        "(lambda v: v * jax.nn.sigmoid(1.702 * v))(self.norm(self.conv3(x)))",
        "",
        r"exact.*GELU",
    ),
    Fault(
        C,
        "SiLU for GELU",
        "jax.nn.gelu(self.norm(self.conv3(x)), approximate=False)",
        "jax.nn.silu(self.norm(self.conv3(x)))",
        "",
        r"activation exact GELU",
    ),
    Fault(C, "GELU for SiLU", "jax.nn.silu(self.fc1", "jax.nn.gelu(self.fc1", "", r"activation SiLU"),
    Fault(
        C, "slope of a leaky ReLU", "self.conv2(x)), 0.2)", "self.conv2(x)), 0.01)", "", r"LeakyReLU\(0\.2\)|times 0\.2"
    ),
    Fault(
        C,
        "ReLU6 for ReLU",
        "jax.nn.relu(self.bn1(self.conv1(x)))",
        "jax.nn.relu6(4 * self.bn1(self.conv1(x))) / 4",
        "",
        r"activation ReLU\b",
    ),
    Fault(C, "hard sigmoid", "s = jax.nn.sigmoid(", "s = jax.nn.hard_sigmoid(", "", r"activation Sigmoid"),
    Fault(
        C,
        "residual left out",
        "x = x + jax.nn.leaky_relu(",
        "x = jax.nn.leaky_relu(",
        "",
        r"residual of shape",
    ),
    Fault(
        C,
        "average for maximum pooling",
        "nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))",
        "nnx.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))",
        "",
        r"maximum pooling",
    ),
    Fault(
        C,
        "maximum for average pooling",
        "nnx.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)",
        "nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))",
        "",
        r"average pooling that counts no padding",
    ),
    Fault(
        C,
        "padding counted",
        "((1, 1), (1, 1)), count_include_pad=False",
        "((1, 1), (1, 1)), count_include_pad=True",
        "",
        r"count_include_pad=False",
    ),
    Fault(C, "antialiasing", '"linear", antialias=False', '"cubic"', "", r"bilinear"),
    Fault(
        C,
        "corners",
        'jax.image.resize(a, (*x.shape[:3], 12), "linear", antialias=False)',
        "corners(a, x.shape)",
        "",
        r"align_corners=False|bilinear without",
    ),
    Fault(
        C,
        "order of a concatenation",
        'jnp.concatenate([x, jax.image.resize(a, (*x.shape[:3], 12), "linear", antialias=False)], -1)',
        'jnp.concatenate([jax.image.resize(a, (*x.shape[:3], 12), "linear", antialias=False), x], -1)',
        "",
        r"order",
    ),
    Fault(C, "order of flatten", "x.transpose(0, 3, 1, 2).reshape(len(x), -1)", "x.reshape(len(x), -1)", "", r"'\("),
    Fault(
        C,
        "padding SAME",
        "nnx.Conv(3, 8, (3, 3), strides=2, padding=1, rngs",
        'nnx.Conv(3, 8, (3, 3), strides=2, padding="SAME", rngs',
        "conv1",
        r"padding=\(\(1, 1\), \(1, 1\)\)",
    ),
    Fault(C, "dilation forgotten", "padding=2, kernel_dilation=2", "padding=1", "conv2", r"dilation"),
    Fault(C, "kernel turned round", "", "", "conv3", r"weight is flipped", spoil="flip conv3"),
    Fault(C, "bias lost", "", "", "fc2", r"bias is zero", spoil="zero fc2"),
    Fault(
        C,
        "batch statistics in eval",
        "self.bn1(self.conv1(x))",
        "self.bn1(self.conv1(x), use_running_average=False)",
        "bn1",
        r"running statistics|use_running_average",
    ),
    Fault(C, "mean for maximum", "x.mean((1, 2))", "x.max((1, 2))", "", r"the mean"),
    Fault(
        C,
        "gate twice",
        "x = x * s[:, None, None, :]",
        "x = x * s[:, None, None, :] * 2",
        "",
        r"times 1, the Flax module has 2",
    ),
    Fault(C, "biased running variance", "", "", "bn1.running_var", r"n - 1", settings=TRAIN),
    # The recurrent one.
    Fault(
        R,
        "scale of an embedding left out",
        "self.embed(tokens) * math.sqrt(10)",
        "self.embed(tokens)",
        "",
        r"factor sqrt\(10\)",
    ),
    Fault(R, "scale of an embedding", "math.sqrt(10)", "10", "", r"sqrt\(10\)"),
    Fault(
        R,
        "positions from one",
        "jnp.arange(tokens.shape[1])",
        "jnp.arange(tokens.shape[1]) + 1",
        "",
        r"begin -1 later|-1 higher",
    ),
    Fault(R, "positions left out", " + self.position(jnp.arange(tokens.shape[1]))", "", "", r"what position gives"),
    Fault(R, "eps of a norm", "10, epsilon=1e-5", "10", "norm", r"epsilon=1e-5"),
    Fault(R, "eps of the last norm", "8, epsilon=1e-6", "8, epsilon=1e-12", "last", r"epsilon=1e-6"),
    Fault(
        R,
        "norm over two axes",
        "self.norm = nnx.LayerNorm(10, epsilon=1e-5, rngs=rngs)",
        "self.norm = nnx.LayerNorm(10, epsilon=1e-5, reduction_axes=(1, 2), rngs=rngs)",
        "norm",
        r"norm over axes \(2,\)|reduction_axes",
    ),
    Fault(
        R,
        "norm over two axes by hand",
        "x = self.norm(x)",
        "m, v = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True); "
        "x = (x - m) / jnp.sqrt(v + 1e-5) * self.norm.scale[...] + self.norm.bias[...]",
        "",
        r"norm over axes \(2,\)",
    ),
    Fault(R, "order of gates", "", "", "rnn", r"gates in the order", spoil="gates rnn"),
    Fault(R, "order of gates in a GRU", "", "", "gru", r"gates in the order", spoil="gates gru"),
    Fault(R, "one of two biases", "", "", "gru", r"bias_hh_l0 is zero", spoil="bias gru"),
    Fault(R, "sigmoid for tanh", "jnp.tanh(y)", "jax.nn.sigmoid(y)", "", r"activation Tanh"),
    Fault(R, "activation left out", "self.gru(jnp.tanh(y))", "self.gru(y)", "", r"activation Tanh|Tanh"),
    Fault(R, "scale of attention", "/ math.sqrt(8)", "/ 8", "", r"sqrt\(8\)"),
    Fault(R, "scale of attention left out", " / math.sqrt(8)", "", "", r"1/sqrt\(8\)"),
    Fault(
        R,
        "softmax over the other axis",
        "jax.nn.softmax(scores, -1)",
        "jax.nn.softmax(scores, -2)",
        "",
        r"softmax over axes \(2,\)",
    ),
    Fault(
        R,
        "mask turned round",
        "jnp.where(keep[:, None, :], scores, -1e9)",
        "jnp.where(keep[:, None, :], -1e9, scores)",
        "",
        r"mask.*other way round",
    ),
    Fault(
        R,
        "mask ignored",
        "scores = jnp.where(keep[:, None, :], scores, -1e9)",
        "scores = scores",
        "",
        r"mask in argument 1",
    ),
    Fault(R, "final states in another order", "[pooled, h[0], h[1]]", "[pooled, h[1], h[0]]", "", r"order"),
    Fault(R, "final states before the pooled", "[pooled, h[0], h[1]]", "[h[0], h[1], pooled]", "", r"order"),
    Fault(R, "SELU for ELU", "jax.nn.elu(", "jax.nn.selu(", "", r"activation ELU"),
    Fault(
        R,
        "residual left out",
        "self.last(jax.nn.elu(self.mix(state)) + pooled)",
        "self.last(jax.nn.elu(self.mix(state)))",
        "",
        r"residual of shape",
    ),
    Fault(
        R,
        "pre-norm for post-norm",
        "self.last(jax.nn.elu(self.mix(state)) + pooled)",
        "self.last(jax.nn.elu(self.mix(state))) + pooled",
        "",
        r"norms? after|norms? before",
    ),
    Fault(R, "the last step for the mean", "pooled = y.mean(1)", "pooled = y[:, -1]", "", r"mean"),
    Fault(
        R,
        "softmax for its logarithm",
        "jax.nn.log_softmax(self.head(z), -1)",
        "jax.nn.softmax(self.head(z), -1)",
        "",
        r"log",
    ),
)
FAULTS += (
    # The transformer.
    Fault(
        T,
        "scale of the embedding left out",
        "self.embed(tokens) * math.sqrt(24)",
        "self.embed(tokens)",
        "",
        r"factor sqrt\(24\)",
    ),
    Fault(
        T,
        "eps of an RMS norm",
        "keepdims=True) + 1e-6) * self",
        "keepdims=True) + 1e-5) * self",
        "blocks.0.norm1",
        r"1e-6",
    ),
    Fault(
        T,
        "eps outside of the root",
        "jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6)",
        "/ (jnp.sqrt(jnp.mean(jnp.square(x), -1, keepdims=True)) + 1e-6)".replace("/ ", "1 / "),
        "blocks.0.norm1",
        r"in the root",
    ),
    Fault(
        T,
        "a norm over two axes",
        "jnp.mean(jnp.square(x), -1, keepdims=True)",
        "jnp.mean(jnp.square(x), (-2, -1), keepdims=True)",
        "blocks.0.norm1",
        r"over axes \(2,\)",
    ),
    Fault(
        T,
        "weight plus one",
        "+ 1e-6) * self.weight[...]",
        "+ 1e-6) * (1 + self.weight[...])",
        "blocks.0.norm1",
        r"plus 0, the Flax module has 1",
    ),
    Fault(T, "base of the rotation", "10000.0 **", "500000.0 **", "blocks.0.attention", r"10000"),
    Fault(
        T,
        "interleaved rotation",
        "return x * jnp.cos(angles) + jnp.concatenate([-b, a], -1) * jnp.sin(angles)",
        "c, s = jnp.cos(angles[:, : size // 2]), jnp.sin(angles[:, : size // 2]); e, o = x[..., ::2], x[..., 1::2]; "
        "return jnp.stack([e * c - o * s, o * c + e * s], -1).reshape(x.shape)",
        "blocks.0.attention",
        r"rotation of halves",
    ),
    Fault(
        T,
        "sign of the rotation",
        "jnp.concatenate([-b, a], -1)",
        "jnp.concatenate([b, -a], -1)",
        "blocks.0.attention",
        r"other sign",
    ),
    Fault(
        T,
        "positions of the rotation, each second one",
        "jnp.arange(x.shape[2])[:, None] /",
        "(2 * jnp.arange(x.shape[2]))[:, None] /",
        "blocks.0.attention",
        r"times 1, the Flax module has 2|factor 1/2|factor 0\.5",
    ),
    Fault(
        T,
        "no rotation of the keys",
        "q, k = rotate(q), rotate(k)",
        "q = rotate(q)",
        "blocks.0.attention",
        r"rotation by the position of another array",
    ),
    Fault(
        T,
        "heads tiled",
        "jnp.repeat(k, 2, 1), jnp.repeat(v, 2, 1)",
        "jnp.tile(k, (1, 2, 1, 1)), jnp.tile(v, (1, 2, 1, 1))",
        "blocks.0.attention",
        r"'\(b a\)'|order",
    ),
    Fault(
        T,
        "keys and values exchanged",
        "k, v = self.kv(x)",
        "v, k = self.kv(x)",
        "blocks.0.attention",
        r"in each other's place|exchanged",
    ),
    Fault(
        T,
        "order of heads",
        "reshape(b, t, 4, 6).transpose(0, 2, 1, 3)",
        "reshape(b, t, 6, 4).transpose(0, 3, 1, 2)",
        "blocks.0.attention",
        r"'\(",
    ),
    Fault(T, "scale of attention", "/ math.sqrt(6)", "/ 6", "blocks.0.attention", r"sqrt\(6\)"),
    Fault(T, "scale of attention left out", " / math.sqrt(6)", "", "blocks.0.attention", r"1/sqrt\(6\)"),
    Fault(
        T,
        "causal mask missing",
        "jnp.tril(jnp.ones((t, t), bool)) & keep",
        "jnp.ones((t, t), bool) & keep",
        "blocks.0.attention",
        r"causal",
    ),
    Fault(T, "padding mask ignored", " & keep[:, None, None, :]", "", "blocks.0.attention", r"mask in argument 1"),
    Fault(
        T,
        "causal mask too short",
        "jnp.tril(jnp.ones((t, t), bool))",
        "jnp.tril(jnp.ones((t, t), bool), 1)",
        "blocks.0.attention",
        r"causal|begin",
    ),
    Fault(
        T,
        "softmax over the queries",
        "jax.nn.softmax(scores, -1)",
        "jax.nn.softmax(scores, -2)",
        "blocks.0.attention",
        r"softmax over axes \(3,\)",
    ),
    Fault(
        T,
        "order of merged heads",
        "self.out(y.transpose(0, 2, 1, 3).reshape(b, t, 24))",
        "self.out(y.transpose(0, 2, 3, 1).reshape(b, t, 24))",
        "blocks.0.attention",
        r"'\(",
    ),
    Fault(
        T, "GELU in the gate", "jax.nn.silu(self.gate(y))", "jax.nn.gelu(self.gate(y))", "blocks.0", r"activation SiLU"
    ),
    Fault(
        T,
        "gate and up exchanged",
        "jax.nn.silu(self.gate(y)) * self.up(y)",
        "self.gate(y) * jax.nn.silu(self.up(y))",
        "blocks.0",
        r"in each other's place|exchanged",
    ),
    Fault(
        T,
        "norms after the sums",
        "x = x + self.attention(self.norm1(x), keep)\n        y = self.norm2(x)\n"
        "        return x + self.down(jax.nn.silu(self.gate(y)) * self.up(y))",
        "x = self.norm1(x + self.attention(x, keep))\n"
        "        return self.norm2(x + self.down(jax.nn.silu(self.gate(x)) * self.up(x)))",
        "blocks.0",
        r"norms before",
    ),
    Fault(
        T,
        "residual from the norm",
        "return x + self.down(jax",
        "return y + self.down(jax",
        "blocks.0",
        r"in the place of",
    ),
    Fault(T, "cap of the logits", "30 * jnp.tanh(logits / 30)", "50 * jnp.tanh(logits / 50)", "", r"30"),
    # The U-Net.
    Fault(U, "SiLU for Mish", "jax.nn.mish(", "jax.nn.silu(", "down1", r"activation Mish"),
    Fault(U, "ReLU for SiLU", "jax.nn.silu(self.norm2", "jax.nn.relu(self.norm2", "down1", r"activation SiLU"),
    Fault(
        U,
        "eps of the group norms",
        "num_groups=2, epsilon=1e-6",
        "num_groups=2, epsilon=1e-5",
        "down1.norm2",
        r"epsilon=1e-6",
    ),
    Fault(
        U,
        "groups of the norms",
        "nnx.GroupNorm(o, num_groups=2, epsilon",
        "nnx.GroupNorm(o, num_groups=1, epsilon",
        "down1.norm2",
        r"num_groups=2",
    ),
    Fault(
        U,
        "eps of the batch norms",
        "BatchNorm(o, epsilon=1e-5",
        "BatchNorm(o, epsilon=1e-3",
        "down1.norm1",
        r"epsilon=1e-5",
    ),
    Fault(
        U,
        "padding mode",
        'padding=1, padding_mode="reflect"',
        'padding=1, padding_mode="circular"',
        "down1.conv2",
        r"padding_mode='reflect'",
    ),
    Fault(U, "zeros for reflections", ', padding_mode="reflect", rngs', ", rngs", "down1.conv2", r"reflect"),
    Fault(U, "skip left out", " + self.skip(x))", ")", "down1", r"what skip gives"),
    Fault(
        U,
        "residual after the activation",
        "jax.nn.silu(self.norm2(self.conv2(y)) + self.skip(x))",
        "jax.nn.silu(self.norm2(self.conv2(y))) + self.skip(x)",
        "down1",
        r"the sum before the activation",
    ),
    Fault(
        U,
        "sines before cosines",
        "[jnp.cos(angles), jnp.sin(angles)]",
        "[jnp.sin(angles), jnp.cos(angles)]",
        "",
        r"order|sines",
    ),
    Fault(U, "rates by n - 1", "jnp.arange(5) / 5)", "jnp.arange(5) / 4)", "", r"divided by 5,|1/5"),
    Fault(U, "base of the rates", "math.log(10000)", "math.log(1000)", "", r"9\.2103"),
    Fault(U, "inputs from 0 to 1", "self.down1(2 * x - 1)", "self.down1(x)", "", r"times 2.*minus 1|factor 2.*plus -1"),
    Fault(U, "inputs shifted", "2 * x - 1", "2 * x - 0.5", "", r"minus 1\b|- 1"),
    Fault(
        U,
        "average for maximum pooling",
        "nnx.max_pool(a, (2, 2), (2, 2))",
        "nnx.avg_pool(a, (2, 2), (2, 2))",
        "",
        r"maximum pooling",
    ),
    Fault(
        U,
        "padding not counted",
        "((1, 1), (1, 1)))) * (1",
        "((1, 1), (1, 1)), count_include_pad=False)) * (1",
        "",
        r"count_include_pad=True",
    ),
    Fault(U, "modulation without one", "(1 + jax.nn.softplus(time))", "jax.nn.softplus(time)", "", r"plus 1 "),
    Fault(U, "ReLU for Softplus", "jax.nn.softplus(time)", "jax.nn.relu(time)", "", r"activation Softplus"),
    Fault(U, "exponential for Softplus", "jax.nn.softplus(time)", "jnp.exp(time)", "", r"activation Softplus"),
    Fault(U, "order of a skip", "[self.up2(c), b]", "[b, self.up2(c)]", "", r"order"),
    Fault(U, "order of the last skip", "[self.up1(y), a]", "[a, self.up1(y)]", "", r"order"),
    Fault(U, "transposed kernel flipped", "", "", "up2", r"flipped", spoil="flip up2"),
    Fault(U, "factor left out", " / math.sqrt(2)", "", "", r"1/sqrt\(2\)|0\.707"),
    Fault(U, "tanh for sigmoid", "jax.nn.sigmoid(self.out(y))", "jnp.tanh(self.out(y))", "", r"activation Sigmoid"),
    Fault(U, "a slice that begins one later", 'mode="edge")[:, 1:-1', 'mode="edge")[:, 2:', "", r"slice"),
)


# Where the Flax twin of each network begins in the file of networks, and where it ends.
TWINS = {
    C: ("class Convolutional(", "class TorchRecurrent("),
    R: ("class Recurrent(", "class TorchRMSNorm("),
    T: ("class RMSNorm(", "class TorchDouble("),
    U: ("class Double(", ""),
}


def corners(x, shape):
    """Bilinear, with the corners of both images on each other."""
    for axis, length in ((1, shape[1]), (2, shape[2])):
        at = jnp.linspace(0.0, x.shape[axis] - 1.0, length)
        low = jnp.clip(jnp.floor(at).astype(int), 0, x.shape[axis] - 2)
        part = (at - low).reshape([-1 if n == axis else 1 for n in range(x.ndim)])
        x = jnp.take(x, low, axis) * (1 - part) + jnp.take(x, low + 1, axis) * part
    return x


def inputs(network):
    """What a network is given, and its axes."""
    random = np.random.default_rng(3)
    if network in (R, T):
        return (random.integers(1, 19, (3, 7)), np.arange(7) < np.array([7, 4, 6])[:, None]), None
    image = random.normal(size=(3, 3, 16, 24)).astype(np.float32)
    if network == C:
        return (image,), "b c h w"
    return (image, np.array([3.0, 17.0, 250.0], np.float32)), ("b c h w", None)


@functools.cache
def right_module():
    return loaded("", "")


def loaded(old, new, network=""):
    """The networks, with one text in the place of another in the twin of one of them."""
    text = SOURCE.read_text()
    if old:
        begin, end = text.index(TWINS[network][0]), text.index(TWINS[network][1]) if TWINS[network][1] else len(text)
        assert old in text[begin:end], (network, old)
        before, _, after = text[begin:end].rpartition(old)
        text = text[:begin] + before + new + after + text[end:]
    module = ModuleType("fault_networks")
    module.corners = corners
    exec(compile(text, "fault_networks.py", "exec"), module.__dict__)
    return module


def spoil(model, what):
    """Change weights as a port may."""
    kind, _, name = what.partition(" ")
    layer = getattr(model, name)
    if kind == "flip":
        leaf = layer.kernel
        leaf[...] = leaf[...][::-1, ::-1]
    elif kind == "zero":
        layer.bias[...] = 0 * layer.bias[...]
    elif kind == "bias":
        layer.bias_hh_l0[...] = 0 * layer.bias_hh_l0[...]
    else:
        count, order = (4, (0, 2, 1, 3)) if name == "rnn" else (3, (1, 0, 2))
        for leaf_name in [one for one in vars(layer) if one.startswith(("weight_", "bias_"))]:
            leaf = getattr(layer, leaf_name)
            parts = jnp.split(leaf[...], count, axis=-1)
            leaf[...] = jnp.concatenate([parts[n] for n in order], axis=-1)


def outcome(fault, *, causes=True):
    """Put a fault in, and see what is said."""
    torch_model = getattr(right_module(), f"Torch{fault.network}")().eval()
    randomize(torch_model)
    flax_model = getattr(loaded(fault.old, fault.new, fault.network), fault.network)(nnx.Rngs(0))
    transfer(torch_model, flax_model)
    if fault.spoil:
        spoil(flax_model, fault.spoil)
    arguments, axes = inputs(fault.network)
    start = time.process_time()
    report = compare(torch_model, flax_model, arguments, axes=axes, causes=causes, **dict(fault.settings))
    first = report.first_divergence
    return Outcome(
        fault,
        not report.passed,
        first is not None and first.path == fault.where,
        report.causes,
        time.process_time() - start,
    )


def table(outcomes):
    """The counts by network, as the documentation shows them."""
    lines = [("network", "faults", "caught", "located", "explained rightly", "wrongly")]
    for network in (C, R, T, U, "all"):
        own = [one for one in outcomes if network in (one.fault.network, "all")]
        counts = (
            len(own),
            *(sum(getattr(one, name) for one in own) for name in ("caught", "located", "right", "wrong")),
        )
        lines.append((network, *map(str, counts)))
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main():
    """Print the table, and what is not as it should be.

    The bars: every fault is caught and located, at least 75 of 100 are explained rightly, and none wrongly.
    """
    outcomes = []
    for fault in FAULTS:
        outcomes.append(outcome(fault))
        last = outcomes[-1]
        if not (last.caught and last.located and last.right):
            words = "wrong" if last.wrong else "silent"
            words = words if last.located else "not located" if last.caught else "missed"
            sys.stdout.write(f"{fault.network}, {fault.name}: {words}; {' / '.join(last.causes)}\n")
    sys.stdout.write(f"{table(outcomes)}\n")
    total = [sum(getattr(one, name) for one in outcomes) for name in ("caught", "located", "right", "wrong")]
    good = total[0] == total[1] == len(FAULTS) and total[2] >= 75 and total[3] == 0
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
