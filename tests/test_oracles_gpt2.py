"""GPT-2 against transformers', with random weights: names, layouts, float64, float32, gradients, cache, generation."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import oracle_checks as checks
import pytest
import torch
import transformers
from oracle_checks import Public

from einops_arch.architectures import GPT2Config
from einops_arch.flax import from_pretrained as flax_from_pretrained
from einops_arch.flax import gpt2 as flax_side
from einops_arch.flax import state_dict
from einops_arch.parity.probes import random_numbers
from einops_arch.port.models.recognize import recognize
from einops_arch.torch import from_pretrained as torch_from_pretrained
from einops_arch.torch import gpt2 as torch_side

SIZES = {
    "gpt2": ({}, 124_439_808),
    "gpt2_medium": ({"n_embd": 1024, "n_layer": 24, "n_head": 16}, 354_823_168),
    "gpt2_large": ({"n_embd": 1280, "n_layer": 36, "n_head": 20}, 774_030_080),
    "gpt2_xl": ({"n_embd": 1600, "n_layer": 48, "n_head": 25}, 1_557_611_200),
}
SMALL = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 19, "vocab_size": 31, "n_inner": 20}
TOKENS = {"bos_token_id": None, "eos_token_id": None}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def build(**settings):
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**TOKENS | settings)).eval()


def public(spread=None, **settings):
    oracle = build(**settings)
    checks.unsettle(oracle)
    if spread is not None:
        for name, value in oracle.state_dict().items():
            if value.ndim > 1:
                value.copy_(spread * torch.from_numpy(random_numbers(name, value.shape)))
    config = recognize(json.loads(oracle.config.to_json_string()), oracle.state_dict()).config
    return Public(oracle, config, call=lambda model, tokens: model(tokens, use_cache=False).logits)


@pytest.mark.parametrize("preset", SIZES)
def test_every_size_has_the_names_shapes_and_count_of_transformers(preset):
    settings, count = SIZES[preset]
    config = GPT2Config.preset(preset)
    with torch.device("meta"):
        oracle, ours = build(**settings), torch_side.GPT2(config)
    shapes = {name: value.shape for name, value in oracle.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    assert list(ours.state_dict()) == list(shapes)
    assert checks.parameter_count(ours) == checks.parameter_count(oracle) == count
    assert recognize(json.loads(oracle.config.to_json_string()), list(shapes)).config == config


@pytest.mark.parametrize("tied", [True, False])
def test_a_small_one_is_that_of_transformers_at_every_length(tied):
    found = public(**SMALL, **NO_DROPOUT, tie_word_embeddings=tied)
    assert found.config.tied is tied
    checks.assert_state_fits_both_ways(found)
    shapes = [(1, 1), (3, 2), (2, 7), (1, 19)]
    checks.assert_same_outputs(found, *([checks.tokens(*shape, high=31)] for shape in shapes))
    checks.assert_same_training(found, [[checks.tokens(2, 7, high=31)]])
    checks.assert_rounds_as_well(found, [checks.tokens(2, 19, high=31)])


def test_the_small_one_is_that_of_transformers_at_full_size():
    found = public()
    assert found.config == GPT2Config.gpt2()
    assert checks.parameter_count(found.oracle) == 124_439_808
    checks.assert_state_fits_both_ways(found)
    checks.assert_same_outputs(found, [checks.tokens(1, 33, high=50257)])
    checks.assert_rounds_as_well(found, [checks.tokens(1, 33, high=50257)])


def test_the_cache_holds_the_keys_and_values_of_transformers():
    found = public(**SMALL)
    oracle, ours, other = found.oracle.double(), found.torch_twin("float64").eval(), found.flax_twin("float64")
    other.eval()
    text = checks.tokens(2, 9, high=31)
    cache = state = flax_state = None
    # Several tokens, one, and several again.
    for tokens in np.split(text, [4, 5], axis=1):
        with torch.no_grad():
            answer = oracle(torch.from_numpy(tokens), past_key_values=cache, use_cache=True)
            cache = answer.past_key_values
            logits, state = ours.extend(torch.from_numpy(tokens), state)
        flax_logits, flax_state = other.extend(jnp.asarray(tokens), flax_state)
        for received in (logits, flax_logits):
            checks.assert_close("logits", [received], [answer.logits])
        for layer, pair, flax_pair in zip(cache.layers, state, flax_state, strict=True):
            for parts in (pair, flax_pair):
                checks.assert_close("cache", parts, [layer.keys, layer.values])


def test_texts_padded_on_the_left_get_the_logits_of_transformers():
    found = public(**SMALL)
    oracle, torch_twin, flax_twin = (
        found.oracle.double(),
        found.torch_twin("float64").eval(),
        found.flax_twin("float64"),
    )
    flax_twin.eval()
    tokens = checks.tokens(3, 9, high=31)
    mask = np.arange(9) >= np.asarray([[0], [2], [5]])
    places = np.maximum(mask.cumsum(1) - 1, 0)
    past = state = flax_state = None
    for columns in (slice(0, 6), slice(6, 7), slice(7, 9)):
        seen = mask[:, : columns.stop].astype(np.int64)
        parts = {"attention_mask": seen, "position_ids": places[:, columns]}
        tensors = {name: torch.from_numpy(array) for name, array in parts.items()}
        arrays = {name: jnp.asarray(array) for name, array in parts.items()}
        with torch.no_grad():
            answer = oracle(torch.from_numpy(tokens[:, columns]), past_key_values=past, use_cache=True, **tensors)
            past = answer.past_key_values
            logits, state = torch_twin.extend(torch.from_numpy(tokens[:, columns]), state, **tensors)
        flax_logits, flax_state = flax_twin.extend(jnp.asarray(tokens[:, columns]), flax_state, **arrays)
        kept = mask[:, columns]
        for received in (logits, flax_logits):
            checks.assert_close("logits", [np.asarray(received)[kept]], [answer.logits.numpy()[kept]])
    # Each text alone and without padding has the same logits.
    for row, begin in enumerate((0, 2, 5)):
        alone = flax_twin(jnp.asarray(tokens[row : row + 1, begin:]))[0, -1]
        checks.assert_close("alone", [np.asarray(flax_logits[row, -1])], [np.asarray(alone)])


def test_greedy_text_is_that_of_transformers():
    found = public(spread=0.4, **SMALL)
    prompt = checks.tokens(3, 4, high=31)
    oracle = found.oracle.double()
    whole = oracle.generate(
        torch.from_numpy(prompt), max_new_tokens=12, do_sample=False, pad_token_id=0, attention_mask=torch.ones(3, 4)
    )
    expected = whole[:, 4:].numpy()
    assert len(np.unique(expected)) > 5, "one word for ever shows nothing"
    words = torch_side.generate(found.torch_twin("float64"), torch.from_numpy(prompt), 12)
    np.testing.assert_array_equal(words, expected)
    np.testing.assert_array_equal(flax_side.generate(found.flax_twin("float64"), jnp.asarray(prompt), 12), expected)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.7, None, None), (1.0, 5, None), (1.3, None, 0.8), (0.9, 9, 0.6), (1.0, 3, 1.0)],
)
def test_the_distribution_that_is_drawn_from_is_that_of_transformers(temperature, top_k, top_p):
    logits = torch.from_numpy(2 * random_numbers("logits", (1, 31)))
    warped = transformers.TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        warped = transformers.TopKLogitsWarper(top_k)(None, warped)
    if top_p is not None:
        warped = transformers.TopPLogitsWarper(top_p)(None, warped)
    expected = warped.softmax(-1)[0].numpy()
    # Every fraction of the distribution once: frequencies are probabilities, up to one part.
    parts = 4000
    uniform = (torch.arange(parts, dtype=torch.float64) + 0.5) / parts
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    drawn = torch_side.choose(logits.expand(parts, 31), uniform, **settings)
    frequencies = np.bincount(drawn, minlength=31) / parts
    np.testing.assert_allclose(frequencies, expected, atol=1.01 / parts)
    assert ((frequencies > 0) == (expected > 0)).all() or expected[expected > 0].min() < 1 / parts
    others = flax_side.choose(jnp.asarray(logits.expand(parts, 31).numpy()), jnp.asarray(uniform.numpy()), **settings)
    np.testing.assert_array_equal(others, drawn)


@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize("shards", ["5GB", "3KB"])
def test_a_folder_of_transformers(base, shards, tmp_path):
    oracle = build(**SMALL)
    checks.unsettle(oracle)
    # OpenAI's weights on the hub are those of the model without its last layer.
    (oracle.transformer if base else oracle).save_pretrained(tmp_path, max_shard_size=shards)
    assert (tmp_path / "model.safetensors").exists() == (shards == "5GB")
    ours, other = torch_from_pretrained(tmp_path), flax_from_pretrained(tmp_path)
    assert ours.lm_head.weight is ours.transformer.wte.weight
    assert other.lm_head.weight is other.transformer.wte.embedding
    received = state_dict(other)
    for name, value in oracle.state_dict().items():
        assert checks.same_bits(ours.state_dict()[name], value), name
        assert received[name].tobytes() == value.numpy().tobytes(), name
    tokens = checks.tokens(2, 9, high=31)
    with torch.no_grad():
        expected = oracle(torch.from_numpy(tokens)).logits
        torch.testing.assert_close(ours(torch.from_numpy(tokens)), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other(jnp.asarray(tokens)), expected, rtol=0, atol=1e-5)


def test_masks_in_old_files_are_left_out():
    oracle = build(**SMALL).transformer
    old = {f"h.{layer}.attn.{name}": torch.ones(1) for layer in range(2) for name in ("bias", "masked_bias")}
    state = {**oracle.state_dict(), **old}
    found = recognize({**SMALL, "model_type": "gpt2"}, state)
    assert {f"transformer.{name}" for name in oracle.state_dict()} | {"lm_head.weight"} == set(
        found.naming.to_canonical(state)
    )
    ours = torch_side.GPT2(found.config)
    ours.load_state_dict(found.naming.to_canonical(state), strict=True)
    for name, value in oracle.state_dict().items():
        assert checks.same_bits(ours.state_dict()[f"transformer.{name}"], value), name
