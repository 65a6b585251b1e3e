"""Put a state into a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from einops_arch.layouts.arrays import to_tensor
from einops_arch.layouts.state import Expected, hold_state, state_arrays

__all__ = ["expected_state", "load_torch_state", "tied_names", "torch_kind"]


def load_torch_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Put a state into a PyTorch model.

    Unlike PyTorch's own method it keeps the state's dtypes, and changes nothing when something does not fit.

    Raises:
        PortError: names, shapes or dtypes do not match; nothing has been changed then.
    """
    targets = model.state_dict(keep_vars=True)
    arrays, odd = state_arrays(state)
    extra = [name for name, value in targets.items() if not isinstance(value, torch.Tensor)]
    targets = {name: tensor for name, tensor in targets.items() if name not in extra}
    held = hold_state(expected_state(targets), arrays, tied_names(targets))
    odd += [f"{name}: the model keeps more than tensors there" for name in extra]
    odd += [
        f"{name}: expected a plain tensor in the model, received a DTensor on a mesh; likely fix: "
        "einops_arch.checkpoints.load, which fills models on a mesh from a file"
        for name, tensor in targets.items()
        if type(tensor).__name__ == "DTensor"
    ]
    held.check(f"transfer into {type(model).__name__}", odd)
    arrays = held.complete(arrays)
    for name, tensor in targets.items():
        value = to_tensor(arrays[name])
        if value.dtype == tensor.dtype:
            tensor.data.copy_(value)
        else:
            tensor.data = value.to(tensor.device)


def expected_state(targets: Mapping[str, torch.Tensor]) -> Expected:
    """What a model's `state_dict(keep_vars=True)` expects of a state: shapes and kinds of numbers by name."""
    return {name: (tuple(tensor.shape), torch_kind(tensor)) for name, tensor in targets.items()}


def tied_names(targets: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """Groups of names of a model's `state_dict(keep_vars=True)` that are one tensor."""
    groups: dict[int, list[str]] = {}
    for name, tensor in targets.items():
        groups.setdefault(id(tensor), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def torch_kind(tensor: torch.Tensor) -> str:
    """The kind of number, by which a state and a model must agree."""
    if tensor.dtype.is_floating_point:
        return "floating-point"
    if tensor.dtype.is_complex:
        return "complex"
    return "boolean" if tensor.dtype == torch.bool else "integer"
