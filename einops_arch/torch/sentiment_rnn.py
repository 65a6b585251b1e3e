"""SentimentRNN in PyTorch. The Flax twin is `einops_arch/flax/sentiment_rnn.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from einops_arch.architectures._tokens import check_lengths
from einops_arch.architectures.sentiment_rnn import SentimentRNNConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.functional import leaf, rearrange, split_directions
from einops_arch.torch.layers.concrete import is_concrete

__all__ = ["SentimentRNN"]


class SentimentRNN(Pretrained, nn.Module):
    """LSTM sentence classifier for tokens `t b`; gives logits `b o`.

    The linear layer sees the final states of the last layer, `layer direction b h -> layer b (direction h)`.
    With lengths, a sentence ends at its own last word and the other direction begins there; without, padding is
    read as if it were words.

    Args:
        config: sizes; those of the IMDb classifier if left out.

    Raises:
        ShapeError: tokens without two axes or without a time step, or lengths that are not one a sentence.
        DtypeError: tokens or lengths that are not integers.
        IndexRangeError: a token that is not in the vocabulary, or a length that is not from 1 to `t`. On an
            accelerator and under `torch.compile` tokens are left to the device's own check.

    Source: bentrevett/pytorch-sentiment-analysis. The code that this replaces joins the last two states also for
    one direction, where they belong to two layers, and drops the batch axis of a batch of one with `squeeze(0)`.

    >>> model = SentimentRNN(SentimentRNNConfig.imdb())
    >>> tokens = torch.tensor([[11, 12], [13, 14], [15, 1]])
    >>> model(tokens, lengths=torch.tensor([3, 2])).shape
    torch.Size([2, 1])
    """

    def __init__(self, config: SentimentRNNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SentimentRNNConfig()
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=config.padding_index)
        self.rnn = nn.LSTM(
            config.embedding,
            config.hidden,
            num_layers=config.layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout_between,
        )
        self.fc = nn.Linear(config.directions * config.hidden, config.classes)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits `b o`, from tokens `t b` and the number of words `b` of each padded sentence."""
        self.config.check_inputs(tokens, values=is_concrete(tokens))
        embedded = self.dropout(self.embedding(tokens))
        _, (hidden, _) = self.rnn(_packed(embedded, lengths))
        hidden = split_directions(hidden, self.config.directions)
        last = rearrange(hidden, "layer direction b h -> layer b (direction h)")[-1]
        return self.fc(self.dropout(last))


@leaf
def _packed(embedded: Tensor, lengths: Tensor | None) -> Tensor | PackedSequence:
    """Sentences `t b e`, each up to its own last word where there are lengths."""
    if lengths is None:
        return embedded
    # Packing needs them on the CPU wherever the tokens are.
    lengths = lengths.cpu()
    check_lengths(lengths, embedded[..., 0], values=is_concrete(lengths))
    return pack_padded_sequence(embedded, lengths.to(torch.int64), enforce_sorted=False)
