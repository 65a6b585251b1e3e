"""Which part of a folder of `torch.distributed.checkpoint` is the state dict of the network.

The writer joins the keys of nested dictionaries with dots, and says beside the names which keys they were.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

from einops_arch._text import brief, counted
from einops_arch.checkpoints.formats.pickles import Call
from einops_arch.checkpoints.formats.torch_state import TRAINING, find_state
from einops_arch.checkpoints.limits import TREE_DEPTH
from einops_arch.errors import CheckpointError

__all__ = ["weights_in"]

_TENSOR = "torch._utils._rebuild_tensor_v2"
_GROUPS = "param_groups"
_STATE = re.compile(r"(train|trainer|training)_state|dataloader")
"""What a trainer keeps beside weights that have no entry of their own."""


def weights_in(
    tensors: Iterable[str], objects: Mapping[str, str], keys: Any, key: str | None = None, only: str | None = None
) -> tuple[dict[str, str], dict[str, str], str]:
    """The names of the weights by those in the folder, what lies beside them with the reason, and their entry.

    Args:
        tensors: the names of all tensors.
        objects: those of what is no tensor, with the reason.
        keys: the keys that a name was joined from, by name; None where the folder does not say it.
        key: the entry to take; `a.b` is the entry `b` of the entry `a`.
        only: what the names must begin with. Where the names of the folder do and those within its entries do not, the
            names are those of the folder.

    Raises:
        CheckpointError: there is no such entry, several could be meant, or the keys are none.

    >>> keys = {"model.fc.weight": ("model", "fc.weight"), "optim.step": ("optim", "step")}
    >>> weights_in(keys, {}, keys)
    ({'model.fc.weight': 'fc.weight'}, {'optim': 'a state dict of 1 tensors beside model, which was taken'}, 'model')
    """
    names = list(tensors)
    flat = {name: name for name in names}, dict(objects), ""
    if keys is None:
        return flat if key is None else _under(names, objects, key)
    paths = _paths([*names, *objects], keys)
    if key is None and only is not None and not any(str(path[-1]).startswith(only) for path in paths.values()):
        return flat
    tree: dict[Any, Any] = {}
    for name in names:
        _put(tree, paths[name], Call(_TENSOR, (name,)))
    for name in objects:
        # By its groups an optimizer is known; other objects do not make a state dict another thing.
        if _GROUPS in paths[name]:
            _put(tree, paths[name], None)
    state: Mapping[str, Any]
    if key is None and any(type(value) is Call for value in tree.values()):
        state, left_out, taken = _without_training(tree)
    else:
        state, left_out, taken = find_state(tree, key)
    new = {leaf.args[0]: name for name, leaf in state.items()}
    left_out |= {name: why for name, why in objects.items() if not _lies_in(paths[name], left_out)}
    return new, left_out, taken


def _under(names: list[str], objects: Mapping[str, str], key: str) -> tuple[dict[str, str], dict[str, str], str]:
    """The names that begin with a key, where nothing tells keys from names."""
    new = {name: name[len(key) + 1 :] for name in names if name.startswith(f"{key}.")}
    if not new:
        heads = dict.fromkeys(name.partition(".")[0] for name in names)
        raise CheckpointError(f"expected an entry {brief(key)}, received {', '.join(map(brief, list(heads)[:12]))}")
    rest = [name for name in names if name not in new]
    return new, dict(objects) | dict.fromkeys(rest, f"a tensor beside {key}, which was taken"), key


def _paths(names: list[str], keys: Any) -> dict[str, tuple[str | int, ...]]:
    if type(keys) is not dict:
        raise CheckpointError("expected the keys of each name")
    paths = {}
    for name in names:
        path = keys.get(name)
        if not isinstance(path, tuple) or not 0 < len(path) <= TREE_DEPTH or not all(map(_is_key, path)):
            raise CheckpointError(f"{brief(name)}: expected 1 to {TREE_DEPTH} keys that lead to it")
        paths[name] = path
    return paths


def _is_key(value: Any) -> bool:
    return type(value) in {str, int}


def _put(tree: dict[Any, Any], path: tuple[str | int, ...], leaf: Any) -> None:
    node = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if type(node) is not dict:
            raise CheckpointError(f"{brief('.'.join(map(str, path)))}: its keys lead through a tensor")
    if path[-1] in node:
        raise CheckpointError(f"{brief('.'.join(map(str, path)))}: two names have these keys")
    node[path[-1]] = leaf


def _without_training(tree: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, str], str]:
    """Weights that lie beside entries of a training, under no key of their own."""
    entries = {name: value for name, value in tree.items() if type(value) is dict}
    training = {
        name: value
        for name, value in entries.items()
        if _GROUPS in value or TRAINING.search(str(name)) or _STATE.fullmatch(str(name))
    }
    state: dict[str, Any] = {}
    for name, value in tree.items():
        if name not in training:
            state |= _flat(str(name), value)
    left_out = {
        str(name): f"{counted(len(_flat('', value)), 'tensor')} of the training" for name, value in training.items()
    }
    return state, left_out, ""


def _flat(name: str, value: Any) -> dict[str, Any]:
    """The tensors in an entry, by their joined names."""
    if type(value) is Call:
        return {name: value}
    rows: dict[str, Any] = {}
    for key, entry in value.items() if type(value) is dict else ():
        rows |= _flat(f"{name}.{key}", entry)
    return rows


def _lies_in(path: tuple[str | int, ...], places: Container[str]) -> bool:
    return any(".".join(map(str, path[: depth + 1])) in places for depth in range(len(path)))
