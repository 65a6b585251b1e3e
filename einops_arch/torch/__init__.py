"""PyTorch layers and networks. The Flax twins are in `einops_arch.flax`, under the same names."""

import importlib
from typing import TYPE_CHECKING, Any

from einops_arch._frameworks import require

require("torch", extra="torch", by="einops_arch.torch")

from einops_arch import architectures
from einops_arch.architectures import list_models
from einops_arch.checkpoints import push_to_hub, save_pretrained
from einops_arch.torch._build import create_model, from_state, without_values
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

if TYPE_CHECKING:
    # The networks, for type checkers and completion; when the program runs, `__getattr__` imports those that are used.
    from einops_arch.torch.convnet import ConvNet as ConvNet
    from einops_arch.torch.generation import generate as generate
    from einops_arch.torch.gpt2 import GPT2 as GPT2
    from einops_arch.torch.language_model import LanguageModel as LanguageModel
    from einops_arch.torch.resnet import ResNet as ResNet
    from einops_arch.torch.sentiment_rnn import SentimentRNN as SentimentRNN
    from einops_arch.torch.shuffle_unit import ShuffleUnit as ShuffleUnit
    from einops_arch.torch.shufflenet import ShuffleNet as ShuffleNet
    from einops_arch.torch.shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
    from einops_arch.torch.style_transfer import StyleTransfer as StyleTransfer
    from einops_arch.torch.super_resolution import SuperResolution as SuperResolution
    from einops_arch.torch.vgg import VGG as VGG
    from einops_arch.torch.vgg16_features import VGG16Features as VGG16Features
    from einops_arch.torch.vit import ViT as ViT

__all__ = [
    "create_model",
    "generate",
    "list_models",
    "without_values",
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

_NETWORKS = {architectures.get(name).config.MODEL: name for name in architectures.names()}

__all__ += list(_NETWORKS)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A network by the name of its class, such as `ConvNet`; each is imported when it is asked for."""
        if name in _NETWORKS:
            return architectures.get(_NETWORKS[name]).torch_class()
        if name == "generate":
            return importlib.import_module(f"{__name__}.generation").generate
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
