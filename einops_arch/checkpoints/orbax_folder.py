"""Orbax folders, as `StandardCheckpointer` writes them: the nested state of a Flax model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.errors import CheckpointError

__all__ = ["read", "write"]

_FACTS = "einops_arch.json"
"""A file beside Orbax's own, for what Orbax has no place for."""


def read(path: Path) -> Checkpoint:
    """Read a folder."""
    require("orbax.checkpoint", extra="flax", by="an Orbax folder")
    import orbax.checkpoint as ocp

    if not (path / "_CHECKPOINT_METADATA").is_file():
        raise CheckpointError(f"{path}: expected an Orbax checkpoint, but the folder has no _CHECKPOINT_METADATA")
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            spec = checkpointer.metadata(path.resolve()).item_metadata.tree
            # numpy arrays, because jax has no int64 without x64.
            arguments = _map(spec, lambda _: ocp.RestoreArgs(restore_type=np.ndarray))
            tree = checkpointer.restore(path.resolve(), restore_args=arguments)
    except (ValueError, OSError, KeyError) as error:
        raise CheckpointError(f"{path}: not a whole Orbax checkpoint: {error}") from error
    facts = path / _FACTS
    described = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {"framework": "flax"}
    return Checkpoint.from_metadata(dict(_flatten(tree)), described)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a folder."""
    require("orbax.checkpoint", extra="flax", by="an Orbax folder")
    import orbax.checkpoint as ocp

    if checkpoint.framework != "flax":
        raise CheckpointError("an Orbax folder holds the state of a Flax model; write .safetensors or .pt for PyTorch")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.resolve(), _nest(checkpoint.tensors))
        checkpointer.wait_until_finished()
    (path / _FACTS).write_text(json.dumps(checkpoint.metadata(), indent=2), encoding="utf-8")


def _nest(tensors: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *folders, leaf = name.split(".")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = np.ascontiguousarray(array).reshape(array.shape)
    return tree


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flatten(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _flatten(value, f"{prefix}.{index}" if prefix else str(index))
    else:
        yield prefix, np.asarray(tree)


def _map(tree: Any, function: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map(value, function) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_map(value, function) for value in tree]
    return function(tree)
