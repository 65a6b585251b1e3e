"""What folders of other libraries have no place for, in a file of our own beside theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from einops_arch.checkpoints.disk.bounded_json import exists, read_json, write_json
from einops_arch.checkpoints.formats.safetensors_file import ALIASES, aliases_of
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import TensorInfo
from einops_arch.errors import CheckpointError

__all__ = ["METADATA", "read_json", "read_metadata", "write_json", "write_metadata"]

METADATA = "einops_arch.json"


def read_metadata(
    folder: Path, tensors: Mapping[str, TensorInfo], framework: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The metadata of a folder and the aliases; if nothing is said, only the framework is known.

    Raises:
        CheckpointError: the file is there and not what it should be.
    """
    path = folder / METADATA
    if not exists(path):
        return {"framework": framework}, {}
    metadata = read_json(path)
    if not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path}: expected strings by name")
    return metadata, aliases_of(metadata, tensors)


def write_metadata(
    folder: Path, source: Reader, more: Mapping[str, str] | None = None, *, aliases: bool = True
) -> None:
    """Write the metadata of a reader and more of the format's own, and the aliases where the format has none."""
    metadata = {**source.metadata, **(more or {})}
    metadata.pop(ALIASES, None)
    if source.aliases and aliases:
        metadata[ALIASES] = json.dumps(dict(sorted(source.aliases.items())))
    write_json(folder / METADATA, metadata)
