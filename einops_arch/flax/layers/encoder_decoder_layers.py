"""The layers of PyTorch's encoders and decoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from flax import nnx

from einops_arch.errors import ConfigError
from einops_arch.flax.layers.attention import MultiheadAttention
from einops_arch.flax.layers.basic import Linear
from einops_arch.flax.layers.dropout import Dropout
from einops_arch.flax.layers.norm import LayerNorm

__all__ = ["Activation", "TransformerDecoderLayer", "TransformerEncoderLayer"]

Activation: TypeAlias = str | Callable[[jax.Array], jax.Array]


class TransformerEncoderLayer(nnx.Module):
    """`b l e -> b l e`: self-attention and two linear layers, each with a residual: `torch.nn.TransformerEncoderLayer`.

    NNX has no such layer. Module paths are PyTorch's, so its checkpoints load.

    Args:
        d_model: e.
        nhead: heads, which divide e.
        dim_feedforward: features between the two linear layers.
        dropout_rate: of attention weights, of the activation, and of both branches.
        activation: `"relu"`, `"gelu"` (the exact form), or a function.
        epsilon: of the norms.
        batch_first: inputs are `b l e`; otherwise `l b e`, PyTorch's default.
        norm_first: norms stand before the branches, and not after the sums.
        use_bias: whether linear layers, attention and norms have a bias.
        rngs: random streams `params` and `dropout`.

    Raises:
        ConfigError: a size is no positive integer, or the activation is none of these.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = TransformerEncoderLayer(12, 3, dim_feedforward=20, batch_first=True, rngs=nnx.Rngs(0))
    >>> layer.eval()
    >>> layer(jnp.ones((2, 5, 12))).shape
    (2, 5, 12)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        *,
        dim_feedforward: int = 2048,
        dropout_rate: float = 0.1,
        activation: Activation = "relu",
        epsilon: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout_rate=dropout_rate, use_bias=use_bias, batch_first=batch_first, rngs=rngs
        )
        self.linear1 = Linear(d_model, dim_feedforward, use_bias=use_bias, rngs=rngs)
        self.dropout = Dropout(dropout_rate, rngs=rngs)
        self.linear2 = Linear(dim_feedforward, d_model, use_bias=use_bias, rngs=rngs)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, epsilon=epsilon, use_bias=use_bias, rngs=rngs)
        self.norm2 = LayerNorm(d_model, epsilon=epsilon, use_bias=use_bias, rngs=rngs)
        self.dropout1 = Dropout(dropout_rate, rngs=rngs)
        self.dropout2 = Dropout(dropout_rate, rngs=rngs)
        self.activation = _activation(activation)

    def __call__(
        self,
        src: jax.Array,
        src_mask: jax.Array | None = None,
        src_key_padding_mask: jax.Array | None = None,
        is_causal: bool = False,
    ) -> jax.Array:
        """`b l e -> b l e`; masks are `MultiheadAttention`'s."""

        def attend(x: jax.Array) -> jax.Array:
            output, _ = self.self_attn(
                x, x, x, src_key_padding_mask, need_weights=False, attn_mask=src_mask, is_causal=is_causal
            )
            return self.dropout1(output)

        if self.norm_first:
            x = src + attend(self.norm1(src))
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(src + attend(src))
        return self.norm2(x + self._feed_forward(x))

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerDecoderLayer(nnx.Module):
    """`b l e, b s e -> b l e`: with attention to a memory in between: `torch.nn.TransformerDecoderLayer`.

    Args:
        d_model: e.
        nhead: heads, which divide e.
        dim_feedforward: features between the two linear layers.
        dropout_rate: of attention weights, of the activation, and of the three branches.
        activation: `"relu"`, `"gelu"` (the exact form), or a function.
        epsilon: of the norms.
        batch_first: inputs are `b l e`; otherwise `l b e`, PyTorch's default.
        norm_first: norms stand before the branches, and not after the sums.
        use_bias: whether linear layers, attention and norms have a bias.
        rngs: random streams `params` and `dropout`.

    Raises:
        ConfigError: a size is no positive integer, or the activation is none of these.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerDecoderLayer.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = TransformerDecoderLayer(12, 3, dim_feedforward=20, batch_first=True, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 5, 12)), jnp.ones((2, 7, 12))).shape
    (2, 5, 12)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        *,
        dim_feedforward: int = 2048,
        dropout_rate: float = 0.1,
        activation: Activation = "relu",
        epsilon: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        attention: dict[str, Any] = {"dropout_rate": dropout_rate, "use_bias": use_bias, "batch_first": batch_first}
        norm: dict[str, Any] = {"epsilon": epsilon, "use_bias": use_bias}
        self.self_attn = MultiheadAttention(d_model, nhead, **attention, rngs=rngs)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **attention, rngs=rngs)
        self.linear1 = Linear(d_model, dim_feedforward, use_bias=use_bias, rngs=rngs)
        self.dropout = Dropout(dropout_rate, rngs=rngs)
        self.linear2 = Linear(dim_feedforward, d_model, use_bias=use_bias, rngs=rngs)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, **norm, rngs=rngs)
        self.norm2 = LayerNorm(d_model, **norm, rngs=rngs)
        self.norm3 = LayerNorm(d_model, **norm, rngs=rngs)
        self.dropout1 = Dropout(dropout_rate, rngs=rngs)
        self.dropout2 = Dropout(dropout_rate, rngs=rngs)
        self.dropout3 = Dropout(dropout_rate, rngs=rngs)
        self.activation = _activation(activation)

    def __call__(
        self,
        tgt: jax.Array,
        memory: jax.Array,
        tgt_mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        tgt_key_padding_mask: jax.Array | None = None,
        memory_key_padding_mask: jax.Array | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> jax.Array:
        """`b l e, b s e -> b l e`; masks are `MultiheadAttention`'s."""

        def attend(x: jax.Array) -> jax.Array:
            output, _ = self.self_attn(
                x, x, x, tgt_key_padding_mask, need_weights=False, attn_mask=tgt_mask, is_causal=tgt_is_causal
            )
            return self.dropout1(output)

        def look_up(x: jax.Array) -> jax.Array:
            output, _ = self.multihead_attn(
                x,
                memory,
                memory,
                memory_key_padding_mask,
                need_weights=False,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )
            return self.dropout2(output)

        if self.norm_first:
            x = tgt + attend(self.norm1(tgt))
            x = x + look_up(self.norm2(x))
            return x + self._feed_forward(self.norm3(x))
        x = self.norm1(tgt + attend(tgt))
        x = self.norm2(x + look_up(x))
        return self.norm3(x + self._feed_forward(x))

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))


def _activation(activation: Activation) -> Callable[[jax.Array], jax.Array]:
    if callable(activation):
        return activation
    if activation == "relu":
        return jax.nn.relu
    if activation == "gelu":
        return _exact_gelu
    raise ConfigError(f"expected activation as 'relu', 'gelu' or a function, received {activation!r}")


def _exact_gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)
