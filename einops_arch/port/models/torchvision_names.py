"""The names of torchvision's networks that are not ours. Its files hold no config: the user says which it is."""

from __future__ import annotations

from einops_arch.port.models.renames import Naming, Rename

__all__ = ["TORCHVISION_VIT"]

_LAYER = "encoder.layers.encoder_layer_{}"

TORCHVISION_VIT = Naming(
    (
        Rename("class_token", "cls_token"),
        Rename("encoder.pos_embedding", "pos_embed"),
        Rename("conv_proj.*", "patch_embed.proj.*"),
        Rename(f"{_LAYER}.self_attention.in_proj_weight", "blocks.{}.attn.qkv.weight"),
        Rename(f"{_LAYER}.self_attention.in_proj_bias", "blocks.{}.attn.qkv.bias"),
        Rename(f"{_LAYER}.self_attention.out_proj.*", "blocks.{}.attn.proj.*"),
        Rename(f"{_LAYER}.ln_1.*", "blocks.{}.norm1.*"),
        Rename(f"{_LAYER}.ln_2.*", "blocks.{}.norm2.*"),
        Rename(f"{_LAYER}.mlp.0.*", "blocks.{}.mlp.fc1.*"),
        Rename(f"{_LAYER}.mlp.3.*", "blocks.{}.mlp.fc2.*"),
        # The names in torchvision's first files, which it renames when it loads them.
        Rename(f"{_LAYER}.mlp.linear_1.*", "blocks.{}.mlp.fc1.*"),
        Rename(f"{_LAYER}.mlp.linear_2.*", "blocks.{}.mlp.fc2.*"),
        Rename("encoder.ln.*", "norm.*"),
        Rename("heads.head.*", "head.*"),
    )
)
"""The names of torchvision's `vit_b_16`, `vit_b_32`, `vit_l_16`; the first is `ViTConfig.vit_base_patch16_224()`."""
