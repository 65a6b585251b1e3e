"""The cores: pure functions over the arrays of any einops backend, each of them a pattern.

They use einops, operators and `.shape`, so the same function runs on numpy, PyTorch and JAX arrays, and
inside `torch.compile`, `torch.func.vmap`, `jax.jit`, `jax.vmap` and `jax.grad`. Sizes are checked before
anything is moved.
"""

from __future__ import annotations

from einops_arch.functional.axes import AXES
from einops_arch.functional.data_format import to_channels_first, to_channels_last
from einops_arch.functional.depth_space import depth_to_space, space_to_depth
from einops_arch.functional.features import flatten_features, unflatten_features
from einops_arch.functional.gram import gram_matrix
from einops_arch.functional.heads import merge_directions, merge_heads, split_directions, split_heads
from einops_arch.functional.patches import patchify, unpatchify
from einops_arch.functional.sequence import flatten_sequence, unflatten_sequence
from einops_arch.functional.shuffle import channel_shuffle, channel_unshuffle
from einops_arch.functional.style import content_loss, style_loss, total_variation
from einops_arch.functional.upsample import upsample_nearest

__all__ = [
    "AXES",
    "channel_shuffle",
    "channel_unshuffle",
    "content_loss",
    "depth_to_space",
    "flatten_features",
    "flatten_sequence",
    "gram_matrix",
    "merge_directions",
    "merge_heads",
    "patchify",
    "space_to_depth",
    "split_directions",
    "split_heads",
    "style_loss",
    "to_channels_first",
    "to_channels_last",
    "total_variation",
    "unflatten_features",
    "unflatten_sequence",
    "unpatchify",
    "upsample_nearest",
]
