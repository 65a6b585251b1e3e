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

__all__ = ["FACTS", "read_facts", "read_json", "write_facts", "write_json"]

FACTS = "einops_arch.json"


def read_facts(
    folder: Path, tensors: Mapping[str, TensorInfo], framework: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The facts of a folder and the aliases; if nothing is said, only the framework is known.

    Raises:
        CheckpointError: the file is there and not what it should be.
    """
    path = folder / FACTS
    if not exists(path):
        return {"framework": framework}, {}
    facts = read_json(path)
    if not all(isinstance(value, str) for value in facts.values()):
        raise CheckpointError(f"{path}: expected strings by name")
    return facts, aliases_of(facts, tensors)


def write_facts(folder: Path, source: Reader, more: Mapping[str, str] | None = None, *, aliases: bool = True) -> None:
    """Write the facts of a reader and more of the format's own, and the aliases where the format has none."""
    facts = {**source.facts, **(more or {})}
    facts.pop(ALIASES, None)
    if source.aliases and aliases:
        facts[ALIASES] = json.dumps(dict(sorted(source.aliases.items())))
    write_json(folder / FACTS, facts)
