"""Attention of transformers beside Flax's own, cut in another way: one function, and faults in it are found."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import oracle_checks  # noqa: F401 it makes torchvision importable
import pytest
from flax import nnx
from transformers import BertConfig, Qwen3Config, Qwen3Model
from transformers.models.bert.modeling_bert import BertLayer

from einops_arch.parity import Verdict, compare, randomize

STATES = np.random.default_rng(0).normal(size=(2, 5, 12)).astype("float32")
TOKENS = np.random.default_rng(1).integers(1, 23, (2, 6))


def kernel(linear, *shape):
    """The weight of a PyTorch layer as Flax has it, with heads as axes of their own."""
    return jnp.asarray(linear.weight.detach().numpy().T.reshape(shape or linear.weight.T.shape))


def vector(tensor, *shape):
    return jnp.asarray(tensor.detach().numpy().reshape(shape or tensor.shape))


# BERT's eager attention gives its weights as a second output, and its last layer is outside of it.


class FlaxAttention(nnx.Module):
    def __init__(self, rate, rngs):
        self.heads = nnx.MultiHeadAttention(3, 12, dropout_rate=rate, decode=False, rngs=rngs)
        self.output = nnx.Dict(
            LayerNorm=nnx.LayerNorm(12, epsilon=1e-12, rngs=rngs), dropout=nnx.Dropout(rate, rngs=rngs)
        )

    def __call__(self, x):
        return self.output.LayerNorm(self.output.dropout(self.heads(x)) + x)


class FlaxPart(nnx.Module):
    """The two halves of an MLP as BERT has them."""

    def __init__(self, rate, rngs):
        self.intermediate = nnx.Dict(dense=nnx.Linear(12, 20, rngs=rngs))
        self.output = nnx.Dict(
            dense=nnx.Linear(20, 12, rngs=rngs),
            LayerNorm=nnx.LayerNorm(12, epsilon=1e-12, rngs=rngs),
            dropout=nnx.Dropout(rate, rngs=rngs),
        )


class FlaxLayer(FlaxPart):
    def __init__(self, rate, rngs, *, approximate=False):
        super().__init__(rate, rngs)
        self.attention = FlaxAttention(rate, rngs)
        self.approximate = approximate

    def __call__(self, x):
        x = self.attention(x)
        y = nnx.gelu(self.intermediate.dense(x), approximate=self.approximate)
        return self.output.LayerNorm(self.output.dropout(self.output.dense(y)) + x)


def bert_pair(*, approximate=False, torch_rate=0.1, rate=0.1):
    config = BertConfig(
        hidden_size=12,
        num_attention_heads=3,
        intermediate_size=20,
        attention_probs_dropout_prob=torch_rate,
        hidden_dropout_prob=torch_rate,
        attn_implementation="eager",
    )
    model, twin = BertLayer(config), FlaxLayer(rate, nnx.Rngs(0), approximate=approximate)
    randomize(model)
    attention, heads = model.attention, twin.attention.heads
    for name in ("query", "key", "value"):
        layer = getattr(attention.self, name)
        getattr(heads, name).kernel[...] = kernel(layer, 12, 3, 4)
        getattr(heads, name).bias[...] = vector(layer.bias, 3, 4)
    heads.out.kernel[...] = kernel(attention.output.dense, 3, 4, 12)
    heads.out.bias[...] = vector(attention.output.dense.bias)
    for layer, other in (
        (attention.output.LayerNorm, twin.attention.output.LayerNorm),
        (model.output.LayerNorm, twin.output.LayerNorm),
    ):
        other.scale[...], other.bias[...] = vector(layer.weight), vector(layer.bias)
    for layer, other in (
        (model.intermediate.dense, twin.intermediate.dense),
        (model.output.dense, twin.output.dense),
    ):
        other.kernel[...], other.bias[...] = kernel(layer), vector(layer.bias)
    return model, twin


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_eager_attention_beside_a_layer_that_gives_no_weights(mode):
    report = compare(*bert_pair(), STATES, axes="b n e", mode=mode)
    assert report.passed, str(report)
    assert report.verdict is Verdict.SAME_FUNCTION
    assert "attention: 2 arrays in PyTorch, 1 in Flax; those that fit were compared" in report.seen.not_seen
    assert {row.path for row in report.rows} >= {"attention", "attention.output.LayerNorm", "output.dense", ""}


def test_the_wrong_gelu_behind_eager_attention_is_named():
    report = compare(*bert_pair(approximate=True), STATES, axes="b n e")
    assert report.verdict is Verdict.SEMANTIC
    assert any("exact" in cause or "approximate=False" in cause for cause in report.causes), report.causes
    assert next(row for row in report.rows if row.path == "attention").verdict.passed


def test_other_rates_of_dropout_in_eager_attention_are_found():
    assert not compare(*bert_pair(rate=0.2), STATES, axes="b n e", mode="train", causes=False).passed


# Qwen3 with an axis for heads, its rotation as a function, and the layers of its MLP in one.


class FlaxHeads(nnx.Module):
    def __init__(self, rngs, *, tiled=False):
        self.q_proj = nnx.Einsum("btd,dhk->bthk", (12, 4, 6), rngs=rngs)
        self.k_proj = nnx.Einsum("btd,dhk->bthk", (12, 2, 6), rngs=rngs)
        self.v_proj = nnx.LinearGeneral(12, (2, 6), use_bias=False, rngs=rngs)
        self.o_proj = nnx.Einsum("bthk,hkd->btd", (4, 6, 12), rngs=rngs)
        self.q_norm = nnx.RMSNorm(6, epsilon=1e-6, rngs=rngs)
        self.k_norm = nnx.RMSNorm(6, epsilon=1e-6, rngs=rngs)
        self.tiled = tiled

    def __call__(self, x, theta):
        q, k, v = self.q_norm(self.q_proj(x)), self.k_norm(self.k_proj(x)), self.v_proj(x)
        q, k = rotated(q, theta), rotated(k, theta)
        k, v = (jnp.tile(y, (1, 1, 2, 1)) if self.tiled else jnp.repeat(y, 2, axis=2) for y in (k, v))
        scores = jnp.einsum("bthk,bshk->bhts", q, k) / jnp.sqrt(6.0)
        causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = jax.nn.softmax(jnp.where(causal, scores, jnp.finfo(scores.dtype).min), axis=-1)
        return self.o_proj(jnp.einsum("bhts,bshk->bthk", weights, v))


def rotated(x, theta):
    half = x.shape[-1] // 2
    angles = jnp.arange(x.shape[1])[:, None] * theta ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class FlaxGate(nnx.Module):
    """Both projections in one layer."""

    def __init__(self, rngs):
        self.both = nnx.LinearGeneral(12, (2, 20), use_bias=False, rngs=rngs)
        self.down_proj = nnx.Linear(20, 12, use_bias=False, rngs=rngs)

    def __call__(self, x):
        y = self.both(x)
        return self.down_proj(nnx.silu(y[..., 0, :]) * y[..., 1, :])


class FlaxDecoder(nnx.Module):
    def __init__(self, rngs, *, tiled):
        self.self_attn = FlaxHeads(rngs, tiled=tiled)
        self.mlp = FlaxGate(rngs)
        self.input_layernorm = nnx.RMSNorm(12, epsilon=1e-6, rngs=rngs)
        self.post_attention_layernorm = nnx.RMSNorm(12, epsilon=1e-6, rngs=rngs)

    def __call__(self, x, theta):
        x = x + self.self_attn(self.input_layernorm(x), theta)
        return x + self.mlp(self.post_attention_layernorm(x))


class FlaxQwen3(nnx.Module):
    def __init__(self, rngs, *, tiled=False, theta=1e6):
        self.embed_tokens = nnx.Embed(23, 12, rngs=rngs)
        self.layers = nnx.List([FlaxDecoder(rngs, tiled=tiled) for _ in range(2)])
        self.norm = nnx.RMSNorm(12, epsilon=1e-6, rngs=rngs)
        self.theta = theta

    def __call__(self, tokens):
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.theta)
        return {"last_hidden_state": self.norm(x)}


def qwen3_pair(**settings):
    config = Qwen3Config(
        vocab_size=23,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        max_position_embeddings=16,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rms_norm_eps=1e-6,
        use_cache=False,
        pad_token_id=None,
        attn_implementation="eager",
    )
    model, twin = Qwen3Model(config), FlaxQwen3(nnx.Rngs(0), **settings)
    randomize(model)
    twin.embed_tokens.embedding[...] = vector(model.embed_tokens.weight)
    twin.norm.scale[...] = vector(model.norm.weight)
    for layer, other in zip(model.layers, twin.layers, strict=True):
        heads, others = layer.self_attn, other.self_attn
        others.q_proj.kernel[...] = kernel(heads.q_proj, 12, 4, 6)
        others.k_proj.kernel[...] = kernel(heads.k_proj, 12, 2, 6)
        others.v_proj.kernel[...] = kernel(heads.v_proj, 12, 2, 6)
        others.o_proj.kernel[...] = kernel(heads.o_proj, 4, 6, 12)
        both = [kernel(layer.mlp.gate_proj), kernel(layer.mlp.up_proj)]
        other.mlp.both.kernel[...] = jnp.stack(both, axis=1)
        other.mlp.down_proj.kernel[...] = kernel(layer.mlp.down_proj)
        for norm, flax_norm in (
            (heads.q_norm, others.q_norm),
            (heads.k_norm, others.k_norm),
            (layer.input_layernorm, other.input_layernorm),
            (layer.post_attention_layernorm, other.post_attention_layernorm),
        ):
            flax_norm.scale[...] = vector(norm.weight)
    return model, twin


def test_qwen3_cut_in_another_way_is_the_same_function():
    report = compare(*qwen3_pair(), TOKENS)
    assert report.passed, str(report)
    assert report.verdict is Verdict.SAME_FUNCTION
    # Heads are an axis of their own in Flax, and of one axis with their features in PyTorch.
    rows = {row.path: row for row in report.rows}
    assert rows["layers.0.self_attn.q_proj"].verdict.passed
    assert rows["layers.1.self_attn.v_proj"].shape == (2, 6, 12)
    assert [words for words in report.seen.not_seen if words.startswith("layers.0.mlp.both")]


@pytest.mark.parametrize(
    ("settings", "words"), [({"tiled": True}, "tiled=False"), ({"theta": 1e4}, r"pow 1000000|factor 1\.5")]
)
def test_a_fault_in_qwen3_is_located(settings, words):
    report = compare(*qwen3_pair(**settings), TOKENS)
    assert report.verdict is Verdict.SEMANTIC
    # The projection behind it is given heads as an axis of their own, and is right all the same.
    assert report.first_divergence.path == "layers.0.self_attn"
    assert report.faults == ("layers.0.self_attn", "layers.1.self_attn")
    # What is left is the rounding of PyTorch's tables.
    assert re.search(words, report.causes[0]), report.causes
