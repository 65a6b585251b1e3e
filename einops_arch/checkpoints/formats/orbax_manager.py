"""Where the weights lie in the folder of Orbax's `CheckpointManager`, which is `root/step/item`."""

from __future__ import annotations

import re
from pathlib import Path

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import exists
from einops_arch.checkpoints.formats.orbax_folder import MARK, TREE
from einops_arch.errors import CheckpointError

__all__ = ["find_item", "is_managed"]

_STEP = re.compile(r"(?:.*_)?(\d{1,18})")
_ITEMS = ("default", "params", "model", "state", "model_state", "train_state")
"""What training scripts call the item that holds the weights, the likeliest first."""


def is_managed(path: Path, inside: set[str]) -> bool:
    """Whether a folder is a step of a manager, or holds its steps.

    Args:
        path: the folder.
        inside: the names in it.

    Raises:
        CheckpointError: two steps have one number.
    """
    return TREE not in inside and (MARK in inside or any(map(_STEP.fullmatch, inside))) and bool(_steps(path, inside))


def find_item(path: Path, inside: set[str], key: str | None) -> tuple[Path, str | None, dict[str, str]]:
    """The folder with the weights, what is left of the key, and what lies beside with the reason.

    Args:
        path: the folder of the manager, or one of its steps.
        inside: the names in it.
        key: the item, and an entry in it behind a dot.

    Raises:
        CheckpointError: there is no such item, or several could be meant.
    """
    beside: dict[str, str] = {}
    steps = _steps(path, inside)
    step = steps[max(steps)]
    if step != path:
        earlier = [number for number in steps if number != max(steps)]
        reason = f"an earlier step beside {max(steps)}, which was taken; its own folder can be named"
        beside |= {steps[number].name: reason for number in earlier}
    items = {item.name: item for item in sorted(step.iterdir()) if exists(item / TREE)}
    others = [item.name for item in sorted(step.iterdir()) if item.is_dir() and item.name not in items]
    name, _, rest = (key or "").partition(".")
    if name not in items:
        if key is not None and (len(items) > 1 or name in others):
            raise CheckpointError(f"{step}: expected an item {brief(name)}, received {', '.join(map(brief, items))}")
        name, rest = _likeliest(step, list(items)), key or ""
    beside |= {other: f"an item beside {name}, which was taken" for other in items if other != name}
    beside |= dict.fromkeys(others, "an item that holds no tree of arrays")
    return items[name], rest or None, beside


def _likeliest(step: Path, items: list[str]) -> str:
    known = [name for name in _ITEMS if name in items]
    if len(items) == 1 or known:
        return (known or items)[0]
    raise CheckpointError(
        f"{step}: expected one item with weights, received {', '.join(map(brief, items))}; likely fix: --key {items[0]}"
    )


def _steps(path: Path, inside: set[str]) -> dict[int, Path]:
    """The steps with a tree of arrays, by number; the folder itself if it is one.

    Raises:
        CheckpointError: two have one number.
    """
    if _holds_items(path):
        return {0: path}
    steps: dict[int, Path] = {}
    for name in sorted(inside):
        match = _STEP.fullmatch(name)
        if match and (path / name).is_dir() and _holds_items(path / name):
            twin = steps.setdefault(int(match[1]), path / name)
            if twin != path / name:
                raise CheckpointError(
                    f"{path}: expected one step of each number, received {brief(twin.name)} and {brief(name)}; likely "
                    f"fix: the path of the one that is meant, such as {path / name}"
                )
    return steps


def _holds_items(step: Path) -> bool:
    return any(exists(item / TREE) for item in step.iterdir() if item.is_dir())
