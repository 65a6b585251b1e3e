"""Read a folder of public weights, as the Hugging Face hub lays it out, under our names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops_arch.architectures import Config
from einops_arch.architectures.pretrained import recognise
from einops_arch.checkpoints.files import read_checkpoint
from einops_arch.errors import CheckpointError
from einops_arch.port.convert import convert

__all__ = ["read_pretrained"]


def read_pretrained(folder: str | Path) -> tuple[Config, Mapping[str, Any], str]:
    """The weights of a folder of transformers, of timm or of this package, by our names.

    Args:
        folder: holds `config.json` and the weights, in one file or in shards.

    Returns:
        The config, the weights in PyTorch's layout, and what they were recognised by.

    Raises:
        CheckpointError: the folder is not whole, or no network of ours.
        PortError: the folder was written by this package, and its weights do not fit its config.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder}: expected a folder with config.json, as the hub has them") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole JSON file: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: expected a JSON object, received {type(fields).__name__}")
    read = read_checkpoint(folder)
    if read.config is not None:
        tensors = read.tensors if read.framework == "torch" else convert(read, "torch", read.config).tensors
        return read.config, tensors, "config.json was written by einops_arch"
    try:
        found = recognise(fields, read.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return found.config, found.naming.to_ours(read.tensors), found.why
