"""Weights from the device in PyTorch to the device in Flax, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from flax import nnx

from benchmarks.gpu.row import Job, guarded, held
from einops_arch import architectures
from einops_arch.flax import state_dict
from einops_arch.parity import randomize
from einops_arch.port import to_flax, to_torch

__all__ = ["rows"]


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """One for each network, in float32 and in bfloat16."""
    for name in architectures.names()[: 3 if job.quick else None]:
        for dtype in (torch.float32, torch.bfloat16):
            title = f"{name}, {str(dtype).removeprefix('torch.')}"
            yield guarded(title, partial(_port, title, name, dtype, job.device))


def _port(title: str, name: str, dtype: torch.dtype, device: str) -> dict[str, Any]:
    architecture = architectures.get(name)
    model = architecture.torch_class()(architecture.config.preset("tiny"))
    randomize(model)
    model = model.to(device, dtype)
    twin = to_flax(model)
    back = to_torch(twin)
    expected, ported, returned = model.state_dict(), state_dict(twin), back.state_dict()
    wrong = [key for key, tensor in expected.items() if _bits(tensor) != _bits(ported.get(key))]
    wrong += [f"{key}, back" for key, tensor in expected.items() if _bits(tensor) != _bits(returned.get(key))]
    places = {place.platform for leaf in nnx.to_flat_state(nnx.state(twin))[1] for place in _devices(leaf)}
    elsewhere = places - ({"gpu", "cuda"} if device == "cuda" else {"cpu"})
    text = f"{len(expected)} weights to {', '.join(sorted(places))} and back"
    if wrong:
        text += f"; differ: {', '.join(wrong[:5])}"
    return held(title, not wrong and not elsewhere, text)


def _devices(leaf: Any) -> Any:
    value = leaf.get_value() if hasattr(leaf, "get_value") else leaf
    return value.devices() if hasattr(value, "devices") else ()


def _bits(array: Any) -> bytes | None:
    """Shape and bytes, of a tensor or an array."""
    if array is None:
        return None
    if isinstance(array, torch.Tensor):
        tensor = array.detach().cpu().contiguous()
        values = tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    else:
        values = np.ascontiguousarray(np.asarray(array))
    return f"{values.shape}".encode() + values.tobytes()
