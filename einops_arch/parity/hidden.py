"""Look behind what hides a fault: inputs that are one number or count up, zero weights, weights that nothing uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.errors import EinopsArchError
from einops_arch.layouts.arrays import dtype_kind, to_numpy
from einops_arch.parity.options import Options
from einops_arch.parity.probe_runs import probe_row, transferred
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.unread import UNREAD
from einops_arch.parity.report.verdicts import Array, Verdict
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.values import flatten
from einops_arch.parity.session import compared

__all__ = ["look_behind"]


def look_behind(torch_side: Any, flax_side: Any, inputs: Inputs, options: Options, report: Report) -> Report:
    """The report with a row for what constant inputs, zero weights and weights that nothing uses would hide.

    Args:
        torch_side: PyTorch's side.
        flax_side: Flax's side.
        inputs: the inputs that were compared.
        options: of the comparison.
        report: what was found so far; where the models differ already nothing more is looked for.
    """
    if not report.passed or options.teacher or report.seen is None:
        return report
    plainly = dataclasses.replace(options, gradients=False, causes=False, say=lambda text: None)
    rows = [*_unused_rows(torch_side, flax_side), *_uncalled(torch_side, flax_side, report)]
    unseen: list[str] = []
    if (drawn := _drawn(inputs)) is not None:
        where, others = drawn
        options.say("inputs that were constant, drawn anew")
        _try(rows, unseen, f"input {where} drawn anew", (torch_side, flax_side, others, plainly), "it is one number")
    if (moved := _in_another_order(inputs)) is not None:
        where, others = moved
        options.say("inputs that count up, in another order")
        _try(rows, unseen, f"input {where} in another order", (torch_side, flax_side, others, plainly), "it counts up")
    if (fuller := _with_all_digits(inputs)) is not None:
        where, others = fuller
        options.say("inputs that fit a narrower type, with more digits")
        name = f"input {where} with all digits"
        _try(rows, unseen, name, (torch_side, flax_side, others, plainly), "a narrower type holds it", rounding=True)
    for more, what, why in (
        (_two_rows(inputs), "a second row", "its rows are all one"),
        (_longer(inputs), "a second entry", "one of its axes has one entry"),
    ):
        if more is not None and _size(torch_side.model) > _LIGHT:
            unseen.append(f"input {more[0]}: {why}, and a large model is not run with more; likely fix: larger inputs")
        elif more is not None:
            options.say(f"inputs with {what}")
            alone = dataclasses.replace(plainly, own_dtype=False)
            name = f"input {more[0]} with {what}"
            _try(rows, unseen, name, (torch_side, flax_side, more[1], alone), why, shapes=False)
    if any(words.endswith(UNREAD) for words in report.seen.not_seen) and (opened := _opened(inputs)) is not None:
        where, others = opened
        options.say("values that nothing reads, with masks and lengths that leave nothing out")
        name = f"input {where} that leaves nothing out"
        _try(rows, unseen, name, (torch_side, flax_side, others, plainly), "nothing reads what it leaves out")
    if zeros := _zero_weights(torch_side.model):
        options.say("weights that were zero, drawn anew")
        try:
            sides = transferred(torch_side, flax_side, _fill_zeros, as_before=True)
        except (EinopsArchError, RuntimeError):  # PyTorch's own, of tensors that cannot be copied
            shown = ", ".join(zeros[:3])
            unseen.append(f"what {shown} multiply, which are all zero; likely fix: randomize both models")
        else:
            name = f"{zeros[0]}{' and others' * (len(zeros) > 1)} drawn anew"
            _try(rows, unseen, name, (*sides, inputs, plainly), "it is zero")
    seen = dataclasses.replace(report.seen, not_seen=(*unseen, *report.seen.not_seen))
    return dataclasses.replace(report, probes=(*report.probes, *rows), seen=seen)


def _try(
    rows: list[Row],
    unseen: list[str],
    name: str,
    arguments: tuple[Any, ...],
    why: str,
    *,
    rounding: bool = False,
    shapes: bool = True,
) -> None:
    try:
        drawn = compared(*arguments)
    except EinopsArchError:
        drawn = None
    if (
        drawn is None
        or any(row.verdict is Verdict.MISSING for row in (*drawn.outputs, *drawn.rows))
        # A model for one row alone may run with more, and give what it does not promise.
        or not (shapes or all(row.verdict is not Verdict.SHAPE for row in (*drawn.outputs, *drawn.rows)))
    ):
        unseen.append(f"{name.removesuffix(' drawn anew')}: {why}, and the models do not run with another")
    elif _differs_inside_alone(drawn):
        unseen.append(f"{name}: {why}; with another, modules inside give other values, and the outputs are the same")
    elif rounding or drawn.verdict not in (Verdict.ROUNDING, Verdict.HIDDEN_CAST):
        # How a model rounds is judged by the inputs that it was given.
        rows.append(probe_row(name, drawn, len(rows)))


def _differs_inside_alone(report: Report) -> bool:
    """Only values inside are others, as those behind the end of a sequence may be that nothing reads."""
    others = [row for name, rows in report.sections.items() if name != "modules" for row in rows]
    outputs = all(row.verdict.passed for row in report.outputs) and bool(report.outputs)
    return not all(row.verdict.passed for row in report.rows) and outputs and all(row.verdict.passed for row in others)


def _with_all_digits(inputs: Inputs) -> tuple[str, Inputs] | None:
    """Inputs with as many digits as their type has, of those that a narrower one holds, which hide a cast to that."""
    chosen: dict[str, Array] = {}
    for place, array in _leaves(inputs.torch):
        if dtype_kind(array.dtype) != "floating-point" or array.dtype.itemsize < _WIDE or array.size < 2:
            continue
        with np.errstate(over="ignore"):
            fits = np.array_equal(array.astype(np.float16).astype(array.dtype), array) or _is_bfloat16(array)
        # Whole numbers may be positions, labels or a mask.
        if fits and not np.array_equal(np.round(array), array):
            factors = 1 + (np.random.default_rng(0).random(array.shape) - 1) / 8
            chosen[place] = (array * factors).astype(array.dtype)
    return _exchanged(inputs, chosen)


_WIDE = 4
"""Bytes of the types of which a narrower one may hold all numbers of an input."""


def _is_bfloat16(array: Array) -> bool:
    return array.dtype == np.float32 and not np.any(np.ascontiguousarray(array).view(np.uint32) & 0xFFFF)


def _drawn(inputs: Inputs) -> tuple[str, Inputs] | None:
    """Inputs of which those that were one number are not; None where there are none, or Flax's are of another form."""
    chosen = {place: drawn for place, array in _leaves(inputs.torch) if (drawn := _redrawn(place, array)) is not None}
    return _exchanged(inputs, chosen)


def _exchanged(inputs: Inputs, chosen: Mapping[str, Array]) -> tuple[str, Inputs] | None:
    """The inputs with others in the place of some; None where there are none, or Flax's are of another form."""
    others = inputs.exchanged(chosen) if chosen else None
    return None if others is None else (next(iter(chosen)), others)


def _redrawn(place: str, array: Array) -> Array | None:
    """Other numbers in the place of one that fills an array: of a mask, rows of unequal lengths that are not empty."""
    if not array.size or not np.all(array == array.flat[0]):
        return None
    kind, value = dtype_kind(array.dtype), array.flat[0]
    if array.size == 1:
        # A factor of one, or a shift of zero, may as well not be read.
        fits = kind == "floating-point" and value in (0, 1)
        return np.full_like(array, 0.75 if value else 0.25) if fits else None
    if kind == "boolean" or (value == 1 and (kind == "floating-point" or (kind == "integer" and array.ndim > 1))):
        kept = _unequal(array.shape)
        return kept if kind == "boolean" and value else ~kept if kind == "boolean" else kept.astype(array.dtype)
    if kind == "integer" and (value == 0 or value > 1):
        # Lengths, in falling order, or indices: others of which the first is as it was, and none is out of range.
        axis = next(axis for axis, size in enumerate(array.shape) if size > 1)
        index = np.arange(array.shape[axis]).reshape(-1, *(1,) * (array.ndim - 1 - axis))
        others = np.where(index > 0, 1 if value == 0 else value - 1, value)
        return np.broadcast_to(others, array.shape).astype(array.dtype)
    if kind == "floating-point" and np.isfinite(value):
        numbers = random_numbers(f"input {place}", array.shape)
        return np.asarray(numbers if value == 0 else value * (1 + numbers / 2)).astype(array.dtype)
    return None


def _opened(inputs: Inputs) -> tuple[str, Inputs] | None:
    """Masks that say the same everywhere as at the beginning of the first row, and lengths that are all the longest."""
    chosen: dict[str, Array] = {}
    for place, array in _leaves(inputs.torch):
        kind = dtype_kind(array.dtype)
        if not array.size or np.all(array == array.flat[0]):
            continue
        if kind == "boolean" or np.isin(array, (0, 1)).all():
            chosen[place] = np.full_like(array, array.flat[0])
        elif kind == "integer" and array.ndim == 1:
            chosen[place] = np.full_like(array, array.max())
    return _exchanged(inputs, chosen)


_LIGHT = 1 << 24
"""So many parameters has a model that is run again with more than it was given; of larger ones that is costly."""


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _two_rows(inputs: Inputs) -> tuple[str, Inputs] | None:
    """Two rows that differ in every input, where all rows are one: a mean over the batch is that row."""
    arrays = {place: array for place, array in _leaves(inputs.torch) if array.ndim > 1 and array.size > 1}
    if not all(np.array_equal(array, np.broadcast_to(array[:1], array.shape)) for array in arrays.values()):
        return None
    return _exchanged(
        inputs,
        {
            place: np.concatenate([array[: max(1, len(array) - 1)], _other_row(array[:1])])
            for place, array in arrays.items()
        },
    )


def _longer(inputs: Inputs) -> tuple[str, Inputs] | None:
    """A second entry along axes of length one whose names say that they are no channels, and along that of tokens."""
    chosen: dict[str, Array] = {}
    for place, array in _leaves(inputs.torch):
        names = inputs.names.get(place, "").split()
        kind = dtype_kind(array.dtype)
        if kind == "floating-point" and len(names) == array.ndim:
            axes = [n for n, name in enumerate(names) if n and name != "c" and array.shape[n] == 1]
        else:
            axes = [1] if kind == "integer" and array.ndim == _TOKENS and array.shape[1] == 1 else []
        if axes and array.size > 1:
            chosen[place] = array
            for axis in axes:
                chosen[place] = np.concatenate([chosen[place], _other_row(chosen[place])], axis)
    return _exchanged(inputs, chosen)


_TOKENS = 2
"""Tokens have an axis for the batch and one for places."""


def _other_row(array: Array) -> Array:
    """Numbers in the other order, some smaller; integers that are there, and masks as they are."""
    kind = dtype_kind(array.dtype)
    if kind == "boolean" or np.isin(array, (0, 1)).all():
        return array
    turned = np.flip(array)
    return turned if kind == "integer" else (turned * 0.75).astype(array.dtype)


def _in_another_order(inputs: Inputs) -> tuple[str, Inputs] | None:
    """Integers that count up, as positions do, in another order: who counts by himself does not read them."""
    chosen = {
        place: np.roll(array[..., ::-1], 1, -1)
        for place, array in _leaves(inputs.torch)
        if dtype_kind(array.dtype) == "integer" and array.ndim and array.shape[-1] > 1 and np.all(np.diff(array) == 1)
    }
    return _exchanged(inputs, chosen)


def _unequal(shape: tuple[int, ...]) -> Array:
    """The first row is whole but for its end, each next one has less, and none is empty."""
    length = shape[-1]
    count = int(np.prod(shape[:-1]))
    lengths = length - 1 - np.arange(count).reshape(shape[:-1]) % max(length - 1, 1)
    return np.asarray(np.arange(length) < np.maximum(lengths, 1)[..., None])


def _leaves(arguments: Any) -> list[tuple[str, Array]]:
    return [pair for part in arguments for pair in flatten(part, lambda value: isinstance(value, np.ndarray))]


def _zero_weights(model: Any) -> list[str]:
    """The parameters that are all zero and no biases: what they multiply has no effect."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.numel() > 1
        and parameter.is_floating_point()
        and "bias" not in name.rpartition(".")[2]
        and not parameter.any()
    ]


def _fill_zeros(state: Mapping[str, Array]) -> dict[str, Array]:
    """The state with small numbers in the place of arrays of zeros."""
    return {
        name: (random_numbers(name, value.shape) / 4).astype(value.dtype)
        if dtype_kind(value.dtype) == "floating-point" and value.size > 1 and not np.any(value)
        else value
        for name, value in state.items()
    }


def _uncalled(torch_side: Any, flax_side: Any, report: Report) -> Iterator[Row]:
    """Modules that no call has reached, whose weights are others: whatever calls them later gives something else."""
    from einops_arch.flax.state import state_dict
    from einops_arch.parity.runs.paths import rename

    called = {row.path for row in report.rows if row.calls}
    idle = [
        (path, module)
        for path, module in torch_side.modules.items()
        if path in flax_side.modules and path not in torch_side.called and path not in called
    ]
    names = {f"{path}.{name}": path for path, module in idle for name, _ in module.named_parameters(recurse=False)}
    if not names:
        return
    try:
        state = {rename(name, flax_side.paths): value for name, value in state_dict(flax_side.model).items()}
    except EinopsArchError:  # a layer without a rule has names of its own
        return
    own = {name: to_numpy(tensor.detach()) for name, tensor in torch_side.model.state_dict().items() if name in names}
    for name, array in own.items():
        other = None if name not in state else np.asarray(state[name])
        if other is None or other.shape != array.shape or np.array_equal(other.astype(array.dtype), array):
            continue
        types = type(torch_side.modules[names[name]]).__name__, type(flax_side.modules[names[name]]).__name__
        words = "other numbers on the two sides, in a module that nothing has called"
        share = float(np.mean(other != array))
        yield Row(name, *types, array.shape, share, None, None, None, Verdict.SEMANTIC, 0, 0, words)


def _unused_rows(torch_side: Any, flax_side: Any) -> Iterator[Row]:
    """Embeddings that are other tables although what was looked up in them is the same."""
    from flax import nnx
    from torch import nn

    for path, module in torch_side.modules.items():
        twin = flax_side.modules.get(path)
        if not (isinstance(module, nn.Embedding) and isinstance(twin, nnx.Embed)) or module.max_norm is not None:
            continue
        tables = to_numpy(module.weight.detach()), to_numpy(twin.embedding.get_value())
        if tables[0].shape != tables[1].shape or tables[0].dtype != tables[1].dtype:
            continue
        differ = np.flatnonzero(np.any(tables[0] != tables[1], axis=-1))
        if differ.size:
            shown = ", ".join(map(str, differ[:5])) + (f" and {differ.size - 5} more" if differ.size > 5 else "")
            words = f"rows {shown} of the two tables are not the same, and no input looks them up"
            share = differ.size / len(tables[0])
            types = type(module).__name__, type(twin).__name__
            yield Row(f"{path}.weight", *types, tables[0].shape, share, None, None, None, Verdict.SEMANTIC, 0, 0, words)
