"""The fast channel shuffle is the core: bit for bit, in every transform of JAX, with a form for each platform."""

from __future__ import annotations

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import einops_arch
from einops_arch.flax import ChannelShuffle, ChannelUnshuffle
from einops_arch.functional import channel_shuffle, channel_unshuffle

LAYERS = [(ChannelShuffle, channel_shuffle), (ChannelUnshuffle, channel_unshuffle)]
LAST = {"data_format": "channels_last"}


def array(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(0).integers(-99, 99, shape), dtype)


@pytest.mark.parametrize(("layer", "core"), LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "float64"])
@pytest.mark.parametrize(
    ("shape", "groups"), [((2, 5, 120), 3), ((160,) * 2, 40), ((1, 2, 3, 320), 8), ((0, 4, 120), 3), ((2, 12), 4)]
)
def test_it_is_the_core_bit_for_bit(layer, core, dtype, shape, groups):
    x = array(*shape, dtype=dtype)
    expected = core(x, groups, **LAST)
    for received in (layer(groups)(x), jax.jit(layer(groups))(x)):
        assert received.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(received), np.asarray(expected))


@pytest.mark.parametrize(("layer", "core"), LAYERS)
def test_every_transform_sees_the_core(layer, core):
    ours, theirs = layer(3), lambda x: core(x, 3, **LAST)
    # 32 bits, the width that it picks: whole numbers, of which float32 has all that occur here.
    x, y = array(2, 2, 120), array(2, 2, 120)[::-1]
    transforms = {
        "vjp": lambda f: jax.vjp(f, x)[1](y)[0],
        "jvp": lambda f: jax.jvp(f, (x,), (y,))[1],
        "vmap over the first": lambda f: jax.vmap(f)(x),
        "vmap over the last but one": lambda f: jax.vmap(f, in_axes=1, out_axes=1)(x),
        "vmap over the last": lambda f: jax.vmap(f, in_axes=2)(array(2, 120, 3)),
        "jacrev": lambda f: jax.jacrev(f)(x),
        "jacfwd": lambda f: jax.jacfwd(f)(x),
        "hessian": lambda f: jax.hessian(lambda x: (f(x) ** 3 * y).sum())(x),
        "remat": lambda f: jax.grad(jax.checkpoint(lambda x: (f(x) ** 2 * y).sum()))(x),
        "scan": lambda f: jax.lax.scan(lambda carry, row: (f(carry) + row, f(carry)), x[0], x),
        "linear transpose": lambda f: jax.linear_transpose(f, x)(y)[0],
    }
    for name, transform in transforms.items():
        for a, b in zip(jax.tree.leaves(transform(ours)), jax.tree.leaves(transform(theirs)), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize(("layer", "core"), LAYERS)
def test_what_is_wrong_is_said_by_the_core(layer, core):
    for x in (array(2, 4, 10), array(6)):
        with pytest.raises(ValueError, match=core.__name__) as expected:
            core(x, 3, **LAST)
        with pytest.raises(type(expected.value)) as received:
            layer(3)(x)
        assert str(received.value) == str(expected.value)


def test_it_picks_on_a_cpu_and_transposes_elsewhere():
    texts = {}
    for platform in ("cpu", "cuda", "tpu"):
        exported = jax.export.export(jax.jit(ChannelShuffle(3)), platforms=[platform])(array(2, 4, 120))
        texts[platform] = exported.mlir_module()
    assert "gather" in texts["cpu"]
    for platform in ("cuda", "tpu"):
        assert "gather" not in texts[platform]
        assert "transpose" in texts[platform]


def test_its_gradient_is_the_other_shuffle_and_needs_no_scatter():
    for layer, groups in ((ChannelShuffle, 3), (ChannelUnshuffle, 40)):
        x = array(2, 4, 120)
        text = jax.jit(jax.grad(lambda x, layer=layer, groups=groups: (layer(groups)(x) ** 2).sum())).lower(x).as_text()
        assert "scatter" not in text
        assert text.count("gather(") + text.count('gather"(') == 1
        assert "transpose" in text


@pytest.mark.parametrize(
    ("layer", "channels", "dtype", "picks"),
    [
        (ChannelShuffle(3), 120, "float32", True),
        (ChannelUnshuffle(40), 120, "int32", True),
        (ChannelUnshuffle(3), 120, "float32", False),
        (ChannelShuffle(3), 120, "bfloat16", False),
        (ChannelShuffle(3), 117, "float32", False),
        (ChannelShuffle(2), 120, "float32", False),
        (ChannelShuffle(9), 360, "float32", False),
        (ChannelShuffle(3, data_format="channels_first"), 120, "float32", False),
    ],
    ids=repr,
)
def test_it_picks_where_that_was_measured_to_be_faster(layer, channels, dtype, picks):
    shape = (2, channels, 120) if layer.data_format == "channels_first" else (2, channels)
    text = jax.jit(layer).lower(array(*shape, dtype=dtype)).as_text()
    assert ("gather" in text) == picks
    assert ("transpose" in text) != picks


def test_it_runs_inside_a_model_under_nnx():
    @nnx.jit
    def run(layer, x):
        return layer(x)

    x = array(2, 4, 120)
    np.testing.assert_array_equal(run(nnx.Sequential(ChannelShuffle(3)), x), channel_shuffle(x, 3, **LAST))


def test_a_look_at_a_model_still_finds_its_pattern():
    (chain,) = einops_arch.discover_model(nnx.Sequential(ChannelShuffle(3)), array(2, 4, 120)).chains
    assert 'rearrange(x, "b n (c1 c2) -> b n (c2 c1)", c1=3)' in str(chain)
