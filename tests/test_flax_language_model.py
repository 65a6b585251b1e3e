"""What only the Flax language model has: tied variables in NNX, traced tokens, generation from keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from einops_arch.architectures import LanguageModelConfig
from einops_arch.errors import ConfigError, IndexRangeError
from einops_arch.flax import TiedLinear
from einops_arch.flax.language_model import LanguageModel, generate


def _model(config, spread=1.0):
    """A model in float64 and eval mode, with weights wide enough that one word leads to another."""
    model = LanguageModel(config, rngs=nnx.Rngs(0))
    model.eval()
    rng = np.random.default_rng(3)
    for path, variable in nnx.iter_graph(model):
        if isinstance(variable, nnx.Param):
            width = 0.1 if path == ("decoder", "bias") else spread
            variable.set_value(jnp.asarray(width * rng.standard_normal(variable.shape)))
    return model


def _tokens(config, t=6, b=3):
    return jnp.asarray(np.random.default_rng(t * b).integers(0, config.vocabulary, (t, b)))


def test_tied_weights_are_one_variable_and_stay_so():
    model = _model(LanguageModelConfig.tiny_tied())
    tokens = _tokens(model.config)
    assert isinstance(model.decoder, TiedLinear)
    assert model.decoder.weight is model.encoder.embedding
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, tokens):
        optimizer.update(model, nnx.grad(lambda model: (model(tokens)[0] ** 2).mean())(model))

    before = model.encoder.embedding[...]
    step(model, optimizer, tokens)

    assert model.decoder.weight is model.encoder.embedding
    assert not (model.encoder.embedding[...] == before).all()
    for copy in (nnx.clone(model), nnx.merge(*nnx.split(model))):
        assert copy.decoder.weight is copy.encoder.embedding
    # Neither is there a second copy of the weights in the state.
    assert sum(leaf.shape == (17, 7) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == 1


def test_the_gradient_of_tied_weights_is_the_sum_of_both_uses():
    embed, decoder = jnp.array([[0.5, -2.0], [1.0, 3.0]]), jnp.array([1.0, -1.0])
    table = nnx.Embed(2, 2, rngs=nnx.Rngs(0))
    table.embedding.set_value(embed)
    layer = TiedLinear(table, rngs=nnx.Rngs(1))
    modules = nnx.Dict(table=table, layer=layer)

    def score(modules):
        return (modules["layer"](modules["table"](jnp.array([1]))) * decoder).sum()

    (gradient,) = [leaf for leaf in jax.tree.leaves(nnx.grad(score)(modules)) if leaf.shape == (2, 2)]

    # d/dE of (e1 . e0) - (e1 . e1): e1 for the first row, e0 - 2 e1 for the second.
    np.testing.assert_allclose(gradient, [embed[1], embed[0] - 2 * embed[1]], rtol=1e-6)


def test_weights_are_tied_to_a_layer_and_not_to_its_table():
    table = nnx.Embed(5, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ConfigError, match=r"expected an nnx.Embed .* received Param"):
        TiedLinear(table.embedding, rngs=nnx.Rngs(1))


def test_a_token_outside_of_the_vocabulary_is_an_error_and_under_jit_nan():
    model = _model(LanguageModelConfig.tiny())
    for token in (17, -1):
        tokens = _tokens(model.config).at[4, 1].set(token)
        with pytest.raises(IndexRangeError, match=f"received {token} at t=4, b=1"):
            model(tokens)
        logits, _ = nnx.jit(lambda model, tokens: model(tokens))(model, tokens)
        # From there on, and in its sentence only.
        wrong = np.zeros((6, 3), bool)
        wrong[4:, 1] = True
        np.testing.assert_array_equal(np.isnan(logits).all(-1), wrong)
        np.testing.assert_array_equal(np.isnan(logits).any(-1), wrong)


def test_the_first_state_has_the_dtype_of_the_weights():
    assert [part.dtype for part in _model(LanguageModelConfig.tiny()).init_state(2)] == [jnp.float64] * 2
    assert LanguageModel(LanguageModelConfig.tiny_gru(), rngs=nnx.Rngs(0)).init_state(2).dtype == jnp.float32


def test_generation_is_without_dropout_and_leaves_the_mode_alone():
    model = _model(LanguageModelConfig.tiny())
    prompt = _tokens(model.config)
    expected = generate(model, prompt, 5)
    model.train()

    words = generate(model, prompt, 5)

    np.testing.assert_array_equal(words, expected)
    assert not model.drop.deterministic
    assert not model.rnn.deterministic
    assert not (model(prompt)[0] == model(prompt)[0]).all()


def test_drawn_words_come_from_the_key():
    model = _model(LanguageModelConfig.tiny(), spread=0.5)
    prompt = _tokens(model.config)

    def draw(seed):
        return np.asarray(generate(model, prompt, 5, temperature=1.0, key=jax.random.key(seed)))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_drawn_words_are_as_frequent_as_the_model_says():
    model = _model(LanguageModelConfig.tiny(), spread=0.5)
    temperature, top_k, draws = 2.0, 4, 20_000
    prompt = jnp.array([[4], [2]])
    expected = np.array(jax.nn.softmax(model(prompt)[0][-1, 0] / temperature))
    expected[np.argsort(expected)[:-top_k]] = 0
    expected /= expected.sum()

    words = generate(
        model,
        jnp.broadcast_to(prompt, (2, draws)),
        2,
        temperature=temperature,
        top_k=top_k,
        key=jax.random.key(0),
    )

    frequencies = np.bincount(words[0], minlength=17) / draws
    # Five standard deviations of a frequency.
    assert (abs(frequencies - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws)).all()
    # Each step draws anew.
    assert (words[0] != words[1]).any()


def test_the_sharpest_draw_is_the_greedy_word():
    model = _model(LanguageModelConfig.tiny())
    prompt = _tokens(model.config)
    drawn = generate(model, prompt, 5, key=jax.random.key(0), temperature=1e-30)
    np.testing.assert_array_equal(drawn, generate(model, prompt, 5))


def test_drawing_needs_a_key():
    model = LanguageModel(LanguageModelConfig.tiny(), rngs=nnx.Rngs(0))
    with pytest.raises(ConfigError) as error:
        generate(model, jnp.zeros((2, 3), int), 2, temperature=0.7)
    assert str(error.value) == (
        "generate: expected a key for temperature=0.7, received None; likely fix: key=jax.random.key(0)"
    )


def test_tokens_that_a_traced_function_closes_over_are_checked_all_the_same():
    """Inside of a trace the methods of a concrete array are traced; the check has to look past them."""
    model = LanguageModel(LanguageModelConfig.tiny(), rngs=nnx.Rngs(0))
    tokens, negative = jnp.zeros((3, 2), int), jnp.full((3, 2), -1)
    logits, _ = nnx.jit(lambda model: model(tokens))(model)
    assert logits.shape[:2] == (3, 2)
    with pytest.raises(IndexRangeError, match=r"tokens: expected integers from 0 to"):
        nnx.jit(lambda model: model(negative))(model)
