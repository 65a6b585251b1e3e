"""Settings of optimizers, read on both sides: what would make the same state take other steps.

PyTorch's are written in its parameter groups. A transformation of optax is a pair of functions, so its settings are
measured: it is run on a tree of small arrays with chosen moments and gradients, from which each setting follows; then
with drawn ones, on which PyTorch's formula with these settings has to give the same step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from einops_arch.port.optimizer.state import OptimizerState

__all__ = ["OFFSETS", "Settings", "setting_problems"]

OFFSETS = (0, 1, 10)
"""Steps after the present one at which the learning rates are compared: schedules differ in what comes."""

# optax computes a schedule in float32, whatever the parameters are.
_RELATIVE = 1e-5


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an optimizer changes one parameter.

    Args:
        algorithm: such as `"Adam"`, or what it seems to be where it is none of those that are known.
        trained: whether the parameter is changed at all.
        rates: the learning rate after each of `OFFSETS`; empty where it is not known.
        values: the other settings by PyTorch's names; those that are not known are left out.
    """

    algorithm: str
    trained: bool = True
    rates: tuple[float, ...] = ()
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def setting_problems(
    source: Mapping[str, Settings], target: Mapping[str, Settings], state: OptimizerState
) -> list[str]:
    """One sentence for each setting that can be read on both sides and is not the same.

    Args:
        source: by PyTorch's name of the parameter.
        target: the same.
        state: what is carried, which says where the schedule stands.
    """
    differences: dict[tuple[str, str, str], list[str]] = {}
    for name in source:
        if name in target:
            for what, received, expected in _differences(source[name], target[name], state):
                differences.setdefault((what, expected, received), []).append(name)
    fix = "make both from one description of einops_arch.port.optimizer.specs, or allow_settings=True to go on"
    return [
        f"{what}: expected {expected}, as the target has, received {received} from the source ({_listed(names)}); "
        f"likely fix: {fix}"
        for (what, expected, received), names in differences.items()
    ]


def _differences(source: Settings, target: Settings, state: OptimizerState) -> list[tuple[str, str, str]]:
    words = {True: "trained", False: "frozen"}
    if source.trained != target.trained:
        return [("parameters", words[source.trained], words[target.trained])]
    if not source.trained:
        return []
    if source.algorithm != target.algorithm:
        return [("algorithm", source.algorithm, target.algorithm)]
    differences = []
    position = state.schedule if state.schedule is not None else state.steps
    for offset, received, expected in zip(OFFSETS, source.rates, target.rates, strict=False):
        if not _same(received, expected):
            where = f"{offset} steps later" if position is None else f"at step {position + offset}"
            differences.append((f"lr {where}" if offset else "lr", _number(received), _number(expected)))
            break
    for name, value in source.values.items():
        if name in target.values and not _same(value, target.values[name]):
            differences.append((name, _number(value), _number(target.values[name])))
    return differences


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        return bool(value == other)
    return math.isclose(value, other, rel_tol=_RELATIVE, abs_tol=1e-13)


def _number(value: Any) -> str:
    return str(value) if isinstance(value, bool) else f"{value:.6g}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
