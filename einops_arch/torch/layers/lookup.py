"""Look tokens up in an embedding."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures._tokens import check_tokens
from einops_arch.architectures.config import Config
from einops_arch.torch.layers.concrete import is_concrete

__all__ = ["look_up"]


def look_up(embedding: nn.Embedding, tokens: Tensor, config: Config) -> Tensor:
    """The vectors of tokens; one clear error for a token that is not in the vocabulary.

    PyTorch's lookup looks at every index on the CPU anyway. Only where it refuses one do we look as well, for the
    value and the place that its message lacks: to look first costs a small network two hundredths of its time.

    Args:
        embedding: a vector for each token of the vocabulary.
        tokens: integer indices.
        config: of the network, whose one input the tokens are.

    Raises:
        IndexRangeError: a token is negative or not in the vocabulary.
    """
    try:
        vectors: Tensor = embedding(tokens)
    except IndexError:
        (axes,) = config.inputs()
        check_tokens(axes, tokens, values=is_concrete(tokens))
        raise
    return vectors
