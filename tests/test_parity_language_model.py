"""Both language models write the same text, and speak alike of tokens that they cannot read."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.architectures import LanguageModelConfig
from einops_arch.errors import EinopsArchError
from einops_arch.flax import language_model as flax_side
from einops_arch.flax.state import load_state_dict, state_dict
from einops_arch.torch import language_model as torch_side

TINY = tuple(name for name in LanguageModelConfig.PRESETS if name.startswith("tiny"))


def _twins(preset):
    """Both models with the same weights, in float64 and eval mode."""
    config = LanguageModelConfig.preset(preset)
    rng = np.random.default_rng(8)
    torch_model = torch_side.LanguageModel(config).double().eval()
    with torch.no_grad():
        for name, parameter in torch_model.named_parameters():
            width = 0.1 if name == "decoder.bias" else 2.0
            parameter.copy_(torch.from_numpy(width * rng.standard_normal(parameter.shape)))
    flax_model = flax_side.LanguageModel(config, rngs=nnx.Rngs(0))
    load_state_dict(flax_model, torch_model.state_dict())
    flax_model.eval()
    return torch_model, flax_model


@pytest.mark.parametrize("preset", TINY)
def test_both_write_the_same_words(preset):
    torch_model, flax_model = _twins(preset)
    prompt = np.random.default_rng(4).integers(0, torch_model.config.vocabulary, (3, 5))

    expected = torch_side.generate(torch_model, torch.from_numpy(prompt), 20)
    words = flax_side.generate(flax_model, jnp.asarray(prompt), 20)

    np.testing.assert_array_equal(words, expected)
    assert words.dtype == prompt.dtype
    assert len(np.unique(words)) > 1, "one word for ever shows nothing"


@pytest.mark.parametrize("preset", ["tiny", "tiny_gru"])
def test_a_state_goes_into_both(preset):
    torch_model, flax_model = _twins(preset)
    rng = np.random.default_rng(4)
    config = torch_model.config
    tokens = rng.integers(0, config.vocabulary, (3, 5))
    parts = [rng.standard_normal((config.layers, 5, config.hidden)) for _ in config.state()]

    def form(arrays):
        return tuple(arrays) if config.cell == "lstm" else arrays[0]

    def arrays(state):
        return state if config.cell == "lstm" else (state,)

    expected, state = torch_model(torch.from_numpy(tokens), form([torch.from_numpy(part) for part in parts]))
    logits, flax_state = flax_model(jnp.asarray(tokens), form([jnp.asarray(part) for part in parts]))

    scale = expected.abs().max().item()
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=0, atol=1e-13 * scale)
    for received, wanted in zip(arrays(flax_state), arrays(state), strict=True):
        np.testing.assert_allclose(received, wanted.detach().numpy(), rtol=1e-13, atol=1e-13)


def test_tied_weights_are_listed_twice_and_shared_once():
    torch_model, flax_model = _twins("tiny_tied")
    state = state_dict(flax_model)
    assert state.keys() == torch_model.state_dict().keys()
    for name, value in torch_model.state_dict().items():
        np.testing.assert_array_equal(state[name], value.numpy(), strict=True)
    assert flax_model.decoder.weight is flax_model.encoder.embedding


@pytest.mark.parametrize(
    "tokens", [np.array([[1, 2], [3, 17]]), np.array([[1, -2], [3, 4]]), np.ones((2, 3)), np.ones(2, int)]
)
def test_both_say_the_same_of_tokens_that_do_not_fit(tokens):
    config = LanguageModelConfig.tiny()
    messages = set()
    for model, array in (
        (torch_side.LanguageModel(config), torch.from_numpy(tokens)),
        (flax_side.LanguageModel(config, rngs=nnx.Rngs(0)), jnp.asarray(tokens)),
    ):
        with pytest.raises(EinopsArchError) as error:
            model(array)
        messages.add(f"{type(error.value).__name__}: {error.value}".replace("torch.float64", "float64"))
    assert len(messages) == 1
