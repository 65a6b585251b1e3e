"""The layers: patterns, a wrapper around each core, and layers that mean what PyTorch's mean.

`einops_arch.torch.layers` has the same patterns and wrappers, with the same names and arguments.
"""

from einops_arch.flax.layers.activation import (
    CELU,
    ELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    QuickGELU,
    ReLU6,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanhshrink,
    Threshold,
)
from einops_arch.flax.layers.attention import MultiheadAttention
from einops_arch.flax.layers.basic import (
    GELU,
    Identity,
    Linear,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Tanh,
)
from einops_arch.flax.layers.batch_norm import BatchNorm, FrozenBatchNorm, InstanceNorm
from einops_arch.flax.layers.bilinear import Bilinear, ParameterDict, ParameterList
from einops_arch.flax.layers.conv import Conv, ConvTranspose
from einops_arch.flax.layers.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropPath,
    FeatureAlphaDropout,
    StochasticDepth,
)
from einops_arch.flax.layers.einmix import EinMix
from einops_arch.flax.layers.embedding import Embed, EmbeddingBag
from einops_arch.flax.layers.encoder_decoder import Transformer, TransformerDecoder, TransformerEncoder
from einops_arch.flax.layers.encoder_decoder_layers import TransformerDecoderLayer, TransformerEncoderLayer
from einops_arch.flax.layers.folds import Flatten, Fold, Unflatten, Unfold
from einops_arch.flax.layers.fractional import FractionalMaxPool
from einops_arch.flax.layers.noise import Noise
from einops_arch.flax.layers.norm import GroupNorm, LayerNorm, LayerNorm2d, LocalResponseNorm, RMSNorm
from einops_arch.flax.layers.norm_act import BatchNormAct, GroupNormAct
from einops_arch.flax.layers.padding import CircularPad, ConstantPad, ReflectionPad, ReplicationPad, ZeroPad
from einops_arch.flax.layers.patterns import Rearrange, Reduce, Repeat
from einops_arch.flax.layers.pixels import PixelShuffle, PixelUnshuffle
from einops_arch.flax.layers.pool import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, LPPool, MaxPool, MaxUnpool
from einops_arch.flax.layers.recurrent import GRU, LSTM, RNN
from einops_arch.flax.layers.recurrent_cells import GRUCell, LSTMCell, RNNCell
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
from einops_arch.flax.layers.resize import Upsample
from einops_arch.flax.layers.rrelu import RReLU
from einops_arch.flax.layers.sequential import Sequential
from einops_arch.flax.layers.softmax import GLU, Softmax, Softmax2d, Softmin
from einops_arch.flax.layers.tied import TiedLinear
from einops_arch.flax.layers.weights import ScaledStdConv, SpectralNorm, StdConv, WeightNorm
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
    # Wrappers around the cores
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
    "TiedLinear",
    "Embed",
    "EmbeddingBag",
    "Conv",
    "ConvTranspose",
    "BatchNorm",
    "BatchNormAct",
    "LayerNorm",
    "GroupNorm",
    "GroupNormAct",
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
    "AdaptiveMaxPool",
    "LPPool",
    "MaxUnpool",
    "ZeroPad",
    "ConstantPad",
    "ReplicationPad",
    "CircularPad",
    "Upsample",
    "Unfold",
    "Fold",
    "Flatten",
    "Unflatten",
    "AlphaDropout",
    "DropPath",
    "Dropout1d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "StochasticDepth",
    "CELU",
    "ELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "QuickGELU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanhshrink",
    "Threshold",
    "Bilinear",
    "ParameterDict",
    "ParameterList",
    "FrozenBatchNorm",
    "LayerNorm2d",
    "LocalResponseNorm",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "WeightNorm",
    "SpectralNorm",
    "StdConv",
    "ScaledStdConv",
    "Sequential",
    "PixelShuffle",
    "PixelUnshuffle",
    "RReLU",
    "Noise",
    "Softmax2d",
    "FractionalMaxPool",
]
