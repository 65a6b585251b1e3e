"""The language model against the plain PyTorch network that it replaces, and what it generates."""

from __future__ import annotations

import copy

import pytest
import torch
from oracle_language_model import OldLanguageModel
from torch import nn

from einops_arch.architectures import LanguageModelConfig
from einops_arch.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from einops_arch.torch.language_model import LanguageModel, generate

TINY = tuple(name for name in LanguageModelConfig.PRESETS if name.startswith("tiny"))
RECURRENT = {
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "rnn_tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
}


def _model(config, spread=1.0):
    """A model in float64 and eval mode, with weights wide enough that one word leads to another."""
    torch.manual_seed(3)
    model = LanguageModel(config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # A large bias of the decoder would repeat one word for ever.
            parameter.copy_((0.1 if name == "decoder.bias" else spread) * torch.randn_like(parameter))
    return model


def _tokens(config, t=6, b=3):
    return torch.randint(config.vocabulary, (t, b), generator=torch.Generator().manual_seed(t * b))


def _parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("cell", LanguageModelConfig.CELLS)
def test_the_old_network_gives_the_same_logits_and_state(cell, layers):
    config = LanguageModelConfig(vocabulary=17, embedding=5, hidden=7, layers=layers, dropout=0.5, cell=cell)
    recurrent, options = RECURRENT[cell]
    new = _model(config)
    old = OldLanguageModel(17, 5, 7, layers, recurrent=recurrent, **options).double().eval()
    old.load_state_dict(new.state_dict())

    old_state = new_state = new.init_state(3)
    for t in (4, 1):  # the state goes in and out again
        tokens = _tokens(config, t=t)
        expected, old_state = old(tokens, old_state)
        logits, new_state = new(tokens, new_state)
        assert logits.shape == (t, 3, 17)
        torch.testing.assert_close(logits, expected, rtol=1e-13, atol=1e-13)
        for received, wanted in zip(_parts(new_state), _parts(old_state), strict=True):
            torch.testing.assert_close(received, wanted, rtol=1e-13, atol=1e-13)


def test_dropout_falls_where_the_old_network_has_it():
    config = LanguageModelConfig.tiny()
    new = _model(config).train()
    old = OldLanguageModel(17, 5, 7, 2).double()
    old.load_state_dict(new.state_dict())
    tokens = _tokens(config)

    torch.manual_seed(11)
    expected, _ = old(tokens, None)
    torch.manual_seed(11)
    logits, _ = new(tokens)

    torch.testing.assert_close(logits, expected, rtol=1e-13, atol=1e-13)
    assert not torch.equal(logits, new(tokens)[0])


@pytest.mark.parametrize("preset", TINY)
def test_a_text_in_two_parts_with_the_state_between_them_is_the_text(preset):
    config = LanguageModelConfig.preset(preset)
    model = _model(config)
    tokens = _tokens(config)
    whole, end = model(tokens)

    first, state = model(tokens[:2], model.init_state(3))
    second, state = model(tokens[2:], state)

    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-13, atol=1e-13)
    assert len(_parts(end)) == len(config.state())
    for received, wanted in zip(_parts(state), _parts(end), strict=True):
        torch.testing.assert_close(received, wanted, rtol=1e-13, atol=1e-13)
    # The state matters: without it the second part is another one.
    assert (model(tokens[2:])[0] - second).abs().max() > 1e-3


def test_the_first_state_has_the_dtype_of_the_weights():
    assert [part.dtype for part in _model(LanguageModelConfig.tiny()).init_state(2)] == [torch.float64] * 2
    assert LanguageModel(LanguageModelConfig.tiny_gru()).init_state(2).dtype == torch.float32


def test_tied_weights_are_one_parameter():
    config = LanguageModelConfig.tiny_tied()
    model = copy.deepcopy(_model(config))
    assert model.decoder.weight is model.encoder.weight
    assert {"encoder.weight", "decoder.weight"} <= model.state_dict().keys()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(_tokens(config))[0].square().mean().backward()
    before = model.encoder.weight.detach().clone()
    optimizer.step()

    assert not torch.equal(model.encoder.weight, before)
    assert torch.equal(model.decoder.weight, model.encoder.weight)


def test_weights_that_are_not_tied_are_two_parameters():
    config = LanguageModelConfig(vocabulary=17, embedding=7, hidden=7, tied=False)
    model = LanguageModel(config)
    assert model.decoder.weight is not model.encoder.weight


@pytest.mark.parametrize(("preset", "parameters"), [("medium", 19_780_400), ("large", 66_034_000)])
def test_published_sizes(preset, parameters):
    with torch.device("meta"):
        model = LanguageModel(LanguageModelConfig.preset(preset))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_a_compiled_model_gives_the_same():
    config = LanguageModelConfig.tiny()
    model = _model(config)
    tokens = _tokens(config)
    compiled = torch.compile(model, backend="eager")
    # With gradients, torch itself warns where it breaks the graph at its LSTM.
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens)[0], model(tokens)[0], rtol=1e-13, atol=1e-13)
        # There our check is left out, and PyTorch's own speaks.
        with pytest.raises(IndexError, match="index out of range in self"):
            compiled(tokens + config.vocabulary)


# Generation


@pytest.mark.parametrize("preset", TINY)
def test_greedy_words_are_those_of_the_whole_text_read_again_and_again(preset):
    config = LanguageModelConfig.preset(preset)
    model = _model(config, spread=2.0)
    text = prompt = _tokens(config, t=2)
    for _ in range(7):
        text = torch.cat([text, model(text)[0][-1:].argmax(-1)])

    words = generate(model, prompt, steps=7)

    assert torch.equal(words, text[2:])
    assert len(words[:, 0].unique()) > 1, "one word for ever shows nothing"


def test_generation_goes_on_from_a_state():
    model = _model(LanguageModelConfig.tiny())
    prompt = _tokens(model.config)
    _, state = model(prompt[:4])
    assert torch.equal(generate(model, prompt[4:], 5, state=state), generate(model, prompt, 5))


def test_generation_is_without_dropout_and_leaves_each_mode_alone():
    model = _model(LanguageModelConfig.tiny())
    prompt = _tokens(model.config)
    expected = generate(model, prompt, 5)
    model.train()
    model.encoder.eval()

    words = generate(model, prompt, 5)

    assert torch.equal(words, expected)
    assert (model.training, model.encoder.training, model.drop.training) == (True, False, True)


def test_drawn_words_come_from_the_generator():
    model = _model(LanguageModelConfig.tiny(), spread=0.5)
    prompt = _tokens(model.config)

    def draw(seed):
        return generate(model, prompt, 8, temperature=1.0, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (2.0, 4)])
def test_drawn_words_are_as_frequent_as_the_model_says(temperature, top_k):
    config = LanguageModelConfig.tiny()
    model = _model(config, spread=0.5)
    draws = 20_000
    logits = model(torch.tensor([[4], [2]]))[0][-1, 0] / temperature
    expected = logits.softmax(-1)
    if top_k is not None:
        kept = expected.argsort(descending=True)[:top_k]
        expected = torch.zeros_like(expected).index_copy(0, kept, expected[kept] / expected[kept].sum())

    words = generate(
        model,
        torch.tensor([[4], [2]]).expand(2, draws),
        1,
        temperature=temperature,
        top_k=top_k,
        generator=torch.Generator().manual_seed(0),
    )

    frequencies = torch.bincount(words[0], minlength=config.vocabulary) / draws
    # Five standard deviations of a frequency.
    assert ((frequencies - expected).abs() <= 5 * (expected * (1 - expected) / draws).sqrt()).all()


@pytest.mark.parametrize("settings", [{"temperature": 1e-30}, {"temperature": 1.0, "top_k": 1}])
def test_the_sharpest_draw_is_the_greedy_word(settings):
    model = _model(LanguageModelConfig.tiny())
    prompt = _tokens(model.config)
    assert torch.equal(generate(model, prompt, 5, **settings), generate(model, prompt, 5))


# Errors, on whole messages


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"cell": "LSTM"},
            (
                "LanguageModelConfig: cell needs 'lstm', 'gru', 'rnn_tanh' or 'rnn_relu', received 'LSTM'; "
                "likely fix: cell='lstm'"
            ),
        ),
        ({"layers": 0}, "LanguageModelConfig: layers needs a whole number of at least 1, received 0"),
        ({"dropout": 1.0}, "LanguageModelConfig: dropout needs a number in [0, 1), received 1.0"),
        ({"tied": 1}, "LanguageModelConfig: tied needs True or False, received 1"),
        (
            {"tied": True, "embedding": 5, "hidden": 7},
            (
                "LanguageModelConfig: tied weights need embedding equal to hidden, received embedding=5, hidden=7; "
                "likely fix: embedding=7, or tied=False"
            ),
        ),
    ],
)
def test_configs_check_themselves(fields, message):
    with pytest.raises(ConfigError) as error:
        LanguageModelConfig(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("tokens", "kind", "message"),
    [
        (
            torch.zeros(4, 3),
            DtypeError,
            "tokens: expected integer indices of axes 't b', received dtype torch.float32",
        ),
        (
            torch.zeros(4, dtype=torch.int64),
            ShapeError,
            "tokens: expected axes 't b' with t>=1, received 1 axes in shape (4,)",
        ),
        (
            torch.zeros(0, 3, dtype=torch.int64),
            ShapeError,
            "tokens: expected axes 't b' with t>=1, received t=0 in shape (0, 3)",
        ),
        (
            torch.tensor([[0, 16], [17, 1], [40, 2]]),
            IndexRangeError,
            (
                "tokens: expected integers from 0 to 16, received 40 at t=2, b=0; "
                "likely fix: give the unknown words an index of the vocabulary"
            ),
        ),
        (
            torch.tensor([[0, 16], [3, -1]], dtype=torch.int32),
            IndexRangeError,
            (
                "tokens: expected integers from 0 to 16, received -1 at t=1, b=1; "
                "likely fix: give the unknown words an index of the vocabulary"
            ),
        ),
    ],
)
def test_tokens_that_do_not_fit(tokens, kind, message):
    model = LanguageModel(LanguageModelConfig.tiny())
    for call in (model, lambda tokens: generate(model, tokens, 2)):
        with pytest.raises(kind) as error:
            call(tokens)
        assert str(error.value) == message


def test_an_empty_batch_is_no_error():
    logits, (hidden, _) = LanguageModel(LanguageModelConfig.tiny())(torch.zeros(4, 0, dtype=torch.int64))
    assert (logits.shape, hidden.shape) == ((4, 0, 17), (2, 0, 7))


@pytest.mark.parametrize(
    ("preset", "state", "message"),
    [
        (
            "tiny",
            torch.zeros(2, 3, 7),
            "state: expected a pair (hidden, cell), each of axes 'layer b h' for cell='lstm', received one array",
        ),
        (
            "tiny",
            (torch.zeros(2, 3, 7),),
            "state: expected a pair (hidden, cell), each of axes 'layer b h' for cell='lstm', received a tuple of 1",
        ),
        (
            "tiny_gru",
            (torch.zeros(2, 3, 5), torch.zeros(2, 3, 5)),
            "state: expected one array of axes 'layer b h' for cell='gru', received a tuple of 2",
        ),
        (
            "tiny",
            (torch.zeros(2, 3, 7), torch.zeros(2, 4, 7)),
            "cell: expected axes 'layer b h' with layer=2, h=7, b=3, received b=4 in shape (2, 4, 7)",
        ),
    ],
)
def test_states_that_do_not_fit(preset, state, message):
    model = LanguageModel(LanguageModelConfig.preset(preset))
    with pytest.raises(ShapeError) as error:
        model(torch.zeros(2, 3, dtype=torch.int64), state)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "generate: steps needs a whole number of at least 1, received 0"),
        ({"temperature": -1.0}, "generate: temperature needs a number of at least 0, received -1.0"),
        ({"temperature": float("nan")}, "generate: temperature needs a number of at least 0, received nan"),
        ({"top_k": 18}, "generate: top_k needs a whole number from 1 to 17, received 18"),
    ],
)
def test_settings_of_generation_that_do_not_fit(settings, message):
    model = LanguageModel(LanguageModelConfig.tiny())
    with pytest.raises(ConfigError) as error:
        generate(model, torch.zeros(2, 3, dtype=torch.int64), **{"steps": 2, **settings})
    assert str(error.value) == message
