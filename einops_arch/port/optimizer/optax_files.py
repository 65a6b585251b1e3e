"""The state of an optimizer of optax in an Orbax folder or a Flax `.msgpack`, as the bare state that it was.

Files keep the fields of optax's tuples and not their names, so a state is known by its fields. Which algorithm takes
the next step is not in the file: Adam, NAdam and AdaBelief keep the same.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops_arch._text import brief
from einops_arch.checkpoints.files import format_of_file, open_checkpoint
from einops_arch.checkpoints.formats import dcp_folder
from einops_arch.checkpoints.formats.trees import is_optimizer
from einops_arch.errors import CheckpointError

__all__ = ["StoredState", "holds_optax", "stored_optax"]

_STATES = {
    ("count", "mu", "nu"): "ScaleByAdamState",
    ("mu", "nu"): "ScaleByRStdDevState",
    ("nu",): "ScaleByRmsState",
    ("trace",): "TraceState",
    ("count",): "ScaleByScheduleState",
    ("inner_state",): "MaskedState",
    ("inner_states",): "PartitionState",
    ("count", "hyperparams", "inner_state"): "InjectStatefulHyperparamsState",
    ("count", "hyperparams", "hyperparams_states", "inner_state"): "InjectStatefulHyperparamsState",
}
"""Optax's names of its states by their fields."""
_MOMENTS = frozenset({"mu", "nu", "trace", "hyperparams"})
"""Fields that hold a tree of arrays and no state."""
_LABELED = frozenset({"inner_states", "hyperparams_states"})
"""Fields that hold states by name."""


@dataclass(frozen=True)
class StoredState:
    """The state of an `nnx.Optimizer`, which counts its steps."""

    opt_state: Any
    step: Any


def holds_optax(path: Path) -> bool:
    """Whether a checkpoint is of a format in which trainings of JAX are kept."""
    if path.is_dir():
        return not (path / dcp_folder.MARK).exists()
    return path.exists() and format_of_file(path) == "msgpack"


def stored_optax(path: Path, key: str | None = None) -> Any:
    """The state of the optimizer in a checkpoint, as `read_flax` takes it.

    Args:
        path: an Orbax folder, that of a `CheckpointManager`, or a `.msgpack` file.
        key: the entry of the optimizer; found by itself if there is one.

    Raises:
        CheckpointError: the file has no such state, or several, or one of a kind that is not known.
    """
    key = _entry(path) if key is None else key
    tree: dict[str, Any] = {}
    with open_checkpoint(path, key=key or None) as reader:
        for name in reader.names():
            *folders, last = name.split(".")
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            node[last] = reader.read(name)
    try:
        # An `nnx.Optimizer` has the state of its transformation as an entry.
        if isinstance(tree.get("opt_state"), dict):
            state = _state(tree["opt_state"], "opt_state")
            return StoredState(state, tree["step"]) if "step" in tree else state
        return _state(tree, key)
    except CheckpointError as error:
        raise CheckpointError(*error.within(path)) from error


def _entry(path: Path) -> str:
    """The entry of the optimizer; empty where the whole of the checkpoint is one."""
    with open_checkpoint(path) as reader:
        beside = [name for name in reader.left_out if is_optimizer(name.rpartition(".")[2])]
        alone = not reader.left_out
    if len(beside) == 1 or (alone and not beside):
        return beside[0] if beside else ""
    raise CheckpointError(*_none_but(beside).within(path))


def _none_but(entries: Sequence[str]) -> CheckpointError:
    listed = ", ".join(map(brief, entries)) or "none"
    fix = f"; likely fix: key={entries[0]!r:.80}" if entries else ""
    return CheckpointError(f"expected one entry with the state of an optimizer, received {listed}{fix}")


def _state(node: Any, where: str) -> Any:
    if isinstance(node, Mapping) and node and all(name.isdecimal() for name in node):
        parts = {int(name): _state(part, f"{where}.{name}") for name, part in node.items()}
        # What keeps nothing, such as a scale by a constant, is not in the file.
        return tuple(parts.get(number, _tuple("EmptyState", {})) for number in range(max(parts) + 1))
    fields = tuple(sorted(node)) if isinstance(node, Mapping) else ()
    if fields not in _STATES:
        if not where:
            raise _none_but(())
        received = ", ".join(map(brief, fields[:8])) or "an array"
        raise CheckpointError(f"{where}: expected a state of SGD, Adam, AdamW or RMSprop of optax, received {received}")
    values = {name: _field(name, node[name], f"{where}.{name}") for name in fields}
    if "hyperparams" in values:
        # Those that are numbers have no state, which leaves nothing in the file.
        values.setdefault("hyperparams_states", {})
    return _tuple(_STATES[fields], values)


def _field(name: str, value: Any, where: str) -> Any:
    if name in _LABELED:
        return {label: _state(part, f"{where}.{label}") for label, part in value.items()}
    if name in _MOMENTS:
        return value
    if name == "count":
        if getattr(value, "shape", None) != ():
            raise CheckpointError(f"{where}: expected one number")
        return value
    return _state(value, where)


def _tuple(name: str, fields: Mapping[str, Any]) -> Any:
    return namedtuple(name, fields)(**fields)  # noqa: PYI024 - optax's own, of which its version has the names
