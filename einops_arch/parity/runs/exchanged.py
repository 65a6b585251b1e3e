"""Other numbers at some places of what a PyTorch module gives, to see whether anything reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_tensor
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.torch_hooks import outputs_in

__all__ = ["Exchange"]

_LEAST = 1 / 32
"""The share of an output's numbers that stay as they are."""
_FAR = 8
"""Numbers are exchanged for others of so many times the size, of either sign, lest a maximum overlook them."""


class Exchange:
    """A forward hook that puts other numbers into what a module gives.

    Args:
        masks: where, by the number of the call and of the output.
        seed: of the numbers.
    """

    def __init__(self, masks: Mapping[tuple[int, int], Array], seed: int) -> None:
        self._masks, self._rest = masks, set(masks)
        self._generator = np.random.default_rng(seed)
        self._call = -1
        # Something cannot be exchanged, or an output would be another one altogether.
        self.fails = False

    @property
    def is_done(self) -> bool:
        """Whether all numbers were exchanged that should be."""
        return not self.fails and not self._rest

    def __call__(self, module: Any, args: Any, output: Any) -> Any:
        """What the module gives then."""
        from torch.nn.utils.rnn import PackedSequence

        del args
        self._call += 1
        here = {n: mask for (call, n), mask in self._masks.items() if call == self._call}
        if not here:
            return output
        is_packed = _holds(output, PackedSequence)
        # The final states of a packed sequence lie at the ends of its rows, and may be others altogether.
        self.fails |= any(mask.mean() > 1 - _LEAST and not (is_packed and n) for n, mask in here.items())
        return self._exchanged(output, module, here, iter(range(len(outputs_in(output, module, inner=True)))))

    def _exchanged(self, output: Any, module: Any, masks: Mapping[int, Array], numbers: Any) -> Any:
        import torch
        from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

        if isinstance(output, PackedSequence):
            n = next(numbers)
            if n not in masks:
                return output
            first = bool(getattr(module, "batch_first", False))
            padded, lengths = pad_packed_sequence(output, batch_first=first)
            return pack_padded_sequence(
                self._tensor(padded, masks[n], n), lengths, batch_first=first, enforce_sorted=False
            )
        if isinstance(output, torch.Tensor):
            n = next(numbers)
            return self._tensor(output, masks[n], n) if n in masks else output
        if type(output) in (tuple, list):
            return type(output)(self._exchanged(part, module, masks, numbers) for part in output)
        self.fails |= output is not None  # its outputs may lie in another order
        return output

    def _tensor(self, tensor: Any, mask: Array, n: int) -> Any:
        import torch

        if not tensor.is_floating_point() or tuple(tensor.shape) != mask.shape:
            self.fails = True
            return tensor
        self._rest.discard((self._call, n))
        drawn = to_tensor(np.asarray(self._generator.normal(size=tuple(tensor.shape))), tensor.device)
        finite = tensor[torch.isfinite(tensor)]
        size = float(finite.square().mean().sqrt()) if finite.numel() else 1.0
        return torch.where(to_tensor(mask, tensor.device), (_FAR * (size or 1.0) * drawn).to(tensor.dtype), tensor)


def _holds(output: Any, kind: type) -> bool:
    if isinstance(output, kind):
        return True
    return type(output) in (tuple, list) and any(_holds(part, kind) for part in output)
