"""Attention with PyTorch's rules for masks, grouped heads, scale, and rows that are masked out whole."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat

from einops_arch.errors import ConfigError, DtypeError, ShapeError

__all__ = ["attention_scores", "causal_mask", "check_mask", "safe_softmax", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    attn_mask: jax.Array | None = None,
    dropout_rate: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """`... heads l k, ... heads s k, ... heads s v -> ... heads l v`: PyTorch's function of the same name.

    softmax(scale * q k^T + mask) v. Differs from `jax.nn.dot_product_attention`: heads come before the tokens, float64
    stays float64, a query whose keys are all masked out gives zeros with zero gradients (there it is NaN or the mean
    of all values), and a causal mask is aligned with the first key where there are more keys than queries.

    Args:
        query: `... heads l k`.
        key: `... heads s k`.
        value: `... heads s v`.
        attn_mask: broadcast to `... heads l s`; booleans are True where a key takes part, numbers are added.
        dropout_rate: the probability with which a weight is dropped; as in PyTorch there is no mode, 0 switches it off.
        is_causal: query n sees the keys 0 to n; excludes a mask.
        scale: 1 / sqrt(k) if left out.
        enable_gqa: query heads may be a multiple of the key's and value's, neighbours share one.
        dropout_key: where the random bits come from; needed if dropout_rate is not 0.

    Raises:
        ConfigError: both a mask and is_causal, or dropout without a key.
        DtypeError: a mask of integers.
        ShapeError: heads, features or mask do not fit.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html

    >>> import jax.numpy as jnp
    >>> q, k, v = jnp.ones((2, 6, 5, 4)), jnp.ones((2, 3, 7, 4)), jnp.ones((2, 3, 7, 8))
    >>> scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).shape
    (2, 6, 5, 8)
    """
    if is_causal and attn_mask is not None:
        raise ConfigError("scaled_dot_product_attention: expected attn_mask or is_causal=True, received both")
    if dropout_rate and dropout_key is None:
        raise ConfigError(f"scaled_dot_product_attention: dropout_rate={dropout_rate} needs dropout_key, received None")
    if attn_mask is not None:
        check_mask("scaled_dot_product_attention", "attn_mask", attn_mask)
    _check_features(query, key, value)
    key, value = _shared_heads(query, key, value, enable_gqa=enable_gqa)
    _check_shapes(query, key, attn_mask)
    if is_causal:
        attn_mask = causal_mask(query.shape[-2], key.shape[-2])
    weights = safe_softmax(attention_scores(query, key, attn_mask, scale=scale)).astype(value.dtype)
    if dropout_rate:
        kept = jax.random.bernoulli(dropout_key, 1 - dropout_rate, weights.shape)
        weights = jnp.where(kept, weights / (1 - dropout_rate), jnp.zeros((), weights.dtype))
    return jnp.matmul(weights, value)


def attention_scores(
    query: jax.Array, key: jax.Array, mask: jax.Array | None = None, *, scale: float | None = None
) -> jax.Array:
    """`... l k, ... s k -> ... l s`: scaled and masked, in float32 at the least.

    Args:
        query: `... l k`.
        key: `... s k`.
        mask: booleans that are True where a key takes part, or numbers to be added; broadcast to `... l s`.
        scale: 1 / sqrt(k) if left out.

    >>> attention_scores(jnp.ones((1, 4)), jnp.ones((3, 4)), jnp.asarray([[True, False, True]])).tolist()
    [[2.0, -inf, 2.0]]
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = jnp.matmul(query, rearrange(key, "... s k -> ... k s"), preferred_element_type=wide) * factor
    if mask is None:
        return scores
    check_mask("attention_scores", "mask", mask)
    if mask.dtype == jnp.bool_:
        return jnp.where(mask, scores, -jnp.inf)
    return scores + mask.astype(wide)


def safe_softmax(scores: jax.Array) -> jax.Array:
    """The softmax over the last axis, which gives zeros where all scores are minus infinity, as are their gradients.

    >>> safe_softmax(jnp.asarray([[0.0, -jnp.inf], [-jnp.inf, -jnp.inf]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    peak = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf))
    weights = jnp.exp(scores - jnp.where(jnp.isneginf(peak), 0.0, peak).astype(scores.dtype))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total == 0, 1.0, total).astype(scores.dtype)


def causal_mask(queries: int, keys: int) -> jax.Array:
    """`l s`: True where a query sees a key, which is up to its own place; the first query belongs to the first key.

    >>> causal_mask(2, 3).tolist()
    [[True, False, False], [True, True, False]]
    """
    return jnp.arange(keys) <= rearrange(jnp.arange(queries), "l -> l 1")


def check_mask(name: str, which: str, mask: jax.Array) -> None:
    """A mask holds booleans or numbers to be added; integers might mean either, and PyTorch refuses them."""
    if mask.dtype != jnp.bool_ and not jnp.issubdtype(mask.dtype, jnp.floating):
        raise DtypeError(f"{name}: expected {which} of booleans or floating-point numbers, received {mask.dtype}")


def _check_shapes(query: jax.Array, key: jax.Array, mask: jax.Array | None) -> None:
    try:
        scores = (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), query.shape[-2], key.shape[-2])
    except ValueError:
        raise ShapeError(
            "scaled_dot_product_attention: expected heads that are equal, or enable_gqa=True, received "
            f"{query.shape} and {key.shape}"
        ) from None
    try:
        np.broadcast_shapes(() if mask is None else mask.shape, scores)
    except ValueError:
        raise ShapeError(
            f"scaled_dot_product_attention: expected attn_mask that broadcasts to {scores}, received "
            f"{None if mask is None else mask.shape}"
        ) from None


def _check_features(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            "scaled_dot_product_attention: expected '... heads l k', '... heads s k' and '... heads s v', received "
            f"{query.shape}, {key.shape} and {value.shape}"
        )


def _shared_heads(
    query: jax.Array, key: jax.Array, value: jax.Array, *, enable_gqa: bool
) -> tuple[jax.Array, jax.Array]:
    """Keys and values of every query head."""
    if not enable_gqa:
        return key, value
    heads = query.shape[-3]
    shared = []
    for name, array in (("key", key), ("value", value)):
        if heads % array.shape[-3]:
            raise ShapeError(
                f"scaled_dot_product_attention: expected the {heads} heads of the query to be a multiple of the "
                f"{name}'s, received {array.shape[-3]} in shape {array.shape}"
            )
        shared.append(repeat(array, "... heads s k -> ... (heads r) s k", r=heads // array.shape[-3]))
    return shared[0], shared[1]
