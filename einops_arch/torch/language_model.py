"""LanguageModel in PyTorch. The Flax twin is `einops_arch/flax/language_model.py`."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn

from einops_arch.architectures.language_model import LanguageModelConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.functional import flatten_sequence, unflatten_sequence
from einops_arch.torch.generation import generate
from einops_arch.torch.layers.concrete import is_concrete

__all__ = ["LanguageModel", "generate"]

State: TypeAlias = Tensor | tuple[Tensor, Tensor]

_CELLS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": partial(nn.RNN, nonlinearity="tanh"),
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
}


class LanguageModel(Pretrained, nn.Module):
    """Recurrent language model for tokens `t b`; gives logits `t b token` and the state after the last token.

    The state is PyTorch's: `(hidden, cell)` for LSTM and `hidden` for the other cells, each `layer b h`. Given
    back with the next tokens it continues the text; left out it is zero, see `init_state`.
    The decoder looks at each position by itself: `t b h -> (t b) h` before it, the same read backwards after it.

    Args:
        config: sizes; those of the medium model of Zaremba et al. if left out.

    Raises:
        ShapeError: tokens without two axes or without a time step, or a state of another form or size.
        DtypeError: tokens that are not integers.
        IndexRangeError: a token that is not in the vocabulary. On an accelerator and under `torch.compile` it
            is left to the device's own check.

    Source: the word language model of pytorch/examples, whose names these are. Its log-softmax is left to the
    loss, and the initial values are PyTorch's. The code that this replaces passed sizes by index to two `view`s.

    >>> import torch
    >>> model = LanguageModel(LanguageModelConfig.tiny())
    >>> logits, (hidden, cell) = model(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    >>> logits.shape, hidden.shape
    (torch.Size([2, 3, 17]), torch.Size([2, 3, 7]))
    """

    def __init__(self, config: LanguageModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LanguageModelConfig()
        self.drop = nn.Dropout(config.dropout)
        self.encoder = nn.Embedding(config.vocabulary, config.embedding)
        self.rnn = _CELLS[config.cell](
            config.embedding, config.hidden, num_layers=config.layers, dropout=config.dropout_between
        )
        self.decoder = nn.Linear(config.hidden, config.vocabulary)
        if config.tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits `t b token` for the word after each token, and the state after the last one."""
        self.config.check_inputs(tokens, values=is_concrete(tokens))
        t, b = tokens.shape
        if state is not None:
            self.config.check_state(state, batch=b)
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        output = flatten_sequence(self.drop(output))
        return unflatten_sequence(self.decoder(output), t=t, b=b), state

    def extend(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read tokens `t b` after those that a state holds: the call, by the name that it has in `GPT2`."""
        return self(tokens, state)

    def init_state(self, batch: int) -> State:
        """The state before the first token: zeros, with the dtype and the device of the weights."""
        shape = (self.config.layers, batch, self.config.hidden)
        zeros = tuple(self.encoder.weight.new_zeros(shape) for _ in self.config.state())
        return zeros if len(zeros) > 1 else zeros[0]
