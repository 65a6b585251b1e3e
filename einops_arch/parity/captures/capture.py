"""Write down the run of one model, so that it can be compared where the other framework is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch.architectures.config import Config
from einops_arch.errors import ConfigError, DestinationExistsError, ParityError, PatternError
from einops_arch.parity.captures.files import is_capture_file, read_capture, write_capture
from einops_arch.parity.captures.record import Capture, FakeTensor, RecordedTorch, digest, metadata_of, variant
from einops_arch.parity.options import Options, known_tensors
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.axes import Layout, TraceCall, from_axes, plain, resolve
from einops_arch.parity.runs.constants import own_constants
from einops_arch.parity.runs.inputs import Inputs, prepare
from einops_arch.parity.runs.run import Run
from einops_arch.port.transfer import framework_of

__all__ = ["capture", "captured"]


def capture(
    model: Any,
    inputs: Any,
    path: str | Path,
    *,
    axes: str | Sequence[str | None] | Mapping[str, str] | None = None,
    flax_inputs: Any = None,
    mode: str = "eval",
    steps: int = 1,
    gradients: bool = False,
    seed: int = 0,
    jit: bool = True,
    force: bool = False,
) -> Capture:
    """Run a copy of a model and write what every module gave to two files, with its own framework alone.

    `compare` then takes the file in the place of the model, in another environment or on another machine. Any
    `torch.nn.Module` can be captured, whoever wrote it.

    Args:
        model: a `torch.nn.Module` or an `nnx.Module`; only copies are run.
        inputs: as PyTorch takes them, for both frameworks; or a capture, or its path, whose inputs are taken.
        path: where to: `PATH.safetensors` for the arrays and `PATH.json` for the tree of modules.
        axes: PyTorch's axes of each input, as for `compare`; Flax needs them to move its own.
        flax_inputs: what a Flax model takes, where it is not the inputs with their axes moved.
        mode: `"eval"` or `"train"`.
        steps: forward passes in train mode, after which the batch statistics are kept.
        gradients: keep the gradients of a random projection of the outputs. A Flax model has to know how PyTorch's
            outputs lie: a twin does, for others give the PyTorch capture as `inputs`.
        seed: of the projection.
        jit: run a Flax model under `jax.jit`.
        force: replace files that are there.

    Returns:
        The capture.

    Raises:
        DestinationExistsError: there is a file of that name.
        ParityError: the model does not run with these inputs.
        ShapeError: the axes of an input are not known, or do not fit it.
        PatternError: gradients of a Flax model whose outputs may lie in any way.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     capture(torch.nn.Linear(3, 2), torch.ones(4, 3), f"{folder}/linear").framework
    'torch'
    """
    files = [Path(f"{path}{ending}") for ending in (".safetensors", ".json")]
    for file in files:
        if file.exists() and not force:
            raise DestinationExistsError(
                f"{file}: there is a file of that name; likely fix: force=True, which replaces it"
            )
    record = captured(
        model,
        inputs,
        axes=axes,
        flax_inputs=flax_inputs,
        mode=mode,
        steps=steps,
        gradients=gradients,
        seed=seed,
        jit=jit,
    )
    write_capture(path, record)
    return record


def captured(
    model: Any,
    inputs: Any,
    *,
    axes: Any = None,
    flax_inputs: Any = None,
    mode: str = "eval",
    steps: int = 1,
    gradients: bool = False,
    seed: int = 0,
    jit: bool = True,
) -> Capture:
    """The capture, without files; the arguments are those of `capture`."""
    framework = framework_of(model)
    source = inputs if isinstance(inputs, Capture) else read_capture(inputs) if is_capture_file(inputs) else None
    side, config = _side(model, framework, mode, steps, jit=jit), getattr(model, "config", None)
    config = config if isinstance(config, Config) else None
    options = Options(config=config, training=mode == "train", steps=steps, seed=seed)
    if source is not None:
        arguments = _given_by(source, (side.dtype, side.dtype), () if framework == "torch" else flax_inputs)
    elif framework == "torch":
        # PyTorch takes the inputs as they are; their axes are for the other side, where they must be known.
        own = prepare(inputs, (), axes, config, (side.dtype, side.dtype))
        arguments = Inputs(own.torch, own.torch, own.layouts)
    else:
        arguments = prepare(inputs, flax_inputs, axes, config, (side.dtype, side.dtype))
    recorder = _Torch(side, arguments, options) if framework == "torch" else _Flax(side, arguments, options)
    with own_constants(side.dtype, side.dtype):
        runs = recorder.runs()
    if (failure := runs["float64"].failure) is not None:
        raise ParityError(f"capture: expected a model that runs with these inputs in float64: {failure}") from (
            failure.error
        )
    layouts = _output_layouts(framework, config, source, side) if gradients else None
    lifts = [False, True] if runs["float64"].casts else [False]
    return Capture(
        framework=framework,
        model=type(model).__name__,
        dtype=side.dtype,
        mode=mode,
        steps=steps,
        seed=seed,
        versions=_versions(framework),
        architecture=None if config is None else _named(config),
        inputs=arguments.torch,
        flax_inputs=None if framework == "torch" else arguments.flax,
        input_layouts=arguments.layouts,
        weights=_weights(model, framework),
        modules={path: metadata_of(module) for path, module in side.modules.items()},
        runs=runs,
        gradients={} if layouts is None else {variant(double=True, lift=n): recorder.slopes(layouts, n) for n in lifts},
        output_layouts=() if layouts is None or framework == "torch" else layouts,
        trace=recorder.trace,
        input_tensors=recorder.tensors,
        draws=side.draws() if framework == "torch" else (),
    )


class _Torch:
    """The runs of a PyTorch model, and its trace without the tensors."""

    def __init__(self, side: Any, inputs: Inputs, options: Options) -> None:
        self.side, self.inputs, self.options = side, inputs, options
        self.trace: Sequence[TraceCall] = ()
        self.tensors: Sequence[tuple[str, FakeTensor]] = ()

    def runs(self) -> dict[str, Run]:
        wide = Inputs.widened(self.inputs.torch)
        run, trace, tensors = self.side.run(*wide, self.options.steps, double=True, inputs_of=None)
        numbers: dict[int, FakeTensor] = {}

        def fake(tensor: Any) -> Any:
            return numbers.setdefault(id(tensor), FakeTensor(len(numbers), tensor.ndim))

        self.trace = [
            dataclasses.replace(
                call,
                module=None,
                input=None if call.input is None else fake(call.input),
                outputs=[fake(tensor) for tensor in call.outputs],
                inputs=[fake(tensor) for tensor in call.inputs],
            )
            for call in trace
        ]
        self.tensors = [(place, fake(tensor)) for place, tensor in tensors]
        if run.failure is None:
            run.varies = tuple(self.side.varies(self.inputs.torch, [array for _, array in run.outputs], double=True))
        runs = {"float64": run}
        if run.casts:
            lifted = self.side.run(*wide, self.options.steps, double=True, lift=True, inputs_of=None)[0]
            runs[variant(double=True, lift=True)] = lifted
        if self.side.dtype != np.dtype(np.float64):
            runs["own dtype"] = self.side.run(*self.inputs.torch, self.options.steps, double=False)[0]
        return runs

    def slopes(self, layouts: Sequence[Layout], lift: bool) -> Any:
        del layouts
        return self.side.gradients(*Inputs.widened(self.inputs.torch), self.options.seed, lift=lift)


class _Flax:
    """The runs of a Flax model."""

    trace: Sequence[TraceCall] = ()
    tensors: Sequence[tuple[str, FakeTensor]] = ()

    def __init__(self, side: Any, inputs: Inputs, options: Options) -> None:
        self.side, self.inputs, self.options = side, inputs, options

    def runs(self) -> dict[str, Run]:
        wide, kept = Inputs.widened(self.inputs.flax), {"statistics": self.options.training}
        run = self.side.run(*wide, self.options.steps, double=True, **kept)
        runs = {"float64": run}
        if run.casts:
            lifted = self.side.run(*wide, self.options.steps, double=True, lift=True, **kept)
            runs[variant(double=True, lift=True)] = lifted
        if self.side.dtype != np.dtype(np.float64):
            runs["own dtype"] = self.side.run(*self.inputs.flax, self.options.steps, double=False, **kept)
        return runs

    def slopes(self, layouts: Sequence[Layout], lift: bool) -> Any:
        return self.side.gradients(*Inputs.widened(self.inputs.flax), self.options.seed, list(layouts), lift=lift)


def _side(model: Any, framework: str, mode: str, steps: int, *, jit: bool) -> Any:
    if mode not in ("eval", "train") or steps < 1 or (mode == "eval" and steps != 1):
        raise ConfigError(
            f"capture: expected mode='eval' and steps=1, or mode='train' and steps of at least 1, received "
            f"mode={mode!r} and steps={steps}"
        )
    training = mode == "train"
    if framework == "torch":
        from einops_arch.parity.runs.torch_run import TorchSide

        return TorchSide(model, training=training)
    from einops_arch.parity.runs.flax_run import FlaxSide

    return FlaxSide(model, training=training, jit=jit)


def _given_by(source: Capture, dtypes: tuple[np.dtype[Any], np.dtype[Any]], flax_inputs: Any) -> Inputs:
    if source.inputs is None:
        raise ParityError(f"the capture of {source.model} has no inputs in PyTorch's form; likely fix: give them")
    axes = {place: " ".join(_letters(layout)) for place, layout in source.input_layouts.items()}
    args, kwargs = source.inputs
    return prepare(kwargs or args, flax_inputs, axes, None, dtypes)


def _letters(layout: Layout) -> list[str]:
    """Names of axes from which `from_axes` makes this layout: `c` goes last."""
    moved = layout[-1] if tuple(layout) != plain(len(layout)) else None
    return ["c" if n == moved else f"x{n}" for n in range(len(layout))]


def _output_layouts(framework: str, config: Config | None, source: Capture | None, side: Any) -> list[Layout]:
    if framework == "torch":
        return []
    if source is not None and source.framework == "torch":
        torch_side = RecordedTorch(source)
        run, trace, tensors = torch_side.run((), {}, 1, double=True)
        arguments = Inputs(source.inputs or ((), {}), ((), {}), source.input_layouts)
        known = resolve(
            with_modules(trace, torch_side.modules), side.modules, known_tensors(trace, tensors, arguments, Options())
        )
        return [known.get(("", 0, n), plain(array.ndim)) for n, (_, array) in enumerate(run.outputs)]
    if config is not None:
        return [from_axes(output.axes) for output in config.outputs()]
    raise PatternError(
        "capture: expected to know how PyTorch's outputs lie, for the gradients of a projection of them; likely fix: "
        "give the PyTorch capture as the inputs"
    )


def with_modules(trace: Sequence[TraceCall], modules: Mapping[str, Any]) -> list[TraceCall]:
    """A trace with what stands in for the modules."""
    return [dataclasses.replace(call, module=modules[call.path]) for call in trace]


def _weights(model: Any, framework: str) -> dict[str, str]:
    if framework == "torch":
        from einops_arch.port.transfer import model_state

        return {name: digest(value) for name, value in model_state(model).items()}
    from einops_arch.flax.state import port_steps
    from einops_arch.layouts.plan import ConstantStep

    arrays: dict[str, Array] = {}
    for step, _ in port_steps(model):
        if not isinstance(step, ConstantStep):
            arrays |= step.to_torch()
    return {name: digest(value) for name, value in arrays.items()}


def _named(config: Config) -> tuple[str, Mapping[str, Any]]:
    from einops_arch import architectures

    return architectures.of_config(config).name, config.to_dict()


def _versions(framework: str) -> dict[str, str]:
    versions = {}
    for name in ("einops-arch", "numpy", *(("torch",) if framework == "torch" else ("jax", "flax"))):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions
