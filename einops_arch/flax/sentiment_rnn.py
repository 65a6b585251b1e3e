"""SentimentRNN in Flax. The PyTorch twin is `einops_arch/torch/sentiment_rnn.py`."""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.architectures._tokens import check_lengths
from einops_arch.architectures.sentiment_rnn import SentimentRNNConfig
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import LSTM, Dropout, Embed, Linear
from einops_arch.functional import split_directions

__all__ = ["SentimentRNN"]


class SentimentRNN(Pretrained, nnx.Module):
    """LSTM sentence classifier for tokens `t b`; gives logits `b o`.

    The linear layer sees the final states of the last layer, `layer direction b h -> layer b (direction h)`.
    With lengths, a sentence ends at its own last word and the other direction begins there; without, padding is
    read as if it were words.

    Args:
        config: sizes; those of the IMDb classifier if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: tokens without two axes or without a time step, or lengths that are not one a sentence.
        DtypeError: tokens or lengths that are not integers.
        IndexRangeError: a token that is not in the vocabulary, or a length that is not from 1 to `t`. Under
            `jax.jit` there are no values to check; there such a token gives NaN.

    Source: bentrevett/pytorch-sentiment-analysis. The code that this replaces joins the last two states also for
    one direction, where they belong to two layers, and drops the batch axis of a batch of one with `squeeze(0)`.

    >>> import jax.numpy as jnp
    >>> model = SentimentRNN(SentimentRNNConfig.imdb(), rngs=nnx.Rngs(0))
    >>> tokens = jnp.array([[11, 12], [13, 14], [15, 1]])
    >>> model(tokens, lengths=jnp.array([3, 2])).shape
    (2, 1)
    """

    def __init__(
        self,
        config: SentimentRNNConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or SentimentRNNConfig()
        self.embedding = Embed(config.vocabulary, config.embedding, padding_idx=config.padding_index, rngs=rngs)
        self.rnn = LSTM(
            config.embedding,
            config.hidden,
            num_layers=config.layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout_between,
            rngs=rngs,
        )
        self.fc = Linear(config.directions * config.hidden, config.classes, rngs=rngs)
        self.dropout = Dropout(config.dropout, rngs=rngs)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, tokens: Array, lengths: Array | None = None) -> Array:
        """Logits `b o`, from tokens `t b` and the number of words `b` of each padded sentence."""
        self.config.check_inputs(tokens, values=is_concrete(tokens))
        embedded = self.dropout(self.embedding(tokens))
        if lengths is not None:
            check_lengths(lengths, tokens, values=is_concrete(lengths))
        _, (hidden, _) = self.rnn(embedded, lengths=lengths)
        hidden = split_directions(hidden, self.config.directions)
        last = rearrange(hidden, "layer direction b h -> layer b (direction h)")[-1]
        return self.fc(self.dropout(last))
