"""What is said about two arrays that should be the same, and why."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.layouts.arrays import same_bits
from einops_arch.parity.report import limits

__all__ = ["Array", "Measure", "Pair", "Verdict", "measure", "rms", "unit_roundoff", "worst"]

Array: TypeAlias = np.ndarray[Any, Any]


class Verdict(enum.StrEnum):
    """The verdicts, from the best to the worst."""

    BIT_EQUAL = "bit-equal"
    SAME_FUNCTION = "same function"
    ROUNDING = "rounding"
    HIDDEN_CAST = "hidden cast"
    MISSING = "missing"
    SEMANTIC = "semantic difference"
    SHAPE = "shape"
    NAN = "NaN or inf"

    @property
    def passed(self) -> bool:
        """The two sides compute the same function, about equally well."""
        return self in (Verdict.BIT_EQUAL, Verdict.SAME_FUNCTION)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of some verdicts; of none, the best that there is."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.BIT_EQUAL)


@dataclasses.dataclass(frozen=True)
class Pair:
    """The two arrays that should be the same, PyTorch's already in Flax's layout.

    Args:
        torch: PyTorch's in float64.
        flax: Flax's in float64.
        torch_own: PyTorch's in the model's own dtype, if that was run.
        flax_own: Flax's in the model's own dtype.
    """

    torch: Array
    flax: Array
    torch_own: Array | None = None
    flax_own: Array | None = None


@dataclasses.dataclass(frozen=True)
class Measure:
    """The numbers of one or several pairs, and the verdict on them.

    Args:
        difference: rms of the difference in float64, relative to the rms of PyTorch's.
        torch_error: rms error of PyTorch's own dtype against float64, relative; None if it was not run.
        flax_error: the same of Flax, against the same float64 result.
        ratio: Flax's error by PyTorch's; None where both are zero.
        verdict: what these numbers say.
        size: how many numbers were compared.
        detail: words that go with the verdict.
    """

    difference: float | None
    torch_error: float | None
    flax_error: float | None
    ratio: float | None
    verdict: Verdict
    size: int = 0
    detail: str = ""


def rms(array: Array) -> float:
    """Root mean square, without overflow; 0 for no numbers."""
    if not array.size:
        return 0.0
    values = np.abs(array.astype(np.float64, copy=False))
    top = float(values.max())
    if top == 0 or not math.isfinite(top):
        return top
    return top * math.sqrt(float(np.mean(np.square(values / top))))


def measure(pairs: Sequence[Pair], *, zero: float = 0.0, scale: float = 0.0, limit: float = limits.FLOAT64) -> Measure:
    """The verdict on arrays that belong together, such as the outputs of one module.

    Each is measured relative to its own scale, and the largest counts.

    Args:
        pairs: arrays of equal shapes.
        zero: where both sides' rms is at or below it, they are zero to rounding.
        scale: of the numbers that were added up to these: where they cancel, what is left is their rounding, so a
            difference is taken relative to this at least.
        limit: of the difference.
    """
    for pair in pairs:
        if pair.torch.shape != pair.flax.shape:
            return Measure(None, None, None, None, Verdict.SHAPE, 0, f"{pair.torch.shape} and {pair.flax.shape}")
    if found := _not_finite(pairs):
        return Measure(None, None, None, None, Verdict.NAN, 0, found)
    difference = max((_difference(pair, zero, scale) for pair in pairs), default=0.0)
    size = sum(pair.torch.size for pair in pairs)
    both = [(one, two) for pair in pairs if (one := _own_errors(pair, zero, scale)) for two in [_roundoff(pair)]]
    torch_error, flax_error = (max((errors[side] for errors, _ in both), default=None) for side in (0, 1))
    ratio: float | None = None
    over = False
    for (own, other), roundoff in both:
        mine = other / own if own else (math.inf if other else None)
        if mine is not None and (ratio is None or mine > ratio):
            ratio = mine
        over |= other > limits.FLOOR * roundoff and other > limits.RATIO * own
    if difference > limit:
        verdict = Verdict.SEMANTIC
    elif over:
        verdict = Verdict.ROUNDING
    elif all(_same_bits(pair) for pair in pairs):
        verdict = Verdict.BIT_EQUAL
    else:
        verdict = Verdict.SAME_FUNCTION
    return Measure(difference, torch_error, flax_error, ratio, verdict, size)


def _difference(pair: Pair, zero: float, least: float) -> float:
    if pair.torch.dtype.kind in "biu" or pair.flax.dtype.kind in "biu":
        unequal = pair.torch != pair.flax
        return float(np.mean(unequal)) if unequal.size else 0.0
    if _is_zero(pair, zero):
        return 0.0
    scale = max(rms(pair.torch), least)
    gap = rms(pair.flax.astype(np.float64, copy=False) - pair.torch)
    return gap / scale if scale else (math.inf if gap else 0.0)


def _is_zero(pair: Pair, zero: float) -> bool:
    return rms(pair.torch) <= zero and rms(pair.flax) <= zero


def _own_errors(pair: Pair, zero: float, least: float) -> tuple[float, float] | None:
    """The rms errors of both in their own dtype, relative to the scale of the float64 result."""
    if pair.torch_own is None or pair.flax_own is None or pair.torch.dtype.kind in "biu":
        return None
    scale = max(rms(pair.torch), least, zero / limits.FLOAT64 if _is_zero(pair, zero) else 0.0) or 1.0
    one, other = (rms(own.astype(np.float64) - pair.torch) / scale for own in (pair.torch_own, pair.flax_own))
    return one, other


def _roundoff(pair: Pair) -> float:
    """The unit roundoff of the coarser of both dtypes."""
    kinds = [own.dtype for own in (pair.torch_own, pair.flax_own) if own is not None and own.dtype.kind not in "biu"]
    return max((unit_roundoff(kind) for kind in kinds), default=2.0**-53)


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """Half the gap between 1 and the next number; ml_dtypes is needed only for types that numpy does not have.

    >>> unit_roundoff(np.dtype("float32")) == 2.0**-24
    True
    """
    if dtype.kind == "f" and dtype.isbuiltin == 1:
        return float(np.finfo(dtype).eps) / 2
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2


def _same_bits(pair: Pair) -> bool:
    one, other = (pair.torch, pair.flax) if pair.torch_own is None else (pair.torch_own, pair.flax_own)
    if one.dtype.kind in "biu" and other is not None:
        # jax without x64 has no int64.
        return bool(np.array_equal(one, other))
    return other is not None and same_bits(one, other)


def _not_finite(pairs: Sequence[Pair]) -> str:
    sides = []
    for side, own in (("torch", "torch_own"), ("flax", "flax_own")):
        found = [
            where
            for name, where in ((side, "float64"), (own, "its own dtype"))
            if any(not _finite(getattr(pair, name)) for pair in pairs)
        ]
        if found:
            sides.append(f"{'PyTorch' if side == 'torch' else 'Flax'} in {' and '.join(found)}")
    return ", ".join(sides)


def _finite(array: Array | None) -> bool:
    return array is None or array.dtype.kind in "biu" or bool(np.isfinite(array.astype(np.float64)).all())
