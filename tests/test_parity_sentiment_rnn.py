"""Both sentence classifiers agree on padded sentences, gradients included, and on what they refuse."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.architectures import SentimentRNNConfig
from einops_arch.errors import EinopsArchError
from einops_arch.flax.sentiment_rnn import SentimentRNN as FlaxSentimentRNN
from einops_arch.flax.state import load_state_dict, state_dict
from einops_arch.torch.sentiment_rnn import SentimentRNN as TorchSentimentRNN

LENGTHS = np.array([2, 6, 1, 4])


def _twins(preset):
    """Both models with the same weights, in float64 and eval mode."""
    config = SentimentRNNConfig.preset(preset)
    torch.manual_seed(6)
    torch_model = TorchSentimentRNN(config).double().eval()
    flax_model = FlaxSentimentRNN(config, rngs=nnx.Rngs(0))
    load_state_dict(flax_model, torch_model.state_dict())
    flax_model.eval()
    return torch_model, flax_model


def _tokens(config):
    tokens = np.random.default_rng(9).integers(0, config.vocabulary, (6, 4))
    if config.padding_index is not None:
        tokens = np.where(np.arange(6)[:, None] < LENGTHS, tokens, config.padding_index)
    return tokens


@pytest.mark.parametrize("preset", ["tiny", "tiny_unidirectional"])
def test_padded_sentences_and_their_gradients(preset):
    torch_model, flax_model = _twins(preset)
    tokens = _tokens(torch_model.config)

    expected = torch_model(torch.from_numpy(tokens), torch.from_numpy(LENGTHS))
    expected.square().sum().backward()

    @nnx.jit
    def run(model, tokens, lengths):
        def loss(model):
            logits = model(tokens, lengths)
            return (logits**2).sum(), logits

        (_, logits), gradients = nnx.value_and_grad(loss, has_aux=True)(model)
        return logits, gradients

    # Under jit the lengths have no values to look at.
    logits, gradients = run(flax_model, jnp.asarray(tokens), jnp.asarray(LENGTHS))
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-13, atol=1e-13)
    nnx.update(flax_model, gradients)  # to have them in PyTorch's names and layout
    received = state_dict(flax_model)
    for name, parameter in torch_model.named_parameters():
        np.testing.assert_allclose(received[name], parameter.grad.numpy(), rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("lengths", [np.array([3, 0]), np.array([4, 1]), np.array([1, 2, 3]), np.array([1.0, 2.0])])
def test_both_say_the_same_of_lengths_that_do_not_fit(lengths):
    config = SentimentRNNConfig.tiny()
    tokens = np.zeros((3, 2), int)
    messages = set()
    for model, convert in (
        (TorchSentimentRNN(config), torch.from_numpy),
        (FlaxSentimentRNN(config, rngs=nnx.Rngs(0)), jnp.asarray),
    ):
        with pytest.raises(EinopsArchError) as error:
            model(convert(tokens), convert(lengths))
        messages.add(f"{type(error.value).__name__}: {error.value}".replace("torch.float64", "float64"))
    assert len(messages) == 1
