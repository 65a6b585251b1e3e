"""Causes of running statistics that differ: momentum, and the biased variance."""

from __future__ import annotations

from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import number
from einops_arch.parity.report.pair import RunPair
from einops_arch.parity.report.verdicts import rms

__all__ = ["explain_statistic"]

# A few roundoffs, multiplied by the division by what a small momentum leaves of the batch.
_EXACT = 1e-9


def explain_statistic(torch_side: Any, flax_side: Any, two: RunPair, name: str, steps: int) -> str:
    """What explains a running mean or variance, in one sentence.

    From the statistics before and after, each side's weight of the new batch follows, and the statistics of the batch.

    Args:
        torch_side: PyTorch's side, with the statistics before.
        flax_side: Flax's side, which starts from the same, where PyTorch's is a capture.
        two: both runs.
        name: of the statistic.
        steps: how many batches.
    """
    path, _, leaf = name.rpartition(".")
    unexplained = f"{path or 'the network'}: {leaf} is not explained by momentum or by the biased variance"
    momentum = getattr(two.torch_modules.get(path), "momentum", None)
    start = f"{path}." if path else ""
    needed = [f"{start}running_mean", f"{start}running_var"]
    state = _before(torch_side, flax_side)
    if not isinstance(momentum, float) or any(key not in state or key not in two.flax.statistics for key in needed):
        return unexplained
    before = [to_numpy(state[key]).astype(np.float64) for key in needed]
    after, other = ([side.statistics[key] for key in needed] for side in (two.torch, two.flax))
    kept = (1 - momentum) ** steps
    batch = [(new - kept * old) / (1 - kept) for new, old in zip(after, before, strict=True)]
    moved = batch[0] - before[0]
    weight = float(np.vdot(other[0] - before[0], moved) / (np.vdot(moved, moved) or 1.0))
    if rms(other[0] - before[0] - weight * moved) > _EXACT * rms(moved) or not 0 < weight <= 1:
        return unexplained
    causes = []
    theirs_momentum = 1 - (1 - weight) ** (1 / steps)
    if abs(theirs_momentum - momentum) > _EXACT:
        causes.append(
            f"momentum={number(momentum)} as the weight of the new batch, "
            f"the Flax module moves by {number(round(theirs_momentum, 9))}"
        )
    theirs_var = (other[1] - (1 - weight) * before[1]) / weight
    ratio = float(np.mean(theirs_var / batch[1]))
    if abs(ratio - 1) > _EXACT and rms(theirs_var / batch[1] - ratio) < _EXACT * 10:
        count = 1 / (1 - ratio) if ratio < 1 else ratio / (ratio - 1)
        if abs(count - round(count)) < 1e-4 * count:
            parts = ("n - 1", "n") if ratio < 1 else ("n", "n - 1")
            causes.append(
                f"the variance divided by {parts[0]}, the Flax module divides by {parts[1]} (n={round(count)})"
            )
    return f"{path or 'the network'}: would be explained by {' and '.join(causes)}" if causes else unexplained


def _before(torch_side: Any, flax_side: Any) -> dict[str, Any]:
    if (model := getattr(torch_side, "model", None)) is not None:
        return dict(model.state_dict())
    from einops_arch.flax.state import state_dict
    from einops_arch.parity.runs.paths import rename

    return {rename(name, flax_side.paths): value for name, value in state_dict(flax_side.model).items()}
