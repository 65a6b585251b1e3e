"""The sentence classifier against the plain PyTorch network that it replaces, also where that one is wrong."""

from __future__ import annotations

import pytest
import torch
from oracle_sentiment_rnn import OldSentimentRNN

from einops_arch.architectures import SentimentRNNConfig
from einops_arch.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from einops_arch.torch.sentiment_rnn import SentimentRNN

LENGTHS = torch.tensor([2, 6, 1, 4])


def _config(**fields):
    return SentimentRNNConfig(
        **{"vocabulary": 13, "embedding": 7, "hidden": 5, "classes": 3, "padding_index": None, **fields}
    )


def _pair(config):
    """The old and the new network with the same weights, in float64 and eval mode."""
    torch.manual_seed(5)
    old = OldSentimentRNN(
        config.vocabulary,
        config.embedding,
        config.hidden,
        config.classes,
        config.layers,
        config.bidirectional,
        config.dropout,
    )
    new = SentimentRNN(config)
    if config.bidirectional:
        new.load_state_dict(old.state_dict())
    return old.double().eval(), new.double().eval()


def _tokens(t=6, b=4):
    return torch.randint(13, (t, b), generator=torch.Generator().manual_seed(t * b))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_old_network_gives_the_same_logits(layers):
    old, new = _pair(_config(layers=layers))
    logits = new(_tokens())
    assert logits.shape == (4, 3)
    torch.testing.assert_close(logits, old(_tokens()), rtol=1e-13, atol=1e-13)


def test_dropout_falls_where_the_old_network_has_it():
    old, new = _pair(_config())
    old.train()
    new.train()
    torch.manual_seed(11)
    expected = old(_tokens())
    torch.manual_seed(11)
    logits = new(_tokens())
    torch.testing.assert_close(logits, expected, rtol=1e-13, atol=1e-13)
    assert not torch.equal(logits, new(_tokens()))


def test_the_old_network_loses_the_batch_axis_of_a_batch_of_one():
    old, new = _pair(_config())
    tokens = _tokens(b=1)
    assert old(tokens).shape == (3,)
    assert new(tokens).shape == (1, 3)
    torch.testing.assert_close(new(tokens)[0], old(tokens), rtol=1e-13, atol=1e-13)


def test_the_old_network_fails_for_one_direction_and_one_layer():
    old, new = _pair(_config(layers=1, bidirectional=False))
    with pytest.raises(IndexError, match="index -2 is out of bounds"):
        old(_tokens())
    assert new.fc.in_features == 5
    assert new(_tokens()).shape == (4, 3)


def test_the_old_network_joins_two_layers_where_there_is_one_direction():
    old, new = _pair(_config(layers=2, bidirectional=False))
    tokens = _tokens()
    # Without an error, the old output changes with the final state of the first layer.
    output, (hidden, _) = old.rnn(old.embedding(tokens))
    joined = torch.cat([hidden[0], hidden[1]], dim=1)
    torch.testing.assert_close(old(tokens), old.fc(joined), rtol=1e-13, atol=1e-13)

    output, _ = new.rnn(new.embedding(tokens))
    torch.testing.assert_close(new(tokens), new.fc(output[-1]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_lengths_change_nothing_where_nothing_is_padded(bidirectional):
    _, new = _pair(_config(bidirectional=bidirectional))
    full = torch.full((4,), 6)
    torch.testing.assert_close(new(_tokens(), full), new(_tokens()), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_padded_sentence_counts_as_it_does_alone(bidirectional, layers):
    old, new = _pair(_config(bidirectional=bidirectional, layers=layers))
    tokens = _tokens()
    logits = new(tokens, LENGTHS)
    for sentence, length in enumerate(LENGTHS):
        alone = tokens[:length, sentence : sentence + 1]
        torch.testing.assert_close(logits[sentence], new(alone)[0], rtol=1e-13, atol=1e-13)
        if bidirectional:
            torch.testing.assert_close(logits[sentence], old(alone), rtol=1e-13, atol=1e-13)
    # The old network, and the new one without lengths, read the padding as words.
    short = LENGTHS < 6
    assert ((new(tokens) - logits)[short].abs().amax(dim=1) > 1e-4).all()


def test_what_stands_in_the_padding_does_not_matter():
    _, new = _pair(_config())
    tokens = _tokens()
    padding = torch.arange(6)[:, None] >= LENGTHS
    other = tokens.masked_fill(padding, 9)
    assert not torch.equal(other, tokens)
    assert torch.equal(new(other, LENGTHS), new(tokens, LENGTHS))


def test_lengths_may_have_any_integer_dtype():
    _, new = _pair(_config())
    assert torch.equal(new(_tokens(), LENGTHS.int()), new(_tokens(), LENGTHS))


def test_the_padding_word_is_zero_and_gets_no_gradient():
    model = SentimentRNN(SentimentRNNConfig.tiny_unidirectional())
    model(torch.tensor([[1, 2], [3, 3]])).sum().backward()
    rows = model.embedding.weight.grad.abs().sum(dim=1).nonzero()[:, 0]
    assert model.embedding.weight[3].eq(0).all()
    assert rows.tolist() == [1, 2]


def test_the_published_size():
    with torch.device("meta"):
        model = SentimentRNN(SentimentRNNConfig.imdb())
    # The number that the published notebook prints.
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_810_857


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": 0}, "SentimentRNNConfig: hidden needs a whole number of at least 1, received 0"),
        ({"bidirectional": 2}, "SentimentRNNConfig: bidirectional needs True or False, received 2"),
        (
            {"vocabulary": 13, "padding_index": 13},
            "SentimentRNNConfig: padding_index needs a whole number from 0 to 12, received 13",
        ),
    ],
)
def test_configs_check_themselves(fields, message):
    with pytest.raises(ConfigError) as error:
        SentimentRNNConfig(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("tokens", "lengths", "kind", "message"),
    [
        (
            torch.tensor([[1, 13]]),
            None,
            IndexRangeError,
            (
                "tokens: expected integers from 0 to 12, received 13 at t=0, b=1; "
                "likely fix: give the unknown words an index of the vocabulary"
            ),
        ),
        (
            torch.zeros(2, 3, 1, dtype=torch.int64),
            None,
            ShapeError,
            "tokens: expected axes 't b' with t>=1, received 3 axes in shape (2, 3, 1)",
        ),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            torch.tensor([1, 2, 3]),
            ShapeError,
            "lengths: expected axes 'b' with b=2, received b=3 in shape (3,)",
        ),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            torch.tensor([1.0, 2.0]),
            DtypeError,
            "lengths: expected integer indices of axes 'b', received dtype torch.float32",
        ),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            torch.tensor([3, 0]),
            IndexRangeError,
            (
                "lengths: expected integers from 1 to 3, received 0 at b=1; "
                "likely fix: leave out sentences without words, or pad the tokens to the longest sentence"
            ),
        ),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            torch.tensor([4, 1]),
            IndexRangeError,
            (
                "lengths: expected integers from 1 to 3, received 4 at b=0; "
                "likely fix: leave out sentences without words, or pad the tokens to the longest sentence"
            ),
        ),
    ],
)
def test_inputs_that_do_not_fit(tokens, lengths, kind, message):
    with pytest.raises(kind) as error:
        SentimentRNN(SentimentRNNConfig.tiny())(tokens, lengths)
    assert str(error.value) == message
