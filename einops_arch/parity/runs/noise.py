"""Noise of a few roundoffs on what the layers of a PyTorch model give, to see what the network makes of rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_tensor
from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Array, wide
from einops_arch.parity.runs.torch_hooks import outputs_in, own_array
from einops_arch.parity.runs.values import rebuild

__all__ = ["Noise"]


class Noise:
    """Finds the layers of a model that round, and disturbs what they give.

    Args:
        dtype: the model's own.
        copy: makes a copy of a module.
    """

    def __init__(self, dtype: np.dtype[Any], copy: Callable[[Any], Any]) -> None:
        import torch

        self._dtype, self._copy = dtype, copy
        self._rounding: set[str] = set()
        self._generator = torch.Generator().manual_seed(0)

    def look(self, model: Any) -> None:
        """Let the next call of a model tell which of its layers round."""
        for path, module in _leaves(model):
            self._look(module, path)

    def disturb(self, model: Any) -> None:
        """Put noise on what the layers give that round."""
        for path, module in _leaves(model):
            if path in self._rounding:
                module.register_forward_hook(lambda module, args, output: self.of(output))

    def of(self, value: Any) -> Any:
        """What a layer gives, off by a few roundoffs of float64."""
        import torch

        if isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex()):
            noise = torch.randn(value.shape, generator=self._generator, dtype=torch.float64).to(value.device)
            return value * (1 + limits.NOISE * noise)
        if type(value) in (tuple, list):
            return type(value)(self.of(part) for part in value)
        return value

    def _look(self, module: Any, path: str) -> None:
        # A copy, as the layer may keep what it is given; now, before a recorder hangs onto it that keeps everything.
        alone = self._copy(module)

        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            del module, output
            if path not in self._rounding and self._rounds(alone, args, kwargs):
                self._rounding.add(path)

        module.register_forward_hook(hook, with_kwargs=True)

    def _rounds(self, module: Any, args: Any, kwargs: Any) -> bool:
        """Whether a layer rounds in a dtype: given numbers of it, what it gives is not of it. A ReLU never does."""
        import torch

        def rounded(place: str, tensor: Any) -> Any:
            del place
            if not tensor.is_floating_point():
                return tensor
            # Not by PyTorch, where casts may be lifted.
            return to_tensor(wide(own_array(tensor).astype(self._dtype)), tensor.device)

        def is_tensor(value: Any) -> bool:
            return isinstance(value, torch.Tensor)

        try:
            output = module.forward(*rebuild(args, rounded, is_tensor), **rebuild(kwargs, rounded, is_tensor))
            arrays = [own_array(tensor) for _, tensor in outputs_in(output, module, inner=True)]
        except Exception:  # noqa: BLE001 whatever it is, what cannot be looked at is no excuse
            return False
        return any(
            array.dtype.kind == "c"
            or (array.dtype.kind == "f" and bool(np.any(_differ(array, wide(array.astype(self._dtype))))))
            for array in arrays
        )


def _leaves(model: Any) -> list[tuple[str, Any]]:
    """The modules that hold no others, by path."""
    return [(path, module) for path, module in model.named_modules() if not any(True for _ in module.children())]


def _differ(array: Array, other: Array) -> Array:
    return (array != other) & ~np.isnan(array)
