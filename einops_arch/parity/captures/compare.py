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
from einops_arch.parity.report.report import Report
from einops_arch.parity.runs.inputs import Arguments, Inputs
from einops_arch.parity.runs.paths import Paths, rename, torch_paths_of
from einops_arch.parity.runs.torch_run import Run
from einops_arch.parity.runs.values import flatten
from einops_arch.parity.session import Options, compared
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
        torch: PyTorch's side: what `capture` has written, by its path; a `Capture`; or a `torch.nn.Module`.
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
    >>> ours, theirs = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> transfer(ours, theirs)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = capture(ours, torch.ones(4, 3), f"{folder}/linear")
    ...     compare_captures(f"{folder}/linear", theirs).passed
    True
    """
    sides = [read_capture(one) if isinstance(one, str | Path) else one for one in (torch, flax)]
    records = [one if isinstance(one, Capture) else None for one in sides]
    for n, framework in enumerate(("torch", "flax")):
        one = records[n]
        received = framework_of(sides[n]) if one is None else one.framework
        if received != framework:
            raise ParityError(
                f"compare_captures: expected {framework}'s side first and flax's second, received {received}"
            )
    source = records[0] or records[1]
    if source is None:
        raise ParityError("compare_captures: expected a capture, received two models; likely fix: compare")
    wanted = bool(source.gradients) if gradients is None else gradients
    say = progress or (lambda text: None)
    for one in (one for one, record in zip(sides, records, strict=True) if record is None):
        say(f"running {type(one).__name__}")
    ours, theirs = (
        captured(
            sides[n],
            source,
            mode=source.mode,
            steps=source.steps,
            seed=source.seed,
            gradients=wanted,
        )
        if one is None
        else one
        for n, one in enumerate(records)
    )
    _check(ours, theirs)
    if gradients is None:
        wanted = bool(ours.gradients and theirs.gradients)
    names = torch_paths_of(paths, ours.modules, theirs.modules)
    theirs = _renamed(theirs, names)
    options = Options(
        config=None if ours.architecture is None else get(ours.architecture[0]).config.from_dict(ours.architecture[1]),
        layouts=layouts or {},
        training=ours.mode == "train",
        gradients=wanted,
        steps=ours.steps,
        seed=ours.seed,
        causes=causes,
        say=say,
    )
    live = None
    if records[1] is None:
        from einops_arch.parity.runs.flax_run import FlaxSide

        live = FlaxSide(sides[1], training=ours.mode == "train", paths=names)
    left, right = RecordedTorch(dataclasses.replace(ours, trace=())), RecordedFlax(theirs, live)
    left.record = dataclasses.replace(ours, trace=with_modules(ours.trace, left.modules))
    given = Inputs(ours.inputs or ((), {}), theirs.flax_inputs or ((), {}), ours.input_layouts)
    report = compared(left, right, given, options)
    return dataclasses.replace(report, notes=(*report.notes, *_notes(ours, theirs)))


def is_capture(value: Any) -> bool:
    """It is a capture or the path of one, not a model."""
    return isinstance(value, str | Path | Capture)


def _check(ours: Capture, theirs: Capture) -> None:
    for name in ("mode", "steps", "seed"):
        one, other = getattr(ours, name), getattr(theirs, name)
        if one != other:
            raise ParityError(
                f"compare_captures: expected the same {name}, received {one!r} of PyTorch and {other!r} of Flax"
            )
    one, other = _arrays(ours.inputs), _arrays(theirs.inputs)
    if theirs.inputs is None or ours.inputs is None:
        return
    for place in sorted(one.keys() | other.keys()):
        pair = one.get(place), other.get(place)
        if pair[0] is None or pair[1] is None or not _same_numbers(pair[0], pair[1]):
            said = " and ".join("nothing" if each is None else f"an array of shape {each.shape}" for each in pair)
            raise ParityError(
                f"compare_captures: expected the same inputs, received others at {place}: {said}; likely fix: give "
                "the PyTorch capture as the inputs of the Flax one"
            )


def _arrays(arguments: Arguments | None) -> dict[str, Any]:
    if arguments is None:
        return {}
    args, kwargs = arguments
    return dict(flatten(args, _is_array)) | dict(flatten(kwargs, _is_array))


def _same_numbers(one: Any, other: Any) -> bool:
    # Each was cast to the dtype of its model.
    return one.shape == other.shape and bool(
        np.array_equal(one, other) or np.array_equal(one.astype(other.dtype), other)
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _renamed(record: Capture, names: Mapping[str, str]) -> Capture:
    """Flax's capture under PyTorch's paths."""
    if not names:
        return record

    def run(one: Run) -> Run:
        return dataclasses.replace(
            one,
            calls=[dataclasses.replace(call, path=names.get(call.path, call.path)) for call in one.calls],
            statistics={rename(name, names): value for name, value in one.statistics.items()},
            casts=[dataclasses.replace(cast, path=names.get(cast.path, cast.path)) for cast in one.casts],
        )

    return dataclasses.replace(
        record,
        modules={names.get(path, path): facts for path, facts in record.modules.items()},
        runs={name: run(one) for name, one in record.runs.items()},
        weights={rename(name, names): value for name, value in record.weights.items()},
        gradients={
            key: ({rename(name, names): value for name, value in one.items()}, two)
            for key, (one, two) in record.gradients.items()
        },
    )


def _notes(ours: Capture, theirs: Capture) -> list[str]:
    versions = [", ".join(f"{name} {at}" for name, at in one.versions.items()) for one in (ours, theirs)]
    notes = [f"captured with {versions[0]}; and with {versions[1]}"]
    both = [name for name in ours.weights if name in theirs.weights]
    if differ := [name for name in both if ours.weights[name] != theirs.weights[name]]:
        shown = ", ".join(differ[:5]) + (f" and {len(differ) - 5} more" if len(differ) > 5 else "")
        notes.append(f"the weights are not the same bit for bit: {len(differ)} of {len(both)} arrays differ: {shown}")
    return notes
