"""Probes: further inputs and states that bring out what a plain input hides.

A norm's eps shows where the variance is low, a variance in one pass where the mean is large, the form of GELU around
2.7, uneven padding at even sizes alone, a mask's meaning where lengths are unequal, a lost bias where none is zero.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.errors import EinopsArchError, ParityError
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.parity.options import Options
from einops_arch.parity.probes import randomize
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import Row, describe
from einops_arch.parity.report.verdicts import Array, rms
from einops_arch.parity.runs.axes import plain
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.runs.values import flatten, rebuild
from einops_arch.parity.session import compared

__all__ = ["probe_row", "probed", "transferred"]


def probed(torch_side: Any, flax_side: Any, given_inputs: Inputs, options: Options, report: Report) -> Report:
    """The report with one row for each probe.

    Args:
        torch_side: PyTorch's side.
        flax_side: Flax's side.
        given_inputs: the inputs that were compared.
        options: of the comparison.
        report: what was found so far; no probe is needed where the models differ already.
    """
    if not report.passed:
        return dataclasses.replace(report, notes=(*report.notes, "no probes: the models differ without them"))
    plainly = dataclasses.replace(options, gradients=False, say=lambda text: None)
    rows: list[Row] = []
    notes = list(report.notes)
    for name, inputs in _inputs(given_inputs, options):
        options.say(f"probe: {name}")
        try:
            rows.append(probe_row(name, compared(torch_side, flax_side, inputs, plainly), len(rows)))
        except ParityError as error:
            notes.append(f"probe {name}: not possible: {str(error).splitlines()[0].strip()}")
    options.say("probe: random state")
    try:
        sides = transferred(torch_side, flax_side)
    except EinopsArchError as error:
        notes.append(f"probe random state: not possible: {str(error).splitlines()[0]}")
    else:
        rows.append(probe_row("random state", compared(*sides, given_inputs, plainly), len(rows)))
    return dataclasses.replace(report, probes=(*report.probes, *rows), notes=tuple(notes))


def probe_row(name: str, report: Report, order: int) -> Row:
    """What a further comparison found, as one row under the name of the probe."""
    every = [row for rows in report.sections.values() for row in rows]
    first = report.first_divergence
    shown = first or max(every, key=lambda row: (row.difference or 0.0, row.ratio or 0.0))
    words = "; ".join([describe(first), *report.causes[:1]]) if first is not None else ""
    return dataclasses.replace(shown, path=name, torch_type="", flax_type="", order=order, detail=words)


def _inputs(inputs: Inputs, options: Options) -> Iterator[tuple[str, Inputs]]:
    """The inputs of each probe, those left out that change nothing."""
    for name, change in (
        ("low variance", lambda x: x * np.asarray(1e-3, x.dtype)),
        ("off-centre", lambda x: x + np.asarray(100 * (rms(x) or 1.0), x.dtype)),
        ("around 2.7", lambda x: np.copysign(2.7, x).astype(x.dtype) + x * np.asarray(0.1 / (rms(x) or 1.0), x.dtype)),
    ):
        if any(dtype_kind(leaf.dtype) == "floating-point" for _, leaf in _leaves(inputs.torch)):
            yield name, _each(inputs, functools.partial(_of_floats, change))
    for step, name in ((1, "one smaller"), (2, "two smaller")):
        if (cut := _smaller(inputs, options, step)) is not None:
            yield f"sizes {name}", cut
    if (fewer := _fewer(inputs)) is not None:
        yield "a smaller batch", fewer
    if any(leaf.dtype == np.bool_ and leaf.ndim > 1 for _, leaf in _leaves(inputs.torch)):
        yield "unequal lengths", _each(inputs, lambda _, x: _unequal(x) if x.dtype == np.bool_ and x.ndim > 1 else x)
    lengths = [place for place, leaf in _leaves(inputs.torch) if place.endswith("lengths") and leaf.ndim == 1]
    if lengths:
        yield "unequal lengths", _each(inputs, lambda place, x: _shorter(x) if place in lengths else x)


def _of_floats(change: Callable[[Array], Array], place: str, x: Array) -> Array:
    del place
    return change(x) if _is_float(x) else x


def _each(inputs: Inputs, change: Callable[[str, Array], Array]) -> Inputs:
    sides = [
        tuple(rebuild(part, change, lambda leaf: isinstance(leaf, np.ndarray)) for part in side)
        for side in (inputs.torch, inputs.flax)
    ]
    return Inputs(sides[0], sides[1], inputs.layouts, inputs.names)


def _smaller(inputs: Inputs, options: Options, step: int) -> Inputs | None:
    """The inputs with every free axis of space or time cut at its end."""
    fixed = {name for axes in options.config.inputs() for name in axes.sizes} if options.config else set()
    cut = False

    def change(place: str, array: Array, *, flax: bool) -> Array:
        nonlocal cut
        axes = inputs.names.get(place, "").split()
        layout = inputs.layouts.get(place, plain(array.ndim)) if flax else plain(array.ndim)
        for axis, source in enumerate(layout):
            name = axes[source] if len(axes) == array.ndim else ""
            if name and name not in ("b", "c") and name not in fixed and array.shape[axis] > step + 1:
                array = np.take(array, range(array.shape[axis] - step), axis)
                cut = True
        return array

    def is_array(value: Any) -> bool:
        return isinstance(value, np.ndarray)

    sides = [
        tuple(rebuild(part, functools.partial(change, flax=flax), is_array) for part in side)
        for side, flax in ((inputs.torch, False), (inputs.flax, True))
    ]
    return Inputs(sides[0], sides[1], inputs.layouts, inputs.names) if cut else None


def _fewer(inputs: Inputs) -> Inputs | None:
    """The inputs without the last of the batch, which is the first axis of all of them; None where there is none."""
    every = [leaf for side in (inputs.torch, inputs.flax) for _, leaf in _leaves(side)]
    counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in every}
    if len(counts) != 1 or (count := counts.pop()) < 2:
        return None
    return _each(inputs, lambda _, x: x[: count - 1])


def _unequal(mask: Array) -> Array:
    """A mask with rows of unequal lengths, the first of them full."""
    n = mask.shape[-1]
    lengths = n - np.arange(mask.size // n).reshape(mask.shape[:-1]) % n
    kept = np.arange(n) < lengths[..., None]
    return kept if mask.mean() > 0.5 else ~kept


def _shorter(lengths: Array) -> Array:
    return np.maximum(1, lengths.max() - np.arange(lengths.size)).astype(lengths.dtype)


def transferred(
    torch_side: Any,
    flax_side: Any,
    change: Callable[[Mapping[str, Array]], Mapping[str, Array]] | None = None,
    *,
    as_before: bool = False,
) -> tuple[Any, Any]:
    """Sides whose models have other weights, carried from one to the other.

    Args:
        torch_side: PyTorch's side.
        flax_side: Flax's side.
        change: gives the weights, by PyTorch's names; None for those in which a mistake shows.
        as_before: only where the weights that the models have are such as `transfer` would carry.

    Raises:
        PortError: the weights cannot be carried, or were carried otherwise.
    """
    import jax
    from flax import nnx

    from einops_arch.errors import PortError
    from einops_arch.parity.runs.paths import rename
    from einops_arch.port import transfer
    from einops_arch.port.transfer import model_state

    torch_model = copy.deepcopy(torch_side.model)
    graph, state = nnx.split(flax_side.model)
    flax_model = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
    own = {other: path for path, other in flax_side.paths.items()}

    def carry() -> None:
        if own:
            transfer({rename(name, own): array for name, array in model_state(torch_model).items()}, flax_model)
        else:
            transfer(torch_model, flax_model)

    if as_before:
        carry()
        before = jax.tree.leaves(nnx.to_pure_dict(nnx.state(flax_side.model, nnx.Param)))
        after = jax.tree.leaves(nnx.to_pure_dict(nnx.state(flax_model, nnx.Param)))
        if not all(np.array_equal(first, second) for first, second in zip(before, after, strict=True)):
            raise PortError("the weights were carried in another way than transfer does")
    if change is None:
        randomize(torch_model)
    else:
        transfer(change(model_state(torch_model)), torch_model)
    carry()
    first = type(torch_side)(torch_model, training=torch_side.training)
    second = type(flax_side)(flax_model, training=flax_side.training, jit=flax_side.jit, paths=flax_side.paths)
    first.fold_for(second.modules)
    return first, second


def _is_float(array: Array) -> bool:
    return dtype_kind(array.dtype) == "floating-point"


def _leaves(arguments: Any) -> list[tuple[str, Array]]:
    return [pair for part in arguments for pair in flatten(part, lambda leaf: isinstance(leaf, np.ndarray))]
