"""Record what every module of a PyTorch model receives and returns, by hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einops_arch.errors import ParityError
from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.axes import TraceCall
from einops_arch.parity.runs.run import Call, Failure, Run, Wanted
from einops_arch.parity.runs.values import flatten, outputs_of, rebuild

__all__ = ["Recorder", "outputs_in", "own_array"]


class Recorder:
    """Hooks on every module of a copy."""

    def __init__(self, model: Any, inputs_of: Wanted) -> None:
        self.run = Run()
        self.trace: list[TraceCall] = []
        self._wanted = inputs_of
        self._paths: dict[int, list[str]] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(id(module), []).append(path)
        self._counts: dict[str, int] = {}
        self._running: list[tuple[Any, int, list[Any], Any]] = []
        self._places = iter(range(1 << 62))
        self._handles = []
        for module in model.modules():
            self._handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True))

    def here(self) -> str:
        """The path of the module that is running."""
        return self._paths[id(self._running[-1][0])][0] if self._running else ""

    def stop(self, error: Exception) -> None:
        """End the recording at an exception; the inputs of unfinished modules still tell how axes lie."""
        self.run.failure = Failure(self.here(), error.with_traceback(None))
        parent = None
        for module, place, inputs, _ in self._running:
            first = inputs[0] if inputs else None
            self.trace.append(TraceCall(self._paths[id(module)][0], -1, module, first, [], parent, place, inputs))
            parent = place

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: Any, args: Any, kwargs: Any) -> None:
        inputs = [tensor for _, tensor in _leaves((args, list(kwargs.values())))]
        nest = _copied((args, kwargs)) if self._wants(module) else None
        self._running.append((module, next(self._places), inputs, nest))

    def _leave(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        del args, kwargs
        while self._running[-1][0] is not module:
            self._running.pop()
        _, place, inputs, nest = self._running.pop()
        parent = self._running[-1][1] if self._running else None
        leaves = outputs_in(output, module, inner=True)
        outputs = [tensor for _, tensor in leaves]
        # A copy: a later module may work in place.
        arrays, places = tuple(own_array(tensor) for tensor in outputs), tuple(place for place, _ in leaves)
        for path in self._paths[id(module)]:
            index = self._counts[path] = self._counts.get(path, -1) + 1
            self.run.calls.append(Call(path, index, arrays, places))
            if nest is not None:
                self.run.inputs[path, index] = nest
            first = inputs[0] if inputs else None
            self.trace.append(TraceCall(path, index, module, first, outputs, parent, place, inputs))

    def _wants(self, module: Any) -> bool:
        return self._wanted is None or any(path in self._wanted for path in self._paths[id(module)])


def outputs_in(value: Any, module: Any, *, inner: bool = False, ordered: bool = False) -> list[tuple[str, Any]]:
    """The tensors and numbers that a module gave; what cannot be looked into is an error of the network alone."""
    import torch

    unpacked = _unpacked(value, module)
    try:
        leaves = outputs_of(
            unpacked, lambda leaf: isinstance(leaf, torch.Tensor), side="PyTorch's model", ordered=ordered
        )
    except ParityError:
        if not inner:
            raise
        return list(_leaves(unpacked))
    return [(place, torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf) for place, leaf in leaves]


def own_array(tensor: Any) -> Array:
    """A copy as a numpy array, quantized and sparse tensors as what they stand for."""
    import torch

    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return to_numpy(tensor).copy()


def _copied(nest: Any) -> Any:
    import torch

    args, kwargs = nest

    def is_tensor(value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def change(place: str, value: Any) -> Any:
        del place
        return own_array(value)

    return rebuild(args, change, is_tensor), rebuild(kwargs, change, is_tensor)


def _unpacked(output: Any, module: Any) -> Any:
    """Pad a packed sequence, as Flax has it."""
    from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

    if isinstance(output, PackedSequence):
        return pad_packed_sequence(output, batch_first=bool(getattr(module, "batch_first", False)))[0]
    if type(output) in (tuple, list):
        return type(output)(_unpacked(part, module) for part in output)
    return output


def _leaves(value: Any) -> Sequence[tuple[str, Any]]:
    import torch

    return flatten(value, lambda leaf: isinstance(leaf, torch.Tensor))
