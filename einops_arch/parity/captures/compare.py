"""Compare captures with each other and with live models: the same report, without both frameworks in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch.architectures import get
from einops_arch.errors import ParityError
from einops_arch.parity.captures.capture import captured, with_modules
from einops_arch.parity.captures.files import read_capture
from einops_arch.parity.captures.record import Capture, RecordedFlax, RecordedTorch
from einops_arch.parity.options import Options
from einops_arch.parity.report.report import Report
from einops_arch.parity.runs.inputs import Arguments, Inputs
from einops_arch.parity.runs.paths import Paths, rename, torch_paths_of
from einops_arch.parity.runs.run import Run
from einops_arch.parity.runs.values import flatten
from einops_arch.parity.session import compared
from einops_arch.parity.waiting import silent
from einops_arch.port.transfer import framework_of

__all__ = ["compare_captures", "is_capture"]


def compare_captures(
    torch: Any,
    flax: Any,
    *,
    layouts: Mapping[str, str] | None = None,
    paths: Paths | None = None,
    gradients: bool | None = None,
    causes: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Compare a capture with a capture, or with a live model, which is run with the capture's inputs.

    Needs the framework of a live model only, and for two captures none.

    Args:
        torch: PyTorch's side: what `capture` has written, by its path; a `Capture`; or a `torch.nn.Module`. The two
            sides may come in either order.
        flax: Flax's side, likewise.
        layouts: as for `compare`.
        paths: as for `compare`.
        gradients: compare them; None to do so where both have them.
        causes: try out what explains a divergence. That takes a live Flax model, which is run with what went into
            PyTorch's modules; of two captures, or of a live PyTorch model, the report says that it was not done.
        progress: told in a few words what is being done.

    Returns:
        The report, as that of `compare`.

    Raises:
        ParityError: the two were not captured with the same inputs, mode or steps, or two live models were given.
        CheckpointError: a file is no capture.
        PatternError: `layouts` names no module.

    >>> import tempfile, torch
    >>> from flax import nnx
    >>> from einops_arch.parity import capture
    >>> from einops_arch.port import transfer
    >>> torch_model, flax_model = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> transfer(torch_model, flax_model)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = capture(torch_model, torch.ones(4, 3), f"{folder}/linear")
    ...     compare_captures(f"{folder}/linear", flax_model).passed
    True
    """
    sides = [read_capture(side) if isinstance(side, str | Path) else side for side in (torch, flax)]
    records = [side if isinstance(side, Capture) else None for side in sides]
    kinds = [
        framework_of(side) if record is None else record.framework for side, record in zip(sides, records, strict=True)
    ]
    if sorted(kinds) != ["flax", "torch"]:
        raise ParityError(
            f"compare_captures: expected a side of torch and a side of flax, received {kinds[0]} and {kinds[1]}"
        )
    if kinds[0] == "flax":
        sides, records = sides[::-1], records[::-1]
    source = records[0] or records[1]
    if source is None:
        raise ParityError("compare_captures: expected a capture, received two models; likely fix: compare")
    wanted = bool(source.gradients) if gradients is None else gradients
    say = progress or silent
    for model in (side for side, record in zip(sides, records, strict=True) if record is None):
        say(f"running {type(model).__name__}")
    torch_record, flax_record = (
        captured(
            sides[n],
            source,
            mode=source.mode,
            steps=source.steps,
            seed=source.seed,
            gradients=wanted,
        )
        if record is None
        else record
        for n, record in enumerate(records)
    )
    _check(torch_record, flax_record)
    if gradients is None:
        wanted = bool(torch_record.gradients and flax_record.gradients)
    names = torch_paths_of(paths, torch_record.modules, flax_record.modules)
    flax_record = _renamed(flax_record, names)
    options = Options(
        config=None
        if torch_record.architecture is None
        else get(torch_record.architecture[0]).config.from_dict(torch_record.architecture[1]),
        layouts=layouts or {},
        training=torch_record.mode == "train",
        gradients=wanted,
        steps=torch_record.steps,
        seed=torch_record.seed,
        causes=causes,
        say=say,
    )
    live = None
    if records[1] is None:
        from einops_arch.parity.runs.flax_run import FlaxSide

        live = FlaxSide(sides[1], training=torch_record.mode == "train", paths=names)
    left, right = RecordedTorch(dataclasses.replace(torch_record, trace=())), RecordedFlax(flax_record, live)
    left.record = dataclasses.replace(torch_record, trace=with_modules(torch_record.trace, left.modules))
    inputs = Inputs(torch_record.inputs or ((), {}), flax_record.flax_inputs or ((), {}), torch_record.input_layouts)
    report = compared(left, right, inputs, options)
    return dataclasses.replace(report, notes=(*report.notes, *_notes(torch_record, flax_record)))


def is_capture(value: Any) -> bool:
    """Whether it is a capture or the path of one, not a model."""
    return isinstance(value, str | Path | Capture)


def _check(torch_record: Capture, flax_record: Capture) -> None:
    for name in ("mode", "steps", "seed"):
        torch_value, flax_value = getattr(torch_record, name), getattr(flax_record, name)
        if torch_value != flax_value:
            raise ParityError(
                f"compare_captures: expected the same {name}, received {torch_value!r} of PyTorch and "
                f"{flax_value!r} of Flax"
            )
    torch_inputs, flax_inputs = _arrays(torch_record.inputs), _arrays(flax_record.inputs)
    if flax_record.inputs is None or torch_record.inputs is None:
        return
    for place in sorted(torch_inputs.keys() | flax_inputs.keys()):
        pair = torch_inputs.get(place), flax_inputs.get(place)
        if pair[0] is None or pair[1] is None or not _same_numbers(pair[0], pair[1]):
            shapes = " and ".join("nothing" if each is None else f"an array of shape {each.shape}" for each in pair)
            raise ParityError(
                f"compare_captures: expected the same inputs, received others at {place}: {shapes}; likely fix: give "
                "the PyTorch capture as the inputs of the Flax one"
            )


def _arrays(arguments: Arguments | None) -> dict[str, Any]:
    if arguments is None:
        return {}
    args, kwargs = arguments
    return dict(flatten(args, _is_array)) | dict(flatten(kwargs, _is_array))


def _same_numbers(left: Any, right: Any) -> bool:
    # Each was cast to the dtype of its model.
    return left.shape == right.shape and bool(
        np.array_equal(left, right) or np.array_equal(left.astype(right.dtype), right)
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _renamed(record: Capture, names: Mapping[str, str]) -> Capture:
    """Flax's capture under PyTorch's paths."""
    if not names:
        return record

    def run(recorded: Run) -> Run:
        return dataclasses.replace(
            recorded,
            calls=[dataclasses.replace(call, path=names.get(call.path, call.path)) for call in recorded.calls],
            statistics={rename(name, names): value for name, value in recorded.statistics.items()},
            casts=[dataclasses.replace(cast, path=names.get(cast.path, cast.path)) for cast in recorded.casts],
        )

    return dataclasses.replace(
        record,
        modules={names.get(path, path): metadata for path, metadata in record.modules.items()},
        runs={name: run(recorded) for name, recorded in record.runs.items()},
        weights={rename(name, names): value for name, value in record.weights.items()},
        gradients={
            key: ({rename(name, names): value for name, value in slopes.items()}, of_inputs)
            for key, (slopes, of_inputs) in record.gradients.items()
        },
    )


def _notes(torch_record: Capture, flax_record: Capture) -> list[str]:
    versions = [
        ", ".join(f"{name} {at}" for name, at in record.versions.items()) for record in (torch_record, flax_record)
    ]
    notes = [f"captured with {versions[0]}; and with {versions[1]}"]
    both = [name for name in torch_record.weights if name in flax_record.weights]
    if differ := [name for name in both if torch_record.weights[name] != flax_record.weights[name]]:
        shown = ", ".join(differ[:5]) + (f" and {len(differ) - 5} more" if len(differ) > 5 else "")
        notes.append(f"the weights are not the same bit for bit: {len(differ)} of {len(both)} arrays differ: {shown}")
    return notes
