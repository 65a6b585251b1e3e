"""Teacher forcing: every module of both sides is given the same recorded inputs, so that errors do not pile up.

The first module that is wrong is named even where float64 is not available: with equal inputs, what two right modules
give differs by their own rounding alone. Without float64 that is all there is to see: a difference below
`limits.TEACHER` roundoffs stays unseen, and a module that holds others is allowed as much for each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.parity.report import limits
from einops_arch.parity.report.alignment import refined, splits
from einops_arch.parity.report.module_rows import module_rows
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.seen import Seen
from einops_arch.parity.report.verdicts import Array, Verdict
from einops_arch.parity.runs.axes import Layout, TraceCall, guessed, resolve, resolve_inputs
from einops_arch.parity.runs.run import Call, Run
from einops_arch.parity.runs.values import in_order, rebuild

__all__ = ["in_flax_form", "is_certain", "teacher_report"]

_UNKNOWN_AXES = (
    "the order of the axes of its input in Flax is not known, as several fit; likely fix: "
    "layouts={{{path!r}: 'PyTorch's axes -> Flax's axes'}}"
)


def teacher_report(
    torch_side: Any,
    flax_side: Any,
    run: Run,
    forms: Mapping[tuple[str, int], Any],
    trace: Sequence[TraceCall],
    known: Sequence[tuple[Any, Layout]],
    why: str,
    *,
    mode: str,
    lift: bool = False,
) -> Report:
    """Give each Flax module the inputs that PyTorch's had, in PyTorch's own dtype and in float64.

    Args:
        torch_side: PyTorch's side.
        flax_side: Flax's side.
        run: PyTorch's, in its own dtype, with the inputs of every module.
        forms: the arguments of Flax's modules, whatever numbers are in them.
        trace: of that run.
        known: the tensors whose layouts are said.
        why: why there is no float64; empty if there is.
        mode: of the report.
        lift: keep float64 where a model casts to less.
    """
    layouts = resolve(trace, flax_side.modules, known)
    input_layouts = resolve_inputs(trace, flax_side.modules, known, layouts)
    notes: list[str] = []
    unforced: list[str] = []
    uncertain: set[str] = set()
    nests: dict[tuple[str, int], Any] = {}
    for key, nest in run.inputs.items():
        if key in forms:
            moved = in_flax_form(nest, forms[key], input_layouts[key])
            if isinstance(moved, str):
                unforced.append(f"{key[0] or 'the network'}: not given PyTorch's inputs: {moved}")
            else:
                nests[key] = moved
                uncertain |= set() if is_certain(nest, forms[key], input_layouts[key]) else {key[0]}
    other = _forced(flax_side.forced(nests, double=False), run, unforced)
    wide = wide_other = None
    if not why:
        wide = torch_side.forced({key: run.inputs[key] for key in nests}, double=True, lift=lift)
        wide_other = flax_side.forced(nests, double=True, lift=lift)
        failed = [str(value) for value in (*wide.values(), *wide_other.values()) if isinstance(value, Exception)]
        why = failed[0].splitlines()[0] if failed else ""
    recorded = Run([call for call in run.calls if (call.path, call.index) in nests])
    if why or wide is None or wide_other is None:
        two = RunPair(torch_side.modules, flax_side.modules, recorded, other, None, None, layouts)
        notes.append(
            f"float64 is not available ({why}): modules were given the same inputs in {torch_side.dtype}, and a "
            f"difference below {limits.TEACHER:g} roundoffs of a module cannot be seen"
        )
        rows, more = module_rows(two, limit=_limits(two, torch_side.dtype))
    else:
        first, second = (_forced(results, run, unforced) for results in (wide, wide_other))
        two = RunPair(torch_side.modules, flax_side.modules, first, second, recorded, other, layouts)
        notes.append("each module was given the inputs that PyTorch's had" + " with casts lifted" * lift)
        layouts = refined(first, second, layouts, guessed(trace, flax_side.modules, known))
        two = dataclasses.replace(two, layouts=layouts)
        rows, more = module_rows(two)
    # With the axes of its input in the wrong order, a right module gives something else.
    unknown = [row.path for row in rows if row.path in uncertain and row.verdict is Verdict.SEMANTIC]
    rows = tuple(row for row in rows if row.path not in unknown)
    unforced += [f"{path}: not judged: {_UNKNOWN_AXES.format(path=path)}" for path in unknown]
    # The network itself is one of the modules: its values are the outputs.
    whole = [call for call in two.torch.calls if not call.path and any(not row.path for row in rows)]
    seen = Seen(
        outputs=len(whole[0].arrays) if whole else 0,
        numbers=sum(array.size for array in whole[0].arrays) if whole else 0,
        modules=len(rows),
        calls=sum(row.calls for row in rows),
        not_seen=(*more, *unforced),
    )
    return Report(rows=rows, outputs=(), mode=mode, notes=tuple(notes), seen=seen)


def in_flax_form(nest: Any, form: Any, layouts: Sequence[Sequence[Layout]], *, split: bool = False) -> Any:
    """Put PyTorch's arrays into the form of Flax's arguments, or say why they do not fit.

    Args:
        nest: PyTorch's arguments, by position and by name.
        form: Flax's, whatever numbers are in them.
        layouts: that PyTorch's arrays may have; the first that fits is taken.
        split: an axis of the one may be several of the other, in this order, such as heads and their features.
    """
    values, slots = in_order(nest, _is_array), in_order(form, _is_array)
    if len(values) != len(slots):
        return f"{counted(len(values), 'array')} in PyTorch, {len(slots)} in Flax"
    moved: list[Array] = []
    for value, slot, likely in zip(values, slots, [*layouts, *[()] * len(values)], strict=False):
        fitting = _fitting(value, slot, likely)
        array = fitting[0] if fitting else _moved(value, likely)
        if split and array.size == slot.size and splits(*sorted((array.shape, slot.shape), key=len)):
            array = array.reshape(slot.shape)
        if array.shape != slot.shape:
            return f"shapes {array.shape} and {slot.shape}"
        floats = dtype_kind(slot.dtype) == "floating-point"
        moved.append(array if floats else array.astype(slot.dtype))
    rest = iter(moved)
    args, kwargs = form
    return (
        rebuild(args, lambda *_: next(rest), _is_array),
        {name: rebuild(value, lambda *_: next(rest), _is_array) for name, value in kwargs.items()},
    )


def is_certain(nest: Any, form: Any, layouts: Sequence[Sequence[Layout]]) -> bool:
    """Whether PyTorch's arrays fit Flax's arguments in only one of the layouts that they may have."""
    values, slots = in_order(nest, _is_array), in_order(form, _is_array)
    return all(
        len(_fitting(value, slot, likely)) < 2 for value, slot, likely in zip(values, slots, layouts, strict=False)
    )


def _fitting(value: Array, slot: Array, likely: Sequence[Layout]) -> list[Array]:
    moved = [value.transpose(layout) for layout in likely if len(layout) == value.ndim]
    return [array for array in moved if array.shape == slot.shape]


def _moved(value: Array, likely: Sequence[Layout]) -> Array:
    return value.transpose(likely[0]) if likely and len(likely[0]) == value.ndim else value


def _forced(results: Mapping[tuple[str, int], Any], run: Run, unforced: list[str]) -> Run:
    """The results as a run, in the order of the recorded calls."""
    calls = []
    for call in run.calls:
        arrays = results.get((call.path, call.index))
        if isinstance(arrays, Exception):
            unforced.append(f"{call.path or 'the network'}: {type(arrays).__name__}: {arrays}")
        elif arrays is not None:
            calls.append(Call(call.path, call.index, tuple(arrays)))
    return Run(calls)


def _limits(two: RunPair, dtype: np.dtype[Any]) -> Any:
    """A limit by path: a number of roundoffs for each leaf module inside."""
    import ml_dtypes

    paths = [call.path for call in two.torch.calls]
    unit = limits.TEACHER * float(ml_dtypes.finfo(dtype).eps) / 2

    def limit(path: str) -> float:
        start = f"{path}." if path else ""
        inside = [inner for inner in paths if inner.startswith(start) and inner != path]
        leaves = [path for path in inside if not any(other.startswith(f"{path}.") for other in inside)]
        return unit * max(1, len(leaves))

    return limit


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
