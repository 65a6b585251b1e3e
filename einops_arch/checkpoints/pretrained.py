"""Read a folder of public weights, as the Hugging Face hub lays it out, under our names."""

from __future__ import annotations

import json
from pathlib import Path

from einops_arch.architectures.pretrained import recognise
from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.checkpoints.files import read_checkpoint
from einops_arch.errors import CheckpointError

__all__ = ["read_pretrained"]


def read_pretrained(folder: str | Path) -> tuple[Checkpoint, str]:
    """The weights of a folder of transformers, of timm or of this package, by our names.

    Args:
        folder: holds `config.json` and the weights, in one file or in shards.

    Returns:
        The weights with their architecture and config, and what they were recognised by.

    Raises:
        CheckpointError: the folder is not whole, or no network of ours.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: expected a folder with config.json, as the hub has them, found none") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole JSON file: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: expected a JSON object, received {type(fields).__name__}")
    read = read_checkpoint(folder)
    if read.architecture is not None and read.config is not None:
        return read, "the folder was written by einops_arch"
    try:
        found = recognise(fields, read.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return Checkpoint(found.naming.to_ours(read.tensors), "torch", found.architecture, found.config), found.why
