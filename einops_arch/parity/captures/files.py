"""The two files of a capture: arrays in safetensors, and everything else in JSON that a person can read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch.checkpoints.files import open_checkpoint, write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.parity.captures.record import Capture, FakeTensor, ModuleMetadata, digest
from einops_arch.parity.report.verdicts import Array, rms
from einops_arch.parity.runs.axes import TraceCall
from einops_arch.parity.runs.casts import Cast
from einops_arch.parity.runs.run import Call, Failure, Run
from einops_arch.parity.runs.values import in_order, rebuild

__all__ = ["is_capture_file", "read_capture", "write_capture"]

_FORMAT = 2


def is_capture_file(value: Any) -> bool:
    """It names a file; whether that is there is another question."""
    return isinstance(value, str | Path)


def write_capture(path: str | Path, record: Capture) -> None:
    """Write `PATH.safetensors` and `PATH.json`; each whole, or not at all."""
    pool = _Pool()
    tree = _tree(record, pool)
    tree["arrays"] = {"file": f"{Path(path).name}.safetensors", "bfloat16": pool.narrow}
    text = json.dumps(tree, indent=1, allow_nan=False) + "\n"
    write_tensors(f"{path}.safetensors", MemoryReader(pool.stored(), {}), force=True)
    target = Path(f"{path}.json")
    temporary = target.with_name(f".{target.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_capture(path: str | Path) -> Capture:
    """Read what `capture` has written.

    Args:
        path: without its ending, or that of either file.

    Raises:
        CheckpointError: the files are not there, or are no capture.
    """
    stem = Path(path).with_suffix("") if Path(path).suffix in (".safetensors", ".json") else Path(path)
    try:
        tree = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{error.filename}: expected a capture, received {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{stem}.json: expected a capture, received no JSON: {error}") from error
    if not isinstance(tree, dict) or tree.get("format") != _FORMAT:
        received = tree.get("format") if isinstance(tree, dict) else tree
        raise CheckpointError(f"{stem}.json: expected a capture of format {_FORMAT}, received {received!r:.60}")
    with open_checkpoint(f"{stem}.safetensors") as reader:
        arrays = {name: reader.read(name) for name in reader.names()}
    try:
        for name in tree["arrays"]["bfloat16"]:
            arrays[name] = arrays[name].view(_bfloat16())
        return _record(tree, arrays.__getitem__)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{stem}: damaged: {type(error).__name__}: {error}") from error


class _Pool:
    """Arrays by name; what is the same bit for bit is stored once."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self._names: dict[str, str] = {}
        self.narrow: list[str] = []

    def put(self, name: str, array: Array) -> str:
        """Keep an array, and give the name under which it is stored."""
        key = digest(array)
        if key not in self._names:
            self._names[key] = name
            self._arrays[name] = array
            if array.dtype.name == "bfloat16":
                self.narrow.append(name)
        return self._names[key]

    def stored(self) -> dict[str, Array]:
        """What the file takes; it has no bfloat16 in numpy, whose bits are those of a uint16."""
        return {
            name: np.asarray(array.view(np.uint16) if name in self.narrow else array, order="C")
            for name, array in self._arrays.items()
        }


def _tree(record: Capture, pool: _Pool) -> dict[str, Any]:
    calls = record.runs["float64"].calls
    return {
        "format": _FORMAT,
        "framework": record.framework,
        "model": record.model,
        "dtype": record.dtype.name,
        "mode": record.mode,
        "steps": record.steps,
        "seed": record.seed,
        "versions": dict(record.versions),
        "architecture": record.architecture,
        "weights": {"digest": record.digest, "arrays": dict(record.weights)},
        "inputs": _nest(record.inputs, "inputs", pool),
        "flax_inputs": _nest(record.flax_inputs, "flax_inputs", pool),
        "input_layouts": {place: list(layout) for place, layout in record.input_layouts.items()},
        "modules": {path: _module(path, metadata, calls) for path, metadata in record.modules.items()},
        "runs": {name: _run(name, run, pool) for name, run in record.runs.items()},
        "gradients": {
            name: [
                {key: pool.put(f"gradients/{name}/{n}/{key}", array) for key, array in slopes.items()}
                for n, slopes in enumerate(both)
            ]
            for name, both in record.gradients.items()
        },
        "draws": list(record.draws),
        "output_layouts": [list(layout) for layout in record.output_layouts],
        "trace": [_trace_call(call) for call in record.trace],
        "input_tensors": [[place, tensor.number, tensor.ndim] for place, tensor in record.input_tensors],
    }


def _record(tree: Mapping[str, Any], get: Callable[[str], Array]) -> Capture:
    architecture = tree["architecture"]
    return Capture(
        framework=tree["framework"],
        model=tree["model"],
        dtype=_bfloat16() if tree["dtype"] == "bfloat16" else np.dtype(tree["dtype"]),
        mode=tree["mode"],
        steps=tree["steps"],
        seed=tree["seed"],
        versions=tree["versions"],
        architecture=None if architecture is None else (architecture[0], architecture[1]),
        inputs=_from_nest(tree["inputs"], get),
        flax_inputs=_from_nest(tree["flax_inputs"], get),
        input_layouts={place: tuple(layout) for place, layout in tree["input_layouts"].items()},
        weights=tree["weights"]["arrays"],
        modules={
            path: ModuleMetadata(
                tuple(module["types"]), _tuples(module["settings"]), module["has_state"], module["can_be_called"]
            )
            for path, module in tree["modules"].items()
        },
        runs={name: _from_run(run, get) for name, run in tree["runs"].items()},
        gradients={
            name: ({key: get(at) for key, at in parameters.items()}, {key: get(at) for key, at in inputs.items()})
            for name, (parameters, inputs) in tree["gradients"].items()
        },
        output_layouts=[tuple(layout) for layout in tree["output_layouts"]],
        trace=_from_trace(tree["trace"]),
        input_tensors=[(place, FakeTensor(number, ndim)) for place, number, ndim in tree["input_tensors"]],
        draws=tree.get("draws", ()),
    )


def _module(path: str, metadata: ModuleMetadata, calls: Sequence[Call]) -> dict[str, Any]:
    return {
        "types": list(metadata.types),
        "settings": dict(metadata.settings),
        "has_state": metadata.has_state,
        "can_be_called": metadata.can_be_called,
        "called": [order for order, call in enumerate(calls) if call.path == path],
    }


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _run(name: str, run: Run, pool: _Pool) -> dict[str, Any]:
    calls = []
    for order, call in enumerate(run.calls):
        outputs = [_summary(f"{name}/{order}/{n}", array, pool) for n, array in enumerate(call.arrays)]
        arguments = in_order(run.inputs.get((call.path, call.index), ((), {})), _is_array)
        inputs = [pool.put(f"{name}/{order}/input {n}", array) for n, array in enumerate(arguments)]
        told = {"path": call.path, "index": call.index, "inputs": inputs, "outputs": outputs}
        calls.append(told | ({"places": list(call.places)} if any(call.places) else {}))
    return {
        "calls": calls,
        "outputs": [[place, pool.put(f"{name}/outputs/{place}", array)] for place, array in run.outputs],
        "statistics": {key: pool.put(f"{name}/statistics/{key}", array) for key, array in run.statistics.items()},
        "casts": [[cast.path, cast.operation, cast.dtype, cast.where] for cast in run.casts],
        "failure": None if run.failure is None else [run.failure.path, str(run.failure.error)],
        "last": [[place, pool.put(f"{name}/last/{place}", array)] for place, array in run.last],
        "between": [
            [[place, pool.put(f"{name}/step {step}/{place}", array)] for place, array in outputs]
            for step, outputs in enumerate(run.between, 2)
        ],
        "words": run.words,
        "sequence": run.sequence,
        "changed": sorted(run.changed),
        "varies": list(run.varies),
    }


def _summary(name: str, array: Array, pool: _Pool) -> dict[str, Any]:
    """The name of an array, and what a person wants to know of it."""
    size = rms(array) if dtype_kind(array.dtype) == "floating-point" else None
    return {
        "array": pool.put(name, array),
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "rms": size if size is None or math.isfinite(size) else str(size),
    }


def _from_run(tree: Mapping[str, Any], get: Callable[[str], Array]) -> Run:
    failure = tree["failure"]
    return Run(
        [
            Call(
                call["path"],
                call["index"],
                tuple(get(each["array"]) for each in call["outputs"]),
                tuple(call.get("places", [""] * len(call["outputs"]))),
            )
            for call in tree["calls"]
        ],
        [(place, get(name)) for place, name in tree["outputs"]],
        {key: get(name) for key, name in tree["statistics"].items()},
        {
            (call["path"], call["index"]): (tuple(map(get, call["inputs"])), {})
            for call in tree["calls"]
            if call["inputs"]
        },
        casts=[Cast(*cast) for cast in tree["casts"]],
        failure=None if failure is None else Failure(failure[0], RuntimeError(failure[1])),
        last=[(place, get(name)) for place, name in tree.get("last", [])],
        between=[[(place, get(name)) for place, name in outputs] for outputs in tree.get("between", [])],
        words=dict(tree.get("words", {})),
        sequence=list(tree.get("sequence", [])),
        changed=frozenset(tree.get("changed", ())),
        varies=tuple(tree.get("varies", ())),
    )


def _trace_call(call: TraceCall) -> dict[str, Any]:
    def place(tensor: Any) -> list[int] | None:
        return None if tensor is None else [tensor.number, tensor.ndim]

    return {
        "path": call.path,
        "index": call.index,
        "input": place(call.input),
        "inputs": [place(tensor) for tensor in call.inputs],
        "outputs": [place(tensor) for tensor in call.outputs],
        "parent": call.parent,
        "place": call.place,
    }


def _from_trace(tree: Sequence[Mapping[str, Any]]) -> list[TraceCall]:
    tensors: dict[int, FakeTensor] = {}

    def tensor(place: Sequence[int] | None) -> Any:
        return None if place is None else tensors.setdefault(place[0], FakeTensor(*place))

    return [
        TraceCall(
            call["path"],
            call["index"],
            None,
            tensor(call["input"]),
            [tensor(each) for each in call["outputs"]],
            call["parent"],
            call["place"],
            [tensor(each) for each in call["inputs"]],
        )
        for call in tree
    ]


def _nest(arguments: Any, name: str, pool: _Pool) -> Any:
    """Arguments as JSON: an array is an object with its name, which no argument can be."""
    if arguments is None:
        return None
    args, kwargs = arguments

    def put(place: str, array: Any) -> Any:
        return {"array": pool.put(f"{name}/{place}", array)}

    return [_plain(rebuild(list(args), put, _is_array)), _plain(rebuild(kwargs, put, _is_array))]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return (
            {"array": value["array"]} if value.keys() == {"array"} else {"of": {k: _plain(v) for k, v in value.items()}}
        )
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _from_nest(tree: Any, get: Callable[[str], Array]) -> Any:
    if tree is None:
        return None

    def back(part: Any) -> Any:
        if isinstance(part, Mapping):
            return get(part["array"]) if "array" in part else {key: back(inner) for key, inner in part["of"].items()}
        return tuple(back(inner) for inner in part) if isinstance(part, list) else part

    args, kwargs = tree
    return back(args), back(kwargs)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _bfloat16() -> Any:
    from einops_arch._frameworks import require

    require("ml_dtypes", extra="flax", by="a capture of bfloat16")
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
