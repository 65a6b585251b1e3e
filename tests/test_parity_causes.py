"""A pair of models with one fault each: it is located, and the right cause is named, in the words of its author."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from flax import nnx

from einops_arch.flax import layers as ours
from einops_arch.parity import Verdict, compare, randomize
from einops_arch.parity.causes.channels import matching, pattern_of
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer
from einops_arch.torch.layers import DepthToSpace

NN = torch.nn
RNGS = nnx.Rngs(0)
IMAGE = random_numbers("image", (2, 6, 4, 8))
ROWS = random_numbers("rows", (3, 5, 12))
KERNEL = random_numbers("kernel", (4, 6, 3, 2))


def module(function):
    """A PyTorch module written by hand, of one function."""

    class Torch(NN.Module):
        def forward(self, *args):
            return function(*args)

    return Torch()


def flax_module(function):
    class Flax(nnx.Module):
        def __call__(self, *args):
            return function(*args)

    return Flax()


def cause(torch_layer, flax_layer, x=ROWS, *, spoil=None, axes=None, **keywords):
    """Both inside of a network, with the same weights; `spoil` changes the Flax layer after that."""
    torch_net, flax_net = torch_layer, flax_layer
    randomize(torch_net)
    if spoil is None or spoil(flax_net) is not False:
        transfer(torch_net, flax_net)
    if spoil is not None:
        spoil(flax_net)
    report = compare(torch_net, flax_net, x, axes="b n c" if x is ROWS else axes, **keywords)
    assert report.verdict is Verdict.SEMANTIC
    return report.cause


class TorchBlock(NN.Module):
    def __init__(self):
        super().__init__()
        self.blocks = NN.ModuleList(NN.ModuleDict({"norm1": NN.LayerNorm(12), "fc": NN.Linear(12, 12)}) for _ in "abc")

    def forward(self, x):
        for block in self.blocks:
            x = x + block["fc"](F.gelu(block["norm1"](x)))
        return x


class FlaxBlock(nnx.Module):
    def __init__(self):
        self.blocks = nnx.List(
            nnx.Dict({"norm1": ours.LayerNorm(12, rngs=RNGS), "fc": ours.Linear(12, 12, rngs=RNGS)}) for _ in "abc"
        )

    def __call__(self, x):
        for block in self.blocks:
            x = x + block["fc"](jax.nn.gelu(block["norm1"](x), approximate=False))
        return x


def test_the_sentence_of_the_first_example():
    models = TorchBlock(), FlaxBlock()
    randomize(models[0])
    transfer(*models)
    models[1].blocks[2]["norm1"].epsilon = 1e-6
    report = compare(*models, ROWS, axes="b t c")
    assert report.first_divergence.path == "blocks.2.norm1"
    assert report.cause == "blocks.2.norm1: would be explained by epsilon=1e-5, the Flax module has 1e-6"
    assert report.cause in str(report)
    assert report.to_dict()["cause"] == report.cause


def gelu_by_hand(x):
    return 0.5 * x * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (x + 0.044715 * x**3)))


GELU = "the network: would be explained by the exact form of GELU, the Flax module has the {} form"


@pytest.mark.parametrize(
    ("function", "form"),
    [
        (nnx.gelu, "tanh"),
        (gelu_by_hand, "tanh"),
        (lambda x: x * nnx.sigmoid(1.702 * x), "quick (sigmoid)"),
    ],
)
def test_gelu_of_any_author(function, form):
    assert cause(NN.GELU(), flax_module(function)) == GELU.format(form)


def test_gelu_the_other_way_round():
    said = cause(NN.GELU(approximate="tanh"), ours.GELU())
    assert said == "the network: would be explained by approximate=True, the Flax module has False"
    said = cause(module(lambda x: x * torch.sigmoid(1.702 * x)), flax_module(jax.nn.gelu))
    assert (
        said == "the network: would be explained by the quick (sigmoid) form of GELU, the Flax module has the tanh form"
    )


def norm(x, eps, xp):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / xp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)


def test_eps_of_a_norm_written_by_hand():
    said = cause(module(lambda x: norm(x, 1e-12, torch)), flax_module(lambda x: norm(x, 1e-6, jnp)))
    assert said.startswith(
        "the network: would be explained by epsilon=1e-12, the Flax module has 1e-6 (at test_parity_causes.py:"
    )


def test_a_biased_variance():
    def biased(x):
        return (x - x.mean(-1, keepdims=True)) / jnp.std(x, -1, keepdims=True)

    def unbiased(x):
        return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)

    said = cause(module(unbiased), flax_module(biased))
    assert said.startswith(
        "the network: would be explained by the variance divided by n - 1, the Flax module divides by n (n=12)"
    )


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: nnx.Conv(6, 4, (3, 3), strides=2, padding="SAME", rngs=RNGS), "padding=((1, 1), (1, 1)), the Flax"),
        (
            lambda: ours.Conv(6, 4, (3, 3), strides=2, padding=1, padding_mode="reflect", rngs=RNGS),
            "padding_mode='zeros', the Flax module has 'reflect'",
        ),
    ],
    ids=["SAME", "mode"],
)
def test_padding(layer, words):
    said = cause(NN.Conv2d(6, 4, 3, stride=2, padding=1), layer(), IMAGE, axes="b c h w")
    assert said.startswith(f"the network: would be explained by {words}")


def test_padding_by_hand():
    def pad(x):
        return jax.lax.conv_general_dilated(
            jnp.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]),
            jnp.ones((3, 3, 1, 6), x.dtype),
            (2, 2),
            ((0, 0), (0, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=6,
        )

    ones = torch.ones(6, 1, 3, 3, dtype=torch.float64)
    torch_side = module(lambda x: F.conv2d(F.pad(x, (1, 0, 1, 0)), ones.to(x.dtype), stride=2, groups=6))
    said = cause(torch_side, flax_module(pad), IMAGE, axes="b c h w", layouts={"": "b c h w -> b h w c"})
    assert said.startswith(
        "the network: would be explained by padding=((0, 0), (1, 0), (1, 0), (0, 0)), the Flax module has"
    )


def test_a_flipped_kernel():
    layer = nnx.ConvTranspose(6, 4, (3, 3), (2, 2), padding=((2, 1), (2, 1)), transpose_kernel=False, rngs=RNGS)
    torch_layer = NN.ConvTranspose2d(6, 4, 3, stride=2, padding=0)
    layer.padding = ((2, 2), (2, 2))

    def spoil(layer):
        layer.kernel[...] = layer.kernel[...][::-1, ::-1]

    said = cause(torch_layer, layer, IMAGE, axes="b c h w", spoil=spoil)
    assert said == (
        "the network: would be explained by PyTorch's weights: weight is flipped along its spatial axes in Flax"
    )


def test_a_kernel_that_is_flipped_by_hand():
    """What jax calls a convolution turns no kernel round, and what scipy calls one does."""

    def convolve(x):
        kernel = jnp.asarray(KERNEL.transpose(2, 3, 1, 0), x.dtype)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    torch_side = module(lambda x: F.conv2d(x, torch.from_numpy(KERNEL).to(x.dtype).flip(2, 3)))
    layouts = {"": "b c h w -> b h w c"}
    said = cause(torch_side, flax_module(convolve), IMAGE, axes="b c h w", layouts=layouts)
    assert said.startswith("the network: would be explained by a kernel that is flipped along its spatial axes")


class TorchHeads(NN.Module):
    def __init__(self):
        super().__init__()
        self.qkv = NN.Linear(12, 36)
        self.out = NN.Linear(12, 12)

    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), "b n (three heads k) -> three b heads n k", three=3, heads=3)
        a = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        return self.out(rearrange(a, "b heads n k -> b n (heads k)"))


class FlaxHeads(nnx.Module):
    def __init__(self, pattern, merge="b heads n k -> b n (heads k)"):
        self.qkv = ours.Linear(12, 36, rngs=RNGS)
        self.out = ours.Linear(12, 12, rngs=RNGS)
        self.pattern, self.merge = pattern, merge

    def __call__(self, x):
        q, k, v = rearrange(self.qkv(x), self.pattern, three=3, heads=3)
        a = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / 2, -1) @ v
        return self.out(rearrange(a, self.merge))


def test_the_order_of_heads():
    models = TorchHeads(), FlaxHeads("b n (heads three k) -> three b heads n k")
    randomize(models[0])
    transfer(*models)
    report = compare(*models, ROWS, axes="b n c")
    assert report.first_divergence.path == ""
    assert report.first_divergence.detail == "between its modules, before out"
    assert [row.path for row in report.rows if row.verdict.passed] == ["qkv"]
    assert report.cause.startswith(
        "the network: would be explained by '(b a c)', where the Flax module has '(a b c)', with a=3, b=3, c=4"
    )


def test_the_order_in_which_heads_are_merged():
    said = cause(
        TorchHeads(),
        FlaxHeads("b n (three heads k) -> three b heads n k", "b heads n k -> b n (k heads)"),
        axes="b n c",
    )
    assert said.startswith(
        "the network: would be explained by '(b a)', where the Flax module has '(a b)', with a=4, b=3"
    )


def test_mask_polarity():
    def attend(x, mask):
        return torch.softmax(torch.where(mask[..., None, :], x @ x.transpose(-1, -2), -torch.inf), -1) @ x

    def flax_attend(x, mask):
        return jax.nn.softmax(jnp.where(mask[..., None, :], -jnp.inf, x @ jnp.swapaxes(x, -1, -2)), -1) @ x

    keep = np.arange(5) < np.array([3, 5, 2])[:, None]
    keep[:, 0], keep[1, 3] = False, False
    keep[1, 0] = True
    said = cause(module(attend), flax_module(flax_attend), (ROWS, keep), axes=("b n c", None))
    assert said.startswith(
        "the network: would be explained by the mask in argument 0.1 the other way round: what is True here is False"
    )


@pytest.mark.parametrize(
    ("torch_mode", "flax_method", "words"),
    [
        ({"mode": "bilinear"}, "linear", "bilinear without antialiasing"),
        ({"mode": "bilinear", "align_corners": True}, "linear", "bilinear with align_corners=True"),
        ({"mode": "bicubic"}, "cubic", "bicubic without antialiasing (a=-0.75)"),
        ({"mode": "nearest"}, "nearest", "nearest, rounded down"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rules_of_resizing(torch_mode, flax_method, words):
    torch_side = module(lambda x: F.interpolate(x, size=(3, 5), **torch_mode))
    flax_side = flax_module(lambda x: jax.image.resize(x, (2, 3, 5, 6), flax_method))
    said = cause(torch_side, flax_side, IMAGE, axes="b c h w", layouts={"": "b c h w -> b h w c"})
    assert said.startswith(f"the network: would be explained by {words}, the Flax module calls jax.image.resize")


def test_the_order_of_depth_to_space():
    torch_side = NN.Sequential(NN.Conv2d(6, 12, 1), DepthToSpace(2))
    flax_side = ours.Sequential(ours.Conv(6, 12, (1, 1), rngs=RNGS), ours.DepthToSpace(2, order="DCR"))
    said = cause(torch_side, flax_side, IMAGE, axes="b c h w")
    assert said == "1: would be explained by order='CRD', the Flax module has 'DCR'"


def test_the_order_of_depth_to_space_by_hand():
    def shuffle(x):
        return rearrange(x, "b h w (r1 r2 c) -> b (h r1) (w r2) c", r1=2, r2=2)

    image = random_numbers("image", (2, 12, 3, 5))
    said = cause(NN.PixelShuffle(2), flax_module(shuffle), image, axes="b c h w")
    assert said.startswith(
        "the network: would be explained by '(c a b)', where the Flax module has '(a b c)', with a=2, b=2, c=3"
    )


def test_a_permutation_of_channels():
    order = [3, 1, 0, 2, 5, 4, *range(6, 12)]
    said = cause(NN.Identity(), flax_module(lambda x: x[..., np.array(order)]))
    assert said.startswith(
        "the network: would be explained by axis 2 of the output in another order: no pattern of axes"
    )
    said = cause(NN.Identity(), flax_module(lambda x: rearrange(x, "b t (g k) -> b t (k g)", g=3)))
    assert "another order: Flax has '(a b)' where PyTorch has '(b a)', with a=4, b=3" in said


def test_matching_survives_noise():
    order = np.random.default_rng(0).permutation(64)
    values = random_numbers("values", (50, 64))
    noisy = values[:, order] + 1e-7 * random_numbers("noise", (50, 64))
    found = matching(values, noisy, axis=1)
    assert [order[n] for n in found] == list(range(64))
    assert "no pattern" in pattern_of(found)


def spoil_gates(layer):
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        leaf = getattr(layer, name)
        i, f, g, o = jnp.split(leaf[...], 4, axis=-1)
        leaf[...] = jnp.concatenate([i, g, f, o], axis=-1)


def test_the_order_of_gates():
    said = cause(NN.LSTM(12, 4), ours.LSTM(12, 4, rngs=RNGS), spoil=spoil_gates)
    assert said.startswith(
        "the network: would be explained by PyTorch's weights: weight_ih_l0 has its gates in the order i g f o"
    )


class FlaxCell(nnx.Module):
    """An LSTM cell by hand, whose author takes the gates in an order of their own, and one of the biases."""

    def __init__(self, *, order=(0, 1, 2, 3), biases=2):
        self.weight_ih = nnx.Param(jnp.zeros((16, 12)))
        self.weight_hh = nnx.Param(jnp.zeros((16, 4)))
        self.bias_ih = nnx.Param(jnp.zeros(16))
        self.bias_hh = nnx.Param(jnp.zeros(16))
        self.order, self.biases = order, biases

    def __call__(self, x, state):
        h, c = state
        gates = x @ self.weight_ih[...].T + h @ self.weight_hh[...].T + self.bias_ih[...]
        if self.biases == 2:
            gates = gates + self.bias_hh[...]
        parts = jnp.split(gates, 4, axis=-1)
        i, f, g, o = (parts[n] for n in self.order)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c


STATE = random_numbers("h", (3, 4)), random_numbers("c", (3, 4))


def test_the_order_of_gates_in_a_cell_by_hand():
    said = cause(NN.LSTMCell(12, 4), FlaxCell(order=(0, 2, 1, 3)), (ROWS[:, 0], STATE))
    assert said.endswith("gates in the order i f g o, the Flax module takes them as i g f o")


def test_one_of_two_biases():
    said = cause(NN.LSTMCell(12, 4), FlaxCell(biases=1), (ROWS[:, 0], STATE))
    assert said == "the network: would be explained by bias_ih + bias_hh, the Flax module lacks the second"


def test_a_bias_that_is_lost():
    def lose(layer):
        layer.bias_hh_l0.set_value(jnp.zeros(12, jnp.float32))

    said = cause(NN.GRU(12, 4), ours.GRU(12, 4, rngs=RNGS), spoil=lose)
    assert said == "the network: would be explained by PyTorch's weights: bias_hh_l0 is zero in Flax"


@pytest.mark.parametrize(
    ("layer", "leaf", "words"),
    [
        (
            lambda: ours.BatchNorm(6, momentum=0.9, rngs=RNGS),
            "running_mean",
            "momentum=0.1 as the weight of the new batch, the Flax module moves by 0.9",
        ),
        (
            lambda: nnx.BatchNorm(6, momentum=0.9, rngs=RNGS),
            "running_var",
            "the variance divided by n - 1, the Flax module divides by n (n=64)",
        ),
    ],
    ids=["momentum", "biased"],
)
def test_statistics(layer, leaf, words):
    torch_side, flax_side = NN.BatchNorm2d(6), layer()
    randomize(torch_side)
    transfer(torch_side, flax_side)
    report = compare(torch_side, flax_side, IMAGE, axes="b c h w", mode="train", steps=2)
    assert report.first_divergence.path == leaf
    assert report.cause == f"the network: would be explained by {words}"


def test_when_nothing_explains_it_that_is_said():
    said = cause(module(lambda x: torch.tanh(x) + 1e-3 * torch.sin(x)), flax_module(jnp.tanh))
    assert said.startswith("the network: not explained by any of the ")
    assert cause(NN.Tanh(), flax_module(lambda x: jnp.tanh(x) + 1e-3 * x), causes=False) == ""


def test_a_padding_that_changes_a_traced_shape_explains_nothing():
    """With another padding the resized image is the same by chance: the convolution before it is not."""

    class Torch(NN.Module):
        def __init__(self):
            super().__init__()
            self.point = NN.Conv2d(6, 4, 1)

        def forward(self, x):
            return F.interpolate(self.point(x), size=(3, 5), mode="nearest")

    class Flax(nnx.Module):
        def __init__(self):
            self.point = nnx.Conv(6, 4, (1, 1), rngs=RNGS)

        def __call__(self, x):
            return jax.image.resize(self.point(x), (2, 3, 5, 4), "nearest")

    said = cause(Torch(), Flax(), IMAGE, axes="b c h w")
    assert "nearest, rounded down" in said
    assert "padding=" not in said


def test_nothing_is_said_of_a_count_of_batches_that_flax_does_not_have():
    flax_side = nnx.BatchNorm(6, epsilon=1e-5, rngs=RNGS, use_fast_variance=False)
    said = cause(NN.BatchNorm2d(6), flax_side, IMAGE, axes="b c h w", spoil=_scale)
    assert "num_batches_tracked" not in said
    assert "weight has other values" in said


def _scale(layer):
    layer.scale[...] = 2 * layer.scale[...]
