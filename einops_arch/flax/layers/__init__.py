"""The layers: patterns, a shell around each core, and layers that mean what PyTorch's mean.

`einops_arch.torch.layers` has the same patterns and shells, with the same names and arguments.
"""

from einops_arch.flax.layers.attention import MultiheadAttention
from einops_arch.flax.layers.basic import (
    GELU,
    Dropout,
    Dropout2d,
    Identity,
    Linear,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Tanh,
)
from einops_arch.flax.layers.conv import Conv, ConvTranspose
from einops_arch.flax.layers.einmix import EinMix
from einops_arch.flax.layers.embedding import Embed, EmbeddingBag
from einops_arch.flax.layers.encoder_decoder import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from einops_arch.flax.layers.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from einops_arch.flax.layers.patterns import Rearrange, Reduce, Repeat
from einops_arch.flax.layers.pool import AdaptiveAvgPool, AvgPool, MaxPool, ReflectionPad
from einops_arch.flax.layers.recurrent import GRU, LSTM, RNN
from einops_arch.flax.layers.reshapes import (
    FlattenFeatures,
    FlattenSequence,
    MergeDirections,
    MergeHeads,
    SplitDirections,
    SplitHeads,
    UnflattenFeatures,
    UnflattenSequence,
)
from einops_arch.flax.layers.sequential import Sequential
from einops_arch.flax.layers.wrappers import (
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
    # Shells around the cores
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
    # PyTorch's layers
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
