"""Both language models write the same text, and speak alike of tokens that they cannot read."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.architectures import LanguageModelConfig
from einops_arch.checkpoints import save_pretrained
from einops_arch.cli.app import run
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


@pytest.mark.parametrize(
    ("preset", "settings"),
    [("tiny", {"top_k": 5}), ("tiny_gru", {"top_p": 0.8}), ("tiny_rnn", {"top_k": 9, "top_p": 0.9})],
)
def test_both_draw_the_same_words_with_the_same_numbers(preset, settings):
    torch_model, flax_model = _twins(preset)
    rng = np.random.default_rng(4)
    prompt = rng.integers(0, torch_model.config.vocabulary, (3, 5))
    uniform = rng.random((20, 5))
    settings = {**settings, "temperature": 1.7}

    def draw(first, numbers):
        words = torch_side.generate(
            torch_model, torch.from_numpy(first), len(numbers), uniform=torch.from_numpy(numbers), **settings
        )
        twins = flax_side.generate(
            flax_model, jnp.asarray(first), len(numbers), uniform=jnp.asarray(numbers), **settings
        )
        np.testing.assert_array_equal(twins, words)
        return words.numpy()

    words = draw(prompt, uniform)
    assert words.shape == (20, 5)
    # Each text is drawn with its own column of the numbers.
    np.testing.assert_array_equal(draw(prompt[:, ::-1].copy(), uniform[:, ::-1].copy()), words[:, ::-1])
    assert (draw(prompt, 1 - uniform) != words).any()


def test_a_text_is_continued_from_a_state_with_the_same_words():
    torch_model, flax_model = _twins("tiny")
    prompt = np.random.default_rng(4).integers(0, torch_model.config.vocabulary, (6, 5))
    expected = torch_side.generate(torch_model, torch.from_numpy(prompt), 8)
    _, state = torch_model.extend(torch.from_numpy(prompt[:4]))
    words = torch_side.generate(torch_model, torch.from_numpy(prompt[4:]), 8, state=state)
    np.testing.assert_array_equal(words, expected)
    _, state = flax_model.extend(jnp.asarray(prompt[:4]))
    words = flax_side.generate(flax_model, jnp.asarray(prompt[4:]), 8, state=state)
    np.testing.assert_array_equal(words, expected)


def test_the_command_continues_a_saved_model_in_both_frameworks(tmp_path, capsys):
    torch_model, _ = _twins("tiny_gru")
    save_pretrained(torch_model.float(), tmp_path / "saved")
    arguments = ["generate", "--checkpoint", str(tmp_path / "saved"), "--prompt-tokens", "5 1 3", "--steps", "9"]
    answers = []
    for framework in ("torch", "flax"):
        assert run([*arguments, "--temperature", "1.3", "--seed", "2", "--framework", framework]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    assert len(answers[0].split()) == 9
    assert run([*arguments, "--json"]) == 0
    greedy = torch_side.generate(torch_model, torch.tensor([[5], [1], [3]]), 9)[:, 0].tolist()
    assert json.loads(capsys.readouterr().out)["tokens"] == greedy


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
