"""The layers: einops' own, and a wrapper around each core.

`Rearrange`, `Reduce` and `EinMix` are einops' classes, which `torch.fx` can trace here; the rest is written here.
`einops_arch.flax.layers` has the same names with the same arguments.
"""

from einops_arch.torch.layers.patterns import EinMix, Rearrange, Reduce, Repeat
from einops_arch.torch.layers.reshapes import (
    FlattenFeatures,
    FlattenSequence,
    MergeDirections,
    MergeHeads,
    SplitDirections,
    SplitHeads,
    UnflattenFeatures,
    UnflattenSequence,
)
from einops_arch.torch.layers.wrappers import (
    ChannelShuffle,
    ChannelUnshuffle,
    DepthToSpace,
    GramMatrix,
    Patchify,
    SpaceToDepth,
    Unpatchify,
    UpsampleNearest,
)

__all__ = [
    # Patterns
    "Rearrange",
    "Reduce",
    "Repeat",
    "EinMix",
    # Layers around the cores
    "GramMatrix",
    "ChannelShuffle",
    "ChannelUnshuffle",
    "DepthToSpace",
    "SpaceToDepth",
    "UpsampleNearest",
    "Patchify",
    "Unpatchify",
    "FlattenFeatures",
    "UnflattenFeatures",
    "FlattenSequence",
    "UnflattenSequence",
    "SplitHeads",
    "MergeHeads",
    "SplitDirections",
    "MergeDirections",
]
