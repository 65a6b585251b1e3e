"""`.pt` files: a state dict, or a checkpoint that holds one; weights only, nothing in the file is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops_arch._frameworks import require
from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.errors import CheckpointError
from einops_arch.port.arrays import to_numpy, to_tensor

__all__ = ["read", "write"]

_KEYS = ("state_dict", "model_state_dict", "model", "net")
"""Where training scripts put the state dict."""


def read(path: Path) -> Checkpoint:
    """Read a file with PyTorch's weights-only reader."""
    require("torch", extra="torch", by="a .pt file")
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it is not plain weights: {_reason(error)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a whole PyTorch file: {_reason(error)}") from error
    state = _state_dict(loaded)
    if state is None:
        raise CheckpointError(
            f"{path}: expected a state dict, or one under {', '.join(_KEYS)}, received {type(loaded).__name__}"
        )
    return Checkpoint({name: to_numpy(tensor) for name, tensor in state.items()})


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a plain state dict, which `torch.load(weights_only=True)` reads."""
    require("torch", extra="torch", by="a .pt file")
    import torch

    if checkpoint.framework != "torch":
        raise CheckpointError("a .pt file holds PyTorch's state; write .safetensors or an Orbax folder for Flax")
    torch.save({name: to_tensor(array) for name, array in checkpoint.tensors.items()}, path)


def _state_dict(loaded: Any) -> Mapping[str, Any] | None:
    import torch

    if not isinstance(loaded, Mapping):
        return None
    if loaded and all(isinstance(value, torch.Tensor) for value in loaded.values()):
        return loaded
    return next((loaded[key] for key in _KEYS if key in loaded and _state_dict(loaded[key]) is not None), None)


def _reason(error: Exception) -> str:
    """The sentence that says what is wrong; PyTorch's own message goes on with advice to run the file after all."""
    text = str(error)
    for line in text.splitlines():
        if "WeightsUnpickler error:" in line:
            return line.partition("WeightsUnpickler error:")[2].strip()
    return text.splitlines()[0] if text else type(error).__name__
