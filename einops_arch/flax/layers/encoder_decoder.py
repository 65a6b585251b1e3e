"""`torch.nn.Transformer` and its parts in Flax: the same module paths, masks and arguments."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ShapeError
from einops_arch.flax._checks import check_sizes
from einops_arch.flax.layers.encoder_decoder_layers import Activation, TransformerDecoderLayer, TransformerEncoderLayer
from einops_arch.flax.layers.norm import LayerNorm

__all__ = ["Transformer", "TransformerDecoder", "TransformerEncoder"]


class TransformerEncoder(nnx.Module):
    """`b l e -> b l e`: copies of one layer, one after the other: `torch.nn.TransformerEncoder`.

    As in PyTorch all copies begin with the same weights. Each draws its own dropout. In evaluation mode PyTorch may
    take a faster way for padded inputs, which gives zeros at the padded places; here they are as in training.

    Args:
        encoder_layer: the layer that is copied.
        num_layers: how many copies.
        norm: a layer after the last one.

    Raises:
        ConfigError: num_layers is no positive integer.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerEncoder.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = TransformerEncoderLayer(12, 3, dim_feedforward=20, batch_first=True, rngs=nnx.Rngs(0))
    >>> encoder = TransformerEncoder(layer, 2)
    >>> encoder(jnp.ones((2, 5, 12))).shape, len(encoder.layers)
    ((2, 5, 12), 2)
    """

    def __init__(self, encoder_layer: nnx.Module, num_layers: int, norm: nnx.Module | None = None) -> None:
        check_sizes("TransformerEncoder", num_layers=num_layers)
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def __call__(
        self,
        src: jax.Array,
        mask: jax.Array | None = None,
        src_key_padding_mask: jax.Array | None = None,
        is_causal: bool = False,
    ) -> jax.Array:
        """`b l e -> b l e`; masks are `MultiheadAttention`'s."""
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(nnx.Module):
    """`b l e, b s e -> b l e`: copies of one layer, one after the other: `torch.nn.TransformerDecoder`.

    Args:
        decoder_layer: the layer that is copied; all copies begin with the same weights, each draws its own dropout.
        num_layers: how many copies.
        norm: a layer after the last one.

    Raises:
        ConfigError: num_layers is no positive integer.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerDecoder.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = TransformerDecoderLayer(12, 3, dim_feedforward=20, batch_first=True, rngs=nnx.Rngs(0))
    >>> TransformerDecoder(layer, 2)(jnp.ones((2, 5, 12)), jnp.ones((2, 7, 12))).shape
    (2, 5, 12)
    """

    def __init__(self, decoder_layer: nnx.Module, num_layers: int, norm: nnx.Module | None = None) -> None:
        check_sizes("TransformerDecoder", num_layers=num_layers)
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

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
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        x = tgt
        for layer in self.layers:
            x = layer(x, memory, *masks, tgt_is_causal, memory_is_causal)
        return x if self.norm is None else self.norm(x)


class Transformer(nnx.Module):
    """`b s e, b l e -> b l e`: an encoder and a decoder: `torch.nn.Transformer`.

    Args:
        d_model: e.
        nhead: heads, which divide e.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dim_feedforward: features between the two linear layers of a layer.
        dropout_rate: everywhere.
        activation: `"relu"`, `"gelu"` (the exact form), or a function.
        custom_encoder: takes the encoder's place.
        custom_decoder: takes the decoder's place.
        epsilon: of the norms.
        batch_first: inputs are `b n e`; otherwise `n b e`, PyTorch's default.
        norm_first: norms stand before the branches, and not after the sums.
        use_bias: whether linear layers, attention and norms have a bias.
        rngs: random streams `params` and `dropout`.

    Raises:
        ConfigError: a size is no positive integer, or the activation is none of these.
        ShapeError: when called with sources and targets of other batches or features.

    Source: Vaswani et al. 2017, arXiv:1706.03762;
    https://docs.pytorch.org/docs/stable/generated/torch.nn.Transformer.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> sizes = {"num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 20}
    >>> model = Transformer(12, 3, **sizes, batch_first=True, rngs=nnx.Rngs(0))
    >>> model(jnp.ones((2, 7, 12)), jnp.ones((2, 5, 12))).shape
    (2, 5, 12)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        *,
        dim_feedforward: int = 2048,
        dropout_rate: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        epsilon: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        layer: dict[str, Any] = {
            "dim_feedforward": dim_feedforward,
            "dropout_rate": dropout_rate,
            "activation": activation,
            "epsilon": epsilon,
            "batch_first": batch_first,
            "norm_first": norm_first,
            "use_bias": use_bias,
            "rngs": rngs,
        }
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        if custom_encoder is None:
            encoder_norm = LayerNorm(d_model, epsilon=epsilon, use_bias=use_bias, rngs=rngs)
            encoder_layer = TransformerEncoderLayer(d_model, nhead, **layer)
            self.encoder = TransformerEncoder(encoder_layer, num_encoder_layers, encoder_norm)
        else:
            self.encoder = custom_encoder
        if custom_decoder is None:
            decoder_norm = LayerNorm(d_model, epsilon=epsilon, use_bias=use_bias, rngs=rngs)
            decoder_layer = TransformerDecoderLayer(d_model, nhead, **layer)
            self.decoder = TransformerDecoder(decoder_layer, num_decoder_layers, decoder_norm)
        else:
            self.decoder = custom_decoder
        # PyTorch draws every matrix anew, so here the copies of a layer do not begin alike.
        glorot = nnx.initializers.glorot_uniform()
        for _, variable in nnx.to_flat_state(nnx.state(self, nnx.Param)):
            value = variable.get_value()
            if value.ndim == 2:
                variable.set_value(glorot(rngs.params(), value.shape, value.dtype))

    def __call__(
        self,
        src: jax.Array,
        tgt: jax.Array,
        src_mask: jax.Array | None = None,
        tgt_mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        src_key_padding_mask: jax.Array | None = None,
        tgt_key_padding_mask: jax.Array | None = None,
        memory_key_padding_mask: jax.Array | None = None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> jax.Array:
        """`b s e, b l e -> b l e`; masks are `MultiheadAttention`'s."""
        batch = 0 if self.batch_first else 1
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(f"Transformer: expected {self.d_model} features, received {src.shape} and {tgt.shape}")
        if src.ndim != tgt.ndim or (src.ndim == 3 and src.shape[batch] != tgt.shape[batch]):
            raise ShapeError(f"Transformer: expected one batch size, received {src.shape} and {tgt.shape}")
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(size: int) -> jax.Array:
        """`l l`: 0 where a query sees a key, minus infinity where it does not.

        >>> Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return jnp.triu(jnp.full((size, size), -jnp.inf), k=1)


def _copies(layer: nnx.Module, number: int) -> nnx.List[Any]:
    """Layers with weights of their own that begin alike, and with random streams that differ."""
    copies = [copy.deepcopy(layer) for _ in range(number)]
    for index, copied in enumerate(copies):
        _order_like(copied, layer)
        for _, module in nnx.iter_modules(copied):
            for value in vars(module).values():
                if isinstance(value, nnx.RngStream):
                    value.key.set_value(jax.random.fold_in(value.key.get_value(), index))
    return nnx.List(copies)


def _order_like(copied: Any, module: Any) -> None:
    """Attributes in the order of their definition, in which a state lists them; a copy has them by the alphabet."""
    attributes = vars(copied)
    for name, value in vars(module).items():
        attributes[name] = attributes.pop(name)
        if isinstance(value, nnx.Module):
            _order_like(attributes[name], value)
