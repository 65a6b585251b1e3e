"""The weights at which a twin is proved: random ones, and its own moved by a tenth towards them.

At random weights every part of a network counts, and a deep one may magnify rounding a hundred thousandfold, above any
limit. Near the weights that its authors start from it magnifies little. So where nothing but differences of rounding's
size is over a limit, the same comparison is made there, under the same limits. A difference as small as that rounding
is over them there, if it is one at those weights too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from einops_arch.translation.calls import copy_of

__all__ = ["Pair", "moved_pair", "quiet", "random_pair", "within_magnified_rounding", "without_randomness"]

_SHARE = 0.1
_MAGNIFIED = 1e-9
"""Of a result's size: networks were seen to make less of rounding in float64; what differs by more is a difference."""


@dataclass(frozen=True)
class Pair:
    """A model without what draws, and its twin with the same weights.

    Args:
        model: of PyTorch.
        twin: of Flax.
        problem: why the weights are not the ones that were meant.
    """

    model: Any
    twin: Any
    problem: str = ""


def random_pair(model: Any, make: Callable[[Any], Any]) -> Pair:
    """Both with random weights."""
    return _pair(model, make, share=1.0)


def moved_pair(model: Any, make: Callable[[Any], Any]) -> Pair:
    """Both with the model's own weights, a tenth of the way to random ones; so no bias and no scale is zero."""
    return _pair(model, make, share=_SHARE)


def within_magnified_rounding(report: Any, most: float = _MAGNIFIED) -> bool:
    """Whether all that is over a limit are numbers in float64 that differ by what rounding may become.

    Args:
        report: of a comparison.
        most: by how much, of a result's size.
    """
    from einops_arch.parity.report.verdicts import Verdict

    over = [row for rows in report.sections.values() for row in rows if not row.verdict.passed]
    return bool(over) and all(
        row.verdict is Verdict.SEMANTIC and row.difference is not None and row.difference <= most for row in over
    )


def without_randomness(model: Any) -> Any:
    """Stochastic depth of torchvision, timm, transformers and one's own, turned off."""
    from einops_arch.translation.droppath import rate_name

    for module in model.modules():
        name = type(module).__name__
        if name == "StochasticDepth":
            module.p = 0.0
        elif attribute := rate_name(module):
            setattr(module, attribute, 0.0)
    return model


def quiet(twin: Any) -> Any:
    """The same in a twin."""
    from einops_arch.flax.state import named_modules

    for _, module in named_modules(twin):
        if type(module).__name__ in ("StochasticDepth", "DropPath") and hasattr(module, "rate"):
            module.rate = 0.0
    return twin


def _pair(model: Any, make: Callable[[Any], Any], share: float) -> Pair:
    from einops_arch.flax._build import filled
    from einops_arch.parity.probes import randomize

    copy, problem = without_randomness(copy_of(model)), ""
    try:
        randomize(copy)
        _keep_tables(model, copy)
        if share < 1.0:
            copy.load_state_dict(_between(model.state_dict(), copy.state_dict(), share))
    except Exception as error:  # noqa: BLE001 any state that has no random form leaves the model's own
        problem = f"the weights could not be randomized: {error}"
    return Pair(copy, quiet(filled(make, copy.state_dict())), problem)


def _keep_tables(model: Any, copy: Any) -> None:
    """Fill a copy's tables, which no training changes, with their own numbers, each a little smaller.

    A filter bank stays positive, a mask keeps its zeros, and a share stays below 1: without, some models give NaN or
    only magnify rounding.

    Args:
        model: the original.
        copy: whose other weights are random.
    """
    import torch

    from einops_arch.parity.probes import random_numbers

    state = copy.state_dict()
    for name, value in model.named_buffers():
        # One number is no table, but for an infinite one: a bound that bounds nothing.
        several = (value != value.flatten()[:1]).any() or not value.isfinite().all()
        if value.is_floating_point() and "running_" not in name and several and name in state:
            factors = 1 - torch.from_numpy(random_numbers(name, value.shape)).to(value.device).abs() / 28
            state[name] = (value.double() * factors).to(value.dtype)
    copy.load_state_dict(state)


def _between(own: Mapping[str, Any], random: Mapping[str, Any], share: float) -> dict[str, Any]:
    """States in between; what are no real numbers, such as counters, are the random ones."""
    return {
        name: (value.double() * (1 - share) + random[name].double() * share).to(value.dtype)
        if value.is_floating_point()
        else random[name]
        for name, value in own.items()
    }
