"""Hold the names and shapes of a port against another checkpoint of the same network, or against its index alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.formats.sharded import names_of_index
from einops_arch.checkpoints.formats.trees import framework_of_names
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import numpy_dtype
from einops_arch.errors import PortError
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.layouts.state import common_cause, hold_state, is_counter, problems_error

__all__ = ["held_against"]

_INDEX = ".index.json"


@dataclass(frozen=True)
class _Array:
    """What is known of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def held_against(reader: Reader, like: str | Path) -> list[str]:
    """Hold the tensors of a reader against those of another checkpoint, whose values are not read.

    An index whose shards are not there, as a repository without its large files has it, tells the names alone.

    Args:
        reader: what is going to be written.
        like: a checkpoint of the same framework, or an index.

    Returns:
        What the other checkpoint has and this one need not have, a line each.

    Raises:
        CheckpointError: the other is no checkpoint and no index.
        PortError: names or shapes differ; every problem is named.
    """
    path = Path(like)
    what = f"held against {path}"
    if path.name.endswith(_INDEX):
        where, _ = names_of_index(path)
        _check_framework(reader, where, path)
        if not all((path.parent / file).is_file() for file in where.values()):
            return _names_against(reader, where, what, path)
    with open_checkpoint(like) as other:
        _check_framework(reader, other.names(), path)
        expected = {name: (info.shape, dtype_kind(info.dtype)) for name, info in _arrays(other).items()}
        groups: dict[str, list[str]] = {}
        for name, target in other.aliases.items():
            groups.setdefault(target, [target]).append(name)
    held = hold_state(expected, _arrays(reader), list(groups.values()), same=lambda *_: True)
    held.check(what)
    tied = [name for name, source in held.sources.items() if name != source]
    lines = [f"{name}: tied to {held.sources[name]} in {path}, and not written" for name in tied]
    return [*lines, *_of_counters(held.counters, path)]


def _check_framework(reader: Reader, names: Iterable[str], path: Path) -> None:
    """Names of the other framework would all be problems, and none of them the reason."""
    expected, received = framework_of_names(reader.names()), framework_of_names(names)
    if expected and received and expected != received:
        words = {"torch": "PyTorch", "flax": "Flax"}
        raise PortError(
            f"--like {path}: expected names of {words[expected]}, as the destination has, received those of "
            f"{words[received]}; likely fix: a checkpoint of the framework that --to names"
        )


def _names_against(reader: Reader, names: Mapping[str, Any], what: str, path: Path) -> list[str]:
    own = set(reader.names())
    counters = [name for name in names if name not in own and is_counter(name)]
    missing = [name for name in names if name not in own and not is_counter(name)]
    unexpected = [name for name in reader.names() if name not in names]
    if missing or unexpected:
        lines = [*(f"{name}: missing" for name in missing), *(f"{name}: not in the index" for name in unexpected)]
        cause = common_cause(unexpected, missing, len(own & set(names)))
        raise problems_error(what, cause if cause is not None else lines)
    return [f"only names were {what}: its shards are not there", *_of_counters(counters, path)]


def _of_counters(names: list[str] | tuple[str, ...], path: Path) -> list[str]:
    if not names:
        return []
    return [f"{counted(len(names), 'counter')} of batches in {path}, which PyTorch takes for 0 where a file has none"]


def _arrays(reader: Reader) -> dict[str, _Array]:
    return {
        name: _Array(info.shape, numpy_dtype(info.dtype)) for name in reader.names() for info in [reader.info(name)]
    }
