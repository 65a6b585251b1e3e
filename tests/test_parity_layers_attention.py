"""Attention, transformers, embeddings and losses against torch.nn: outputs, weights and gradients, drawn settings."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax import functional as flax_functional
from einops_arch.flax import layers
from einops_arch.flax.state import load_state_dict, state_dict
from einops_arch.layouts.arrays import same_bits
from einops_arch.parity import randomize

F = torch.nn.functional
ATTENTION = settings(max_examples=6)


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def twins(torch_layer, flax_layer):
    """Both in float64 with the same drawn weights, which come back bit for bit."""
    torch_layer = torch_layer.double()
    randomize(torch_layer)
    state = {name: value.numpy() for name, value in torch_layer.state_dict().items()}
    load_state_dict(flax_layer, state)
    back = state_dict(flax_layer)
    assert list(back) == list(state)
    assert all(same_bits(back[name], value) for name, value in state.items())
    return torch_layer, flax_layer


def assert_both_agree(torch_layer, flax_layer, torch_output, call):
    """The output, and the gradients of its sum of squares for every parameter; what else the Flax call gives."""

    def loss(layer):
        output, *others = call(layer)
        return jnp.sum(output**2), (output, *others)

    # Compiled as one program, which takes less time than its operations one by one.
    gradient, (output, *others) = nnx.jit(nnx.grad(loss, has_aux=True))(flax_layer)
    np.testing.assert_allclose(output, torch_output.detach(), rtol=0, atol=1e-12)
    torch_layer.zero_grad()
    (torch_output**2).sum().backward()
    nnx.update(flax_layer, gradient)
    flat = state_dict(flax_layer)
    for name, parameter in torch_layer.named_parameters():
        expected = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        scale = max(np.abs(expected).max(), 1.0)
        np.testing.assert_allclose(flat[name], expected, atol=1e-10 * scale, rtol=0, err_msg=name)
    return others


@st.composite
def attention_settings(draw):
    return {
        "heads": draw(st.sampled_from([1, 2, 3])),
        "bias": draw(st.booleans()),
        "add_bias_kv": draw(st.booleans()),
        "add_zero_attn": draw(st.booleans()),
        "kdim": draw(st.sampled_from([None, 5])),
        "vdim": draw(st.sampled_from([None, 7])),
        "batch_first": draw(st.booleans()),
        "batched": draw(st.booleans()),
        "need_weights": draw(st.booleans()),
        "average": draw(st.booleans()),
        "mask": draw(st.sampled_from([None, "bool", "float", "per head"])),
        "padding": draw(st.sampled_from([None, "bool", "float"])),
        "seed": draw(st.integers(0, 1000)),
    }


@ATTENTION
@given(attention_settings())
def test_multihead_attention_is_pytorch_s(chosen):
    heads, seed = chosen["heads"], chosen["seed"]
    e, b, l, s = 2 * heads, 2 if chosen["batched"] else 1, 3, 4
    sizes = {"kdim": chosen["kdim"], "vdim": chosen["vdim"]}
    common = {name: chosen[name] for name in ("add_bias_kv", "add_zero_attn", "batch_first")} | sizes
    torch_layer, flax_layer = twins(
        torch.nn.MultiheadAttention(e, heads, bias=chosen["bias"], **common),
        layers.MultiheadAttention(e, heads, use_bias=chosen["bias"], rngs=nnx.Rngs(0), **common),
    )
    arrays = [
        numbers(seed, b, l, e),
        numbers(seed + 1, b, s, sizes["kdim"] or e),
        numbers(seed + 2, b, s, sizes["vdim"] or e),
    ]
    if not chosen["batched"]:
        arrays = [array[0] for array in arrays]
    elif not chosen["batch_first"]:
        arrays = [np.swapaxes(array, 0, 1) for array in arrays]
    rng = np.random.default_rng(seed)
    hidden = rng.random((b * heads, l, s)) > 0.6
    hidden[..., 0] = False  # no row is hidden whole here: that is a test of its own
    masks = {None: None, "bool": hidden[0], "float": np.where(hidden[0], -np.inf, 0.3), "per head": hidden}
    late = np.zeros((b, s), bool)
    late[-1, -1] = True
    paddings = {None: None, "bool": late, "float": np.where(late, -1.5, 0.0)}
    mask, padding = masks[chosen["mask"]], paddings[chosen["padding"]]
    if padding is not None and not chosen["batched"]:
        padding = padding[0]
    more = {"need_weights": chosen["need_weights"], "average_attn_weights": chosen["average"]}
    with (
        pytest.warns()
        if mask is not None and padding is not None and mask.dtype != padding.dtype
        else contextlib.nullcontext()
    ):
        output, weights = torch_layer(
            *map(torch.from_numpy, arrays), key_padding_mask=_tensor(padding), attn_mask=_tensor(mask), **more
        )

    def call(layer):
        return layer(*map(jnp.asarray, arrays), key_padding_mask=_array(padding), attn_mask=_array(mask), **more)

    (flax_weights,) = assert_both_agree(torch_layer, flax_layer, output, call)
    assert (weights is None) == (flax_weights is None)
    if weights is not None:
        np.testing.assert_allclose(flax_weights, weights.detach(), rtol=0, atol=1e-12)


def _tensor(array):
    return None if array is None else torch.from_numpy(array)


def _array(array):
    return None if array is None else jnp.asarray(array)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_that_sees_no_key_gives_what_pytorch_gives(need_weights):
    torch_layer, flax_layer = twins(
        torch.nn.MultiheadAttention(6, 2, batch_first=True),
        layers.MultiheadAttention(6, 2, batch_first=True, rngs=nnx.Rngs(0)),
    )
    x = numbers(0, 2, 4, 6)
    hidden = np.asarray([[False] * 4, [True] * 4])
    output, _ = torch_layer(*[torch.from_numpy(x)] * 3, torch.from_numpy(hidden), need_weights)
    flax_output, _ = flax_layer(x := jnp.asarray(x), x, x, jnp.asarray(hidden), need_weights)
    assert bool(jnp.isnan(flax_output[1]).all()) is need_weights
    np.testing.assert_allclose(flax_output, output.detach(), rtol=0, atol=1e-12)


@settings(max_examples=4)
@given(
    st.sampled_from([None, "bool", "float", "causal"]),
    st.sampled_from([(6, 6), (6, 2), (6, 3)]),
    st.sampled_from([None, 0.3]),
    st.integers(0, 1000),
)
def test_scaled_dot_product_attention_is_pytorch_s(mask, heads, scale, seed):
    arrays = [
        numbers(seed, 2, heads[0], 3, 4),
        numbers(seed + 1, 2, heads[1], 5, 4),
        numbers(seed + 2, 2, heads[1], 5, 7),
    ]
    seen = np.random.default_rng(seed).random((3, 5)) > 0.5
    seen[1] = False  # PyTorch gives zeros here, with gradients that are zero
    values = {"bool": seen, "float": np.where(seen, 0.7, -np.inf)}.get(mask)
    options = {"scale": scale, "enable_gqa": heads[0] != heads[1], "is_causal": mask == "causal"}
    leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]
    expected = F.scaled_dot_product_attention(*leaves, _tensor(values), **options)
    (expected**2).sum().backward()

    def run(q, k, v):
        return flax_functional.scaled_dot_product_attention(q, k, v, _array(values), **options)

    np.testing.assert_allclose(jax.jit(run)(*arrays), expected.detach(), rtol=0, atol=1e-12)
    gradients = jax.jit(jax.grad(lambda *parts: jnp.sum(run(*parts) ** 2), argnums=(0, 1, 2)))(*arrays)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        np.testing.assert_allclose(gradient, leaf.grad, rtol=0, atol=1e-10)


def test_dropout_of_attention_needs_a_key_and_keeps_the_mean():
    q = jnp.ones((1, 1, 200, 4))
    with pytest.raises(ConfigError, match="dropout_key"):
        flax_functional.scaled_dot_product_attention(q, q, q, dropout_rate=0.5)
    output = flax_functional.scaled_dot_product_attention(q, q, q, dropout_rate=0.5, dropout_key=jax.random.key(0))
    assert 0.9 < float(output.mean()) < 1.1
    assert float(output.std()) > 0.01
    with pytest.raises(ConfigError, match="both"):
        flax_functional.scaled_dot_product_attention(q, q, q, jnp.ones((200, 200), bool), is_causal=True)


@pytest.mark.parametrize(("norm_first", "activation", "bias"), [(True, "relu", True), (False, "gelu", False)])
def test_a_transformer_is_pytorch_s(norm_first, activation, bias):
    sizes = {"num_encoder_layers": 2, "num_decoder_layers": 1, "dim_feedforward": 10, "activation": activation}
    common = sizes | {"batch_first": True, "norm_first": norm_first}
    with contextlib.nullcontext() if not norm_first and bias else pytest.warns(UserWarning, match="nested_tensor"):
        torch_model = torch.nn.Transformer(6, 2, dropout=0.0, bias=bias, **common)
    torch_model, flax_model = twins(
        torch_model, layers.Transformer(6, 2, dropout_rate=0.0, use_bias=bias, rngs=nnx.Rngs(0), **common)
    )
    source, target = numbers(0, 2, 5, 6), numbers(1, 2, 3, 6)
    late = np.asarray([[False] * 5, [False] * 3 + [True] * 2])
    mask = torch.nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)
    np.testing.assert_array_equal(layers.Transformer.generate_square_subsequent_mask(3), mask)
    masks = {"src_key_padding_mask": late, "memory_key_padding_mask": late, "tgt_mask": mask.numpy()}
    tensors = {name: torch.from_numpy(value) for name, value in masks.items()}
    output = torch_model(torch.from_numpy(source), torch.from_numpy(target), **tensors)

    def call(model):
        return model(jnp.asarray(source), jnp.asarray(target), **{k: jnp.asarray(v) for k, v in masks.items()})

    assert_both_agree(torch_model, flax_model, output, lambda model: (call(model),))


def test_copies_of_a_layer_begin_alike_and_drop_apart():
    layer = layers.TransformerEncoderLayer(6, 2, dim_feedforward=8, dropout_rate=0.5, rngs=nnx.Rngs(0))
    encoder = layers.TransformerEncoder(layer, 2)
    first, second = encoder.layers
    np.testing.assert_array_equal(first.linear1.kernel[...], second.linear1.kernel[...])
    assert not jnp.array_equal(first.dropout(jnp.ones(64)), second.dropout(jnp.ones(64)))
    assert first.linear1.kernel is not second.linear1.kernel


@pytest.mark.parametrize(("max_norm", "norm_type", "scale_grad_by_freq"), [(None, 2.0, True), (1.1, 1.0, False)])
def test_an_embedding_is_pytorch_s_after_several_steps(max_norm, norm_type, scale_grad_by_freq):
    options = {"max_norm": max_norm, "norm_type": norm_type, "scale_grad_by_freq": scale_grad_by_freq, "padding_idx": 2}
    torch_layer, flax_layer = twins(
        torch.nn.Embedding(7, 5, **options), layers.Embed(7, 5, rngs=nnx.Rngs(0), **options)
    )
    for indices in ([[1, 2, 1], [6, 1, 0]], [[3, 3, 2], [2, 3, 4]]):
        torch_layer.zero_grad()
        output = torch_layer(torch.tensor(indices))
        (output**3).sum().backward()
        np.testing.assert_allclose(flax_layer(jnp.asarray(indices)), output.detach(), rtol=0, atol=1e-12)
        gradient = nnx.grad(lambda layer, i=indices: jnp.sum(layer(jnp.asarray(i)) ** 3))(flax_layer)
        np.testing.assert_allclose(gradient.embedding[...], torch_layer.weight.grad, rtol=0, atol=1e-10)
        np.testing.assert_allclose(flax_layer.embedding[...], torch_layer.weight.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "padding_idx", "form"),
    [("sum", 1, "rows"), ("mean", 1, "offsets"), ("max", None, "last offset"), ("max", 1, "rows")],
)
def test_an_embedding_bag_is_pytorch_s(mode, padding_idx, form):
    options = {"mode": mode, "padding_idx": padding_idx, "include_last_offset": form == "last offset"}
    torch_layer, flax_layer = twins(
        torch.nn.EmbeddingBag(7, 5, **options), layers.EmbeddingBag(7, 5, rngs=nnx.Rngs(0), **options)
    )
    if form == "rows":
        arguments = [np.asarray([[1, 2, 4], [1, 1, 6]])]
    else:
        arguments = [np.asarray([4, 1, 6, 3, 3]), np.asarray([0, 2, 2, *([5] if form == "last offset" else [])])]
    weights = numbers(3, *arguments[0].shape) if mode == "sum" else None
    output = torch_layer(*map(torch.from_numpy, arguments), per_sample_weights=_tensor(weights))

    def call(layer):
        return layer(*map(jnp.asarray, arguments), per_sample_weights=_array(weights))

    assert_both_agree(torch_layer, flax_layer, output, lambda layer: (call(layer),))


def test_bags_say_what_they_need():
    bag = layers.EmbeddingBag(7, 5, rngs=nnx.Rngs(0))
    with pytest.raises(ShapeError, match="with offsets"):
        bag(jnp.asarray([1, 2]))
    with pytest.raises(ConfigError, match="per_sample_weights"):
        bag(jnp.asarray([[1, 2]]), None, jnp.ones((1, 2)))


@settings(max_examples=6)
@given(
    st.sampled_from(["mean", "sum", "none"]),
    st.booleans(),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from(["indices", "probabilities"]),
    st.integers(0, 1000),
)
def test_cross_entropy_is_pytorch_s(reduction, weighted, smoothing, kind, seed):
    logits = numbers(seed, 2, 3, 4, 5)
    rng = np.random.default_rng(seed)
    weight = rng.random(5) + 0.1 if weighted else None
    if kind == "indices":
        target = rng.integers(0, 5, (2, 3, 4))
        target[0, 0, 1] = 3
        target[rng.random((2, 3, 4)) > 0.7] = -7
        torch_target = torch.from_numpy(target)
    else:
        target = rng.dirichlet(np.ones(5), (2, 3, 4))
        torch_target = torch.from_numpy(np.moveaxis(target, -1, 1))
    leaf = torch.from_numpy(np.moveaxis(logits, -1, 1).copy()).requires_grad_()
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": -7}
    expected = F.cross_entropy(leaf, torch_target, _tensor(weight), **options)
    (expected**2).sum().backward()

    def loss(x):
        return flax_functional.cross_entropy(x, jnp.asarray(target), _array(weight), **options)

    np.testing.assert_allclose(jax.jit(loss)(logits), expected.detach(), rtol=1e-12, atol=1e-12)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(loss(x) ** 2)))(logits)
    np.testing.assert_allclose(np.moveaxis(gradient, -1, 1), leaf.grad, rtol=1e-10, atol=1e-10)


PAIRS = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.7},
    "huber_loss": {"delta": 0.6},
    "binary_cross_entropy_with_logits": {},
    "binary_cross_entropy": {},
    "kl_div": {},
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_other_losses_are_pytorch_s(name, reduction):
    first, second = numbers(0, 3, 5), numbers(1, 3, 5)
    second[1, 2] = first[1, 2]
    if name.startswith("binary"):
        second = np.abs(np.tanh(second))
    if name == "binary_cross_entropy":
        first = np.abs(np.tanh(first))
        first[0, :2], second[0, :2] = (0.0, 1.0), (0.5, 0.25)
    if name == "kl_div":
        first, second = np.log(np.abs(first) + 0.1), np.abs(second)
        second[0, 0] = 0.0
    more = {"pos_weight": np.asarray([0.5, 1.5, 2.0, 1.0, 3.0])} if name.endswith("logits") else {}
    leaf = torch.from_numpy(first).requires_grad_()
    # PyTorch warns that its mean of the divergence is none, and advises this.
    chosen = "batchmean" if name == "kl_div" and reduction == "mean" else reduction
    tensors = {key: _tensor(value) for key, value in more.items()}
    expected = getattr(F, name)(leaf, torch.from_numpy(second), reduction=chosen, **PAIRS[name], **tensors)
    (expected**2).sum().backward()

    def loss(x):
        return getattr(flax_functional, name)(x, jnp.asarray(second), reduction=chosen, **PAIRS[name], **more)

    np.testing.assert_allclose(jax.jit(loss)(first), expected.detach(), rtol=1e-12, atol=1e-12)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(loss(x) ** 2)))(first)
    finite = np.isfinite(leaf.grad.numpy()) & (np.abs(leaf.grad.numpy()) < 1e10)
    np.testing.assert_allclose(np.asarray(gradient)[finite], leaf.grad.numpy()[finite], rtol=1e-10, atol=1e-10)


def test_kl_div_takes_logarithms():
    first, second = np.log(np.abs(numbers(0, 3, 5))), np.log(np.abs(numbers(1, 3, 5)))
    expected = F.kl_div(torch.from_numpy(first), torch.from_numpy(second), reduction="sum", log_target=True)
    result = flax_functional.kl_div(jnp.asarray(first), jnp.asarray(second), reduction="sum", log_target=True)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize(("reduction", "zero_infinity"), [("mean", True), ("sum", False), ("none", False)])
def test_ctc_loss_is_pytorch_s(reduction, zero_infinity):
    scores = torch.from_numpy(numbers(0, 9, 3, 6)).log_softmax(2).requires_grad_()
    targets, steps, lengths = np.asarray([[1, 2, 2, 5], [3, 3, 3, 3], [4, 1, 0, 0]]), [9, 6, 7], [4, 4, 2]
    options = {"blank": 0, "reduction": reduction, "zero_infinity": zero_infinity}
    expected = F.ctc_loss(scores, torch.from_numpy(targets), torch.tensor(steps), torch.tensor(lengths), **options)
    result = flax_functional.ctc_loss(
        jnp.asarray(scores.detach().numpy()), jnp.asarray(targets), jnp.asarray(steps), jnp.asarray(lengths), **options
    )
    np.testing.assert_allclose(result, expected.detach(), rtol=1e-9)


def test_losses_say_what_they_expected():
    with pytest.raises(ConfigError, match="batchmean"):
        flax_functional.kl_div(jnp.zeros(3), jnp.zeros(3), reduction="average")
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        flax_functional.cross_entropy(jnp.zeros((2, 5)), jnp.zeros((3,), int))
