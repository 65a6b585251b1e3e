"""Models that set plain settings of their own when they are called first, such as a window that is cut to the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from einops_arch.discovery.tracing.torch_program import tensors_in
from einops_arch.discovery.tracing.torch_state import Snapshot, copy_of_model

__all__ = ["same_tensors", "settled"]


def settled(
    model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[torch.nn.Module, dict[str, tuple[Any, Any]]]:
    """The model as it is after a first call, where that changes numbers and texts, and a second call no more.

    Both calls have to give the same.

    Args:
        model: the model.
        args: what it is called with.
        kwargs: likewise, by name.

    Returns:
        The model itself or a changed copy, and what changed: each setting before and after.
    """
    called = copy_of_model(model).eval()
    before, snapshot = _settings(called), Snapshot(called)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            first = called(*args, **kwargs)
            after, changes = _settings(called), list(snapshot.changes(called, {}))
            second = called(*args, **kwargs)
    except Exception:  # noqa: BLE001 what does not run is said where it is recorded
        return model, {}
    if after.keys() != before.keys():
        return model, {}
    changed = {path: (before[path], after[path]) for path in before if before[path] != after[path]}
    if not changed or len(changes) != len(changed) or _settings(called) != after:
        return model, {}
    if not same_tensors(first, second):
        return model, {}
    result = copy_of_model(model)
    modules = dict(result.named_modules())
    for path, (_, value) in changed.items():
        owner, _, name = path.rpartition(".")
        setattr(modules[owner], name, value)
    return result, changed


def same_tensors(first: Any, second: Any) -> bool:
    """Whether two results have the same tensors, bit for bit."""
    left, right = list(tensors_in(first)), list(tensors_in(second))
    return len(left) == len(right) and all(map(torch.equal, left, right))


def _settings(model: torch.nn.Module) -> dict[str, Any]:
    return {
        f"{path}.{name}" if path else name: item
        for path, module in model.named_modules()
        for name, item in vars(module).items()
        if name != "training" and (item is None or isinstance(item, (bool, int, float, str)))
    }
