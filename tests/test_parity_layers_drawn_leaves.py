"""Layers with parameters against torch.nn on settings drawn widely: state, outputs, gradients and statistics."""

from __future__ import annotations

import numpy as np
import torch
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from layer_draws import drawn
from layer_leaves import assert_twins

import einops_arch.flax as layers

few, some = st.integers(1, 3), st.booleans()
rngs = nnx.Rngs(0)


def sizes(axes, least=1, most=4):
    return st.tuples(*[st.integers(least, most)] * axes)


def assert_twins_or_refused(build_torch, build, shapes, *, train, **options):
    """Both compute one function, or both refuse the setting or the input."""
    refusal = None
    try:
        build_torch().double().train(train)(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))
    except (RuntimeError, ValueError) as error:
        refusal = error
    if refusal is None:
        assert_twins(build_torch, build, shapes, train=train, **options)
        return
    try:
        layer = build()
        layer.train() if train else layer.eval()
        layer(*(np.zeros([shape[0], *shape[2:], shape[1]]) for shape in shapes))
    except ValueError:
        return
    raise AssertionError(f"PyTorch refuses: {refusal}")


@drawn
@given(st.integers(1, 3), st.sampled_from([(1, 2, 3), (2, 2, 4), (3, 3, 6), (1, 1, 1)]), st.data())
def test_convolutions(axes, widths, data):
    groups, c, o = widths
    window, image = data.draw(sizes(axes, 1, 3)), data.draw(sizes(axes, 1, 7))
    strides, padding, dilation = (data.draw(sizes(axes, least, 2)) for least in (1, 0, 1))
    mode, bias = data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])), data.draw(some)
    kind = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[axes]
    assert_twins_or_refused(
        lambda: kind(c, o, window, strides, padding, dilation, groups, bias, mode),
        lambda: layers.Conv(
            c, o, window, strides, padding=padding, kernel_dilation=dilation, feature_group_count=groups,
            use_bias=bias, padding_mode=mode, rngs=rngs,
        ),
        [(2, c, *image)],
        train=True,
    )  # fmt: skip


@drawn
@given(st.integers(1, 3), st.sampled_from([(1, 2, 3), (2, 2, 4), (3, 3, 6)]), st.data())
def test_transposed_convolutions(axes, widths, data):
    groups, c, o = widths
    window, image = data.draw(sizes(axes, 1, 3)), data.draw(sizes(axes, 1, 5))
    strides, padding, dilation = (data.draw(sizes(axes, least, 2)) for least in (1, 0, 1))
    extra, bias = data.draw(sizes(axes, 0, 1)), data.draw(some)
    kind = {1: torch.nn.ConvTranspose1d, 2: torch.nn.ConvTranspose2d, 3: torch.nn.ConvTranspose3d}[axes]
    assert_twins_or_refused(
        lambda: kind(c, o, window, strides, padding, extra, groups, bias, dilation),
        lambda: layers.ConvTranspose(
            c, o, window, strides, padding=padding, output_padding=extra, kernel_dilation=dilation,
            feature_group_count=groups, use_bias=bias, rngs=rngs,
        ),
        [(2, c, *image)],
        train=True,
    )  # fmt: skip


@drawn
@given(st.sampled_from(["Batch", "Instance"]), st.integers(1, 3), some, some, some, st.data())
def test_norms_with_statistics(kind, axes, affine, tracked, train, data):
    momentum, epsilon = data.draw(st.sampled_from([None, 0.1, 0.6, 1.0])), data.draw(st.sampled_from([1e-5, 1e-2]))
    image = data.draw(sizes(axes, 1, 4))
    settings = {"momentum": momentum, "track_running_stats": tracked}
    assert_twins_or_refused(
        lambda: getattr(torch.nn, f"{kind}Norm{axes}d")(3, eps=epsilon, affine=affine, **settings),
        lambda: getattr(layers, f"{kind}Norm")(
            3, epsilon=epsilon, use_scale=affine, use_bias=affine, rngs=rngs, **settings
        ),
        [(data.draw(few), 3, *image)],
        train=train,
    )


@drawn
@given(st.sampled_from([(1, 4), (2, 4), (4, 4), (3, 6)]), some, st.integers(1, 3), st.data())
def test_group_norm(widths, affine, axes, data):
    groups, c = widths
    assert_twins_or_refused(
        lambda: torch.nn.GroupNorm(groups, c, affine=affine),
        lambda: layers.GroupNorm(c, groups, use_scale=affine, use_bias=affine, rngs=rngs),
        [(2, c, *data.draw(sizes(axes, 1, 4)))],
        train=True,
    )


@drawn
@given(st.sampled_from(["LayerNorm", "RMSNorm"]), some, some, st.sampled_from([(4,), (3, 4), (2, 3, 4)]))
def test_norms_of_the_last_axes(kind, affine, bias, shape):
    options = {"bias": bias} if kind == "LayerNorm" else {}
    flax_options = {"use_bias": affine and bias} if kind == "LayerNorm" else {}
    assert_twins(
        lambda: getattr(torch.nn, kind)(shape, elementwise_affine=affine, eps=1e-3, **options),
        lambda: getattr(layers, kind)(shape, use_scale=affine, epsilon=1e-3, rngs=rngs, **flax_options),
        [(2, 5, *shape)],
        train=True,
        images=False,
    )


@drawn
@given(st.sampled_from(["LSTM", "GRU", "RNN"]), st.integers(1, 2), some, some, some, st.integers(0, 2))
def test_recurrent_layers(kind, depth, bias, batch_first, bidirectional, proj_size):
    options = {"batch_first": batch_first, "bidirectional": bidirectional}
    if kind == "LSTM":
        options["proj_size"] = proj_size
    assert_twins(
        lambda: getattr(torch.nn, kind)(3, 4, depth, bias=bias, **options),
        lambda: getattr(layers, kind)(3, 4, depth, use_bias=bias, rngs=rngs, **options),
        [(2, 5, 3)],
        train=True,
        images=False,
    )


@drawn
@given(some, some, some, some, st.sampled_from([None, 5]), st.sampled_from([None, 4]), st.sampled_from([1, 2, 3]))
def test_attention(bias, bias_kv, zero, batch_first, kdim, vdim, heads):
    options = {"add_bias_kv": bias_kv, "add_zero_attn": zero, "batch_first": batch_first, "kdim": kdim, "vdim": vdim}
    query, key = ((2, 3), (2, 4)) if batch_first else ((3, 2), (4, 2))
    assert_twins(
        lambda: torch.nn.MultiheadAttention(6, heads, bias=bias, **options),
        lambda: layers.MultiheadAttention(6, heads, use_bias=bias, rngs=rngs, **options),
        [(*query, 6), (*key, kdim or 6), (*key, vdim or 6)],
        train=True,
        images=False,
    )


@drawn
@given(st.sampled_from(["relu", "gelu"]), some, some, some, some)
def test_transformer_layers(activation, norm_first, batch_first, bias, decodes):
    options = {"dim_feedforward": 5, "activation": activation, "norm_first": norm_first, "batch_first": batch_first}
    kind = "TransformerDecoderLayer" if decodes else "TransformerEncoderLayer"
    assert_twins(
        lambda: getattr(torch.nn, kind)(4, 2, dropout=0.0, bias=bias, **options),
        lambda: getattr(layers, kind)(4, 2, dropout_rate=0.0, use_bias=bias, rngs=rngs, **options),
        [(2, 3, 4)] * (1 + decodes),
        train=True,
        images=False,
    )


@drawn
@given(few, few, few, some, some)
def test_linear_maps(i, j, o, bias, bilinear):
    if bilinear:
        assert_twins(
            lambda: torch.nn.Bilinear(i, j, o, bias=bias),
            lambda: layers.Bilinear(i, j, o, use_bias=bias, rngs=rngs),
            [(2, i), (2, j)],
            train=True,
        )
        return
    assert_twins(
        lambda: torch.nn.Linear(i, o, bias=bias),
        lambda: layers.Linear(i, o, use_bias=bias, rngs=rngs),
        [(j, 2, i)],
        train=True,
        images=False,
    )
