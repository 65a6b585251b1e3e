"""From two runs to the rows of a report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.layouts.rules import find_rule
from einops_arch.parity.report import limits
from einops_arch.parity.report.alignment import merged, pairs_of_call
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Measure, Pair, Verdict, is_exact, measure, rms, wide, worst
from einops_arch.parity.runs.axes import Layout, plain
from einops_arch.parity.runs.randomness import rate_of
from einops_arch.parity.runs.torch_run import Call, Run

__all__ = [
    "RunPair",
    "averaged",
    "can_be_called",
    "gradient_rows",
    "has_state",
    "module_rows",
    "output_rows",
    "rate_rows",
    "statistic_rows",
]


_RATES = 1e-6
"""Rates that are written down once as float32 differ by less."""


@dataclasses.dataclass(frozen=True)
class RunPair:
    """Both models, seen: their modules by path, their runs in float64 and in their own dtype, and the layouts.

    In the float64 runs casts may have been lifted. The unit roundoff is that of the finer of the dtypes that the models
    declare.
    """

    torch_modules: Mapping[str, Any]
    flax_modules: Mapping[str, Any]
    torch: Run
    flax: Run
    torch_own: Run | None
    flax_own: Run | None
    layouts: Mapping[tuple[str, int, int], Layout]
    lifted: bool = False
    roundoff: float = 0.0

    @property
    def output_layouts(self) -> list[Layout]:
        """The layouts of the network's outputs."""
        return [self.layouts.get(("", 0, n), plain(array.ndim)) for n, (_, array) in enumerate(self.torch.outputs)]

    @property
    def outputs_fit(self) -> bool:
        """There are as many outputs on both sides, and their shapes agree."""
        torch_shapes = [
            array.transpose(layout).shape
            for (_, array), layout in zip(self.torch.outputs, self.output_layouts, strict=True)
        ]
        return torch_shapes == [array.shape for _, array in self.flax.outputs]


def module_rows(
    two: RunPair, limit: Callable[[str], float] = lambda _: limits.FLOAT64
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """One row for each module that has values on both sides, and what of the modules was not seen.

    Args:
        two: both models.
        limit: of the difference, by path.
    """
    every = [run for run in (two.torch, two.flax, two.torch_own, two.flax_own) if run is not None]
    sides = [_by_path(run) for run in every]
    torch_calls, flax_calls = sides[:2]
    order = {(call.path, call.index): n for n, call in enumerate(two.torch.calls)}
    measures: dict[tuple[str, int], Measure] = {}
    unseen: list[str] = []
    usual = _usual(two.torch)
    for path, calls in torch_calls.items():
        for call, *others in zip(calls, *(side.get(path, []) for side in sides[1:]), strict=False):
            measure_of_call = _measure_call(two, call, others, limit(path), usual, unseen)
            if measure_of_call is not None:
                measures[path, call.index] = measure_of_call
    measures = dict(zip(measures, _pool(list(measures.values())), strict=True))

    rows: list[Row] = []
    for path, calls in torch_calls.items():
        if path not in flax_calls:
            unseen += _absent(two, path)
            continue
        measured = [measures[path, call.index] for call in calls if (path, call.index) in measures]
        if len(calls) != len(flax_calls[path]):
            counts = f"called {len(calls)} times in PyTorch, {len(flax_calls[path])} times in Flax"
            unseen.append(f"{path or 'the network'}: {counts}; the calls that both have were compared")
        if measured:
            wrong = [n for n, result in enumerate(measured) if not result.verdict.passed]
            shape = calls[0].arrays[0].shape if calls[0].arrays else ()
            rows.append(_row(path, shape, measured, *_types(two, path), order=order[path, wrong[0] if wrong else 0]))
    unseen += [words for path in flax_calls if path not in torch_calls for words in _absent(two, path)]
    rows.sort(key=lambda row: order.get((row.path, 0), len(order)))
    return tuple(rows), tuple(dict.fromkeys(unseen))


def output_rows(two: RunPair, names: Sequence[str], steps: int = 1) -> tuple[Row, ...]:
    """One row for each output of the network; after several steps those of the last too.

    Args:
        two: both models.
        names: of the outputs, where they are known.
        steps: how often the models were called.
    """
    if len(two.torch.outputs) != len(two.flax.outputs):
        counts = f"{len(two.torch.outputs)} arrays in PyTorch{_placed(two.torch)}, "
        counts += f"{len(two.flax.outputs)} in Flax{_placed(two.flax)}"
        return (Row("outputs", "", "", (), None, None, None, None, Verdict.SHAPE, detail=counts),)
    rows = []
    runs = (two.torch, two.flax, two.torch_own, two.flax_own)
    zero, usual = limits.FLOAT64 * _expected(two, "", 0.0), _usual(two.torch)
    for last in (False, True) if steps > 1 else (False,):
        every = [None if run is None else run.last if last else run.outputs for run in runs]
        for n, ((place, _), layout) in enumerate(zip(two.torch.outputs, two.output_layouts, strict=True)):
            arrays = [None if outputs is None or n >= len(outputs) else outputs[n][1] for outputs in every]
            if arrays[0] is None or arrays[1] is None:
                continue
            name = names[n] if len(names) == len(two.torch.outputs) else f"output {place}".strip()
            measured = measure([_pair(arrays, layout, two.roundoff)], zero=zero, usual=usual)
            rows.append((f"{name} of step {steps}" if last else name, arrays[0].shape, measured))
    return _named_rows(rows)


def _placed(run: Run) -> str:
    named = [place for place, _ in run.outputs if place and not place.isdigit()]
    return f" ({', '.join(named)})" if named else ""


def statistic_rows(two: RunPair) -> tuple[Row, ...]:
    """One row for each buffer that both have or that changed.

    A running mean is measured relative to the values that were averaged, not only to what they add up to: after another
    norm, whose channels are centred, the mean is zero in exact arithmetic, and rounding on both sides. A buffer that
    changed and has no counterpart is missing: what it holds shows in a later call.
    """
    rows = []
    runs = (two.torch, two.flax, two.torch_own, two.flax_own)
    for name, array in two.torch.statistics.items():
        if name in two.flax.statistics and array.shape == two.flax.statistics[name].shape:
            arrays = [None if run is None else run.statistics.get(name) for run in runs]
            pair = _pair(arrays, plain(array.ndim), two.roundoff)
            rows.append((name, array.shape, measure([pair], scale=averaged(two.torch.statistics, name))))
        elif name in two.torch.changed and not _counts_batches(two, name):
            rows.append((name, array.shape, _lost("PyTorch", "Flax")))
    alone = sorted(two.flax.changed - two.torch.statistics.keys())
    rows += [(name, two.flax.statistics[name].shape, _lost("Flax", "PyTorch")) for name in alone]
    return _named_rows(rows)


def _lost(here: str, there: str) -> Measure:
    words = f"it changes in {here} and has no counterpart in {there}; likely fix: paths=, or a variable of that name"
    return Measure(None, None, None, None, Verdict.MISSING, 0, words)


def _counts_batches(two: RunPair, name: str) -> bool:
    """The counter of PyTorch's batch norm, which enters nothing unless it has no momentum."""
    path, _, leaf = name.rpartition(".")
    return leaf == "num_batches_tracked" and getattr(two.torch_modules.get(path), "momentum", 0.1) is not None


def rate_rows(two: RunPair) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """One row for each module whose rate of dropout both sides tell, and words on those that one side alone tells."""
    rows: list[Row] = []
    unseen: list[str] = []
    paths = [path for path, module in two.torch_modules.items() if rate_of(module) is not None]
    paths += [path for path, module in two.flax_modules.items() if rate_of(module) and path not in paths]
    for path in paths:
        rates = [rate_of(side.get(path)) for side in (two.torch_modules, two.flax_modules)]
        types = _types(two, path)
        if rates[0] is not None and rates[1] is not None:
            same = math.isclose(rates[0], rates[1], rel_tol=_RATES)
            words = "" if same else f"rate {rates[0]:g} in PyTorch, {rates[1]:g} in Flax"
            verdict = Verdict.BIT_EQUAL if same else Verdict.SEMANTIC
            rows.append(Row(path, *types, (), abs(rates[0] - rates[1]), None, None, None, verdict, len(rows), 1, words))
        elif any(rates):
            here, there = ("PyTorch", "Flax") if rates[1] is None else ("Flax", "PyTorch")
            rate = max(rate or 0.0 for rate in rates)
            name = path or "the network"
            unseen.append(f"{name}: drops at a rate of {rate:g} in {here}; no rate to be read in {there}")
    return tuple(rows), tuple(unseen)


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
) -> tuple[Row, ...]:
    """One row for each gradient; both sides in float64.

    A gradient that is zero in exact arithmetic, as that of a bias before a batch norm, is rounding on both sides, and
    what is left of others that cancel nearly, as those of a scale before a batch norm, holds as much of it. So each is
    measured relative to all gradients together, at least.
    """
    every = rms(np.concatenate([np.zeros(1), *(gradient.ravel() for gradient in parameters[0].values())]))
    rows: list[tuple[str, tuple[int, ...], Measure]] = []
    for name, array in parameters[0].items():
        other = parameters[1].get(name)
        if other is None:
            missing = Measure(None, None, None, None, Verdict.MISSING, 0, "no such parameter in Flax")
            rows.append((name, array.shape, missing))
        else:
            rows.append((name, array.shape, measure([Pair(array, other)], scale=every)))
    for place, array in inputs[0].items():
        if place in inputs[1]:
            pair = Pair(array.transpose(layouts.get(place, plain(array.ndim))), inputs[1][place])
            rows.append((f"input {place}", array.shape, measure([pair], scale=every)))
    return _named_rows(rows)


def _usual(run: Run) -> float:
    """The size that the values inside of a network have: the median of its modules."""
    sizes = [rms(array) for call in run.calls for array in call.arrays if not is_exact(array)]
    finite = [size for size in sizes if math.isfinite(size)]
    return float(np.median(finite)) if finite else 0.0


def _expected(two: RunPair, path: str, usual: float) -> float:
    """The size relative to which a result is zero to rounding, on both sides.

    A norm gives the size of its scale, if it is not given a constant: then it divides rounding by the root of its eps.
    What other modules make of that is as small beside the rest of the network. The network's own result may be of any
    size, and always counts.
    """
    module = two.torch_modules.get(path)
    if "Norm" in type(module).__name__:
        weight = getattr(module, "weight", None)
        return 1.0 if weight is None else rms(to_numpy(weight))
    return usual if path else 0.0


def _measure_call(
    two: RunPair, call: Call, others: Sequence[Call], limit: float, usual: float, unseen: list[str]
) -> Measure | None:
    """What is said of one call; None where none of its values can be brought together."""
    flax = others[0]
    if len(call.arrays) != len(flax.arrays):
        counts = f"{len(call.arrays)} arrays in PyTorch, {len(flax.arrays)} in Flax"
        if not call.path:
            return Measure(None, None, None, None, Verdict.SHAPE, 0, counts)
        unseen.append(f"{call.path}: {counts}; those that fit were compared")
    pairs, joined = [], False
    for n, m in pairs_of_call(call, flax, two.layouts):
        arrays = [
            call.arrays[n],
            flax.arrays[m],
            *(_at(other, k) for other, k in zip(others[1:], (n, m), strict=False)),
        ]
        pair = _pair(arrays, two.layouts[call.path, call.index, n], two.roundoff)
        if call.path and pair.torch.shape != pair.flax.shape and pair.torch.size == pair.flax.size:
            candidate = merged(call.arrays[n], pair.flax, two.layouts[call.path, call.index, n])
            if candidate is None:
                unseen.append(
                    f"{call.path}: {pair.torch.shape} in PyTorch and {pair.flax.shape} in Flax, whose axes could not "
                    f"be brought together; likely fix: layouts={{{call.path!r}: 'PyTorch's axes -> Flax's axes'}}"
                )
                continue
            pair, joined = Pair(candidate, pair.flax, roundoff=two.roundoff), True
        pairs.append(pair)
    if not pairs and (call.arrays or flax.arrays):
        return None
    measured = measure(pairs, limit=limit, zero=limits.FLOAT64 * _expected(two, call.path, usual), usual=usual)
    if joined and measured.verdict.passed:
        return dataclasses.replace(measured, detail="axes merged")
    if measured.verdict is Verdict.NAN and (weights := _not_finite(two, call.path)):
        return dataclasses.replace(measured, detail=f"{measured.detail}; {weights}")
    return measured


def _at(call: Call, n: int) -> Array | None:
    return call.arrays[n] if n < len(call.arrays) else None


def _not_finite(two: RunPair, path: str) -> str:
    """The weights and statistics of a module itself that hold NaN or an infinity."""
    problems = []
    for side, module in (("PyTorch", two.torch_modules.get(path)), ("Flax", two.flax_modules.get(path))):
        for name, value in _own_arrays(module):
            if not is_exact(value) and not np.isfinite(wide(value)).all():
                problems.append(f"{side}'s {path + '.' if path else ''}{name} holds NaN or inf")
    return ", ".join(problems)


def _own_arrays(module: Any) -> list[tuple[str, Array]]:
    if hasattr(module, "_parameters"):
        named = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        return [(name, to_numpy(value)) for name, value in named]
    from flax import nnx

    variables = [(name, value) for name, value in vars(module).items() if isinstance(value, nnx.Variable)]
    return [
        (name, to_numpy(value.get_value()))
        for name, value in variables
        if not isinstance(value, nnx.RngState) and hasattr(value.get_value(), "dtype")
    ]


def _pair(arrays: Sequence[Array | None], layout: Layout, roundoff: float = 0.0) -> Pair:
    """PyTorch's arrays take the axes that Flax has by the known layout, whether the shapes then fit or not."""
    torch, flax, torch_own, flax_own = (*arrays, None, None)[:4]
    if torch is None or flax is None:
        raise TypeError("a pair needs both float64 results")
    moved = [None if array is None else array.transpose(layout) for array in (torch, torch_own)]
    return Pair(torch.transpose(layout), flax, moved[1], flax_own, roundoff)


def _pool(measures: Sequence[Measure]) -> list[Measure]:
    """Few numbers say little about a ratio: theirs counts only if that of all small tensors together is over."""
    small = [result for result in measures if result.size < limits.POOL and result.torch_error is not None]
    if not small or not 1 / limits.RATIO <= _pooled(small) <= limits.RATIO:
        return list(measures)
    return [
        dataclasses.replace(result, verdict=Verdict.SAME_FUNCTION)
        if result.verdict is Verdict.ROUNDING and result.size < limits.POOL
        else result
        for result in measures
    ]


def _named_rows(rows: Sequence[tuple[str, tuple[int, ...], Measure]]) -> tuple[Row, ...]:
    pooled = _pool([result for _, _, result in rows])
    return tuple(
        _row(name, shape, [result], "", "", order=n)
        for n, ((name, shape, _), result) in enumerate(zip(rows, pooled, strict=True))
    )


def _row(path: str, shape: tuple[int, ...], measures: Sequence[Measure], torch: str, flax: str, *, order: int) -> Row:
    def largest(name: str) -> float | None:
        values = [value for result in measures if (value := getattr(result, name)) is not None]
        return max(values, default=None)

    verdict = worst([result.verdict for result in measures])
    detail = next((result.detail for result in measures if result.verdict is verdict), "")
    difference, torch_error, flax_error, ratio = map(largest, ("difference", "torch_error", "flax_error", "ratio"))
    if difference == math.inf:
        detail = "PyTorch's result is zero, Flax's is not"
    numbers = (difference, torch_error, flax_error, ratio)
    return Row(path, torch, flax, tuple(shape), *numbers, verdict, order, len(measures), detail)


def _absent(two: RunPair, path: str) -> list[str]:
    """Words on a module that only one side called, or none where nothing needs to be said."""
    torch_module, flax_module = two.torch_modules.get(path), two.flax_modules.get(path)
    for other in (torch_module, flax_module):
        if other is not None and not can_be_called(other):
            return []
    if _spoken_for(two, path):
        return []
    here, there = ("PyTorch", "Flax") if any(call.path == path for call in two.torch.calls) else ("Flax", "PyTorch")
    if torch_module is not None and flax_module is not None:
        why = f"not called in {there}, or inside of jit, remat, scan or another method that hides its values"
    else:
        why = f"no such module in {there}"
    module = torch_module if here == "PyTorch" else flax_module
    more = "" if has_state(module) else "; it has no parameters"
    return [f"{path} ({type(module).__name__}): in {here}; {why}{more}"]


def can_be_called(module: Any) -> bool:
    """Lists and dicts of modules only hold them."""
    return type(module).__name__ not in ("ModuleList", "ModuleDict", "List", "Dict") and callable(module)


def _spoken_for(two: RunPair, path: str) -> bool:
    """A layer whose rule speaks for its whole subtree may be made of other parts in the two frameworks."""
    parts = path.split(".")
    above = ["", *(".".join(parts[:n]) for n in range(1, len(parts)))]
    modules = [two.flax_modules[outer] for outer in above if outer in two.flax_modules and outer != path]
    return any(find_rule(type(module)) is not None for module in modules)


def has_state(module: Any) -> bool:
    """It has parameters, buffers or variables itself, not only in what is inside of it."""
    if hasattr(module, "_parameters"):
        return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
    from flax import nnx

    return any(
        isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState) for value in vars(module).values()
    )


def _types(two: RunPair, path: str) -> tuple[str, str]:
    torch_module, flax_module = (side.get(path) for side in (two.torch_modules, two.flax_modules))
    return ("" if torch_module is None else type(torch_module).__name__), (
        "" if flax_module is None else type(flax_module).__name__
    )


def _by_path(run: Run | None) -> dict[str, list[Call]]:
    calls: dict[str, list[Call]] = {}
    for call in run.calls if run is not None else ():
        calls.setdefault(call.path, []).append(call)
    return calls


def _pooled(rows: Sequence[Any]) -> float:
    """The ratio of the errors of several measures together, each relative to its own scale."""
    errors = [(result.torch_error, result.flax_error) for result in rows if result.torch_error is not None]
    own, other = (math.sqrt(sum(pair[side] ** 2 for pair in errors)) for side in (0, 1))
    return other / own if own else math.inf if other else 0.0
