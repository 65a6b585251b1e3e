"""LanguageModel in Flax. The PyTorch twin is `einops_arch/torch/language_model.py`."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.language_model import LanguageModelConfig
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.generation import generate
from einops_arch.flax.layers import GRU, LSTM, RNN, Dropout, Embed, Linear, TiedLinear
from einops_arch.functional import flatten_sequence, unflatten_sequence

__all__ = ["LanguageModel", "generate"]

State: TypeAlias = Array | tuple[Array, Array]

_CELLS: dict[str, Any] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn_tanh": partial(RNN, nonlinearity="tanh"),
    "rnn_relu": partial(RNN, nonlinearity="relu"),
}


class LanguageModel(Pretrained, nnx.Module):
    """Recurrent language model for tokens `t b`; gives logits `t b token` and the state after the last token.

    The state is PyTorch's: `(hidden, cell)` for LSTM and `hidden` for the other cells, each `layer b h`. Given
    back with the next tokens it continues the text; left out it is zero, see `init_state`.
    The decoder looks at each position by itself: `t b h -> (t b) h` before it, the same read backwards after it.

    Args:
        config: sizes; those of the medium model of Zaremba et al. if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: tokens without two axes or without a time step, or a state of another form or size.
        DtypeError: tokens that are not integers.
        IndexRangeError: a token that is not in the vocabulary. Under `jax.jit` there are no values to check; there
            such a token gives NaN.

    Source: the word language model of pytorch/examples, whose names these are. Its log-softmax is left to the
    loss, and the initial values are PyTorch's. The code that this replaces passed sizes by index to two `view`s.

    >>> model = LanguageModel(LanguageModelConfig.tiny(), rngs=nnx.Rngs(0))
    >>> logits, (hidden, cell) = model(jnp.array([[1, 2, 3], [4, 5, 6]]))
    >>> logits.shape, hidden.shape
    ((2, 3, 17), (2, 3, 7))
    """

    def __init__(
        self,
        config: LanguageModelConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or LanguageModelConfig()
        self.drop = Dropout(config.dropout, rngs=rngs)
        self.encoder = Embed(config.vocabulary, config.embedding, rngs=rngs)
        self.rnn = _CELLS[config.cell](
            config.embedding, config.hidden, num_layers=config.layers, dropout=config.dropout_between, rngs=rngs
        )
        if config.tied:
            self.decoder = TiedLinear(self.encoder, rngs=rngs)
        else:
            self.decoder = Linear(config.hidden, config.vocabulary, rngs=rngs)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        """Logits `t b token` for the word after each token, and the state after the last one."""
        self.config.check_inputs(tokens, values=is_concrete(tokens))
        t, b = tokens.shape
        if state is not None:
            self.config.check_state(state, batch=b)
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        output = flatten_sequence(self.drop(output))
        return unflatten_sequence(self.decoder(output), t=t, b=b), state

    def extend(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        """Read tokens `t b` after those that a state holds: the call, by the name that it has in `GPT2`."""
        return self(tokens, state)

    def init_state(self, batch: int) -> State:
        """The state before the first token: zeros, with the dtype that is computed in."""
        shape = (self.config.layers, batch, self.config.hidden)
        zeros = tuple(jnp.zeros(shape, self.encoder.dtype or self.encoder.embedding.dtype) for _ in self.config.state())
        return zeros if len(zeros) > 1 else zeros[0]

    def begin(self, batch: int, more: int, state: State | None = None) -> State:
        """What `advance` carries: the state, which is as large after any number of tokens more."""
        return self.init_state(batch) if state is None else state

    def advance(self, tokens: Array, carry: State) -> tuple[Array, State]:
        """Read the next tokens `t b`: the logits `b token` after the last, and what is carried on."""
        logits, state = self(tokens, carry)
        return logits[-1], state
