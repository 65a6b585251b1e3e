"""SentimentRNN: the LSTM that classifies sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from einops_arch._settings import check_whole, is_plain
from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config

__all__ = ["SentimentRNNConfig"]


@dataclass(frozen=True)
class SentimentRNNConfig(Config):
    """LSTM sentence classifier: embedding, LSTM of one or two directions, linear layer on the final states.

    Args:
        vocabulary: number of words.
        embedding: features of a word.
        hidden: features of the LSTM in each direction.
        classes: number of outputs; 1 for a yes or no, whose logit is positive for yes.
        layers: number of LSTM layers.
        bidirectional: read the sentence from its end as well.
        dropout: probability of dropping a feature: of the embedding, between the layers, of the final states.
        padding_index: the word that fills up short sentences; its embedding starts at zero and stays there.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("imdb", "tiny", "tiny_unidirectional")
    SUMMARY: ClassVar[str] = (
        "LSTM sentence classifier: embedding, LSTM of one or two directions, linear layer on the final states."
    )
    MODEL: ClassVar[str] = "SentimentRNN"
    SOURCE: ClassVar[str] = "bentrevett/pytorch-sentiment-analysis, the bidirectional LSTM on IMDb"

    vocabulary: int = 25002
    embedding: int = 100
    hidden: int = 256
    classes: int = 1
    layers: int = 2
    bidirectional: bool = True
    dropout: float = 0.5
    padding_index: int | None = 1

    def __post_init__(self) -> None:
        self._require_positive("vocabulary", "embedding", "hidden", "classes", "layers")
        self._require_bool("bidirectional")
        self._require_probability("dropout")
        if self.padding_index is not None:
            name, most = type(self).__name__, self.vocabulary - 1
            check_whole(name, "padding_index", self.padding_index, 0, most, accepts=is_plain)

    @classmethod
    def imdb(cls) -> Self:
        """For reviews of IMDb: 25000 words, one for all others, padding; 4.8 million parameters."""
        return cls()

    @classmethod
    def tiny(cls) -> Self:
        """A thousand parameters, no two sizes equal: for tests."""
        return cls(vocabulary=13, embedding=7, hidden=5, classes=3, padding_index=None)

    @classmethod
    def tiny_unidirectional(cls) -> Self:
        """A few hundred parameters, one layer, one direction: for tests."""
        return cls(vocabulary=17, embedding=5, hidden=7, classes=2, layers=1, bidirectional=False, padding_index=3)

    @property
    def directions(self) -> int:
        """Two where the sentence is read from its end as well."""
        return 2 if self.bidirectional else 1

    @property
    def dropout_between(self) -> float:
        """The dropout between LSTM layers: none for one layer, where PyTorch would warn about it."""
        return self.dropout if self.layers > 1 else 0.0

    def inputs(self) -> tuple[Axes, ...]:
        """Tokens `t b`; lengths `b` of padded sentences may follow."""
        return (Axes("tokens", "t b", dtype="int64", high=self.vocabulary, least={"t": 1}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b o`."""
        return (Axes("logits", "b o", {"o": self.classes}),)
