"""ViT in PyTorch. The Flax twin is `einops_arch/flax/vit.py`."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from einops_arch.architectures._resize import resize_positions, resize_weights
from einops_arch.architectures.vit import ViTConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.functional import leaf, repeat
from einops_arch.torch.layers import MergeHeads, Patchify, Rearrange, Reduce
from einops_arch.torch.layers.sequential import Sequential
from einops_arch.torch.layers.transformer import DotProductAttention, PatchLinear, small_linear

__all__ = ["ViT"]


class ViT(Pretrained, nn.Module):
    """Classify images `b c h w` of any size that the patch divides; gives logits `b o`.

    An image is cut into patches, `b c (h p1) (w p2) -> b (h w) (c p1 p2)`, which are tokens from there on; a class
    token comes before them, and in DeiT a distillation token. For another grid than the config's the position embedding
    is resized, bicubic. At the end the class token, or the mean of the patches, goes through a linear layer.

    Args:
        config: sizes; those of ViT-B/16 if left out.

    Raises:
        ShapeError: the image does not have the channels of the config, or has a side that the patch does not divide.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929. Names, layouts and initial distributions are those of timm's
    `vit_*_patch*` and `deit_*`, whose weights load as they are.

    >>> model = ViT(ViTConfig.tiny())
    >>> model(torch.zeros(2, 3, 6, 8)).shape, model(torch.zeros(2, 3, 10, 4)).shape
    (torch.Size([2, 7]), torch.Size([2, 7]))
    """

    def __init__(self, config: ViTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ViTConfig()
        e, before = config.embedding, config.tokens_before_patches
        h, w = config.grid
        self.cls_token = nn.Parameter(torch.empty(1, 1, e).normal_(std=1e-6)) if config.class_token else None
        self.pos_embed = nn.Parameter(torch.empty(1, before + h * w, e).normal_(std=0.02))
        distills = config.distillation_token
        self.dist_token = nn.Parameter(torch.empty(1, 1, e).normal_(std=0.02)) if distills else None
        self.patch_embed = Sequential(
            {
                "patchify": Patchify(config.patch_size),
                "proj": PatchLinear(config.in_channels, e, config.patch_size),
            }
        )
        self.pos_drop = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        norm = nn.LayerNorm(e, eps=config.epsilon)
        self.norm = nn.Identity() if config.norm_after_pool else norm
        self.pool = Rearrange("b 1 e -> b e") if config.pool == "token" else Reduce("b n e -> b e", "mean")
        self.fc_norm = norm if config.norm_after_pool else nn.Identity()
        self.head = _head(config)
        self.head_dist = _head(config) if config.distillation_head else None

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to logits `b o`."""
        self.config.check_inputs(image)
        b, _, height, width = image.shape
        x = self.patch_embed(image)
        tokens = [repeat(t, "1 1 e -> b 1 e", b=b) for t in (self.cls_token, self.dist_token) if t is not None]
        x = torch.cat([*tokens, x], dim=1)
        x = self.pos_drop(x + self._positions(self.config.grid_of(height, width)))
        x = self.norm(self.blocks(x))
        pooled = self.fc_norm(self.pool(x[:, self.config.pooled_tokens]))
        if self.head_dist is None:
            return self.head(pooled)
        return (self.head(pooled) + self.head_dist(self.fc_norm(x[:, 1]))) / 2

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """The position embedding `1 n e` for a grid of patches."""
        before, antialias = self.config.tokens_before_patches, self.config.antialias
        return _resized(self.pos_embed, self.config.grid, grid, before=before, antialias=antialias)


def _head(config: ViTConfig) -> nn.Module:
    """The last layer, which a config without classes leaves out."""
    return small_linear(config.embedding, config.classes) if config.classes else nn.Identity()


@leaf
def _resized(pos_embed: Tensor, old: tuple[int, int], new: tuple[int, int], *, before: int, antialias: bool) -> Tensor:
    """The position embedding `1 n e` for another grid of patches; that of the tokens before them stays as it is."""
    if new == old:
        return pos_embed
    arange = partial(torch.arange, dtype=torch.float64)
    rows, columns = (
        resize_weights(arange, *sizes, antialias=antialias)
        # Half precision is too coarse for the weights.
        .to(pos_embed.device, torch.promote_types(pos_embed.dtype, torch.float32))
        for sizes in zip(old, new, strict=True)
    )
    resized = resize_positions(pos_embed[:, before:].to(rows.dtype), old, rows, columns)
    return torch.cat([pos_embed[:, :before], resized.to(pos_embed.dtype)], dim=1)


class Block(nn.Module):
    """Tokens `b n e` to tokens: attention and a multilayer perceptron, each after a norm and beside a shortcut."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        e = config.embedding
        self.norm1 = nn.LayerNorm(e, eps=config.epsilon)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(e, eps=config.epsilon)
        self.mlp = Sequential(
            {
                "fc1": small_linear(e, config.hidden),
                "act": nn.GELU(approximate="none"),
                "drop1": nn.Dropout(config.dropout),
                "fc2": small_linear(config.hidden, e),
                "drop2": nn.Dropout(config.dropout),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Tokens `b n e` to tokens, each a mean over all of them, in several heads: `b n (qkv heads k)` in one layer."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        e = config.embedding
        self.qkv = small_linear(e, 3 * e, bias=config.qkv_bias)
        self.split = Rearrange("b n (qkv heads k) -> qkv b heads n k", qkv=3, heads=config.heads)
        self.attend = DotProductAttention(config.attention_dropout)
        self.merge = MergeHeads()
        self.proj = small_linear(e, e)
        self.proj_drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.qkv(x))
        x = self.merge(self.attend(q, k, v))
        return self.proj_drop(self.proj(x))
