"""Put a state into a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from einops_arch.layouts.arrays import to_tensor
from einops_arch.layouts.plan import check_state, problems_error
from einops_arch.layouts.state import complete_state, state_arrays

__all__ = ["load_torch_state", "torch_kind"]


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
    expected = {name: (tuple(tensor.shape), torch_kind(tensor)) for name, tensor in targets.items()}
    aliases: dict[int, list[str]] = {}
    for name, tensor in targets.items():
        aliases.setdefault(id(tensor), []).append(name)
    tied = [names for names in aliases.values() if len(names) > 1]
    arrays = complete_state(arrays, expected, tied)
    missing, unexpected, problems = check_state(expected, arrays, tied)
    problems = [*odd, *(f"{name}: the model keeps more than tensors there" for name in extra), *problems]
    if missing or unexpected or problems:
        what = f"transfer into {type(model).__name__}"
        raise problems_error(what, expected, missing, unexpected, problems)
    for name, tensor in targets.items():
        value = to_tensor(arrays[name])
        if value.dtype == tensor.dtype:
            tensor.data.copy_(value)
        else:
            tensor.data = value.to(tensor.device)


def torch_kind(tensor: torch.Tensor) -> str:
    """The kind of number, by which a state and a model must agree."""
    if tensor.dtype.is_floating_point:
        return "floating-point"
    if tensor.dtype.is_complex:
        return "complex"
    return "boolean" if tensor.dtype == torch.bool else "integer"
