"""Verdicts: how two arrays that should be the same are measured and judged."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.layouts.arrays import dtype_kind, same_bits
from einops_arch.parity.report import limits
from einops_arch.parity.report.scales import ancestors, fillers, split_scales

__all__ = ["Array", "Measure", "Pair", "Verdict", "is_exact", "measure", "rms", "unit_roundoff", "wide", "worst"]

Array: TypeAlias = np.ndarray[Any, Any]

_UNIT = 2.0**-24
"""The unit roundoff of float32, in which narrower models may compute what they then round."""


class Verdict(enum.StrEnum):
    """The verdicts, from the best to the worst."""

    BIT_EQUAL = "bit-equal"
    SAME_FUNCTION = "same function"
    NO_EVIDENCE = "no evidence"
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
        roundoff: the unit roundoff of the finer of the dtypes that the two models declare; 0 where none is known.
    """

    torch: Array
    flax: Array
    torch_own: Array | None = None
    flax_own: Array | None = None
    roundoff: float = 0.0


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
        by_ratio: the ratio of the errors alone makes it rounding, and no integer that is another one.
    """

    difference: float | None
    torch_error: float | None
    flax_error: float | None
    ratio: float | None
    verdict: Verdict
    size: int = 0
    detail: str = ""
    by_ratio: bool = False


def is_exact(array: Array) -> bool:
    """Whether it holds integers or truth values, of which no difference is rounding."""
    return dtype_kind(array.dtype) not in ("floating-point", "complex")


def wide(array: Array) -> Array:
    """The same numbers in float64, or in complex128: every type that models have is widened exactly."""
    if array.dtype == np.float64:
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64, copy=False)


def rms(array: Array) -> float:
    """Root mean square, without overflow; 0 for no numbers."""
    if not array.size:
        return 0.0
    values = np.abs(wide(array))
    top = float(values.max())
    if top == 0 or not math.isfinite(top):
        return top
    return top * math.sqrt(float(np.mean(np.square(values / top))))


def measure(
    pairs: Sequence[Pair],
    *,
    zero: float = 0.0,
    scale: float = 0.0,
    limit: float = limits.FLOAT64,
    usual: float = 0.0,
) -> Measure:
    """The verdict on arrays that belong together, such as the outputs of one module.

    Each is measured relative to its own scale, and the largest counts. NaN and infinities that stand at the same
    places on both sides are left out and named, and so are fillers such as those of masks, which are equal on both
    sides and of another size than the rest.

    Args:
        pairs: arrays of equal shapes.
        zero: where both sides' rms is at or below it, they are zero to rounding.
        scale: of the numbers that were added up to these: where they cancel, what is left is their rounding, so a
            difference is taken relative to this at least.
        limit: of the difference.
        usual: the size that values have inside of the network. A few numbers, such as a mean, may be what is left of
            others that cancel, and their rounding is that of those.
    """
    for pair in pairs:
        if pair.torch.shape != pair.flax.shape:
            return Measure(None, None, None, None, Verdict.SHAPE, 0, f"{pair.torch.shape} and {pair.flax.shape}")
    if words := _not_finite(pairs):
        return Measure(None, None, None, None, Verdict.NAN, 0, words)
    size = sum(pair.torch.size for pair in pairs)
    same = all(_same_bits(pair) for pair in pairs)
    kept = [_comparable(pair) for pair in pairs]
    detail = "; ".join(dict.fromkeys(words for _, words in kept if words))
    pairs = [pair for pair, _ in kept]
    difference = max((_difference(pair, zero, scale) for pair in pairs), default=0.0)
    least = max(scale, usual * (size < limits.POOL))
    both = [(pair, errors) for pair in pairs if (errors := _own_errors(pair, zero, least))]
    torch_error, flax_error = (max((errors[side] for _, errors in both), default=None) for side in (0, 1))
    ratio: float | None = None
    over = False
    for pair, (own, other) in both:
        quotient = other / own if own else (math.inf if other else None)
        if quotient is not None and (ratio is None or _off(quotient) > _off(ratio)):
            ratio = quotient
        # What is zero in exact arithmetic is rounding, of whatever size: PyTorch's is no measure of Flax's.
        worse = other if _is_zero(pair, zero) else max(own, other)
        floor = _floor(pair, torch_is_worse=own > other) * _roundoff(pair)
        over |= worse > floor and worse > limits.RATIO * min(own, other)
    unequal = [words for pair in pairs if (words := _unequal_own(pair))]
    if difference > limit:
        verdict = Verdict.SEMANTIC
    elif over or unequal:
        detail = "; ".join([*filter(None, [detail]), *unequal])
        verdict = Verdict.ROUNDING
    elif same:
        verdict = Verdict.BIT_EQUAL
    else:
        verdict = Verdict.SAME_FUNCTION
    by_ratio = verdict is Verdict.ROUNDING and over and not unequal
    return Measure(difference, torch_error, flax_error, ratio, verdict, size, detail, by_ratio)


def _unequal_own(pair: Pair) -> str:
    """Words on integers and truth values that one side has otherwise in its own dtype, far more often than the other.

    Where numbers are compared or rounded, a few lie so near the border that rounding decides.
    """
    if pair.torch_own is None or pair.flax_own is None or not is_exact(pair.torch):
        return ""
    own, other = (int(np.count_nonzero(array != pair.torch)) for array in (pair.torch_own, pair.flax_own))
    if max(own, other) <= limits.RATIO * (1 + min(own, other)):
        return ""
    side, count = ("PyTorch", own) if own > other else ("Flax", other)
    return f"{count} of {pair.torch.size} values are others in {side}'s own dtype"


def _off(ratio: float) -> float:
    """How far a ratio is from 1, in either direction."""
    return max(ratio, 1 / ratio) if ratio else math.inf


def _difference(pair: Pair, zero: float, least: float) -> float:
    if is_exact(pair.torch) or is_exact(pair.flax):
        unequal = pair.torch != pair.flax
        return float(np.mean(unequal)) if unequal.size else 0.0
    if _is_zero(pair, zero):
        return 0.0
    gap, scale = split_scales(wide(pair.torch), wide(pair.flax), rms, _made_of(pair))
    scale = max(scale, least)
    return gap / scale if scale else (math.inf if gap else 0.0)


def _made_of(pair: Pair) -> Array | None:
    """The size of the numbers that each value is what is left of, where both own dtypes tell it."""
    if pair.torch_own is None or pair.flax_own is None or is_exact(pair.torch_own) or is_exact(pair.flax_own):
        return None
    sizes = [
        ancestors(wide(exact), wide(own), min(unit_roundoff(own.dtype), _UNIT))
        for exact, own in ((pair.torch, pair.torch_own), (pair.flax, pair.flax_own))
    ]
    return np.maximum(*sizes)


def _is_zero(pair: Pair, zero: float) -> bool:
    return rms(pair.torch) <= zero and rms(pair.flax) <= zero


def _own_errors(pair: Pair, zero: float, least: float) -> tuple[float, float] | None:
    """The rms errors of both in their own dtype, relative to the scale of the float64 result."""
    if pair.torch_own is None or pair.flax_own is None or is_exact(pair.torch):
        return None
    scale = max(rms(pair.torch), least, zero / limits.FLOAT64 if _is_zero(pair, zero) else 0.0) or 1.0
    torch_error, flax_error = (rms(wide(own) - pair.torch) / scale for own in (pair.torch_own, pair.flax_own))
    return torch_error, flax_error


def _roundoff(pair: Pair) -> float:
    """The unit roundoff that both owe: of the dtype that both results have, or else of what the models declare."""
    kinds = [own.dtype for own in (pair.torch_own, pair.flax_own) if own is not None and not is_exact(own)]
    units = [unit_roundoff(kind) for kind in kinds]
    if len(set(kinds)) < 2 or not pair.roundoff:
        return max(units[:1], default=2.0**-53) if len(set(kinds)) < 2 else min(units)
    return min(*units, pair.roundoff)


def _floor(pair: Pair, *, torch_is_worse: bool) -> float:
    """The error that counts as none, in unit roundoffs. A twin may sum more exactly than PyTorch does."""
    return limits.SUMMED if torch_is_worse and _roundoff(pair) <= _UNIT else limits.FLOOR


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """Half the gap between 1 and the next number; ml_dtypes is needed only for types that numpy does not have.

    >>> unit_roundoff(np.dtype("float32")) == 2.0**-24
    True
    """
    if dtype.kind in "fc" and dtype.isbuiltin == 1:
        return float(np.finfo(dtype).eps) / 2
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2


def _same_bits(pair: Pair) -> bool:
    torch, flax = (pair.torch, pair.flax) if pair.torch_own is None else (pair.torch_own, pair.flax_own)
    if is_exact(torch) and flax is not None:
        # jax without x64 has no int64.
        return bool(np.array_equal(torch, flax))
    return flax is not None and same_bits(torch, flax)


def _comparable(pair: Pair) -> tuple[Pair, str]:
    """Without what is the same on both sides and has no size of its own, and words on what that was."""
    if is_exact(pair.torch) or is_exact(pair.flax):
        return pair, ""
    finite = np.isfinite(wide(pair.torch)) & np.isfinite(wide(pair.flax))
    words = [] if finite.all() else [f"{np.size(finite) - int(finite.sum())} {_kinds(wide(pair.torch)[~finite])}"]
    for array in (pair.torch_own, pair.flax_own):
        if array is not None:
            finite &= np.isfinite(wide(array))
    full = _where(pair, finite)
    own = [wide(array) for array in (full.torch_own, full.flax_own) if array is not None]
    fill = fillers(wide(full.torch), wide(full.flax), own)
    if fill.any():
        words.append(f"{int(fill.sum())} fillers of {np.abs(wide(full.torch)[fill]).max():.1e}")
        full = _where(full, ~fill)
    return full, f"{' and '.join(words)} at the same places on both sides" if words else ""


def _where(pair: Pair, places: Array) -> Pair:
    """The numbers at some places."""
    if places.all():
        return pair
    own = [None if array is None else array[places] for array in (pair.torch_own, pair.flax_own)]
    return Pair(pair.torch[places], pair.flax[places], own[0], own[1], pair.roundoff)


def _kinds(values: Array) -> str:
    kinds = [("NaN", np.isnan(values)), ("inf", values == np.inf), ("-inf", values == -np.inf)]
    return ", ".join(name for name, places in kinds if places.any()) or "inf"


def _not_finite(pairs: Sequence[Pair]) -> str:
    """Which side has NaN or infinities where the other has none; those at the same places are by design."""
    sides: dict[str, list[str]] = {"PyTorch": [], "Flax": []}
    for names, where in ((("torch", "flax"), "float64"), (("torch_own", "flax_own"), "its own dtype")):
        for pair in pairs:
            torch, flax = (getattr(pair, name) for name in names)
            if torch is None or flax is None or is_exact(torch) or is_exact(flax):
                continue
            if np.array_equal(_signs(wide(torch)), _signs(wide(flax))):
                continue
            for side, array in (("PyTorch", torch), ("Flax", flax)):
                if not np.isfinite(wide(array)).all() and where not in sides[side]:
                    sides[side].append(where)
    return ", ".join(f"{side} in {' and '.join(places)}" for side, places in sides.items() if places)


def _signs(array: Array) -> Array:
    """0 where a number is finite; else which of NaN and the infinities it is."""
    if array.dtype.kind == "c":
        return np.where(np.isfinite(array), 0, 1)
    return np.where(np.isnan(array), 2, np.where(np.isfinite(array), 0, np.sign(array)))
