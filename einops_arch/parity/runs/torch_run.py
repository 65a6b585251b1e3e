"""Run a copy of a PyTorch model and keep what every module gave. The model itself is not touched."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from einops_arch.layouts.arrays import dtype_kind, to_numpy, to_tensor
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.axes import TraceCall
from einops_arch.parity.runs.casts import Cast, torch_watch
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.values import flatten, rebuild

# Paths, or None for all of them.
Wanted: TypeAlias = "frozenset[str] | None"

__all__ = ["Call", "Failure", "Run", "TorchSide"]


@dataclass(frozen=True)
class Call:
    """One call of a module: its path, which call of that path it was, and the arrays that it gave."""

    path: str
    index: int
    arrays: tuple[Array, ...]


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end: the innermost module that was running, and what it raised."""

    path: str
    error: Exception

    def __str__(self) -> str:
        lines = str(self.error).strip().splitlines() or [""]
        return f"{type(self.error).__name__} in {self.path or 'the network'}: {lines[0]}"


@dataclass
class Run:
    """What a run left behind.

    Args:
        calls: in the order in which they returned.
        outputs: by place.
        statistics: buffers by name, after the last step.
        inputs: what went into the calls that were asked for, arguments by position and by name.
        casts: the operations that narrowed float64.
        failure: why the run did not come to its end, if so; the calls before that are there.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: list[tuple[str, Array]] = field(default_factory=list)
    statistics: dict[str, Array] = field(default_factory=dict)
    inputs: dict[tuple[str, int], Any] = field(default_factory=dict)
    casts: list[Cast] = field(default_factory=list)
    failure: Failure | None = None


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
        self,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        steps: int,
        *,
        double: bool,
        lift: bool = False,
        inputs_of: Wanted = frozenset(),
    ) -> tuple[Run, list[TraceCall], list[tuple[str, Any]]]:
        """Run a copy.

        Args:
            arguments: numpy arrays by position, nested or not, already of the dtype of the run.
            keywords: the same by name.
            steps: how often to call it; the first call is recorded, and the statistics are those after the last.
            double: run in float64.
            lift: keep float64 where the model casts to less.
            inputs_of: the paths of the modules whose inputs are kept; None for all.

        Returns:
            What was recorded; the trace from which layouts are resolved; and the input tensors by place.
        """
        import torch

        with _undisturbed(self.model):
            model = self._copy(double=double)
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            seen = _Recorder(model, inputs_of)
            watch = torch_watch(seen.here, seen.run.casts, lift=lift) if double else contextlib.nullcontext()
            run = seen.run
            with torch.no_grad(), watch:
                try:
                    outputs = model(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the model
                    seen.stop(error)
                    return run, seen.trace, tensors
                seen.remove()
                run.outputs = [(place, _own(one)) for place, one in _leaves(_unpacked(outputs, model))]
                casts = len(run.casts)
                for _ in range(steps - 1):
                    model(*args, **kwargs)
            del run.casts[casts:]
            kept = model.state_dict()
            run.statistics = {name: _own(kept[name]) for name, _ in model.named_buffers() if name in kept}
            return run, seen.trace, tensors

    def forced(self, nests: Mapping[tuple[str, int], Any], *, double: bool) -> dict[tuple[str, int], Any]:
        """Call modules one by one with given inputs.

        Args:
            nests: arguments by position and by name, for paths and numbers of calls.
            double: run in float64, the inputs widened.

        Returns:
            For each the arrays that it gave, or the exception that it raised.
        """
        import torch

        found: dict[tuple[str, int], Any] = {}
        with _undisturbed(self.model), torch.no_grad():
            model = self._copy(double=double)
            modules = dict(model.named_modules(remove_duplicate=False))
            for key, nest in nests.items():
                (args, kwargs), _ = self._tensors(model, *(Inputs.widened(nest) if double else nest))
                try:
                    output = modules[key[0]](*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the module
                    found[key] = error
                else:
                    found[key] = [_own(one) for _, one in _leaves(_unpacked(output, modules[key[0]]))]
        return found

    def gradients(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], seed: int, *, lift: bool = False
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients, in float64, of a random projection of the outputs.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            seed: of the projection.
            lift: keep float64 where the model casts to less.

        Returns:
            Those of the parameters by name, and those of the floating-point inputs by place.
        """
        import torch

        # cuDNN has no backward pass of recurrent layers in evaluation mode.
        watch = torch_watch(str, [], lift=True) if lift else contextlib.nullcontext()
        with _undisturbed(self.model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False), watch:
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


class _Recorder:
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
        """The run ends here; what the modules that did not finish were given still tells how axes lie."""
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
        inputs = [one for _, one in _leaves((args, list(kwargs.values())))]
        nest = _copied((args, kwargs)) if self._wants(module) else None
        self._running.append((module, next(self._places), inputs, nest))

    def _leave(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        del args, kwargs
        while self._running[-1][0] is not module:
            self._running.pop()
        _, place, inputs, nest = self._running.pop()
        parent = self._running[-1][1] if self._running else None
        outputs = [one for _, one in _leaves(_unpacked(output, module))]
        # A copy: a later module may work in place.
        arrays = tuple(_own(one) for one in outputs)
        for path in self._paths[id(module)]:
            index = self._counts[path] = self._counts.get(path, -1) + 1
            self.run.calls.append(Call(path, index, arrays))
            if nest is not None:
                self.run.inputs[path, index] = nest
            first = inputs[0] if inputs else None
            self.trace.append(TraceCall(path, index, module, first, outputs, parent, place, inputs))

    def _wants(self, module: Any) -> bool:
        return self._wanted is None or any(path in self._wanted for path in self._paths[id(module)])


def _copied(nest: Any) -> Any:
    import torch

    args, kwargs = nest

    def is_tensor(value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def change(place: str, value: Any) -> Any:
        del place
        return _own(value)

    return rebuild(args, change, is_tensor), rebuild(kwargs, change, is_tensor)


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
