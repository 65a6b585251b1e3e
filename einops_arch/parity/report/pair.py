"""Two runs side by side, and the measures from which rows are made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.report import limits
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Measure, Pair, Verdict, is_exact, rms, worst
from einops_arch.parity.runs.axes import Layout, plain
from einops_arch.parity.runs.run import Run

__all__ = ["RunPair", "expected_size", "named_rows", "pair_of", "pooled", "row_of", "types_of", "usual_size"]


@dataclasses.dataclass(frozen=True)
class RunPair:
    """Both models, seen: their modules by path, their runs in float64 and in their own dtype, and the layouts.

    In the float64 runs casts may have been lifted. The unit roundoff is that of the finer of the dtypes that the models
    declare. The axes are the names of those of what each module gives first, as far as they are known.
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
    axes: Mapping[str, tuple[str | None, ...]] = dataclasses.field(default_factory=dict)

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


def pair_of(arrays: Sequence[Array | None], layout: Layout, roundoff: float = 0.0) -> Pair:
    """PyTorch's arrays take the axes that Flax has by the known layout, whether the shapes then fit or not."""
    torch, flax, torch_own, flax_own = (*arrays, None, None)[:4]
    if torch is None or flax is None:
        raise TypeError("a pair needs both float64 results")
    moved = [None if array is None else array.transpose(layout) for array in (torch, torch_own)]
    return Pair(torch.transpose(layout), flax, moved[1], flax_own, roundoff)


def usual_size(run: Run) -> float:
    """The size that the values inside of a network have: the median of its modules."""
    sizes = [rms(array) for call in run.calls for array in call.arrays if not is_exact(array)]
    finite = [size for size in sizes if math.isfinite(size)]
    return float(np.median(finite)) if finite else 0.0


def expected_size(two: RunPair, path: str, usual: float) -> float:
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


def pooled(measures: Sequence[Measure]) -> list[Measure]:
    """Few numbers say little about a ratio: theirs counts only if that of all small tensors together is over."""
    small = [result for result in measures if result.size < limits.POOL and result.torch_error is not None]
    if not small or not 1 / limits.RATIO <= _ratio(small) <= limits.RATIO:
        return list(measures)
    return [
        dataclasses.replace(result, verdict=Verdict.SAME_FUNCTION)
        if result.by_ratio and result.size < limits.POOL and _is_luck(result)
        else result
        for result in measures
    ]


def _is_luck(result: Measure) -> bool:
    """A ratio that few numbers may have by chance; a variance in one pass has 116, bfloat16 some thousand."""
    most = limits.RATIO**3
    return result.ratio is not None and 1 / most <= result.ratio <= most


def _ratio(rows: Sequence[Any]) -> float:
    """The ratio of the errors of several measures together, each relative to its own scale."""
    errors = [(result.torch_error, result.flax_error) for result in rows if result.torch_error is not None]
    own, other = (math.sqrt(sum(pair[side] ** 2 for pair in errors)) for side in (0, 1))
    return other / own if own else math.inf if other else 0.0


def row_of(path: str, shape: tuple[int, ...], measures: Sequence[Measure], torch: str, flax: str, *, order: int) -> Row:
    """One row of several measures: the largest numbers, and the worst verdict with its words."""

    def largest(name: str) -> float | None:
        values = [value for result in measures if (value := getattr(result, name)) is not None]
        return max(values, default=None)

    verdict = worst([result.verdict for result in measures])
    detail = next((result.detail for result in measures if result.verdict is verdict), "")
    difference, torch_error, flax_error, ratio = map(largest, ("difference", "torch_error", "flax_error", "ratio"))
    if difference == math.inf:
        detail = "PyTorch's result is zero, Flax's is not"
    numbers = (difference, torch_error, flax_error, ratio)
    by_ratio = all(result.by_ratio for result in measures if result.verdict is Verdict.ROUNDING)
    return Row(path, torch, flax, tuple(shape), *numbers, verdict, order, len(measures), detail, by_ratio)


def named_rows(rows: Sequence[tuple[str, tuple[int, ...], Measure]]) -> tuple[Row, ...]:
    """One row for each name with its shape and measure."""
    measures = pooled([result for _, _, result in rows])
    return tuple(
        row_of(name, shape, [result], "", "", order=n)
        for n, ((name, shape, _), result) in enumerate(zip(rows, measures, strict=True))
    )


def types_of(two: RunPair, path: str) -> tuple[str, str]:
    """The names of both classes at a path; empty where a side has no such module."""
    torch_module, flax_module = (side.get(path) for side in (two.torch_modules, two.flax_modules))
    return ("" if torch_module is None else type(torch_module).__name__), (
        "" if flax_module is None else type(flax_module).__name__
    )
