"""Flax NNX layers and networks, and the state that speaks PyTorch. The PyTorch twins are in `einops_arch.torch`."""

from typing import Any

from einops_arch._frameworks import require

require("jax", "flax", extra="flax", by="einops_arch.flax")

from einops_arch import architectures
from einops_arch.checkpoints import push_to_hub, save_pretrained
from einops_arch.flax._build import from_state, without_values
from einops_arch.flax._hub import from_pretrained
from einops_arch.flax.layers import (
    GELU,
    GRU,
    LSTM,
    RNN,
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    ChannelUnshuffle,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Dropout,
    Dropout2d,
    EinMix,
    Embed,
    FlattenFeatures,
    FlattenSequence,
    GramMatrix,
    GroupNorm,
    Identity,
    InstanceNorm,
    LayerNorm,
    Linear,
    LogSoftmax,
    MaxPool,
    MergeDirections,
    MergeHeads,
    MultiheadAttention,
    Patchify,
    Rearrange,
    Reduce,
    ReflectionPad,
    ReLU,
    Repeat,
    RMSNorm,
    Sequential,
    Sigmoid,
    SpaceToDepth,
    SplitDirections,
    SplitHeads,
    Tanh,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
    UnflattenFeatures,
    UnflattenSequence,
    Unpatchify,
    UpsampleNearest,
)
from einops_arch.flax.state import linen_variables, load_state_dict, state_dict

__all__ = [
    "from_pretrained",
    "from_state",
    "linen_variables",
    "load_state_dict",
    "push_to_hub",
    "save_pretrained",
    "state_dict",
    "without_values",
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
    "Linear",
    "Embed",
    "EmbeddingBag",
    "Conv",
    "ConvTranspose",
    "BatchNorm",
    "LayerNorm",
    "GroupNorm",
    "InstanceNorm",
    "RMSNorm",
    "LSTM",
    "GRU",
    "RNN",
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerEncoder",
    "TransformerDecoderLayer",
    "TransformerDecoder",
    "Transformer",
    "Dropout",
    "Dropout2d",
    "MaxPool",
    "AvgPool",
    "AdaptiveAvgPool",
    "ReflectionPad",
    "ReLU",
    "GELU",
    "Tanh",
    "Sigmoid",
    "LogSoftmax",
    "Identity",
    "Sequential",
]


def __getattr__(name: str) -> Any:
    """The networks, by the name of their class: `einops_arch.flax.ConvNet`; each is imported when asked for."""
    for architecture in map(architectures.get, architectures.names()):
        if name == architecture.config.MODEL:
            return architecture.flax_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(architectures.get(name).config.MODEL for name in architectures.names())])
