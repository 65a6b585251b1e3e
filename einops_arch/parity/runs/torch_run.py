"""Run a copy of a PyTorch model and record what every module returned. The model itself is not touched."""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import digest, same_bits, to_numpy, to_tensor
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.rows import averaged
from einops_arch.parity.report.verdicts import Array, is_exact, rms, unit_roundoff, wide
from einops_arch.parity.runs.axes import TraceCall
from einops_arch.parity.runs.casts import Cast, torch_watch, wide_by_default
from einops_arch.parity.runs.choices import Choices
from einops_arch.parity.runs.draws import restart
from einops_arch.parity.runs.evidence import changes
from einops_arch.parity.runs.exchanged import Exchange
from einops_arch.parity.runs.folded import fold, foldable
from einops_arch.parity.runs.inputs import Arguments, Inputs
from einops_arch.parity.runs.noise import Noise
from einops_arch.parity.runs.operation_noise import Fixed, operation_noise
from einops_arch.parity.runs.randomness import moments, rate_of, stop_torch, without_dropout
from einops_arch.parity.runs.run import Call, Run, Wanted
from einops_arch.parity.runs.tables import Table, TableRecorder
from einops_arch.parity.runs.torch_hooks import Recorder, outputs_in, own_array
from einops_arch.parity.runs.values import rebuild, words_of
from einops_arch.parity.runs.wide import widened

__all__ = ["TorchSide", "undisturbed"]


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
        # The paths of the modules that a run has called.
        self.called: set[str] = set()
        self._folded: list[str] = []

    def fold_for(self, flax_modules: Mapping[str, Any]) -> None:
        """In copies, let computed weights be what they are where Flax's layers hold the results."""
        self._folded = foldable(self.modules, flax_modules, training=self.training)

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

        recorders: list[Recorder] = []

        def dropped(rate: float, active: bool, value: Any, kind: tuple[bool, bool]) -> None:
            # The rate of a module that drops by itself was set to zero.
            path = recorders[0].here() if recorders else ""
            if active and rate and len(recorders[0].run.drawn_from) < _DRAWN:
                recorders[0].run.drawn_from.append((rate, value if value is None else moments(own_array(value)), kind))
            rate = rate or rate_of(self.modules[path]) or 0.0
            if active and rate and (path, rate) not in recorders[0].run.dropped:
                recorders[0].run.dropped.append((path, rate))

        with undisturbed(self.model, dropped):
            model = self._copy(double=double, lift=lift)
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            seen, choices = Recorder(model, inputs_of), Choices()
            recorders.append(seen)
            watch = self._watch(seen.here, seen.run.casts, choices, lift=lift) if double else contextlib.nullcontext()
            run = seen.run
            before = {name: own_array(buffer) for name, buffer in model.named_buffers()}
            plain, marks = _plain_tensors(model), _marks(model)
            digests = {name: digest(parameter) for name, parameter in model.named_parameters()}
            with torch.no_grad(), watch:
                try:
                    outputs = model(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the model
                    seen.stop(error)
                    return run, seen.trace, tensors
                seen.remove()
                run.outputs = [(place, own_array(tensor)) for place, tensor in outputs_in(outputs, model)]
                changed_marks = marks != _marks(model)
                run.words = words_of(outputs, lambda value: isinstance(value, torch.Tensor))
                run.sequence = [place for place, _ in outputs_in(outputs, model, ordered=True)]
                casts = len(run.casts)
                for _ in range(steps - 1):
                    # Of its own, as a model may work in place.
                    (args, kwargs), _ = self._tensors(model, arguments, keywords)
                    outputs = model(*args, **kwargs)
                    run.between.append([(place, own_array(tensor)) for place, tensor in outputs_in(outputs, model)])
                if run.between:
                    run.last = run.between.pop()
            del run.casts[casts:]
            run.untaken = choices.untaken()
            run.statistics = {name: own_array(buffer) for name, buffer in model.named_buffers()}
            run.changed = frozenset(
                name
                for name, buffer in run.statistics.items()
                if name in before and not same_bits(before[name], buffer)
            ) | (run.statistics.keys() - before.keys())
            # A call may change weights too.
            moved = {
                name: own_array(parameter)
                for name, parameter in model.named_parameters()
                if digests.get(name) != digest(parameter)
            }
            if kept := _changed(plain, _plain_tensors(model)):
                # State that is not registered; what is the same after another call is no more than a memory of inputs.
                (args, kwargs), _ = self._tensors(model, arguments, keywords)
                with torch.no_grad():
                    model(*args, **kwargs)
                moved |= {name: kept[name] for name in _changed(kept, _plain_tensors(model))}
            run.remembers = changed_marks and steps == 1 and self._remembers(model, arguments, keywords, run.outputs)
            run.statistics |= moved
            run.changed |= moved.keys()
            self.called |= {call.path for call in run.calls}
            return run, seen.trace, tensors

    def _remembers(
        self, model: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any], outputs: Sequence[tuple[str, Array]]
    ) -> bool:
        """Whether one more call with the same inputs gives other outputs."""
        import torch

        (args, kwargs), _ = self._tensors(model, arguments, keywords)
        with torch.no_grad():
            again = [(place, own_array(value)) for place, value in outputs_in(model(*args, **kwargs), model)]
        return not _same_outputs(outputs, again)

    def tables(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> list[Table]:
        """What a run in float64 makes of no input and no weight, such as the frequencies of a rotation.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
        """
        import torch

        with undisturbed(self.model), torch.no_grad():
            model = self._copy(double=True, lift=True)
            (args, kwargs), _ = self._tensors(model, arguments, keywords)
            buffers, weights = dict(self.model.named_buffers()), dict(self.model.named_parameters())
            held = [
                (tensor, buffers.get(name, tensor)) for name, tensor in model.named_buffers() if "running_" not in name
            ]
            plain = [value for module in model.modules() for value in vars(module).values()]
            held += [(value, value) for value in plain if isinstance(value, torch.Tensor)]
            frozen = [
                (tensor, weights[name])
                for name, tensor in model.named_parameters()
                if name in weights and not weights[name].requires_grad
            ]
            recorder = TableRecorder(
                [tensor for tensor, _ in (*held, *frozen)],
                unit_roundoff(self.dtype),
                [to_numpy(original[..., :0] if original.ndim else original).dtype for _, original in (*held, *frozen)],
                [False] * len(held) + [True] * len(frozen),
            )
            with recorder.watch(), self._watch(lift=True):
                model(*args, **kwargs)
            with wide_by_default():
                return recorder.tables(own_array)

    def varies(self, inputs: Arguments, outputs: Sequence[Array], *, double: bool, lift: bool = False) -> list[bool]:
        """Whether each output changes when the inputs do.

        Args:
            inputs: the inputs that are compared.
            outputs: for these inputs.
            double: they come from a run in float64.
            lift: they come from a run with casts lifted.
        """
        import torch

        def run(inputs: Arguments) -> list[Array] | None:
            watch = self._watch(lift=True) if lift else contextlib.nullcontext()
            with undisturbed(self.model), torch.no_grad(), self._copied(watch, double=double, lift=lift) as model:
                (args, kwargs), _ = self._tensors(model, *(Inputs.widened(inputs) if double else inputs))
                try:
                    return [own_array(tensor) for _, tensor in outputs_in(model(*args, **kwargs), model)]
                except Exception:  # noqa: BLE001 not every model takes any numbers
                    return None

        return changes(outputs, run, inputs)

    def ignores(
        self,
        path: str,
        masks: Mapping[tuple[int, int], Array],
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        lift: bool = False,
    ) -> bool:
        """Whether the run in float64 gives the same with other numbers at some places of what a module gives.

        Args:
            path: of the module.
            masks: the places, by the number of the call and of the output.
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            lift: keep float64 where the model casts to less.
        """
        import torch

        def run(exchange: Exchange | None) -> list[Array]:
            watch = self._watch(lift=lift)
            with undisturbed(self.model), torch.no_grad(), self._copied(watch, double=True, lift=lift) as model:
                if exchange is not None:
                    model.get_submodule(path).register_forward_hook(exchange)
                (args, kwargs), _ = self._tensors(model, arguments, keywords)
                return [own_array(tensor) for _, tensor in outputs_in(model(*args, **kwargs), model)]

        try:
            before = run(None)
            for seed in range(_EXCHANGES):
                exchange = Exchange(masks, seed)
                after = run(exchange)
                if not exchange.is_done or not all(map(_same_numbers, before, after)):
                    return False
        except Exception:  # noqa: BLE001 the model is any code at all; what cannot be run tells nothing
            return False
        return True

    def sensitivity(
        self,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        lift: bool = False,
        operations: bool = False,
    ) -> dict[str, float]:
        """How much the run in float64 changes when what each layer that rounds gives is off by a few roundoffs.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            lift: keep float64 where the model casts to less.
            operations: what each operation gives is off, and not what each layer does.

        Returns:
            By path, the largest rms change of what a module gave, relative to its rms; by name, that of each buffer,
            relative to what it is the mean of.
        """
        import torch

        noise = Noise(self.dtype, _copy_of)

        def run(*, disturbed: bool) -> tuple[list[Call], dict[str, Array]]:
            with undisturbed(self.model), torch.no_grad():
                model = self._copy(double=True, lift=lift)
                (args, kwargs), _ = self._tensors(model, arguments, keywords)
                if disturbed:
                    args, kwargs = noise.of(args), {name: noise.of(value) for name, value in kwargs.items()}
                if disturbed and not operations:
                    noise.disturb(model)
                elif not operations:
                    noise.look(model)
                seen = Recorder(model, frozenset())
                inside = operation_noise() if disturbed and operations else contextlib.nullcontext()
                with self._watch(lift=lift), inside:
                    model(*args, **kwargs)
                return seen.run.calls, {name: own_array(buffer) for name, buffer in model.named_buffers()}

        grown: dict[str, float] = {}
        (exact_calls, exact_buffers), (other_calls, other_buffers) = run(disturbed=False), run(disturbed=True)
        for exact, other in zip(exact_calls, other_calls, strict=False):
            for before, after in zip(exact.arrays, other.arrays, strict=False):
                if exact.path == other.path and before.shape == after.shape and not is_exact(before):
                    grown[exact.path] = max(grown.get(exact.path, 0.0), _growth(before, after))
        for name, before in exact_buffers.items():
            if not is_exact(before):
                grown[name] = _growth(before, other_buffers[name], averaged(exact_buffers, name))
        return grown

    def rounding(self, path: str, nest: Arguments, fixed: Sequence[str] = (), *, lift: bool = False) -> list[float]:
        """How much what a module gives in float64 changes with noise on its inputs and on each of its operations.

        Args:
            path: of the module.
            nest: its arguments, by position and by name.
            fixed: the paths of modules inside that give what they give without noise.
            lift: keep float64 where the model casts to less.

        Returns:
            The rms change of each output, and of what goes into each of the modules inside, relative to its rms; none
            where the module does not run.
        """
        import torch

        noise, kept = Noise(self.dtype, _copy_of), Fixed(fixed)

        def run(*, disturbed: bool) -> list[Array]:
            watch = self._watch(lift=lift)
            with undisturbed(self.model), torch.no_grad(), self._copied(watch, double=True, lift=lift) as model:
                module = model.get_submodule(path)
                (kept.replay if disturbed else kept.record)(model)
                (args, kwargs), _ = self._tensors(model, *nest)
                if disturbed:
                    args, kwargs = noise.of(args), {name: noise.of(value) for name, value in kwargs.items()}
                with operation_noise() if disturbed else contextlib.nullcontext():
                    outputs = outputs_in(module(*args, **kwargs), module, inner=True)
                return [own_array(tensor) for _, tensor in outputs] + kept.received

        try:
            pairs = zip(run(disturbed=False), run(disturbed=True), strict=True)
            return [0.0 if is_exact(before) else _growth(before, after) for before, after in pairs]
        except Exception:  # noqa: BLE001 the module is any code at all; what cannot be run is no excuse
            return []

    def forced(
        self, nests: Mapping[tuple[str, int], Any], *, double: bool, lift: bool = False
    ) -> dict[tuple[str, int], Any]:
        """Call modules one by one with given inputs.

        Args:
            nests: arguments by position and by name, for paths and numbers of calls.
            double: run in float64, the inputs widened.
            lift: keep float64 where the model casts to less.

        Returns:
            For each the arrays that it gave, or the exception that it raised.
        """
        import torch

        results: dict[tuple[str, int], Any] = {}
        watch = self._watch(lift=lift) if double else contextlib.nullcontext()
        with undisturbed(self.model), torch.no_grad(), self._copied(watch, double=double, lift=lift) as model:
            modules = dict(model.named_modules(remove_duplicate=False))
            for key, nest in nests.items():
                (args, kwargs), _ = self._tensors(model, *(Inputs.widened(nest) if double else nest))
                restart()
                try:
                    output = modules[key[0]](*args, **kwargs)
                except Exception as error:  # noqa: BLE001 whatever it is, it is a finding about the module
                    results[key] = error
                else:
                    results[key] = [own_array(tensor) for _, tensor in outputs_in(output, modules[key[0]], inner=True)]
        return results

    def noise(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], *, lift: bool = False) -> Noise:
        """What puts noise on the layers that round in the model's own dtype.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            lift: keep float64 where the model casts to less.
        """
        import torch

        noise = Noise(self.dtype, _copy_of)
        with undisturbed(self.model), torch.no_grad():
            model = self._copy(double=True, lift=lift)
            noise.look(model)
            with self._watch(lift=lift):
                (args, kwargs), _ = self._tensors(model, arguments, keywords)
                model(*args, **kwargs)
        return noise

    def gradients(
        self,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        seed: int,
        *,
        lift: bool = False,
        noise: Noise | None = None,
        operations: int | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients, in float64, of a random projection of the outputs.

        Args:
            arguments: numpy arrays by position.
            keywords: numpy arrays by name.
            seed: of the projection.
            lift: keep float64 where the model casts to less.
            noise: put on what each layer gives that rounds; None for none.
            operations: the seed of noise on what each operation gives, backward ones included; None for none.

        Returns:
            Those of the parameters by name, and those of the floating-point inputs by place.
        """
        import torch

        # cuDNN has no backward pass of recurrent layers in evaluation mode.
        backward = torch.backends.cudnn.flags(enabled=False)
        disturbed = contextlib.nullcontext() if operations is None else operation_noise(operations)
        copied = self._copied(self._watch(lift=lift), double=True, lift=lift)
        with undisturbed(self.model), torch.enable_grad(), backward, copied as model, disturbed:
            model.requires_grad_()
            if noise is not None:
                noise.disturb(model)
            (args, kwargs), tensors = self._tensors(model, arguments, keywords)
            inputs = {place: tensor.requires_grad_() for place, tensor in tensors if tensor.is_floating_point()}
            # A leaf that has a slope cannot be worked on in place; a copy of it can.
            copies = {id(tensor): tensor.clone() for tensor in inputs.values()}
            args, kwargs = (
                rebuild(
                    nest,
                    lambda place, tensor: copies.get(id(tensor), tensor),
                    lambda value: isinstance(value, torch.Tensor),
                )
                for nest in (args, kwargs)
            )
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
                own_array(torch.zeros_like(tensor) if gradient is None else gradient)
                for tensor, gradient in zip(wanted, slopes, strict=True)
            ]
        count = len(parameters)
        return (
            dict(zip(parameters, arrays[:count], strict=True)),
            dict(zip(inputs, arrays[count:], strict=True)),
        )

    def ties(self) -> dict[str, str]:
        """The further names of parameters that have several, with the first name of each."""
        firsts = {id(parameter): name for name, parameter in self.model.named_parameters()}
        every = self.model.named_parameters(remove_duplicate=False)
        return {name: firsts[id(parameter)] for name, parameter in every if firsts[id(parameter)] != name}

    def _watch(
        self,
        path: Callable[[], str] = str,
        casts: list[Cast] | None = None,
        choices: Choices | None = None,
        *,
        lift: bool,
    ) -> Any:
        """What is watched in float64: casts, and integers that are made of integers."""
        own = _dtype_of(self.model)
        return torch_watch(path, [] if casts is None else casts, lift=lift, own=own, choices=choices)

    @contextlib.contextmanager
    def _copied(self, watch: Any, *, double: bool, lift: bool) -> Iterator[Any]:
        """A copy, made before anything is watched: what makes float64 of float32 makes no copies of float32."""
        model = self._copy(double=double, lift=lift)
        with watch:
            yield model

    def _copy(self, *, double: bool, lift: bool = False) -> Any:
        model = _copy_of(self.model).train(self.training)
        fold(model, self._folded)
        if self.training:
            for module in model.modules():
                stop_torch(module)
        model.register_forward_pre_hook(restart)
        return widened(model, as_written=lift) if double else model

    def draws(self) -> list[str]:
        """The functions by which it was seen to draw random numbers."""
        return sorted(_DRAWING.get(self.model, ()))

    @staticmethod
    def _tensors(
        model: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> tuple[Any, list[tuple[str, Any]]]:
        device = next((parameter.device for parameter in (*model.parameters(), *model.buffers())), None)
        tensors: list[tuple[str, Any]] = []

        def change(place: str, value: Any) -> Any:
            tensors.append((place, to_tensor(np.array(value), device)))
            return tensors[-1][1]

        def is_array(value: Any) -> bool:
            return isinstance(value, np.ndarray)

        args = rebuild(arguments, change, is_array)
        return (args, rebuild(keywords, change, is_array)), tensors


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


_EXCHANGES = 3
"""So many times other numbers are put at places that nothing seems to read."""
_DRAWN = 1000
"""Calls of functions for dropout of which it is kept what they were given."""
_SINGLE = (bool, int, float, complex, str, type(None))


def _marks(model: Any) -> dict[tuple[str, str], Any]:
    """What modules hold beside tensors and modules, as far as it tells of a change: counters, caches, lists."""
    import torch

    own = vars(torch.nn.Module()).keys()

    def mark(value: Any) -> Any:
        if isinstance(value, _SINGLE):
            return value
        return id(value), len(value) if isinstance(value, list | dict | set | deque) else 0

    return {
        (path, name): mark(value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in own
    }


def _same_outputs(before: Sequence[tuple[str, Array]], after: Sequence[tuple[str, Array]]) -> bool:
    return [place for place, _ in before] == [place for place, _ in after] and all(
        array.shape == other.shape and same_bits(array, other)
        for (_, array), (_, other) in zip(before, after, strict=True)
    )


def _same_numbers(array: Array, other: Array) -> bool:
    """Zeros of either sign are the same, which are left of what a mask is multiplied with."""
    return np.array_equal(array, other, equal_nan=not is_exact(array))


def _plain_tensors(model: Any) -> dict[str, Array]:
    """The tensors that modules hold as plain attributes, by path."""
    import torch

    return {
        f"{path}.{name}" if path else name: own_array(value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    }


def _changed(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays that are others after than before; a shape of its own tells of a memory."""
    return {
        name: array
        for name, array in after.items()
        if name in before and before[name].shape == array.shape and not same_bits(before[name], array)
    }


def _growth(before: Array, after: Array, scale: float = 0.0) -> float:
    """The rms change of the numbers that are finite in both, relative to their rms: infinities magnify nothing."""
    before, after = wide(before), wide(after)
    finite = np.isfinite(before) & np.isfinite(after)
    size = max(rms(before[finite]), scale)
    return rms(after[finite] - before[finite]) / size if size else 0.0


def _real_parts(output: Any) -> list[tuple[str, Any]]:
    """What of an output has a slope, in real numbers."""
    if output.is_complex():
        return [("", output.real), (" imaginary", output.imag)]
    return [("", output)] if output.is_floating_point() else []


def _dtype_of(model: Any) -> Any:
    """The dtype of the first floating-point parameter or buffer."""
    import torch

    tensors = (*model.parameters(), *model.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


_DRAWING: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
"""The functions by which models were seen to draw random numbers."""


@contextlib.contextmanager
def undisturbed(
    model: Any, dropped: Callable[[float, bool, Any, tuple[bool, bool]], None] = lambda rate, active, value, kind: None
) -> Iterator[None]:
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
            with without_dropout(_dtype_of(model), dropped, _DRAWING.setdefault(model, set()).add):
                yield
        finally:
            matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
