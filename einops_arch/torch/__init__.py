"""PyTorch layers and networks. The Flax twins are in `einops_arch.flax`, under the same names."""

from typing import Any

from einops_arch._frameworks import require

require("torch", extra="torch", by="einops_arch.torch")

from einops_arch import architectures
from einops_arch.checkpoints import push_to_hub, save_pretrained
from einops_arch.torch._build import from_state
from einops_arch.torch._hub import from_pretrained
from einops_arch.torch.layers import (
    ChannelShuffle,
    ChannelUnshuffle,
    DepthToSpace,
    EinMix,
    FlattenFeatures,
    FlattenSequence,
    GramMatrix,
    MergeDirections,
    MergeHeads,
    Patchify,
    Rearrange,
    Reduce,
    Repeat,
    SpaceToDepth,
    SplitDirections,
    SplitHeads,
    UnflattenFeatures,
    UnflattenSequence,
    Unpatchify,
    UpsampleNearest,
)

__all__ = [
    "from_pretrained",
    "from_state",
    "push_to_hub",
    "save_pretrained",
    "Rearrange",
    "Reduce",
    "Repeat",
    "EinMix",
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


def __getattr__(name: str) -> Any:
    """The networks, by the name of their class: `einops_arch.torch.ConvNet`; each is imported when asked for."""
    for architecture in map(architectures.get, architectures.names()):
        if name == architecture.config.MODEL:
            return architecture.torch_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(architectures.get(name).config.MODEL for name in architectures.names())])
