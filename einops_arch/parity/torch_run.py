"""Run a copy of a PyTorch model and keep what every module gave. The model itself is not touched."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from einops_arch.parity.layouts import TraceCall
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.values import flatten, rebuild
from einops_arch.parity.verdicts import Array
from einops_arch.port.arrays import dtype_kind, to_numpy, to_tensor

__all__ = ["Call", "Run", "TorchSide"]


@dataclass(frozen=True)
class Call:
    """One call of a module: its path, which call of that path it was, and the arrays that it gave."""

    path: str
    index: int
    arrays: tuple[Array, ...]


@dataclass
class Run:
    """What a run left behind: calls in the order in which they returned, outputs by place, and statistics by name."""

    calls: list[Call] = field(default_factory=list)
    outputs: list[tuple[str, Array]] = field(default_factory=list)
    statistics: dict[str, Array] = field(default_factory=dict)


class TorchSide:
    """A PyTorch model, seen from outside.

    Args:
        model: the model; only copies of it are run.
        training: the mode of the copies; dropout is off in both.
    """

    def __init__(self, model: Any, *, training: bool) -> None:
        self.model = model
        self.training = training
        self.modules = dict(model.named_modules(remove_duplicate=False))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the first floating-point parameter or buffer."""
        import torch

        for tensor in (*self.model.parameters(), *self.model.buffers()):
            if tensor.is_floating_point():
                return to_numpy(torch.zeros((), dtype=tensor.dtype)).dtype
        return np.dtype(np.float32)

    def run(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], steps: int, *, double: bool
    ) -> tuple[Run, list[TraceCall], list[tuple[str, Any]]]:
        """Run a copy.

        Args:
            arguments: numpy arrays by position, nested or not, already of the dtype of the run.
            keywords: the same by name.
            steps: how often to call it; the first call is recorded, and the statistics are those after the last.
            double: run in float64.

        Returns:
            What was recorded; the trace from which layouts are resolved; and the input tensors by place.
        """
        import torch

        with _undisturbed(self.model):
            model = self._copy(double=double)
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            with torch.no_grad():
                calls, trace, handles = _record(model)
                outputs = model(*args, **kwargs)
                for handle in handles:
                    handle.remove()
                run = Run(calls, [(place, _own(one)) for place, one in _leaves(_unpacked(outputs, model))])
                for _ in range(steps - 1):
                    model(*args, **kwargs)
            kept = model.state_dict()
            run.statistics = {name: _own(kept[name]) for name, _ in model.named_buffers() if name in kept}
            return run, trace, tensors

    def gradients(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], seed: int
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients, in float64, of a random projection of the outputs.

        Returns:
            Those of the parameters by name, and those of the floating-point inputs by place.
        """
        import torch

        # cuDNN has no backward pass of recurrent layers in evaluation mode.
        with _undisturbed(self.model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            model = self._copy(double=True).requires_grad_()
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            inputs = {place: one.requires_grad_() for place, one in tensors if one.is_floating_point()}
            outputs = _leaves(_unpacked(model(*args, **kwargs), model))
            total = torch.zeros((), dtype=torch.float64)
            for n, (_, output) in enumerate(outputs):
                if output.is_floating_point():
                    weights = to_tensor(random_numbers(f"projection {n}", output.shape, seed), output.device)
                    total = total.to(output.device) + (weights * output).sum()
            parameters = dict(model.named_parameters())
            wanted = [*parameters.values(), *inputs.values()]
            if total.requires_grad:
                found = torch.autograd.grad(total, wanted, allow_unused=True)
            else:
                found = (None,) * len(wanted)
            arrays = [
                _own(torch.zeros_like(one) if gradient is None else gradient)
                for one, gradient in zip(wanted, found, strict=True)
            ]
        count = len(parameters)
        return (
            dict(zip(parameters, arrays[:count], strict=True)),
            dict(zip(inputs, arrays[count:], strict=True)),
        )

    def _copy(self, *, double: bool) -> Any:
        import torch

        model = copy.deepcopy(self.model).train(self.training)
        if self.training:
            for module in model.modules():
                if isinstance(module, torch.nn.modules.dropout._DropoutNd):  # noqa: SLF001 no public base
                    module.p = 0.0
                elif isinstance(getattr(module, "dropout", None), float):
                    module.dropout = 0.0
        return model.double() if double else model

    @staticmethod
    def _tensors(
        model: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> tuple[Any, list[tuple[str, Any]]]:
        device = next((one.device for one in (*model.parameters(), *model.buffers())), None)
        tensors: list[tuple[str, Any]] = []

        def change(place: str, value: Any) -> Any:
            tensors.append((place, to_tensor(value, device)))
            return tensors[-1][1]

        def is_array(value: Any) -> bool:
            return isinstance(value, np.ndarray)

        args = rebuild(arguments, change, is_array)
        return (args, rebuild(keywords, change, is_array)), tensors


def _record(model: Any) -> tuple[list[Call], list[TraceCall], list[Any]]:
    """Put hooks on every module of a copy."""
    paths: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
    calls: list[Call] = []
    trace: list[TraceCall] = []
    counts: dict[str, int] = {}
    running: list[tuple[Any, int, Any]] = []
    places = iter(range(1 << 62))

    def enter(module: Any, args: Any, kwargs: Any) -> None:
        first = next((one for _, one in _leaves((args, list(kwargs.values())))), None)
        running.append((module, next(places), first))

    def leave(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        del args, kwargs
        while running[-1][0] is not module:
            running.pop()
        _, place, first = running.pop()
        parent = running[-1][1] if running else None
        outputs = [one for _, one in _leaves(_unpacked(output, module))]
        # A copy: a later module may work in place.
        arrays = tuple(_own(one) for one in outputs)
        for path in paths[id(module)]:
            index = counts[path] = counts.get(path, -1) + 1
            calls.append(Call(path, index, arrays))
            trace.append(TraceCall(path, index, module, first, outputs, parent, place))

    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))
    return calls, trace, handles


def _unpacked(output: Any, module: Any) -> Any:
    """A packed sequence as a padded one, which is what Flax has."""
    from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

    if isinstance(output, PackedSequence):
        return pad_packed_sequence(output, batch_first=bool(getattr(module, "batch_first", False)))[0]
    if type(output) in (tuple, list):
        return type(output)(_unpacked(one, module) for one in output)
    return output


def _leaves(value: Any) -> Sequence[tuple[str, Any]]:
    import torch

    return flatten(value, lambda one: isinstance(one, torch.Tensor))


def _own(tensor: Any) -> Array:
    array = to_numpy(tensor)
    return array.astype(np.float64) if dtype_kind(array.dtype) == "complex" else array.copy()


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Full precision on every device; the random streams are afterwards as they were."""
    import torch

    devices = sorted({one.device.index or 0 for one in model.parameters() if one.device.type == "cuda"})
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with torch.random.fork_rng(devices=devices):
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
