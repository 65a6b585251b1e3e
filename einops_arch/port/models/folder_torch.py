"""Build a network from a folder of public weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import numpy_dtype
from einops_arch.layouts.arrays import same_bits, to_tensor
from einops_arch.layouts.plan import check_state, problems_error
from einops_arch.port.models.folder import open_pretrained, read_pretrained
from einops_arch.torch._build import from_state, without_values
from einops_arch.torch.state import torch_kind

__all__ = ["from_pretrained"]


def from_pretrained(folder: str | Path) -> Any:
    """Build the network that a folder holds; see `einops_arch.torch.from_pretrained`."""
    with open_pretrained(folder) as reader:
        known = describe(reader.metadata)
        if known.config is not None and known.framework == "torch":
            model = _filled(known.config, reader)
        else:
            # Flax's layout, which the rules turn into PyTorch's.
            model = from_state(*read_pretrained(folder))
    model.eval()
    return model


class _Form(NamedTuple):
    """What can be said of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _filled(config: Config, reader: Reader) -> Any:
    """The network, whose tensors are read one by one into memory that it keeps.

    `checkpoints.load` would fill it too, by way of `torch.distributed.checkpoint`, which was measured to take half of
    the weights' memory more.
    """
    model = without_values(config)
    targets = model.state_dict(keep_vars=True)
    expected = {name: (tuple(tensor.shape), torch_kind(tensor)) for name, tensor in targets.items()}
    infos = {name: reader.info(name) for name in reader.names()}
    forms: Any = {name: _Form(info.shape, numpy_dtype(info.dtype)) for name, info in infos.items()}
    missing, unexpected, problems = check_state(expected, forms)
    groups: dict[int, list[str]] = {}
    for name, tensor in targets.items():
        groups.setdefault(id(tensor), []).append(name)
    if not (missing or unexpected or problems):
        for first, *others in groups.values():
            problems += [
                f"{name}: expected the same values as {first}, which the model ties to it"
                for name in others
                if reader.aliases.get(name, name) != reader.aliases.get(first, first)
                and not same_bits(reader.read(first), reader.read(name))
            ]
    if missing or unexpected or problems:
        raise problems_error(f"transfer into {type(model).__name__}", expected, missing, unexpected, problems)
    for first, *others in groups.values():
        value = _tensor(reader.read(first))
        if isinstance(targets[first], nn.Parameter):
            value = nn.Parameter(value, requires_grad=value.is_floating_point())
        for name in (first, *others):
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, value)
    return model


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor in the memory of the array, which nobody else has, if PyTorch can have it so."""
    if array.dtype.isbuiltin == 1 and array.flags.writeable and array.flags.c_contiguous:
        return torch.from_numpy(array)
    return to_tensor(array)
