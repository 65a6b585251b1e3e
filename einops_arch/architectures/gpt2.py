"""GPT2: the transformer language model of Radford et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from einops_arch._settings import check_fraction, check_multiple, is_plain_number
from einops_arch.architectures._tokens import check_values
from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.errors import DtypeError, ShapeError

__all__ = ["GPT2Config"]


@dataclass(frozen=True)
class GPT2Config(Config):
    """Transformer language model: each token looks at those before it, and the next one is predicted.

    Args:
        vocabulary: number of tokens.
        positions: the longest text; each position has an embedding.
        embedding: features of a token.
        layers: number of blocks.
        heads: attention heads; they divide the features.
        hidden: features inside of a block's multilayer perceptron.
        epsilon: added to the variance by each norm.
        tied: predict with the weights of the tokens' embedding.
        dropout: probability of dropping a feature after the attention and after the perceptron of a block.
        embedding_dropout: probability of dropping a feature of the embedded tokens.
        attention_dropout: probability of dropping a weight of the attention.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ("gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl", "tiny", "tiny_untied")
    SUMMARY: ClassVar[str] = (
        "Transformer language model: each token looks at those before it, and the next one is predicted."
    )
    MODEL: ClassVar[str] = "GPT2"
    SOURCE: ClassVar[str] = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners, Table 2"

    vocabulary: int = 50257
    positions: int = 1024
    embedding: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    epsilon: float = 1e-5
    tied: bool = True
    dropout: float = 0.1
    embedding_dropout: float = 0.1
    attention_dropout: float = 0.1

    def __post_init__(self) -> None:
        self._require_positive("vocabulary", "positions", "embedding", "layers", "heads", "hidden")
        check_multiple(type(self).__name__, "embedding", self.embedding, "heads", self.heads)
        check_fraction(type(self).__name__, "epsilon", self.epsilon, "(0, 1)", accepts=is_plain_number)
        self._require_bool("tied")
        self._require_probability("dropout", "embedding_dropout", "attention_dropout")

    @classmethod
    def gpt2(cls) -> Self:
        """The small one: 12 layers of 768; 124 million parameters."""
        return cls()

    @classmethod
    def gpt2_medium(cls) -> Self:
        """24 layers of 1024; 355 million parameters."""
        return cls(embedding=1024, layers=24, heads=16, hidden=4096)

    @classmethod
    def gpt2_large(cls) -> Self:
        """36 layers of 1280; 774 million parameters."""
        return cls(embedding=1280, layers=36, heads=20, hidden=5120)

    @classmethod
    def gpt2_xl(cls) -> Self:
        """48 layers of 1600; 1558 million parameters."""
        return cls(embedding=1600, layers=48, heads=25, hidden=6400)

    @classmethod
    def tiny(cls) -> Self:
        """Two thousand parameters, no two sizes equal: for tests."""
        return cls(
            vocabulary=17,
            positions=13,
            embedding=10,
            layers=2,
            heads=2,
            hidden=14,
            embedding_dropout=0.0,
            attention_dropout=0.0,
        )

    @classmethod
    def tiny_untied(cls) -> Self:
        """The tiny model with one layer, whose last layer has weights of its own."""
        return cls(
            vocabulary=13,
            positions=11,
            embedding=15,
            layers=1,
            heads=3,
            hidden=8,
            tied=False,
            embedding_dropout=0.0,
            attention_dropout=0.0,
        )

    def inputs(self) -> tuple[Axes, ...]:
        """Tokens `b t`."""
        return (Axes("tokens", "b t", dtype="int64", high=self.vocabulary, least={"t": 1}),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b t token`."""
        return (Axes("logits", "b t token", {"token": self.vocabulary}),)

    def check_tokens(self, tokens: Any, state: Any = None, *, values: bool) -> None:
        """Raise one clear error if tokens `b t` cannot be read, or not after what a state holds already.

        Args:
            tokens: indices of tokens.
            state: a key and a value `b heads n k` for each layer, or None.
            values: whether to look at the values of the tokens as well.

        Raises:
            ShapeError: the rank differs, there is no token or more than the positions, or the state does not fit.
            DtypeError: the tokens are no integers.
            IndexRangeError: a token is not in the vocabulary.
        """
        self.check_inputs(tokens, values=values)
        if not isinstance(tokens.shape, tuple):  # a symbol of a tracer, see `Axes.check`
            return
        b, t = tokens.shape
        before = 0
        if state is not None:
            if not isinstance(state, tuple | list) or len(state) != self.layers:
                received = f"{len(state)}" if isinstance(state, tuple | list) else f"a {type(state).__name__}"
                raise ShapeError(
                    f"state: expected a key and a value for each of {self.layers} layers, received {received}"
                )
            before = state[0][0].shape[2]
            sizes = {"b": b, "heads": self.heads, "n": before, "k": self.embedding // self.heads}
            for layer, pair in enumerate(state):
                for name, array in zip(("key", "value"), pair, strict=True):
                    Axes(f"{name} of layer {layer}", "b heads n k", sizes).check(array)
        self._check_length(before, t)

    def check_mask(
        self, tokens: Any, attention_mask: Any, position_ids: Any, state: Any = None, *, values: bool
    ) -> None:
        """Raise one clear error if a mask `b n` or positions `b t` do not go with tokens `b t`.

        Args:
            tokens: indices of tokens.
            attention_mask: of all tokens, those that the state holds included; or None.
            position_ids: of the tokens; or None.
            state: a key and a value `b heads n k` for each layer, or None.
            values: whether to look at the values of the positions as well.

        Raises:
            ShapeError: the rank or a size differs.
            DtypeError: the mask holds neither integers nor booleans, or the positions are no integers.
            IndexRangeError: a position is not among the config's.
        """
        if not isinstance(tokens.shape, tuple):  # a symbol of a tracer, see `Axes.check`
            return
        b, t = tokens.shape
        if attention_mask is not None and isinstance(attention_mask.shape, tuple):
            n = t if state is None else state[0][0].shape[2] + t
            Axes("attention_mask", "b n", {"b": b, "n": n}).check(attention_mask)
            dtype = str(attention_mask.dtype)
            if "int" not in dtype and "bool" not in dtype:
                raise DtypeError(
                    f"attention_mask: expected integers or booleans, 0 for padding, received dtype {dtype}"
                )
        if position_ids is not None:
            axes = Axes("position_ids", "b t", {"b": b, "t": t}, dtype="int64", high=self.positions)
            axes.check(position_ids)
            if values:
                check_values(axes, position_ids, fix="leave out the beginning of the text")

    def check_prompt(self, prompt: Any, state: Any, steps: int, *, values: bool) -> None:
        """Raise one clear error if a prompt cannot be continued by so many tokens, as `check_tokens` does.

        Raises:
            ShapeError: prompt and continuation are longer than the positions; the last token is not read again.
        """
        self.check_tokens(prompt, state, values=values)
        before = 0 if state is None else state[0][0].shape[2]
        self._check_length(before + prompt.shape[1], steps - 1, "steps - 1 more")

    def _check_length(self, before: Any, more: Any, what: str = "more") -> None:
        if isinstance(before + more, int) and before + more > self.positions:
            received = f"t={before} and {more} {what}" if before else f"t={more}"
            raise ShapeError(
                f"tokens: expected axes 'b t' with t<={self.positions}, the positions of the config, received "
                f"{received}; likely fix: leave out the beginning of the text"
            )
