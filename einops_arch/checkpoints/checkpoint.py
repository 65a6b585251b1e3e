"""What a checkpoint file holds, whatever its format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from einops_arch import architectures
from einops_arch._text import brief
from einops_arch._version import __version__
from einops_arch.checkpoints.disk.bounded_json import parse_json
from einops_arch.errors import CheckpointError

__all__ = ["Checkpoint", "Description", "describe"]


@dataclass(frozen=True)
class Description:
    """What the metadata of a file says.

    Args:
        framework: `"torch"` or `"flax"`: whose names and layout the arrays have.
        architecture: the name of the architecture, where it is known.
        config: its config, where it is known.
    """

    framework: str = "torch"
    architecture: str | None = None
    config: architectures.Config | None = None

    def metadata(self) -> dict[str, str]:
        """The metadata as strings, as a file's header keeps them. `format` is what other libraries look for."""
        metadata = {"format": "pt" if self.framework == "torch" else "flax"}
        metadata |= {"framework": self.framework, "einops_arch_version": __version__}
        if self.architecture is not None:
            metadata["architecture"] = self.architecture
        if self.config is not None:
            metadata["config"] = json.dumps(self.config.to_dict())
        return metadata


_OTHERS = ("mlx", "tf")
"""What safetensors' own writers say of files whose convolutions lie neither as PyTorch's nor under Flax's names."""


def describe(metadata: Mapping[str, str]) -> Description:
    """The inverse of `Description.metadata`; a file of another library has no architecture and is PyTorch's.

    Raises:
        CheckpointError: the file names an unknown framework.
        UnknownArchitectureError: the file names an architecture that is not in the registry.
        ConfigError: the file's config does not fit the architecture.
    """
    framework = metadata.get("framework") or ("flax" if metadata.get("format") == "flax" else "torch")
    if "framework" not in metadata and metadata.get("format") in _OTHERS:
        framework = metadata["format"]
    if framework not in {"torch", "flax"}:
        raise CheckpointError(f"expected the framework torch or flax, received {brief(framework)}")
    name = metadata.get("architecture")
    config = None
    if name is not None and "config" in metadata:
        fields = parse_json(metadata["config"])
        if not isinstance(fields, dict):
            raise CheckpointError(f"config: expected a JSON object, received {brief(fields)}")
        config = architectures.get(name).config.from_dict(fields)
    return Description(framework, name, config)


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and what is known about them.

    Args:
        tensors: the arrays; tied ones are the same array under each of their names.
        framework: `"torch"` or `"flax"`: whose names and layout the arrays have.
        architecture: the name of the architecture, where it is known.
        config: its config, where it is known.
    """

    tensors: Mapping[str, np.ndarray[Any, Any]]
    framework: str = "torch"
    architecture: str | None = None
    config: architectures.Config | None = None

    def metadata(self) -> dict[str, str]:
        """The metadata as strings, as a file's header keeps them."""
        return Description(self.framework, self.architecture, self.config).metadata()

    @staticmethod
    def from_metadata(tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> Checkpoint:
        """The inverse of `metadata`.

        Raises:
            UnknownArchitectureError: the file names an architecture that is not in the registry.
            ConfigError: the file's config does not fit the architecture.
        """
        known = describe(metadata)
        return Checkpoint(tensors, known.framework, known.architecture, known.config)
