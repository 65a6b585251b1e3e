"""Run a copy of a PyTorch model and keep what every module gave. The model itself is not touched."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from einops_arch.errors import ParityError
from einops_arch.layouts.arrays import same_bits, to_numpy, to_tensor
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Array, is_exact, rms, wide
from einops_arch.parity.runs.axes import TraceCall
from einops_arch.parity.runs.casts import Cast, torch_watch
from einops_arch.parity.runs.evidence import changes
from einops_arch.parity.runs.inputs import Arguments, Inputs
from einops_arch.parity.runs.randomness import stop_torch, without_dropout
from einops_arch.parity.runs.values import flatten, outputs_of, rebuild

# Paths, or None for all of them.
Wanted: TypeAlias = "frozenset[str] | None"

__all__ = ["Call", "Failure", "Run", "TorchSide", "outputs_in", "undisturbed"]


@dataclass(frozen=True)
class Call:
    """One call of a module: its path, which call of that path it was, the arrays that it gave, and their places."""

    path: str
    index: int
    arrays: tuple[Array, ...]
    places: tuple[str, ...] = ()


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
        last: the outputs of the last of several steps, by place.
        changed: the names of the buffers that the steps changed.
        varies: of a capture, whether each output changes with the inputs.
        order: which output of Flax's belongs to each of PyTorch's.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: list[tuple[str, Array]] = field(default_factory=list)
    statistics: dict[str, Array] = field(default_factory=dict)
    inputs: dict[tuple[str, int], Any] = field(default_factory=dict)
    casts: list[Cast] = field(default_factory=list)
    failure: Failure | None = None
    last: list[tuple[str, Array]] = field(default_factory=list)
    changed: frozenset[str] = frozenset()
    varies: tuple[bool, ...] = ()
    order: tuple[int, ...] = ()


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

        with undisturbed(self.model):
            model = self._copy(double=double)
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            seen = _Recorder(model, inputs_of)
            watch = torch_watch(seen.here, seen.run.casts, lift=lift) if double else contextlib.nullcontext()
            run = seen.run
            before = {name: _own(buffer) for name, buffer in model.named_buffers()}
            with torch.no_grad(), watch:
                try:
                    outputs = model(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the model
                    seen.stop(error)
                    return run, seen.trace, tensors
                seen.remove()
                run.outputs = [(place, _own(tensor)) for place, tensor in outputs_in(outputs, model)]
                casts = len(run.casts)
                for _ in range(steps - 1):
                    outputs = model(*args, **kwargs)
                if steps > 1:
                    run.last = [(place, _own(tensor)) for place, tensor in outputs_in(outputs, model)]
            del run.casts[casts:]
            run.statistics = {name: _own(buffer) for name, buffer in model.named_buffers()}
            run.changed = frozenset(
                name
                for name, buffer in run.statistics.items()
                if name in before and not same_bits(before[name], buffer)
            ) | (run.statistics.keys() - before.keys())
            return run, seen.trace, tensors

    def varies(self, inputs: Arguments, outputs: Sequence[Array], *, double: bool) -> list[bool]:
        """Whether each output changes when the inputs do.

        Args:
            inputs: the inputs that are compared.
            outputs: for these inputs.
            double: they come from a run in float64.
        """
        import torch

        def run(inputs: Arguments) -> list[Array] | None:
            with undisturbed(self.model), torch.no_grad():
                model = self._copy(double=double)
                (args, kwargs), _ = self._tensors(model, *(Inputs.widened(inputs) if double else inputs))
                try:
                    return [_own(tensor) for _, tensor in outputs_in(model(*args, **kwargs), model)]
                except Exception:  # noqa: BLE001 not every model takes any numbers
                    return None

        return changes(outputs, run, inputs)

    def sensitivity(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], *, lift: bool = False
    ) -> dict[str, float]:
        """How much the run in float64 changes when what each layer gives is off by a few roundoffs.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            lift: keep float64 where the model casts to less.

        Returns:
            By path, the largest rms change of what a module gave, relative to its rms.
        """
        import torch

        generator = torch.Generator().manual_seed(0)

        def noisy(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex()):
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.device)
                return value * (1 + limits.NOISE * noise)
            if type(value) in (tuple, list):
                return type(value)(noisy(part) for part in value)
            return value

        def run(*, disturbed: bool) -> list[Call]:
            with undisturbed(self.model), torch.no_grad():
                model = self._copy(double=True)
                (args, kwargs), _ = self._tensors(model, arguments, keywords)
                if disturbed:
                    args, kwargs = tuple(map(noisy, args)), {name: noisy(value) for name, value in kwargs.items()}
                    for module in model.modules():
                        if not any(True for _ in module.children()):
                            module.register_forward_hook(lambda module, args, output: noisy(output))
                seen = _Recorder(model, frozenset())
                with torch_watch(seen.here, [], lift=True) if lift else contextlib.nullcontext():
                    model(*args, **kwargs)
                return seen.run.calls

        grown: dict[str, float] = {}
        for exact, other in zip(run(disturbed=False), run(disturbed=True), strict=False):
            for before, after in zip(exact.arrays, other.arrays, strict=False):
                if (
                    exact.path == other.path
                    and before.shape == after.shape
                    and not is_exact(before)
                    and (size := rms(before))
                ):
                    grown[exact.path] = max(grown.get(exact.path, 0.0), rms(wide(after) - wide(before)) / size)
        return grown

    def forced(self, nests: Mapping[tuple[str, int], Any], *, double: bool) -> dict[tuple[str, int], Any]:
        """Call modules one by one with given inputs.

        Args:
            nests: arguments by position and by name, for paths and numbers of calls.
            double: run in float64, the inputs widened.

        Returns:
            For each the arrays that it gave, or the exception that it raised.
        """
        import torch

        results: dict[tuple[str, int], Any] = {}
        with undisturbed(self.model), torch.no_grad():
            model = self._copy(double=double)
            modules = dict(model.named_modules(remove_duplicate=False))
            for key, nest in nests.items():
                (args, kwargs), _ = self._tensors(model, *(Inputs.widened(nest) if double else nest))
                try:
                    output = modules[key[0]](*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the module
                    results[key] = error
                else:
                    results[key] = [_own(tensor) for _, tensor in outputs_in(output, modules[key[0]], inner=True)]
        return results

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
        with undisturbed(self.model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False), watch:
            model = self._copy(double=True).requires_grad_()
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            inputs = {place: tensor.requires_grad_() for place, tensor in tensors if tensor.is_floating_point()}
            outputs = outputs_in(model(*args, **kwargs), model)
            total = torch.zeros((), dtype=torch.float64)
            for n, (_, output) in enumerate(outputs):
                for part, real in _real_parts(output):
                    weights = to_tensor(random_numbers(f"projection {n}{part}", real.shape, seed), real.device)
                    total = total.to(real.device) + (weights * real).sum()
            parameters = dict(model.named_parameters())
            wanted = [*parameters.values(), *inputs.values()]
            if total.requires_grad:
                slopes = torch.autograd.grad(total, wanted, allow_unused=True)
            else:
                slopes = (None,) * len(wanted)
            arrays = [
                _own(torch.zeros_like(tensor) if gradient is None else gradient)
                for tensor, gradient in zip(wanted, slopes, strict=True)
            ]
        count = len(parameters)
        return (
            dict(zip(parameters, arrays[:count], strict=True)),
            dict(zip(inputs, arrays[count:], strict=True)),
        )

    def _copy(self, *, double: bool) -> Any:
        model = _copy_of(self.model).train(self.training)
        if self.training:
            for module in model.modules():
                stop_torch(module)
        return _widened(model) if double else model

    @staticmethod
    def _tensors(
        model: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> tuple[Any, list[tuple[str, Any]]]:
        device = next((parameter.device for parameter in (*model.parameters(), *model.buffers())), None)
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
        arrays, places = tuple(_own(tensor) for tensor in outputs), tuple(place for place, _ in leaves)
        for path in self._paths[id(module)]:
            index = self._counts[path] = self._counts.get(path, -1) + 1
            self.run.calls.append(Call(path, index, arrays, places))
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
        return type(output)(_unpacked(part, module) for part in output)
    return output


def _leaves(value: Any) -> Sequence[tuple[str, Any]]:
    import torch

    return flatten(value, lambda leaf: isinstance(leaf, torch.Tensor))


def _copy_of(model: Any) -> Any:
    """A copy; tensors that were computed, as by the old `weight_norm`, are copied without their history."""
    import torch

    memo = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, memo)


def _widened(model: Any) -> Any:
    """In float64; PyTorch's own `double` leaves complex numbers as they are."""
    import torch

    def widen(tensor: Any) -> Any:
        if tensor.is_complex():
            return tensor.to(torch.complex128)
        return tensor.double() if tensor.is_floating_point() else tensor

    return model._apply(widen)  # noqa: SLF001 what `double` itself calls


def outputs_in(value: Any, module: Any, *, inner: bool = False) -> list[tuple[str, Any]]:
    """The tensors and numbers that a module gave; what cannot be looked into is an error of the network alone."""
    import torch

    unpacked = _unpacked(value, module)
    try:
        leaves = outputs_of(unpacked, lambda leaf: isinstance(leaf, torch.Tensor), side="PyTorch's model")
    except ParityError:
        if not inner:
            raise
        return list(_leaves(unpacked))
    return [(place, torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf) for place, leaf in leaves]


def _real_parts(output: Any) -> list[tuple[str, Any]]:
    """What of an output has a slope, in real numbers."""
    if output.is_complex():
        return [("", output.real), (" imaginary", output.imag)]
    return [("", output)] if output.is_floating_point() else []


def _own(tensor: Any) -> Array:
    import torch

    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return to_numpy(tensor).copy()


def _dtype_of(model: Any) -> Any:
    """The dtype of the first floating-point parameter or buffer."""
    import torch

    tensors = (*model.parameters(), *model.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


@contextlib.contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Full precision on every device; the random streams are afterwards as they were."""
    import torch

    devices = sorted(
        {parameter.device.index or 0 for parameter in model.parameters() if parameter.device.type == "cuda"}
    )
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with torch.random.fork_rng(devices=devices):
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        try:
            with without_dropout(_dtype_of(model)):
                yield
        finally:
            matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
