"""A linear layer whose weights are those of an embedding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.errors import ConfigError

__all__ = ["TiedLinear"]


class TiedLinear(nnx.Module):
    """`... h -> ... token`: decode with the weights of an embedding, which stay one variable for both.

    The variable is the embedding's own, under this layer's name `weight` and in PyTorch's layout `o i`. So a change
    to one is a change to both, gradients add up, and an optimizer steps once.

    Args:
        embed: the embedding, `nnx.Embed` or a subclass.
        use_bias: whether a bias is added.
        rngs: random stream `params`, for the bias.

    Raises:
        ConfigError: embed is no embedding.

    Source: Press and Wolf 2016, arXiv:1608.05859. `nnx.Embed.attend` is the same without a bias.

    >>> embed = nnx.Embed(17, 7, rngs=nnx.Rngs(0))
    >>> decoder = TiedLinear(embed, rngs=nnx.Rngs(1))
    >>> decoder(jnp.zeros((3, 7))).shape, decoder.weight is embed.embedding
    ((3, 17), True)
    """

    def __init__(self, embed: nnx.Embed, *, use_bias: bool = True, rngs: nnx.Rngs) -> None:
        if not isinstance(embed, nnx.Embed):
            raise ConfigError(
                f"TiedLinear: expected an nnx.Embed or a subclass, received {type(embed).__name__}; "
                "likely fix: give the layer, not its table"
            )
        self.dtype: Any = None  # what is computed in; the widest of input and weights if None
        self.weight = embed.embedding
        # PyTorch's distribution for the bias of a linear layer.
        limit = embed.features**-0.5
        shape, dtype = (embed.num_embeddings,), embed.param_dtype
        bias = jax.random.uniform(rngs.params(), shape, dtype, -limit, limit) if use_bias else None
        self.bias = None if bias is None else nnx.Param(bias)

    def __call__(self, x: Array) -> Array:
        """Scores `... token` of every word, for features `... h`."""
        if self.bias is None:
            x, weight = nnx.nn.dtypes.promote_dtype((x, self.weight[...]), dtype=self.dtype)
            return jnp.dot(x, weight.T)
        x, weight, bias = nnx.nn.dtypes.promote_dtype((x, self.weight[...], self.bias[...]), dtype=self.dtype)
        return jnp.dot(x, weight.T) + bias
