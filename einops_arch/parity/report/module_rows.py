"""One row for each module: what the two runs gave in each call, brought together and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.layouts.arrays import to_numpy
from einops_arch.layouts.rules import find_rule
from einops_arch.parity.report import limits
from einops_arch.parity.report.alignment import merged, pairs_of_call
from einops_arch.parity.report.pair import RunPair, expected_size, pair_of, pooled, row_of, types_of, usual_size
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Measure, Pair, Verdict, is_exact, measure, wide
from einops_arch.parity.runs.run import Call, Run

__all__ = ["can_be_called", "has_state", "module_rows"]


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
    usual = usual_size(two.torch)
    for path, calls in torch_calls.items():
        for call, *others in zip(calls, *(side.get(path, []) for side in sides[1:]), strict=False):
            measure_of_call = _measure_call(two, call, others, limit(path), usual, unseen)
            if measure_of_call is not None:
                measures[path, call.index] = measure_of_call
    measures = dict(zip(measures, pooled(list(measures.values())), strict=True))

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
            place = order[path, wrong[0] if wrong else 0]
            row = row_of(path, shape, measured, *types_of(two, path), order=place)
            names = two.axes.get(path, ())
            rows.append(dataclasses.replace(row, axes=names) if len(names) == len(shape) else row)
    unseen += [words for path in flax_calls if path not in torch_calls for words in _absent(two, path)]
    rows.sort(key=lambda row: order.get((row.path, 0), len(order)))
    return tuple(rows), tuple(dict.fromkeys(unseen))


def _measure_call(
    two: RunPair, call: Call, others: Sequence[Call], limit: float, usual: float, unseen: list[str]
) -> Measure | None:
    """What is said of one call; None where none of its values can be brought together."""
    flax = others[0]
    if len(call.arrays) != len(flax.arrays):
        counts = f"{counted(len(call.arrays), 'array')} in PyTorch, {len(flax.arrays)} in Flax"
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
        pair = pair_of(arrays, two.layouts[call.path, call.index, n], two.roundoff)
        if call.path and pair.torch.shape != pair.flax.shape and pair.torch.size == pair.flax.size:
            candidate = merged(call.arrays[n], pair.flax, two.layouts[call.path, call.index, n])
            if candidate is None:
                place = f"{call.path}.{n}" if len(call.arrays) > 1 else call.path
                unseen.append(
                    f"{place}: {pair.torch.shape} in PyTorch and {pair.flax.shape} in Flax, whose axes could not "
                    f"be brought together; likely fix: layouts={{{place!r}: 'PyTorch's axes -> Flax's axes'}}"
                )
                continue
            pair, joined = Pair(candidate, pair.flax, roundoff=two.roundoff), True
        pairs.append(pair)
    if not pairs and (call.arrays or flax.arrays):
        return None
    measured = measure(pairs, limit=limit, zero=limits.FLOAT64 * expected_size(two, call.path, usual), usual=usual)
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


def _absent(two: RunPair, path: str) -> list[str]:
    """Words on a module that only one side called, or none where nothing needs to be said."""
    torch_module, flax_module = two.torch_modules.get(path), two.flax_modules.get(path)
    for other in (torch_module, flax_module):
        if other is not None and not can_be_called(other):
            return []
    if _spoken_for(two, path):
        return []
    if None in (torch_module, flax_module) and (_is_identity(torch_module) or _is_identity(flax_module)):
        return []  # the one gives what it is given, the other is not there: nothing is left to compare
    here, there = ("PyTorch", "Flax") if any(call.path == path for call in two.torch.calls) else ("Flax", "PyTorch")
    if torch_module is not None and flax_module is not None:
        why = f"not called in {there}, or inside of jit, remat, scan or another method that hides its values"
    else:
        why = f"no such module in {there}"
    module = torch_module if here == "PyTorch" else flax_module
    more = "" if has_state(module) else "; it has no parameters"
    return [f"{path or 'the network'} ({type(module).__name__}): in {here}; {why}{more}"]


def _is_identity(module: Any) -> bool:
    """Whether it is the layer that gives what it is given, and not a class of one's own with its name."""
    kind = type(module)
    return kind.__name__ == "Identity" and kind.__module__ in (
        "torch.nn.modules.linear",
        "einops_arch.flax.layers.basic",
    )


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


def _by_path(run: Run | None) -> dict[str, list[Call]]:
    calls: dict[str, list[Call]] = {}
    for call in run.calls if run is not None else ():
        calls.setdefault(call.path, []).append(call)
    return calls
