"""ViT in Flax. The PyTorch twin is `einops_arch/torch/vit.py`."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
from einops import repeat
from flax import nnx
from jax import Array

from einops_arch.architectures._resize import resize_positions, resize_weights
from einops_arch.architectures.vit import ViTConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import (
    GELU,
    Dropout,
    Identity,
    LayerNorm,
    MergeHeads,
    Patchify,
    Rearrange,
    Reduce,
    Sequential,
)
from einops_arch.flax.layers.init import normal
from einops_arch.flax.layers.sequential import Rematerialized
from einops_arch.flax.layers.transformer import DotProductAttention, PatchLinear, small_linear

__all__ = ["ViT"]


class ViT(Pretrained, nnx.Module):
    """Classify images `b h w c` of any size that the patch divides; gives logits `b o`.

    An image is cut into patches, `b (h p1) (w p2) c -> b (h w) (c p1 p2)`, which are tokens from there on; a class
    token comes before them, and in DeiT a distillation token. For another grid than the config's the position embedding
    is resized, bicubic. At the end the class token, or the mean of the patches, goes through a linear layer.

    Args:
        config: sizes; those of ViT-B/16 if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        remat: compute the blocks again in the backward pass, which keeps their inputs in memory and no more.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: the image does not have the channels of the config, or has a side that the patch does not divide.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929. Names, layouts and initial distributions are those of timm's
    `vit_*_patch*` and `deit_*`, whose weights load as they are.

    >>> model = ViT(ViTConfig.tiny(), rngs=nnx.Rngs(0))
    >>> model(jnp.zeros((2, 6, 8, 3))).shape, model(jnp.zeros((2, 10, 4, 3))).shape
    ((2, 7), (2, 7))
    """

    def __init__(
        self,
        config: ViTConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or ViTConfig()
        e, before = config.embedding, config.tokens_before_patches
        h, w = config.grid
        self.cls_token = nnx.Param(normal(1e-6)(rngs.params(), (1, 1, e), jnp.float32)) if config.class_token else None
        self.pos_embed = nnx.Param(normal(0.02)(rngs.params(), (1, before + h * w, e), jnp.float32))
        distills = config.distillation_token
        self.dist_token = nnx.Param(normal(0.02)(rngs.params(), (1, 1, e), jnp.float32)) if distills else None
        self.patch_embed = Sequential(
            {
                "patchify": Patchify(config.patch_size),
                "proj": PatchLinear(config.in_channels, e, config.patch_size, rngs=rngs),
            }
        )
        self.pos_drop = Dropout(config.dropout, rngs=rngs)
        blocks = Rematerialized if remat else Sequential
        self.blocks = blocks(*(Block(config, rngs=rngs) for _ in range(config.layers)))
        norm = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)
        self.norm = Identity() if config.norm_after_pool else norm
        self.pool = Rearrange("b 1 e -> b e") if config.pool == "token" else Reduce("b n e -> b e", "mean")
        self.fc_norm = norm if config.norm_after_pool else Identity()
        self.head = _head(config, rngs=rngs)
        self.head_dist = _head(config, rngs=rngs) if config.distillation_head else None
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to logits `b o`."""
        self.config.check_inputs(image, channels_last=True)
        b, height, width, _ = image.shape
        x = self.patch_embed(image)
        before = [t[...].astype(x.dtype) for t in (self.cls_token, self.dist_token) if t is not None]
        x = jnp.concatenate([*(repeat(token, "1 1 e -> b 1 e", b=b) for token in before), x], axis=1)
        x = self.pos_drop(x + self._positions(self.config.grid_of(height, width)).astype(x.dtype))
        x = self.norm(self.blocks(x))
        pooled = self.fc_norm(self.pool(x[:, self.config.pooled_tokens]))
        if self.head_dist is None:
            return self.head(pooled)
        return (self.head(pooled) + self.head_dist(self.fc_norm(x[:, 1]))) / 2

    def _positions(self, grid: tuple[int, int]) -> Array:
        """The position embedding `1 n e` for a grid of patches."""
        before, antialias = self.config.tokens_before_patches, self.config.antialias
        return _resized(self.pos_embed[...], self.config.grid, grid, before=before, antialias=antialias)


def _head(config: ViTConfig, *, rngs: nnx.Rngs) -> nnx.Module:
    """The last layer, which a config without classes leaves out."""
    return small_linear(config.embedding, config.classes, rngs=rngs) if config.classes else Identity()


def _resized(pos_embed: Array, old: tuple[int, int], new: tuple[int, int], *, before: int, antialias: bool) -> Array:
    """The position embedding `1 n e` for another grid of patches; that of the tokens before them stays as it is."""
    if new == old:
        return pos_embed
    # By numpy, which has float64 whatever jax has.
    arange = partial(np.arange, dtype=np.float64)
    rows, columns = (
        jnp.asarray(
            resize_weights(arange, *sizes, antialias=antialias),
            # Half precision is too coarse for the weights.
            jnp.promote_types(pos_embed.dtype, jnp.float32),
        )
        for sizes in zip(old, new, strict=True)
    )
    resized = resize_positions(pos_embed[:, before:].astype(rows.dtype), old, rows, columns)
    return jnp.concatenate([pos_embed[:, :before], resized.astype(pos_embed.dtype)], axis=1)


class Block(nnx.Module):
    """Tokens `b n e` to tokens: attention and a multilayer perceptron, each after a norm and beside a shortcut."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        e = config.embedding
        self.norm1 = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)
        self.attn = Attention(config, rngs=rngs)
        self.norm2 = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)
        self.mlp = Sequential(
            {
                "fc1": small_linear(e, config.hidden, rngs=rngs),
                "act": GELU(approximate=False),
                "drop1": Dropout(config.dropout, rngs=rngs),
                "fc2": small_linear(config.hidden, e, rngs=rngs),
                "drop2": Dropout(config.dropout, rngs=rngs),
            }
        )

    def __call__(self, x: Array) -> Array:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nnx.Module):
    """Tokens `b n e` to tokens, each a mean over all of them, in several heads: `b n (qkv heads k)` in one layer."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        e = config.embedding
        self.qkv = small_linear(e, 3 * e, use_bias=config.qkv_bias, rngs=rngs)
        self.split = Rearrange("b n (qkv heads k) -> qkv b heads n k", qkv=3, heads=config.heads)
        self.attend = DotProductAttention(config.attention_dropout, rngs=rngs)
        self.merge = MergeHeads()
        self.proj = small_linear(e, e, rngs=rngs)
        self.proj_drop = Dropout(config.dropout, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        q, k, v = self.split(self.qkv(x))
        x = self.merge(self.attend(q, k, v))
        return self.proj_drop(self.proj(x))
