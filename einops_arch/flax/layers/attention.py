"""`torch.nn.MultiheadAttention` in Flax: PyTorch's leaves, masks and meaning."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from flax import nnx

from einops_arch._settings import check_multiple
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_sizes
from einops_arch.flax.functional.attention import attention_scores, causal_mask, check_mask, safe_softmax
from einops_arch.flax.layers.basic import Linear
from einops_arch.flax.layers.dropout import Dropout
from einops_arch.flax.layers.init import normal

__all__ = ["MultiheadAttention"]


class MultiheadAttention(nnx.Module):
    """`b l e, b s e, b s e -> b l e`: `torch.nn.MultiheadAttention`, with its weights and its two results.

    Differs from `nnx.MultiHeadAttention`: one leaf `in_proj_weight` for query, key and value, or three of them if
    `kdim` or `vdim` is another size; masks that are True where a key is *hidden*; the softmax stays in float64 where
    the inputs are; the token axis comes first unless `batch_first`, which is PyTorch's default; and the attention
    weights are returned too. Leaves, in PyTorch's layout: `in_proj_weight` ((3 e) e) or `q_proj_weight`,
    `k_proj_weight`, `v_proj_weight`; `in_proj_bias` ((3 e)); `out_proj`; `bias_k`, `bias_v` (1 1 e).

    A query whose keys are all hidden gives NaN where weights are asked for, and the output of zeros where they are
    not: PyTorch does the same.

    Args:
        embed_dim: e, of queries and results.
        num_heads: divides e.
        dropout_rate: the probability with which an attention weight is dropped in training.
        use_bias: whether the projections add a bias.
        add_bias_kv: whether a learned key and value are put behind the others.
        add_zero_attn: whether a key and a value of zeros are put behind the others.
        kdim: features of the keys, e if left out.
        vdim: features of the values, e if left out.
        batch_first: inputs are `b l e`; otherwise `l b e`.
        rngs: random streams `params`, and `dropout` if there is dropout.

    Raises:
        ConfigError: a size is no positive integer, or num_heads does not divide embed_dim.
        ShapeError: when called with inputs or masks of other shapes.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2;
    https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> attention = MultiheadAttention(12, 3, batch_first=True, rngs=nnx.Rngs(0))
    >>> x = jnp.ones((2, 5, 12))
    >>> output, weights = attention(x, x, x)
    >>> output.shape, weights.shape
    ((2, 5, 12), (2, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        dropout_rate: float = 0.0,
        use_bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads, kdim=self.kdim, vdim=self.vdim)
        check_multiple("MultiheadAttention", "embed_dim", embed_dim, "num_heads", num_heads)
        self.add_zero_attn = add_zero_attn
        self.batch_first = batch_first
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = _xavier(rngs, 3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = _xavier(rngs, embed_dim, embed_dim)
            self.k_proj_weight = _xavier(rngs, embed_dim, self.kdim)
            self.v_proj_weight = _xavier(rngs, embed_dim, self.vdim)
        self.in_proj_bias = nnx.Param(jnp.zeros(3 * embed_dim)) if use_bias else None
        draw = normal(embed_dim**-0.5)
        self.bias_k = nnx.Param(draw(rngs.params(), (1, 1, embed_dim), jnp.float32)) if add_bias_kv else None
        self.bias_v = nnx.Param(draw(rngs.params(), (1, 1, embed_dim), jnp.float32)) if add_bias_kv else None
        self.out_proj = Linear(
            embed_dim, embed_dim, use_bias=use_bias, bias_init=nnx.initializers.zeros_init(), rngs=rngs
        )
        self.drop = Dropout(dropout_rate, rngs=rngs)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        key_padding_mask: jax.Array | None = None,
        need_weights: bool = True,
        attn_mask: jax.Array | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The attended values, and the weights.

        Args:
            query: `l b e`, `b l e` with batch_first, or `l e`.
            key: `s b e`, `b s e` or `s e`.
            value: as the key.
            key_padding_mask: `b s` or `s`: True where a key is hidden from every query, or numbers to be added.
            need_weights: whether the weights are returned.
            attn_mask: `l s` or `(b heads) l s`: True where a key is hidden from a query, or numbers to be added.
            average_attn_weights: whether the weights are the mean over the heads.
            is_causal: a hint that attn_mask is causal, which must be there; as in PyTorch it takes the mask's place
                where neither weights nor a padding mask are there.

        Returns:
            The output, as the query; and weights `b l s`, or `b heads l s`, or None.
        """
        if is_causal and attn_mask is None:
            raise ConfigError("MultiheadAttention: is_causal=True is a hint about attn_mask, received none")
        batched = query.ndim == 3
        query, key, value = (self._batch_first(name, x) for name, x in _named(query, key, value))
        if key_padding_mask is not None and not batched:
            key_padding_mask = rearrange(key_padding_mask, "s -> 1 s")
        self._check(query, key, value, key_padding_mask)
        for which, each in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
            if each is not None:
                check_mask("MultiheadAttention", which, each)
        q, k, v = self._project(query, key, value)
        hint = is_causal and key_padding_mask is None and not need_weights
        mask = None if hint else self._merge(attn_mask, key_padding_mask, query.shape, key.shape, q.dtype)
        q, k, v, mask = self._extend(q, k, v, mask)
        q, k, v = (rearrange(x, "b n (heads k) -> b heads n k", heads=self.num_heads) for x in (q, k, v))
        if self.add_zero_attn:
            zeros = jnp.zeros((*k.shape[:2], 1, k.shape[3]), k.dtype)
            k, v = (jnp.concatenate([x, zeros], axis=2) for x in (k, v))
        if hint:
            mask = causal_mask(q.shape[2], k.shape[2])
        scores = attention_scores(q, k, mask)
        weights = jax.nn.softmax(scores, axis=-1) if need_weights else safe_softmax(scores)
        weights = self.drop(weights.astype(v.dtype))
        output = self.out_proj(rearrange(jnp.matmul(weights, v), "b heads l k -> b l (heads k)"))
        return self._like_query(output, weights if need_weights else None, average_attn_weights, batched=batched)

    def _batch_first(self, name: str, x: jax.Array) -> jax.Array:
        if x.ndim == 2:
            return rearrange(x, "n e -> 1 n e")
        if x.ndim != 3:
            raise ShapeError(
                f"MultiheadAttention: expected the {name} as '{'b n e' if self.batch_first else 'n b e'}' or 'n e', "
                f"received {x.ndim} axes in shape {x.shape}"
            )
        return x if self.batch_first else rearrange(x, "n b e -> b n e")

    def _check(self, query: jax.Array, key: jax.Array, value: jax.Array, padding: jax.Array | None) -> None:
        for (name, x), features in zip(_named(query, key, value), (self.embed_dim, self.kdim, self.vdim), strict=True):
            if x.shape[2] != features:
                raise ShapeError(f"MultiheadAttention: expected {features} features of the {name}, received {x.shape}")
        if key.shape[:2] != value.shape[:2] or key.shape[0] != query.shape[0]:
            raise ShapeError(
                "MultiheadAttention: expected 'b l e', 'b s e' and 'b s e', received "
                f"{query.shape}, {key.shape} and {value.shape} (batch first)"
            )
        if padding is not None and padding.shape != key.shape[:2]:
            raise ShapeError(
                f"MultiheadAttention: expected key_padding_mask 'b s' of shape {key.shape[:2]}, received "
                f"{padding.shape}"
            )

    def _project(self, query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, ...]:
        if hasattr(self, "in_proj_weight"):
            weights = rearrange(self.in_proj_weight[...], "(n o) i -> n i o", n=3)
        else:
            names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
            weights = [rearrange(getattr(self, name)[...], "o i -> i o") for name in names]
        biases = [None] * 3 if self.in_proj_bias is None else rearrange(self.in_proj_bias[...], "(n o) -> n o", n=3)
        return tuple(_affine(*parts) for parts in zip((query, key, value), weights, biases, strict=True))

    def _merge(
        self,
        mask: jax.Array | None,
        padding: jax.Array | None,
        query_shape: tuple[int, ...],
        key_shape: tuple[int, ...],
        dtype: Any,
    ) -> jax.Array | None:
        """Both masks as numbers to be added, `b heads l s` or with sizes of 1."""
        batch, queries, keys = query_shape[0], query_shape[1], key_shape[1]
        if mask is not None:
            if mask.shape == (queries, keys):
                mask = rearrange(mask, "l s -> 1 1 l s")
            elif mask.shape == (batch * self.num_heads, queries, keys):
                mask = rearrange(mask, "(b heads) l s -> b heads l s", heads=self.num_heads)
            else:
                raise ShapeError(
                    f"MultiheadAttention: expected attn_mask 'l s' of shape {(queries, keys)} or '(b heads) l s' of "
                    f"shape {(batch * self.num_heads, queries, keys)}, received {mask.shape}"
                )
            mask = _added(mask, dtype)
        if padding is None:
            return mask
        padding = rearrange(_added(padding, dtype), "b s -> b 1 1 s")
        return padding if mask is None else mask + padding

    def _extend(
        self, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
        """With the learned key and value, and a mask that hides none of what is put behind the keys."""
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                jnp.concatenate([x, repeat(bias[...].astype(x.dtype), "1 1 e -> b 1 e", b=x.shape[0])], axis=1)
                for x, bias in ((k, self.bias_k), (v, self.bias_v))
            )
        more = (self.bias_k is not None) + self.add_zero_attn
        if mask is not None and more:
            mask = jnp.pad(mask, [(0, 0), (0, 0), (0, 0), (0, more)])
        return q, k, v, mask

    def _like_query(
        self, output: jax.Array, weights: jax.Array | None, average: bool, *, batched: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        if weights is not None and average:
            weights = jnp.mean(weights, axis=1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else rearrange(output, "b l e -> l b e"), weights


def _named(query: jax.Array, key: jax.Array, value: jax.Array) -> list[tuple[str, jax.Array]]:
    return [("query", query), ("key", key), ("value", value)]


def _affine(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    if bias is None:
        x, weight = nnx.nn.dtypes.promote_dtype((x, weight))
        return jnp.matmul(x, weight)
    x, weight, bias = nnx.nn.dtypes.promote_dtype((x, weight, bias))
    return jnp.matmul(x, weight) + bias


def _added(mask: jax.Array, dtype: Any) -> jax.Array:
    """A mask of booleans, True where a key is hidden, as numbers to be added."""
    return jnp.where(mask, -jnp.inf, 0.0).astype(dtype) if mask.dtype == jnp.bool_ else mask


def _xavier(rngs: nnx.Rngs, outputs: int, inputs: int) -> nnx.Param[jax.Array]:
    """`o i` from the uniform distribution of Glorot and Bengio 2010, as PyTorch draws it."""
    bound = math.sqrt(6 / (outputs + inputs))
    return nnx.Param(jax.random.uniform(rngs.params(), (outputs, inputs), jnp.float32, -bound, bound))
