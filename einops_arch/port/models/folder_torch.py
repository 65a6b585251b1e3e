"""Build a network from a folder of public weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.reader import Reader
from einops_arch.layouts.arrays import to_tensor
from einops_arch.port.check_reader import hold_reader
from einops_arch.port.models.folder import open_pretrained, read_pretrained
from einops_arch.torch._build import from_state, without_values
from einops_arch.torch.state import expected_state, tied_names

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


def _filled(config: Config, reader: Reader) -> Any:
    """The network, whose tensors are read one by one into memory that it keeps.

    `checkpoints.load` would fill it too, by way of `torch.distributed.checkpoint`, which was measured to take half of
    the weights' memory more.
    """
    model = without_values(config)
    targets = model.state_dict(keep_vars=True)
    tied = tied_names(targets)
    reader = hold_reader(reader, expected_state(targets), tied, f"transfer into {type(model).__name__}")
    groups = {name: group for group in tied for name in group}
    for first in targets:
        names = groups.get(first, [first])
        if names[0] != first:
            continue
        value = _tensor(reader.read(first))
        if isinstance(targets[first], nn.Parameter):
            value = nn.Parameter(value, requires_grad=value.is_floating_point())
        for name in names:
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, value)
    return model


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor in the memory of the array, which nobody else has, if PyTorch can have it so."""
    if array.dtype.isbuiltin == 1 and array.flags.writeable and array.flags.c_contiguous:
        return torch.from_numpy(array)
    return to_tensor(array)
