"""safetensors, without a framework."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.errors import CheckpointError

__all__ = ["read", "write"]

_FLOAT8 = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""Types of ml_dtypes that safetensors' own numpy reader does not find."""


def read(path: Path) -> Checkpoint:
    """Read a file; its header is checked by safetensors."""
    require("safetensors", extra="flax", by="a .safetensors file")
    import safetensors

    try:
        with safetensors.safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            names = list(file.keys())
            float8 = any(file.get_slice(name).get_dtype() in _FLOAT8 for name in names)
            tensors = _read_raw(path) if float8 else {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from error
    return Checkpoint.from_metadata(tensors, facts)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file."""
    require("safetensors", extra="flax", by="a .safetensors file")
    from safetensors.numpy import save_file

    # The numpy writer takes the bytes as they lie in memory, which for a transposed view are those of another array.
    tensors = {name: _contiguous(array) for name, array in checkpoint.tensors.items()}
    save_file(tensors, path, checkpoint.metadata())


def _contiguous(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(array).reshape(array.shape)


def _read_raw(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    # Typed as Any, because the reader's own stub has no types.
    safetensors: Any = importlib.import_module("safetensors")
    dtypes = {"BF16": "bfloat16", "BOOL": "bool", **_FLOAT8}
    tensors = {}
    for name, entry in safetensors.deserialize(path.read_bytes()):
        kind = entry["dtype"]
        plain = {"F": "float", "I": "int", "U": "uint"}
        tensors[name] = np.frombuffer(
            bytes(entry["data"]), _numpy_dtype(dtypes.get(kind) or plain[kind[0]] + kind[1:])
        ).reshape(entry["shape"])
    return tensors


def _numpy_dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, name))
