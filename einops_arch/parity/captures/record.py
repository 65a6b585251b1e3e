"""What a capture holds: the runs of one model, and the metadata about its modules that a comparison needs."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from einops_arch.errors import ParityError
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.axes import Layout, TraceCall
from einops_arch.parity.runs.inputs import Arguments
from einops_arch.parity.runs.run import Run

__all__ = [
    "Capture",
    "FakeTensor",
    "ModuleMetadata",
    "RecordedFlax",
    "RecordedTorch",
    "digest",
    "metadata_of",
    "variant",
]

# The settings from which `einops_arch.parity.runs.axes` knows how an output lies, wherever a class has them.
_OF_LAYOUTS = ("data_format", "drop_channel", "pattern")
_LONGEST = 100
"""Of the words that a setting may be: a longer text is something else."""


@dataclass(frozen=True)
class ModuleMetadata:
    """A module, as far as a comparison asks for it.

    Args:
        types: its class and the bases of that, by their paths.
        settings: its public attributes that are numbers, words or tuples of numbers: they say how axes lie, and what
            may be the cause of a difference.
        has_state: it has parameters or buffers of its own.
        can_be_called: it is not only a holder of others.
    """

    types: tuple[str, ...]
    settings: Mapping[str, Any]
    has_state: bool
    can_be_called: bool

    def stand_in(self) -> Any:
        """An object that answers what is asked of the module, of a class with the same names."""
        made: type = object
        for path in reversed(self.types):
            module, _, name = path.rpartition(".")
            made = type(name, (made,), {"__module__": module, "__qualname__": name})
        methods: dict[str, Any] = {"_parameters": {}, "inside": {}}
        methods["named_modules"] = lambda self, remove_duplicate=True: iter([("", self), *self.inside.items()])
        methods["state_dict"] = lambda self: {}
        for kind in ("parameters", "buffers"):
            methods[kind] = lambda self, recurse=True, full=kind == "parameters": (
                [None] if full and self.has_state else []
            )
            methods[f"named_{kind}"] = lambda self, recurse=True: []
        if self.can_be_called:
            methods["__call__"] = lambda self: None
        for name, value in methods.items():
            setattr(made, name, value)
        instance = made()
        vars(instance).update(self.settings, has_state=self.has_state)
        return instance


@dataclass(frozen=True)
class FakeTensor:
    """The place of a tensor in a trace; two places with one number are one tensor."""

    number: int
    ndim: int


@dataclass(frozen=True)
class Capture:
    """The run of one model, made by `capture` and read by `read_capture`.

    Args:
        framework: `"torch"` or `"flax"`.
        model: the class of the model.
        dtype: of its weights.
        mode: `"eval"` or `"train"`.
        steps: forward passes in train mode.
        seed: of the projection of the gradients.
        versions: of the libraries that ran it.
        architecture: the name and the config of a registered network; None for other models.
        inputs: as PyTorch takes them; None where only Flax's were given.
        flax_inputs: as Flax takes them; of a Flax model only.
        input_layouts: of the inputs, by place.
        weights: a digest of each array of the state, by PyTorch's name and in its layout.
        modules: by path.
        runs: by variant: `"float64"`, `"float64, casts lifted"`, `"own dtype"`.
        gradients: by variant, of the parameters and of the inputs.
        output_layouts: with which Flax's gradients were made.
        trace: PyTorch's calls; empty for Flax.
        input_tensors: PyTorch's inputs in the trace, by place.
        draws: the functions by which a PyTorch model was seen to draw random numbers.
    """

    framework: str
    model: str
    dtype: np.dtype[Any]
    mode: str
    steps: int
    seed: int
    versions: Mapping[str, str]
    architecture: tuple[str, Mapping[str, Any]] | None
    inputs: Arguments | None
    flax_inputs: Arguments | None
    input_layouts: Mapping[str, Layout]
    weights: Mapping[str, str]
    modules: Mapping[str, ModuleMetadata]
    runs: Mapping[str, Run]
    gradients: Mapping[str, tuple[dict[str, Array], dict[str, Array]]] = field(default_factory=dict)
    output_layouts: Sequence[Layout] = ()
    trace: Sequence[TraceCall] = ()
    input_tensors: Sequence[tuple[str, FakeTensor]] = ()
    draws: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """One digest of all weights."""
        text = "\n".join(f"{name} {value}" for name, value in sorted(self.weights.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def __repr__(self) -> str:
        calls = len(self.runs["float64"].calls)
        return f"Capture({self.framework} {self.model}, {self.mode} mode, {calls} calls, weights {self.digest[:12]})"


class _Recorded:
    """One side of a comparison, from a capture."""

    def __init__(self, record: Capture) -> None:
        self.record = record
        self.dtype = record.dtype
        self.training = record.mode == "train"
        self.modules = {path: metadata.stand_in() for path, metadata in record.modules.items()}
        for path, module in self.modules.items():
            start = f"{path}." if path else ""
            module.inside = {
                name.removeprefix(start): module
                for name, module in self.modules.items()
                if name and name.startswith(start)
            }

    def _run(self, *, double: bool, lift: bool) -> Run:
        runs = self.record.runs
        return runs.get(variant(double=double, lift=lift), runs["float64"])

    def _gradients(self, *, lift: bool) -> tuple[dict[str, Array], dict[str, Array]]:
        gradients = self.record.gradients
        if not gradients:
            raise ParityError(
                f"the capture of {self.record.model} has no gradients; likely fix: capture(..., gradients=True)"
            )
        return gradients.get(variant(double=True, lift=lift), gradients["float64"])


class RecordedTorch(_Recorded):
    """PyTorch's side, from a capture."""

    def draws(self) -> list[str]:
        """The functions by which it was seen to draw random numbers."""
        return list(self.record.draws)

    def run(
        self,
        arguments: Any,
        keywords: Any,
        steps: int,
        *,
        double: bool,
        lift: bool = False,
        inputs_of: Any = frozenset(),
    ) -> tuple[Run, list[TraceCall], list[tuple[str, Any]]]:
        """What the run gave; with the inputs of all modules, if of any."""
        del arguments, keywords, steps, inputs_of
        run = dataclasses.replace(self._run(double=double, lift=lift))
        return run, list(self.record.trace), list(self.record.input_tensors)

    def varies(self, inputs: Any, outputs: Sequence[Array], *, double: bool, lift: bool = False) -> list[bool]:
        """What was seen when it was captured; of an older capture, whether an output is no constant."""
        del inputs, double, lift
        known = list(self.record.runs["float64"].varies)
        return known if len(known) == len(outputs) else [np.unique(array).size > 1 for array in outputs]

    def gradients(self, arguments: Any, keywords: Any, seed: int, *, lift: bool = False) -> Any:
        """What the backward pass gave."""
        del arguments, keywords, seed
        return self._gradients(lift=lift)

    def ties(self) -> dict[str, str]:
        """The further names of parameters that have several: names of the state that no gradient has."""
        named, _ = self._gradients(lift=False)
        firsts = {self.record.weights[name]: name for name in named if name in self.record.weights}
        weights = self.record.weights.items()
        return {name: firsts[value] for name, value in weights if name not in named and value in firsts}


class RecordedFlax(_Recorded):
    """Flax's side, from a capture.

    Args:
        record: the capture.
        live: the side of the model that was captured, where that is still there.
    """

    def __init__(self, record: Capture, live: Any = None) -> None:
        super().__init__(record)
        self.live = live

    def run(
        self,
        arguments: Any,
        keywords: Any,
        steps: int,
        *,
        double: bool,
        statistics: bool = False,
        lift: bool = False,
        inputs_of: Any = frozenset(),
    ) -> Run:
        """What the run gave."""
        del arguments, keywords, steps, statistics, inputs_of
        return self._run(double=double, lift=lift)

    def gradients(
        self,
        arguments: Any,
        keywords: Any,
        seed: int,
        layouts: Sequence[Layout],
        *,
        order: Any = None,
        lift: bool = False,
    ) -> Any:
        """What the backward pass gave.

        Raises:
            ParityError: the outputs were taken to lie in another way.
        """
        del arguments, keywords, seed, order
        gradients = self._gradients(lift=lift)
        if list(map(tuple, self.record.output_layouts)) != list(map(tuple, layouts)):
            raise ParityError(
                f"the gradients of {self.record.model} were captured with output layouts "
                f"{list(self.record.output_layouts)}, PyTorch's outputs lie as {list(layouts)}; likely fix: capture "
                "the Flax model with the PyTorch capture in the place of the inputs"
            )
        return gradients


def variant(*, double: bool, lift: bool) -> str:
    """The name of a run."""
    return "own dtype" if not double else "float64, casts lifted" if lift else "float64"


def metadata_of(module: Any) -> ModuleMetadata:
    """What a comparison asks of a module of either framework."""
    from einops_arch.parity.report.module_rows import can_be_called, has_state

    bases = [base for base in type(module).__mro__ if base is not object]
    settings = {name: value for name, value in vars(module).items() if not name.startswith("_") and _is_plain(value)}
    for name in _OF_LAYOUTS:
        if isinstance(value := getattr(module, name, None), str | bool):
            settings[name] = value
    types = tuple(f"{base.__module__}.{base.__qualname__.rpartition('.')[2]}" for base in bases)
    return ModuleMetadata(types, settings, has_state(module), can_be_called(module))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(item, int | str) and _is_plain(item) for item in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def digest(array: Array) -> str:
    """A hash of dtype, shape and every bit."""
    seen = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
    seen.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return seen.hexdigest()
