"""Build a network from a folder of public weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.tensors import numpy_dtype
from einops_arch.errors import CheckpointError, PortError
from einops_arch.flax._build import check_filled, without_values
from einops_arch.flax.state import narrowing, port_steps
from einops_arch.layouts.boxes import slices
from einops_arch.port.models.folder import open_pretrained
from einops_arch.port.stream import Ported

__all__ = ["from_pretrained"]


def from_pretrained(folder: str | Path) -> Any:
    """Build the network that a folder holds; see `einops_arch.flax.from_pretrained`."""
    with open_pretrained(folder) as reader:
        known = describe(reader.metadata)
        if known.config is None:
            raise CheckpointError(f"{folder}: expected a config, received none")
        model = without_values(known.config)
        leaves = Ported(reader, model, known.framework, "flax")
        variables = {
            leaf.path: variable
            for step, row in port_steps(model)
            for leaf, variable in zip(step.leaves, row, strict=True)
        }
        # The largest first, while there is the most room: a small one is in memory twice for a moment.
        for name in sorted(leaves.tensors, key=lambda name: -leaves.tensors[name].nbytes):
            variables[name].set_value(_on_device(name, _read(leaves, name)))
    check_filled(model)
    model.eval()
    return model


def _read(leaves: Ported, name: str) -> np.ndarray[Any, Any]:
    """A leaf; a large one piece by piece, so that what is read and what is moved are not there whole at once."""
    info, origin = leaves.tensors[name], leaves.origins[name]
    if info.nbytes <= _PIECE or not origin.moved:
        return leaves.read(name)
    # What is first in PyTorch's layout, and so lies together in the file, is last in Flax's unless nothing moves.
    axis = 0 if origin.pattern.startswith("... ->") else len(info.shape) - 1
    made = _aligned(info.nbytes).view(numpy_dtype(info.dtype)).reshape(info.shape)
    size = info.shape[axis]
    step = max(1, size * _PIECE // info.nbytes)
    for start in range(0, size, step):
        box = tuple((0, n) if m != axis else (start, min(start + step, n)) for m, n in enumerate(info.shape))
        piece = made[slices(box)]
        np.copyto(piece, leaves.part(name, box).view(piece.dtype))
    return made


def _aligned(nbytes: int) -> np.ndarray[Any, Any]:
    """Memory that begins where jax wants it, so that it takes the array as it is."""
    memory = np.empty(nbytes + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + nbytes]


_PIECE = 1 << 24
_LINE = 64


def _on_device(name: str, array: np.ndarray[Any, Any]) -> jax.Array:
    for problem in narrowing(name, array.dtype):
        raise PortError(problem)
    # Nobody else has the array, so jax may keep its memory.
    return jax.device_put(array)
