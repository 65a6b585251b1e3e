"""Settings that change no shape are compared when a model is ported to a model, and said where they differ."""

from __future__ import annotations

import re

import pytest
from flax import nnx
from torch import nn

import einops_arch.flax
import einops_arch.torch
from einops_arch import architectures
from einops_arch.flax import layers
from einops_arch.port import transfer
from einops_arch.port.settings import setting_differences

RNGS = nnx.Rngs(0)


class Norm(nnx.BatchNorm):
    """A user's own, which means by momentum what Flax does."""


def attention(heads):
    return nnx.MultiHeadAttention(heads, 12, decode=False, rngs=RNGS)


def conv(**options):
    return nnx.Conv(4, 6, (3, 3), rngs=RNGS, **options)


ALIKE = {
    "conv": (nn.Conv2d(4, 6, 3), conv(padding="VALID")),
    "same": (nn.Conv2d(4, 6, 3, padding=1), conv(padding="SAME")),
    "words": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), conv(padding="SAME", kernel_dilation=2)),
    "pairs": (nn.Conv2d(4, 6, 3, padding=(1, 2), stride=(2, 1)), conv(padding=((1, 1), (2, 2)), strides=(2, 1))),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), conv(padding="VALID", feature_group_count=2)),
    "norm": (nn.LayerNorm(5), nnx.LayerNorm(5, epsilon=1e-5, rngs=RNGS)),
    "attention": (nn.MultiheadAttention(12, 3, batch_first=True), attention(3)),
    "slope": (nn.LeakyReLU(0.2), layers.LeakyReLU(0.2)),
    "gelu": (nn.GELU("tanh"), layers.GELU(approximate=True)),
    "slopes": (nn.PReLU(4), layers.PReLU(4)),
    "momentum": (nn.BatchNorm2d(3, momentum=0.3), layers.BatchNorm(3, momentum=0.3, rngs=RNGS)),
    "momentum of a subclass": (nn.BatchNorm2d(3, momentum=0.3), Norm(3, momentum=0.7, rngs=RNGS)),
    "momentum of flax": (nn.BatchNorm2d(3, momentum=0.3), nnx.BatchNorm(3, momentum=0.7, rngs=RNGS)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
                   layers.ConvTranspose(2, 3, (3, 3), strides=2, padding=1, output_padding=1, rngs=RNGS)),
    "transposed of flax": (nn.ConvTranspose2d(2, 3, 3, padding=1), nnx.ConvTranspose(2, 3, (3, 3), rngs=RNGS)),
    "pool": (nn.MaxPool2d(3, 2, padding=1), layers.MaxPool((3, 3), 2, 1)),
    "mean": (nn.AvgPool2d((2, 3)), layers.AvgPool((2, 3))),
    "rate": (nn.Dropout(0.25), layers.Dropout(0.25, rngs=RNGS)),
    "resize": (nn.Upsample(scale_factor=2, mode="bilinear"), layers.Upsample(scale_factor=(2, 2), mode="bilinear")),
    "norm of rows": (nn.Embedding(5, 3, max_norm=2.0), layers.Embed(5, 3, max_norm=2.0, rngs=RNGS)),
}  # fmt: skip
DIFFERENT = {
    "momentum": (nn.BatchNorm2d(3, momentum=0.3), layers.BatchNorm(3, rngs=RNGS), "momentum=0.3 .* 0.1 in the target"),
    "of flax": (nn.BatchNorm2d(3), nnx.BatchNorm(3, momentum=0.99, rngs=RNGS), "momentum=0.1 .* 0.01 in the target"),
    "transposed": (
        nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
        layers.ConvTranspose(2, 3, (3, 3), strides=2, rngs=RNGS),
        r"output_padding=\(1, 1\) .*\(0, 0\)",
    ),
    "reflect": (
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        layers.Conv(2, 3, (3, 3), padding=1, rngs=RNGS),
        "padding_mode=reflect .* zeros",
    ),
    "window": (nn.MaxPool2d(2, 2), layers.MaxPool((3, 3), 2), "window=2 in the source .* 3 in the target"),
    "ceil": (nn.AvgPool2d(2, ceil_mode=True), layers.AvgPool((2, 2)), "ceil_mode=True"),
    "divisor": (nn.AvgPool2d(2, divisor_override=3), layers.AvgPool((2, 2)), "divisor_override=3 .* None in"),
    "rate": (nn.Dropout(0.5), layers.Dropout(0.1, rngs=RNGS), "p=0.5 in the source .* 0.1 in the target"),
    "rate between": (nn.LSTM(3, 4, 2, dropout=0.5), layers.LSTM(3, 4, 2, rngs=RNGS), "dropout=0.5 .* 0.0 in"),
    "resize": (nn.Upsample(scale_factor=2), layers.Upsample(scale_factor=3), "scale_factor=2.0 .* 3 in the target"),
    "mode": (nn.Upsample(scale_factor=2), layers.Upsample(scale_factor=2, mode="bilinear"), "mode=nearest"),
    "norm of rows": (nn.Embedding(5, 3, max_norm=1.0), layers.Embed(5, 3, rngs=RNGS), "max_norm=1.0 .* None in"),
    "eps": (nn.LayerNorm(5), nnx.LayerNorm(5, rngs=RNGS), "eps=1e-05 in the source .*, 1e-06 in the target"),
    "padding": (nn.Conv2d(4, 6, 3), conv(), r"padding=\(\(0, 0\), \(0, 0\)\) .*\(\(1, 1\), \(1, 1\)\)"),
    "stride": (nn.Conv2d(4, 6, 3, stride=2, padding=1), conv(padding=1), r"stride=\(2, 2\) .*\(1, 1\)"),
    "same": (nn.Conv2d(4, 6, 3, stride=2, padding=1), conv(padding="SAME", strides=2), r"padding=.* SAME in"),
    "dilation": (nn.Conv2d(4, 6, 3, dilation=3), conv(padding="VALID"), r"dilation=\(3, 3\) .*\(1, 1\)"),
    "num_heads": (nn.MultiheadAttention(12, 4, batch_first=True), attention(3), "num_heads=4 .* 3 in the target"),
    "zero": (nn.MultiheadAttention(12, 3, batch_first=True, add_zero_attn=True), attention(3), "add_zero_attn=True"),
    "slope": (nn.LeakyReLU(0.2), layers.LeakyReLU(), "negative_slope=0.2 in the source .*0.01 in the target"),
    "gelu": (nn.GELU(), layers.GELU(approximate=True), "approximate=False in the source"),
    "shrink": (nn.Hardshrink(0.3), layers.Hardshrink(), "lambd=0.3"),
    "factor": (nn.PixelShuffle(2), layers.PixelShuffle(3), "upscale_factor=2 .* 3 in the target"),
    "recurrence": (nn.RNNCell(2, 3, nonlinearity="relu"), layers.RNNCell(2, 3, rngs=RNGS), "nonlinearity=relu"),
}


def pair(torch_layer, flax_layer):
    class Flax(nnx.Module):
        def __init__(self):
            self.layer = flax_layer

    class Torch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch_layer

    return Torch(), Flax()


@pytest.mark.parametrize("name", ALIKE)
def test_nothing_is_said_of_settings_that_are_alike(name, caplog):
    transfer(*pair(*ALIKE[name]))
    transfer(*reversed(pair(*ALIKE[name])))
    assert caplog.text == ""


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_setting_that_differs_is_said_with_its_module(name, caplog):
    torch_layer, flax_layer, text = DIFFERENT[name]
    models = pair(torch_layer, flax_layer)
    transfer(*models)
    assert len(caplog.records) == 1
    assert re.search(f"layer: {text}", caplog.text), caplog.text
    caplog.clear()
    transfer(*reversed(models))
    assert "layer: " in caplog.text


@pytest.mark.parametrize("name", ["GPT2", "ViT", "ResNet", "StyleTransfer"])
def test_twins_are_alike(name):
    torch_model, flax_model = getattr(einops_arch.torch, name), getattr(einops_arch.flax, name)
    config = getattr(architectures, f"{name}Config").tiny()
    twin = nnx.eval_shape(lambda: flax_model(config, rngs=nnx.Rngs(0)))
    assert setting_differences(torch_model(config), twin) == []


def test_two_models_of_one_framework_are_compared_too(caplog):
    transfer(nn.GroupNorm(2, 6), nn.GroupNorm(3, 6))
    assert "the model: num_groups=2" in caplog.text
    caplog.clear()
    transfer(nn.GroupNorm(2, 6).state_dict(), nn.GroupNorm(3, 6))
    assert caplog.text == ""
