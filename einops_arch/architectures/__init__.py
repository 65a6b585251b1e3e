"""The registry: what each network is, with no framework.

>>> get("convnet").config.preset("mnist").feature_map
(4, 4)
"""

from __future__ import annotations

import fnmatch
import importlib
from dataclasses import dataclass
from typing import Any

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.convnet import ConvNetConfig
from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.architectures.language_model import LanguageModelConfig
from einops_arch.architectures.resnet import ResNetConfig
from einops_arch.architectures.sentiment_rnn import SentimentRNNConfig
from einops_arch.architectures.shuffle_unit import ShuffleUnitConfig
from einops_arch.architectures.shufflenet import ShuffleNetConfig
from einops_arch.architectures.shufflenet_v2 import ShuffleNetV2Config
from einops_arch.architectures.style_transfer import StyleTransferConfig
from einops_arch.architectures.super_resolution import SuperResolutionConfig
from einops_arch.architectures.vgg import VGGConfig
from einops_arch.architectures.vgg16_features import VGG16FeaturesConfig
from einops_arch.architectures.vit import ViTConfig
from einops_arch.errors import ConfigError, UnknownArchitectureError, nearest, suggestion

__all__ = [
    "Architecture",
    "Axes",
    "Config",
    "ConvNetConfig",
    "GPT2Config",
    "LanguageModelConfig",
    "ResNetConfig",
    "SentimentRNNConfig",
    "ShuffleNetConfig",
    "ShuffleNetV2Config",
    "ShuffleUnitConfig",
    "StyleTransferConfig",
    "SuperResolutionConfig",
    "VGG16FeaturesConfig",
    "VGGConfig",
    "ViTConfig",
    "config_for",
    "get",
    "list_models",
    "names",
    "of_config",
    "resolve",
]


@dataclass(frozen=True)
class Architecture:
    """A network with a name: one config, and twins in `einops_arch.torch` and `einops_arch.flax`.

    Args:
        name: the name in the registry, and of the files that hold the config and the twins.
        config: the class of its config.
    """

    name: str
    config: type[Config]

    @property
    def summary(self) -> str:
        """What the network is, in one sentence."""
        return self.config.SUMMARY

    @property
    def source(self) -> str:
        """The paper or code that defines the network."""
        return self.config.SOURCE

    def torch_class(self) -> Any:
        """The PyTorch twin, a subclass of `torch.nn.Module`."""
        return getattr(importlib.import_module(f"einops_arch.torch.{self.name}"), self.config.MODEL)

    def flax_class(self) -> Any:
        """The Flax twin, a subclass of `flax.nnx.Module`."""
        return getattr(importlib.import_module(f"einops_arch.flax.{self.name}"), self.config.MODEL)


_REGISTRY: dict[str, type[Config]] = {
    "convnet": ConvNetConfig,
    "super_resolution": SuperResolutionConfig,
    "style_transfer": StyleTransferConfig,
    "vgg16_features": VGG16FeaturesConfig,
    "shuffle_unit": ShuffleUnitConfig,
    "shufflenet": ShuffleNetConfig,
    "language_model": LanguageModelConfig,
    "sentiment_rnn": SentimentRNNConfig,
    "vit": ViTConfig,
    "gpt2": GPT2Config,
    "resnet": ResNetConfig,
    "vgg": VGGConfig,
    "shufflenet_v2": ShuffleNetV2Config,
}


def names() -> tuple[str, ...]:
    """The names of all architectures."""
    return tuple(_REGISTRY)


def get(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        UnknownArchitectureError: no architecture of that name; the nearest one is offered.
    """
    if name not in _REGISTRY:
        raise UnknownArchitectureError(f"no architecture is named {name!r}: {suggestion(name, _REGISTRY)}")
    return Architecture(name, _REGISTRY[name])


def resolve(name: str) -> tuple[Architecture, str | None]:
    """The architecture and the preset that a name stands for, in the spelling of this package or of the weights.

    Args:
        name: an architecture (`"vgg"`), a preset that only one architecture has (`"vgg16_bn"`), or both
            (`"shufflenet_v2_x1_0"`); hyphens count as underscores (`"gpt2-medium"`).

    Returns:
        The preset is None where the name is an architecture's.

    Raises:
        UnknownArchitectureError: nothing has that name, or several architectures have a preset of that name.

    >>> architecture, preset = resolve("shufflenet_v2_x0_5")
    >>> architecture.name, preset
    ('shufflenet_v2', 'x0_5')
    """
    wanted = name.replace("-", "_")
    if wanted in _REGISTRY:
        return get(wanted), None
    sizes = [(architecture, preset) for architecture, kind in _REGISTRY.items() for preset in kind.PRESETS]
    owners = [architecture for architecture, preset in sizes if preset == wanted]
    if len(owners) > 1:
        of = ", ".join(owners) if len(owners) < 4 else f"{len(owners)} architectures"
        raise UnknownArchitectureError(
            f"{name!r} is a preset of {of}; likely fix: say which, such as {f'{owners[0]}_{wanted}'!r}"
        )
    fits = [(a, p) for a, p in sizes if wanted in (p, f"{a}_{p}")]
    if not fits:
        known = [name for name in list_models() if "tiny" not in name]
        near = nearest(wanted, known, n=3, cutoff=0.5)
        end = f"did you mean {' or '.join(map(repr, near))}?" if near else suggestion(wanted, _REGISTRY)
        raise UnknownArchitectureError(f"no architecture and no preset is named {name!r}: {end}")
    return get(fits[0][0]), fits[0][1]


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` takes: architectures, and their sizes in the spelling of their public weights.

    Args:
        pattern: as in a shell: `*` stands for anything, `?` for one character.

    >>> list_models("resnet1*")
    ['resnet101', 'resnet152', 'resnet18']
    """
    sizes = [_spelled(architecture, preset) for architecture, kind in _REGISTRY.items() for preset in kind.PRESETS]
    return sorted(name for name in {*_REGISTRY, *sizes} if fnmatch.fnmatchcase(name, pattern))


def _spelled(architecture: str, preset: str) -> str:
    """The name of a size by itself: `resnet50`, `wide_resnet50_2`, but `shufflenet_v2_x1_0`."""
    says_it = preset.startswith(architecture) or (len(preset) > 8 and not preset.startswith("tiny"))
    return preset if says_it else f"{architecture}_{preset}"


def config_for(name: str, **fields: Any) -> Config:
    """The config that a name stands for, with some of its fields changed.

    Args:
        name: what `list_models` lists; an architecture's name is its default size.
        fields: of the config, by name.

    Raises:
        UnknownArchitectureError: nothing has that name, or several architectures have a preset of that name.
        ConfigError: the config has no such field, or a value is out of range.

    >>> config_for("resnet50", classes=10).classes
    10
    """
    architecture, preset = resolve(name)
    config = architecture.config() if preset is None else architecture.config.preset(preset)
    known = list(config.to_dict())
    for field in fields:
        if field not in known:
            raise ConfigError(f"{name}: no field of its config is named {field!r}: {suggestion(field, known)}")
    values: dict[str, Any] = {field: getattr(config, field) for field in known}
    return type(config)(**values | fields)


def of_config(config: Config) -> Architecture:
    """The architecture that a config belongs to.

    Raises:
        UnknownArchitectureError: the config's class is not in the registry.
    """
    for name, kind in _REGISTRY.items():
        if isinstance(config, kind):
            return Architecture(name, kind)
    raise UnknownArchitectureError(
        f"no architecture has a config of type {type(config).__name__}: {suggestion('', _REGISTRY)}"
    )
