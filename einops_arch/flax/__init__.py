"""Flax NNX layers and networks, and the state that speaks PyTorch. The PyTorch twins are in `einops_arch.torch`."""

import importlib
from typing import TYPE_CHECKING, Any

from einops_arch._frameworks import require

require("jax", "flax", extra="flax", by="einops_arch.flax")

from einops_arch import architectures
from einops_arch.architectures import list_models
from einops_arch.checkpoints import push_to_hub, save_pretrained
from einops_arch.flax._build import create_model, from_state, without_values
from einops_arch.flax._hub import from_pretrained
from einops_arch.flax.layers import (
    CELU,
    ELU,
    GELU,
    GLU,
    GRU,
    LSTM,
    RNN,
    SELU,
    AdaptiveAvgPool,
    AdaptiveMaxPool,
    AlphaDropout,
    AvgPool,
    BatchNorm,
    Bilinear,
    ChannelShuffle,
    ChannelUnshuffle,
    CircularPad,
    ConstantPad,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropPath,
    EinMix,
    Embed,
    EmbeddingBag,
    FeatureAlphaDropout,
    Flatten,
    FlattenFeatures,
    FlattenSequence,
    Fold,
    FrozenBatchNorm,
    GramMatrix,
    GroupNorm,
    GRUCell,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Identity,
    InstanceNorm,
    LayerNorm,
    LayerNorm2d,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LogSigmoid,
    LogSoftmax,
    LPPool,
    LSTMCell,
    MaxPool,
    MaxUnpool,
    MergeDirections,
    MergeHeads,
    Mish,
    MultiheadAttention,
    ParameterDict,
    ParameterList,
    Patchify,
    PReLU,
    QuickGELU,
    Rearrange,
    Reduce,
    ReflectionPad,
    ReLU,
    ReLU6,
    Repeat,
    ReplicationPad,
    RMSNorm,
    RNNCell,
    ScaledStdConv,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    SpaceToDepth,
    SpectralNorm,
    SplitDirections,
    SplitHeads,
    StdConv,
    StochasticDepth,
    Tanh,
    Tanhshrink,
    Threshold,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
    Unflatten,
    UnflattenFeatures,
    UnflattenSequence,
    Unfold,
    Unpatchify,
    Upsample,
    UpsampleNearest,
    WeightNorm,
    ZeroPad,
)
from einops_arch.flax.state import linen_variables, load_state_dict, state_dict

if TYPE_CHECKING:
    # The networks, for type checkers and completion; when the program runs, `__getattr__` imports those that are used.
    from einops_arch.flax.convnet import ConvNet as ConvNet
    from einops_arch.flax.generation import generate as generate
    from einops_arch.flax.gpt2 import GPT2 as GPT2
    from einops_arch.flax.language_model import LanguageModel as LanguageModel
    from einops_arch.flax.resnet import ResNet as ResNet
    from einops_arch.flax.sentiment_rnn import SentimentRNN as SentimentRNN
    from einops_arch.flax.shuffle_unit import ShuffleUnit as ShuffleUnit
    from einops_arch.flax.shufflenet import ShuffleNet as ShuffleNet
    from einops_arch.flax.shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
    from einops_arch.flax.style_transfer import StyleTransfer as StyleTransfer
    from einops_arch.flax.super_resolution import SuperResolution as SuperResolution
    from einops_arch.flax.vgg import VGG as VGG
    from einops_arch.flax.vgg16_features import VGG16Features as VGG16Features
    from einops_arch.flax.vit import ViT as ViT

__all__ = [
    "create_model",
    "generate",
    "list_models",
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
]

_NETWORKS = {architectures.get(name).config.MODEL: name for name in architectures.names()}

__all__ += list(_NETWORKS)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A network by the name of its class, such as `ConvNet`; each is imported when it is asked for."""
        if name in _NETWORKS:
            return architectures.get(_NETWORKS[name]).flax_class()
        if name == "generate":
            return importlib.import_module(f"{__name__}.generation").generate
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
