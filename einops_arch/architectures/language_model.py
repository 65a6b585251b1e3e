"""LanguageModel: the recurrent language model of PyTorch's word language model example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.errors import ConfigError, ShapeError

__all__ = ["LanguageModelConfig"]


@dataclass(frozen=True)
class LanguageModelConfig(Config):
    """Recurrent language model: embedding, LSTM, GRU or plain recurrent layers, linear decoder.

    Args:
        vocabulary: number of words.
        embedding: features of a word.
        hidden: features of the recurrent layers.
        layers: number of recurrent layers.
        dropout: probability of dropping a feature: of the embedding, between the layers, before the decoder.
        cell: `"lstm"`, `"gru"`, `"rnn_tanh"` or `"rnn_relu"`.
        tied: decode with the weights of the embedding (Press and Wolf 2016, arXiv:1608.05859).
    """

    PRESETS: ClassVar[tuple[str, ...]] = (
        "medium",
        "large",
        "tiny",
        "tiny_gru",
        "tiny_rnn",
        "tiny_rnn_relu",
        "tiny_tied",
    )
    SUMMARY: ClassVar[str] = "Recurrent language model: embedding, LSTM, GRU or plain recurrent layers, linear decoder."
    MODEL: ClassVar[str] = "LanguageModel"
    SOURCE: ClassVar[str] = (
        "the word language model of pytorch/examples; sizes of Zaremba, Sutskever and Vinyals 2014, arXiv:1409.2329"
    )
    CELLS: ClassVar[tuple[str, ...]] = ("lstm", "gru", "rnn_tanh", "rnn_relu")

    vocabulary: int = 10000
    embedding: int = 650
    hidden: int = 650
    layers: int = 2
    dropout: float = 0.5
    cell: str = "lstm"
    tied: bool = False

    def __post_init__(self) -> None:
        self._require_positive("vocabulary", "embedding", "hidden", "layers")
        self._require_probability("dropout")
        self._require_choice("cell", self.CELLS)
        self._require_bool("tied")
        if self.tied and self.embedding != self.hidden:
            raise ConfigError(
                f"LanguageModelConfig: tied weights need embedding equal to hidden, received embedding="
                f"{self.embedding}, hidden={self.hidden}; likely fix: embedding={self.hidden}, or tied=False"
            )

    @classmethod
    def medium(cls) -> Self:
        """Two LSTM layers of 650 for Penn Treebank, dropout 0.5; 20 million parameters."""
        return cls()

    @classmethod
    def large(cls) -> Self:
        """Two LSTM layers of 1500 for Penn Treebank, dropout 0.65; 66 million parameters."""
        return cls(embedding=1500, hidden=1500, dropout=0.65)

    @classmethod
    def tiny(cls) -> Self:
        """A few hundred parameters, no two sizes equal: for tests."""
        return cls(vocabulary=17, embedding=5, hidden=7, layers=2)

    @classmethod
    def tiny_gru(cls) -> Self:
        """The tiny model with GRU layers."""
        return cls(vocabulary=13, embedding=7, hidden=5, layers=2, cell="gru")

    @classmethod
    def tiny_rnn(cls) -> Self:
        """The tiny model with three plain recurrent layers and tanh."""
        return cls(vocabulary=17, embedding=5, hidden=7, layers=3, cell="rnn_tanh")

    @classmethod
    def tiny_rnn_relu(cls) -> Self:
        """The tiny model with one plain recurrent layer and ReLU."""
        return cls(vocabulary=13, embedding=7, hidden=5, layers=1, cell="rnn_relu")

    @classmethod
    def tiny_tied(cls) -> Self:
        """The tiny model whose decoder has the weights of its embedding."""
        return cls(vocabulary=17, embedding=7, hidden=7, layers=2, tied=True)

    @property
    def dropout_between(self) -> float:
        """The dropout between recurrent layers: none for one layer, where PyTorch would warn about it."""
        return self.dropout if self.layers > 1 else 0.0

    def inputs(self) -> tuple[Axes, ...]:
        """Tokens `t b`."""
        return (Axes("tokens", "t b", dtype="int64", high=self.vocabulary, least={"t": 1}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `t b token`, and the state after the last token."""
        return Axes("logits", "t b token", {"token": self.vocabulary}), *self.state()

    def state(self) -> tuple[Axes, ...]:
        """The arrays of the recurrent state: hidden, and cell where the layers are LSTM."""
        sizes = {"layer": self.layers, "h": self.hidden}
        names = ("hidden", "cell") if self.cell == "lstm" else ("hidden",)
        return tuple(Axes(name, "layer b h", sizes) for name in names)

    def check_state(self, state: Any, batch: int) -> None:
        """Raise one clear error if a state does not belong to this network and a batch of that size.

        Raises:
            ShapeError: not PyTorch's form, `(hidden, cell)` for LSTM and else `hidden`, or wrong sizes.
        """
        expected, several = self.state(), isinstance(state, tuple | list)
        if not several and not isinstance(state.shape, tuple):  # a symbol of a tracer, see `Axes.check`
            return
        parts = tuple(state) if several else (state,)
        if several != (self.cell == "lstm") or len(parts) != len(expected):
            form = "a pair (hidden, cell), each" if self.cell == "lstm" else "one array"
            received = f"a {type(state).__name__} of {len(parts)}" if several else "one array"
            raise ShapeError(f"state: expected {form} of axes 'layer b h' for cell={self.cell!r}, received {received}")
        for axes, array in zip(expected, parts, strict=True):
            Axes(axes.name, axes.axes, {**axes.sizes, "b": batch}).check(array)

    def check_prompt(self, prompt: Any, state: Any, steps: int, *, values: bool) -> None:
        """Raise one clear error if a prompt cannot be read after what a state holds; a text has no longest length.

        Raises:
            ShapeError: the rank differs, there is no token, or the state does not fit.
            DtypeError: the tokens are no integers.
            IndexRangeError: a token is not in the vocabulary.
        """
        self.check_inputs(prompt, values=values)
        if state is not None:
            self.check_state(state, batch=prompt.shape[1])
