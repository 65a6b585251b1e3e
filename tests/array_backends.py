"""Numpy arrays to each framework's arrays and back, bit for bit: what the `xp` fixture hands to a test."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

_EVERYWHERE = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def _has_bfloat16() -> bool:
    # numpy itself has no bfloat16; ml_dtypes gives it one.
    return find_spec("ml_dtypes") is not None


class NumpyBackend:
    """numpy's own arrays, always on the CPU."""

    name = "numpy"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.dtypes = _EVERYWHERE + (("bfloat16",) if _has_bfloat16() else ())

    def __repr__(self) -> str:
        return f"{self.name} on {self.device}"

    def array(self, a: Any) -> Any:
        """A copy of the numpy array `a` as this backend's array, on its device, with the same bits."""
        return np.array(a, order="C")

    def numpy(self, x: Any) -> np.ndarray:
        """A copy of this backend's array as a numpy array, with the same bits."""
        return np.array(x, order="C")


class TorchBackend(NumpyBackend):
    """torch tensors."""

    name = "torch"

    def array(self, a: Any) -> Any:
        import torch

        a = np.array(a, order="C")
        if a.dtype.name == "bfloat16":
            return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16).to(self.device)
        return torch.from_numpy(a).to(self.device)

    def numpy(self, x: Any) -> np.ndarray:
        import torch

        x = x.detach().resolve_conj().resolve_neg().cpu()
        if x.dtype == torch.bfloat16:
            import ml_dtypes

            return np.array(x.contiguous().view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
        return np.array(x.numpy(), order="C")


class JaxBackend(NumpyBackend):
    """jax arrays."""

    name = "jax"

    def array(self, a: Any) -> Any:
        import jax

        # The copy is ours alone, so jax may keep its memory.
        return jax.device_put(np.array(a, order="C"), jax.devices(self.device)[0])


ARRAY_BACKENDS = {cls.name: cls for cls in (NumpyBackend, TorchBackend, JaxBackend)}
