"""What folders of other libraries have no place for, in a file of our own beside theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops_arch.checkpoints.formats.safetensors_file import ALIASES, aliases_of
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import TensorInfo
from einops_arch.errors import CheckpointError

__all__ = ["FACTS", "read_facts", "read_json", "write_facts", "write_json"]

FACTS = "einops_arch.json"
_MAX_JSON = 64 << 20


def read_facts(
    folder: Path, tensors: Mapping[str, TensorInfo], framework: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The facts of a folder and the aliases; if nothing is said, only the framework is known.

    Raises:
        CheckpointError: the file is there and not what it should be.
    """
    path = folder / FACTS
    if not path.is_file():
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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: it cannot be read, is huge, or is something else.
    """
    try:
        if path.stat().st_size > _MAX_JSON:
            raise CheckpointError(f"{path}: expected at most {_MAX_JSON} bytes, received {path.stat().st_size}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {str(error) or type(error).__name__:.200}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that is on the disk when this returns."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
