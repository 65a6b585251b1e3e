"""The networks that are measured, and their inputs, with no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.cli.summary.summary import input_axes

__all__ = ["NETWORKS", "Network", "inputs"]


@dataclass(frozen=True)
class Network:
    """One network of the registry, at one size.

    Args:
        name: in the registry.
        preset: the size that is run as it is.
        sizes: what its inputs leave free, by axis name; `b` is the batch.
        shallow: fields of a network of the same kind with fewer blocks. To compile a deep one takes minutes, of which
            every block costs the same.
        oracle: who wrote the network that it is measured against in PyTorch; None for nobody.
    """

    name: str
    preset: str
    sizes: Mapping[str, int]
    shallow: Mapping[str, Any] = field(default_factory=dict)
    oracle: str | None = "plain PyTorch"

    @property
    def small(self) -> bool:
        """Whether it repeats no block, so that a call for one sample takes some milliseconds at most."""
        return not self.shallow

    def config(self, *, shallow: bool = False) -> Config:
        """The config, with no dropout: two sides that draw cannot be compared."""
        config: Any = architectures.get(self.name).config.preset(self.preset)
        rates = {one.name: 0.0 for one in dataclasses.fields(config) if one.name.endswith("dropout")}
        result: Config = dataclasses.replace(config, **rates, **(self.shallow if shallow else {}))
        return result


def _unlisted(name: str) -> Network:
    """A network that is not listed below: its first size, and nobody else's to measure it against in PyTorch."""
    config = architectures.get(name).config
    preset = config.PRESETS[0]
    sizes: dict[str, int] = {}
    for axes, bound in input_axes(config.preset(preset)):
        sizes |= {axis: size for axis, size in bound.items() if axis not in axes.sizes and axis != "b"}
    return Network(name, preset, sizes, oracle=None)


_LISTED = (
    Network("convnet", "mnist", {}),
    Network("super_resolution", "espcn_x3", {"h": 96, "w": 96}),
    Network("style_transfer", "fast_neural_style", {"h": 64, "w": 64}, {"residual_blocks": 1}),
    Network("vgg16_features", "johnson", {"h": 64, "w": 64}),
    Network("shuffle_unit", "add", {"h": 28, "w": 28}),
    Network("shufflenet", "g3", {"h": 224, "w": 224}, {"repeats": (2, 2, 2)}),
    Network("language_model", "medium", {"t": 35}),
    Network("sentiment_rnn", "imdb", {"t": 50}),
    Network("resnet", "resnet50", {"h": 128, "w": 128}, {"depths": (1, 1, 1, 1)}, "torchvision"),
    Network("vgg", "vgg16", {"h": 64, "w": 64}, {"convolutions": (1, 1, 1, 1, 1)}, "torchvision"),
    Network("shufflenet_v2", "x1_0", {"h": 224, "w": 224}, {"repeats": (2, 2, 2)}, "torchvision"),
    Network("vit", "vit_tiny_patch16_224", {"h": 224, "w": 224}, {"layers": 2}, "timm"),
    Network("gpt2", "gpt2", {"t": 16}, {"layers": 2}, "transformers"),
)
NETWORKS = (*_LISTED, *map(_unlisted, sorted(set(architectures.names()) - {network.name for network in _LISTED})))


def inputs(network: Network, config: Config, batch: int, *, channels_last: bool) -> list[np.ndarray]:
    """Random inputs, the same for the same network and batch.

    Args:
        network: what to run.
        config: its config.
        batch: size of the axis `b`.
        channels_last: in Flax's axes.
    """
    rng = np.random.default_rng(0)
    arrays: list[np.ndarray] = []
    for axes in config.inputs():
        sizes = {**network.sizes, **axes.sizes, "b": batch}
        shape = [sizes[name] for name in axes.axes.split()]
        if axes.dtype.startswith("int"):
            arrays.append(rng.integers(0, axes.high, shape))
            continue
        x = rng.standard_normal(shape, dtype=np.float32)
        arrays.append(np.ascontiguousarray(np.moveaxis(x, 1, -1)) if channels_last else x)
    return arrays
