"""GPT-2 in Flax: room for the state, random streams, and tokens that are not known inside of a trace."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch.architectures import GPT2Config
from einops_arch.errors import ConfigError
from einops_arch.flax import state_dict
from einops_arch.flax._build import from_state
from einops_arch.flax.gpt2 import GPT2, generate
from einops_arch.parity import randomize


@pytest.fixture(scope="module")
def model():
    model = GPT2(GPT2Config.tiny(), rngs=nnx.Rngs(0))
    randomize(model)
    return model


TOKENS = np.array([[1, 5, 2, 7], [3, 3, 16, 0]])


def test_a_state_with_room_gives_what_one_without_gives(model):
    model = nnx.view(model, deterministic=True)

    @nnx.jit
    def growing(model, first, second):
        _, state = model.extend(first)
        logits, _ = model.extend(second, state)
        return logits

    @nnx.jit
    def roomy(model, first, second):
        _, carry = model.advance(first, model.begin(2, 9))
        logits, (state, position) = model.advance(second, carry)
        return logits, state, position

    first, second = jnp.asarray(TOKENS[:, :3]), jnp.asarray(TOKENS[:, 3:])
    logits, state, position = roomy(model, first, second)
    np.testing.assert_allclose(logits, growing(model, first, second)[:, -1], rtol=1e-5, atol=1e-6)
    assert position == 4
    assert state[0][0].shape == (2, 2, 9, 5)
    assert not state[0][0][:, :, 4:].any()


def test_drawn_tokens_come_from_the_key_and_dropout_is_off(model):
    prompt = jnp.asarray(TOKENS)

    def draw(seed):
        return np.asarray(generate(model, prompt, 8, temperature=1.0, key=jax.random.key(seed)))

    model.train()
    first = draw(1)
    model.eval()
    np.testing.assert_array_equal(draw(1), first)
    assert (draw(2) != first).any()
    assert first.dtype == TOKENS.dtype
    with pytest.raises(ConfigError) as error:
        generate(model, prompt, 8, temperature=1.0)
    assert str(error.value) == (
        "generate: expected a key for temperature=1.0, received None; likely fix: key=jax.random.key(0)"
    )


def test_a_token_that_is_not_in_the_vocabulary_makes_its_text_nan_inside_of_a_trace(model):
    logits = nnx.jit(lambda model, tokens: model(tokens))(model, jnp.array([[1, 17], [1, 16]]))
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1]).all()


def test_half_precision_keeps_its_dtype(model):
    state = {name: value.astype(jnp.bfloat16) for name, value in state_dict(model).items()}
    half = from_state(model.config, state)
    logits, kept = nnx.jit(lambda model, tokens: model.extend(tokens))(half, jnp.asarray(TOKENS))
    assert logits.dtype == kept[0][0].dtype == jnp.bfloat16
