"""What optimisers keep, in words that both frameworks share, and the form in which it crosses the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Moments", "OptimizerState", "TORCH_BUFFERS"]

Moments: TypeAlias = dict[str, dict[str, np.ndarray[Any, Any]]]
"""Arrays with PyTorch's names and layout of the parameters, by the kind of moment."""

TORCH_BUFFERS: Mapping[str, Mapping[str, str]] = {
    "SGD": {"momentum": "momentum_buffer"},
    "Adam": {"mean": "exp_avg", "square": "exp_avg_sq"},
    "RMSprop": {"mean": "grad_avg", "square": "square_avg", "momentum": "momentum_buffer"},
}
"""PyTorch's names of the moments, by family. AdamW is of the family of Adam: it keeps the same."""


@dataclass
class OptimizerState:
    """What an optimizer keeps of the steps it has taken.

    Args:
        family: `"SGD"`, `"Adam"` or `"RMSprop"`.
        moments: by kind (`"momentum"`, `"mean"`, `"square"`) and by PyTorch's name of the parameter.
        names: the parameters that the optimizer changes, by PyTorch's names; some may have no moments yet.
        steps: how many steps it has taken; None where it does not count them.
        schedule: the position of the learning rate's schedule; None without a schedule.
        problems: what cannot be carried.
        frozen: the names among them that want no gradient.
    """

    family: str
    moments: Moments
    names: list[str]
    steps: int | None = None
    schedule: int | None = None
    problems: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> str:
        """What it keeps, as a person reads it."""
        kept = " and ".join(sorted(self.moments)) or "no moments"
        return f"{self.family} with {kept}"
