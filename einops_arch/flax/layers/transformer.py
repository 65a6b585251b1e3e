"""What the transformers share: attention, and linear layers that keep other layouts or begin with small values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.flax._checks import check_features
from einops_arch.flax.functional.attention import safe_softmax
from einops_arch.flax.layers.basic import Linear
from einops_arch.flax.layers.dropout import Dropout
from einops_arch.flax.layers.init import normal, uniform_fan_in

__all__ = ["Conv1D", "DotProductAttention", "PatchLinear", "small_linear"]


def small_linear(
    in_features: int, out_features: int, *, use_bias: bool = True, std: float = 0.02, rngs: nnx.Rngs
) -> Linear:
    """`... i -> ... o`: a linear layer that begins with small weights and no bias.

    Args:
        in_features: i.
        out_features: o.
        use_bias: whether a bias is added.
        std: the standard deviation of the weights at the start.
        rngs: random stream `params`.
    """
    zeros = nnx.initializers.zeros_init()
    return Linear(in_features, out_features, use_bias=use_bias, kernel_init=normal(std), bias_init=zeros, rngs=rngs)


class PatchLinear(nnx.Module):
    """`b n (c p1 p2) -> b n o`: a linear layer with the weights `o c p1 p2` of the convolution it stands for.

    After `Patchify` it is a convolution whose kernel and stride are the patch. It begins as PyTorch's convolution,
    and keeps PyTorch's names and layout.

    Args:
        channels: c of the image.
        out_features: o.
        patch: side of the patches, p1 and p2.
        rngs: random stream `params`.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929, equation 1.

    >>> PatchLinear(3, 5, patch=2, rngs=nnx.Rngs(0))(jnp.ones((1, 4, 12))).shape
    (1, 4, 5)
    """

    def __init__(self, channels: int, out_features: int, patch: int, *, rngs: nnx.Rngs) -> None:
        self.dtype: Any = None  # what is computed in; the widest of input and weights if None
        init = uniform_fan_in(channels * patch * patch)
        self.weight = nnx.Param(init(rngs.params(), (out_features, channels, patch, patch), jnp.float32))
        self.bias = nnx.Param(init(rngs.params(), (out_features,), jnp.float32))

    def __call__(self, x: Array) -> Array:
        weight = rearrange(self.weight[...], "o c p1 p2 -> o (c p1 p2)")
        check_features("PatchLinear", x.shape, weight.shape[1])
        x, weight, bias = nnx.nn.dtypes.promote_dtype((x, weight, self.bias[...]), dtype=self.dtype)
        return jnp.dot(x, rearrange(weight, "o i -> i o")) + bias


class Conv1D(Linear):
    """`... i -> ... o`: a linear layer whose PyTorch twin keeps its weights as `i o` too.

    Differs from `Linear` in the rule that carries it over: `kernel` is PyTorch's `weight` as it is.

    Args:
        in_features: i.
        out_features: o.
        std: the standard deviation of the weights at the start; the bias is zero.
        rngs: random stream `params`.

    Source: https://github.com/openai/gpt-2/blob/master/src/model.py, `conv1d`.

    >>> Conv1D(3, 5, rngs=nnx.Rngs(0)).kernel.shape
    (3, 5)
    """

    def __init__(self, in_features: int, out_features: int, *, std: float = 0.02, rngs: nnx.Rngs) -> None:
        zeros = nnx.initializers.zeros_init()
        super().__init__(in_features, out_features, kernel_init=normal(std), bias_init=zeros, rngs=rngs)


class DotProductAttention(nnx.Module):
    """`b heads n k, b heads n k, b heads n k -> b heads n k`: each query takes the mean of the values whose keys match.

    softmax(q k^T / sqrt(k)) v. `jax.nn.dot_product_attention` takes the softmax of float64 in float32, which would cap
    what can be compared in float64; here only half precision is widened.

    Args:
        dropout: probability of dropping a weight.
        causal: a query sees no key after its own; the last query belongs to the last key.
        rngs: random stream `dropout`.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1.

    >>> q, k, v = jnp.ones((3, 1, 2, 5, 4))
    >>> DotProductAttention(rngs=nnx.Rngs(0))(q, k, v).shape
    (1, 2, 5, 4)
    """

    def __init__(self, dropout: float = 0.0, *, causal: bool = False, rngs: nnx.Rngs) -> None:
        self.drop = Dropout(dropout, rngs=rngs)
        self.causal = causal

    def __call__(
        self, q: Array, k: Array, v: Array, first: int | Array | None = None, key_mask: Array | None = None
    ) -> Array:
        """Queries `b heads n k`, keys and values of as many or, where it is causal, of more tokens.

        Args:
            q: queries.
            k: keys.
            v: values.
            first: the key that belongs to the first query, where the last key is not that of the last query.
            key_mask: `b n`: 0 or False where a key is hidden from every query. A query that sees no key gives zeros.
        """
        queries, keys = q.shape[2], k.shape[2]
        wide = jnp.promote_types(q.dtype, jnp.float32)
        # As a product of the queries, which are fewer than their products with the keys.
        q = q * q.shape[3] ** -0.5
        scores = jnp.matmul(q, rearrange(k, "b heads n k -> b heads k n"), preferred_element_type=wide)
        if self.causal and (queries > 1 or first is not None):
            first = keys - queries if first is None else first
            seen = jnp.arange(keys) <= first + rearrange(jnp.arange(queries), "n -> n 1")
            scores = jnp.where(seen, scores, -jnp.inf)
        if key_mask is None:
            weights = jax.nn.softmax(scores, axis=-1)
        else:
            shown = rearrange(key_mask.astype(bool), "b n -> b 1 1 n")
            weights = safe_softmax(jnp.where(shown, scores, -jnp.inf))
        weights = weights.astype(v.dtype)
        return jnp.matmul(self.drop(weights), v)
