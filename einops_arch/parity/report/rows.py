"""Rows for what is no module: outputs, statistics, gradients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from einops_arch._text import counted
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.parity.report import limits
from einops_arch.parity.report.pair import RunPair, expected_size, named_rows, pair_of
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Measure, Pair, Verdict, measure, rms
from einops_arch.parity.runs.axes import Layout, plain
from einops_arch.parity.runs.run import Run
from einops_arch.parity.runs.values import matched

__all__ = ["averaged", "gradient_rows", "output_rows", "statistic_rows"]


def output_rows(two: RunPair, names: Sequence[str], steps: int = 1) -> tuple[Row, ...]:
    """One row for each output of the network; after several steps those of the last too.

    Args:
        two: both models.
        names: of the outputs, where they are known.
        steps: how often the models were called.
    """
    if len(two.torch.outputs) != len(two.flax.outputs):
        counts = f"{counted(len(two.torch.outputs), 'array')} in PyTorch{_placed(two.torch)}, "
        counts += f"{len(two.flax.outputs)} in Flax{_placed(two.flax)}"
        return (Row("outputs", "", "", (), None, None, None, None, Verdict.SHAPE, detail=counts),)
    rows = []
    runs = (two.torch, two.flax, two.torch_own, two.flax_own)
    zero = limits.FLOAT64 * expected_size(two, "", 0.0)
    for step in range(1, steps + 1):
        every = [None if run is None else _of_step(run, step, steps) for run in runs]
        for n, ((place, _), layout) in enumerate(zip(two.torch.outputs, two.output_layouts, strict=True)):
            arrays = [None if outputs is None or n >= len(outputs) else outputs[n][1] for outputs in every]
            if arrays[0] is None or arrays[1] is None:
                continue
            name = names[n] if len(names) == len(two.torch.outputs) else f"output {place}".strip()
            measured = _kinds(arrays[:2], measure([pair_of(arrays, layout, two.roundoff)], zero=zero))
            if step in (1, steps) or not measured.verdict.passed:
                rows.append((name if step == 1 else f"{name} of step {step}", arrays[0].shape, measured))
    return (*named_rows(rows), *_words(two, len(rows)))


def _of_step(run: Run, step: int, steps: int) -> list[tuple[str, Array]]:
    if step in (1, steps):
        return run.outputs if step == 1 else run.last
    return run.between[step - 2] if step - 2 < len(run.between) else []


def _kinds(arrays: Sequence[Array | None], measured: Measure) -> Measure:
    """Truth values, integers and numbers are not the same, whatever they are equal to."""
    kinds = [dtype_kind(array.dtype) for array in arrays if array is not None and array.ndim]
    if len(set(kinds)) < 2 or not measured.verdict.passed:
        return measured
    words = f"{kinds[0]} in PyTorch, {kinds[1]} in Flax"
    return dataclasses.replace(measured, verdict=Verdict.SEMANTIC, detail=words)


def _words(two: RunPair, order: int) -> Iterator[Row]:
    """Rows for outputs that are no numbers and not the same: words, settings of objects, and where nothing stands."""
    places = [{*run.words, *(place for place, _ in run.outputs)} for run in (two.torch, two.flax)]
    # What stands at a place that one side alone has, such as a None, belongs to the form of the container.
    for place in [place for place in {**two.torch.words, **two.flax.words} if place in places[0] & places[1]]:
        pair = [run.words.get(place, "an array") for run in (two.torch, two.flax)]
        if pair[0] != pair[1]:
            words = f"{pair[0]} in PyTorch, {pair[1]} in Flax"
            name = f"output {place}".strip()
            yield Row(name, "", "", (), None, None, None, None, Verdict.SEMANTIC, order, 1, words)


def _placed(run: Run) -> str:
    named = [place for place, _ in run.outputs if place and not place.isdigit()]
    return f" ({', '.join(named)})" if named else ""


def statistic_rows(two: RunPair, limit: float = limits.FLOAT64) -> tuple[Row, ...]:
    """One row for each buffer that both have or that changed.

    A running mean is measured relative to the values that were averaged, not only to what they add up to: after another
    norm, whose channels are centred, the mean is zero in exact arithmetic, and rounding on both sides. A buffer that
    changed and has no counterpart is missing: what it holds shows in a later call.

    Args:
        two: both models.
        limit: of the difference.
    """
    rows = []
    runs = (two.torch, two.flax, two.torch_own, two.flax_own)
    for name, array in two.torch.statistics.items():
        if name in two.flax.statistics and array.shape == two.flax.statistics[name].shape:
            arrays = [None if run is None else run.statistics.get(name) for run in runs]
            pair = pair_of(arrays, plain(array.ndim), two.roundoff)
            scale = averaged(two.torch.statistics, name)
            rows.append((name, array.shape, measure([pair], scale=scale, limit=limit)))
        elif name in two.torch.changed and not _counts_batches(two, name):
            rows.append((name, array.shape, _lost("PyTorch", "Flax")))
    alone = sorted(two.flax.changed - two.torch.statistics.keys())
    rows += [(name, two.flax.statistics[name].shape, _lost("Flax", "PyTorch")) for name in alone]
    return named_rows(rows)


def _lost(here: str, there: str) -> Measure:
    words = f"it changes in {here} and has no counterpart in {there}"
    return Measure(None, None, None, None, Verdict.MISSING, 0, words)


def _counts_batches(two: RunPair, name: str) -> bool:
    """The counter of PyTorch's batch norm, which enters nothing unless it has no momentum."""
    path, _, leaf = name.rpartition(".")
    return leaf == "num_batches_tracked" and getattr(two.torch_modules.get(path), "momentum", 0.1) is not None


def averaged(statistics: Mapping[str, Array], name: str) -> float:
    """The scale of the values of which a running mean or variance was taken; 0 for other buffers."""
    start, _, leaf = name.rpartition("running_")
    other = statistics.get(f"{start}running_{'var' if leaf == 'mean' else 'mean'}")
    if other is None or leaf not in ("mean", "var"):
        return 0.0
    # The rounding of a variance is that of its mean, squared.
    return math.sqrt(rms(other)) if leaf == "mean" else limits.FLOAT64 * rms(other) ** 2


def gradient_rows(
    parameters: tuple[Mapping[str, Array], Mapping[str, Array]],
    inputs: tuple[Mapping[str, Array], Mapping[str, Array]],
    layouts: Mapping[str, Layout],
    ties: Mapping[str, str],
) -> tuple[Row, ...]:
    """One row for each gradient; both sides in float64.

    A gradient that is zero in exact arithmetic, as that of a bias before a batch norm, is rounding on both sides, and
    what is left of others that cancel nearly, as those of a scale before a batch norm, holds as much of it. So each is
    measured relative to all gradients together, at least.

    Args:
        parameters: of both sides, by PyTorch's names.
        inputs: of both sides, by place.
        layouts: of the inputs.
        ties: further names of PyTorch's parameters, with the name under which each is compared.
    """
    every = size_of_all(parameters[0])
    rows: list[tuple[str, tuple[int, ...], Measure]] = []
    for name, array in parameters[0].items():
        other = parameters[1].get(name)
        if other is None:
            missing = Measure(None, None, None, None, Verdict.MISSING, 0, "no such parameter in Flax")
            rows.append((name, array.shape, missing))
        else:
            rows.append((name, array.shape, measure([Pair(array, other)], scale=every)))
    for name, array in parameters[1].items():
        if name in ties and np.array_equal(array, parameters[1].get(ties[name], ())):
            continue
        # What has no slope has no part in what is computed.
        if name not in parameters[0] and np.any(array):
            missing = Measure(None, None, None, None, Verdict.MISSING, 0, "no such parameter in PyTorch")
            rows.append((name, array.shape, missing))
    for name, pair in input_pairs(inputs, layouts).items():
        rows.append((name, inputs[0][name.removeprefix("input ")].shape, measure([pair], scale=every)))
    return named_rows(rows)


def size_of_all(gradients: Mapping[str, Array]) -> float:
    """The rms of all gradients of parameters together."""
    return rms(np.concatenate([np.zeros(1), *(gradient.ravel() for gradient in gradients.values())]))


def input_pairs(
    inputs: tuple[Mapping[str, Array], Mapping[str, Array]], layouts: Mapping[str, Layout]
) -> dict[str, Pair]:
    """The gradients of the inputs that belong together, by the names of their rows.

    Args:
        inputs: of both sides, by place.
        layouts: of the inputs.
    """
    places = dict(zip(inputs[0], matched(list(inputs[0]), list(inputs[1])) or (), strict=False))
    others = list(inputs[1].values())
    pairs = {}
    for place, array in inputs[0].items():
        moved = array.transpose(layouts.get(place, plain(array.ndim)))
        # Flax's own inputs may have other names; those of the same number and shape belong together.
        if place in places and (place in inputs[1] or moved.shape == others[places[place]].shape):
            pairs[f"input {place}"] = Pair(moved, others[places[place]])
    return pairs
