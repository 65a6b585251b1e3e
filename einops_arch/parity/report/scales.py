"""Values of many scales in one array: each is judged by the size of its own kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.parity.report import limits

__all__ = ["ancestors", "fillers", "split_scales"]

_APART = 17
"""Magnitudes with no value between them over so many powers of two are of two kinds, such as scores and a mask's."""
_FEW = 4096
"""Of so many numbers and more the exponents are counted, and not sorted; no exponent is as large."""
_DISTINCT = 2
"""A filler is one number, or one of either sign."""
_EXACT = 2.0**-7
"""What a filler may lose in a narrow dtype; bfloat16 loses a quarter of it at most."""
_NOISE = 64 / limits.FLOAT64
"""So many times the rounding of large values may be in small ones beside them, which may be what is left of it."""
_SMALL = 2.0**-10
"""Values that are smaller than all together by so much, and made of such, are of a kind of their own."""
_SPAN = 8
"""Values within so many powers of two are of one kind, where it is known what each is made of."""


def fillers(torch: Any, flax: Any, own: Sequence[Any]) -> Any:
    """Where both sides hold the same large number, far from the size of the rest, as masks do.

    In their own dtypes the two may hold what the number rounds to.

    Args:
        torch: PyTorch's finite values.
        flax: Flax's at the same places.
        own: both in their own dtypes.

    >>> values = np.array([1.0, -2.0, -1e9, -1e9])
    >>> fillers(values, values + [0, 0.5, 0, 0], []).tolist()
    [False, False, True, True]
    """
    chosen = np.zeros(torch.shape, bool)
    for group in _groups(torch, flax)[1:]:
        values, others = torch[group], flax[group]
        constant = np.unique(values).size <= _DISTINCT and np.array_equal(values, others)
        if constant and all(_close(array[group], values) for array in own):
            chosen |= group
        else:
            break
    return chosen


def split_scales(
    torch: Any, flax: Any, rms: Callable[[Any], float], made_of: Any = None, limit: float = limits.FLOAT64
) -> tuple[float, float]:
    """The rms difference and the scale of it, of the group of values in which that is worst.

    Args:
        torch: PyTorch's values.
        flax: Flax's.
        rms: root mean square without overflow.
        made_of: the size of the numbers that each value is what is left of, as `ancestors` gives it; None where it is
            not known.
        limit: a relative difference that is none.
    """
    worst = (rms(flax - torch), rms(torch))
    if not worst[0]:
        return worst
    if made_of is not None:
        return max(
            [worst, *_by_size(torch, flax, rms, made_of, limit, worst[1])], key=lambda pair: pair[0] / (pair[1] or 1)
        )
    groups = _groups(torch, flax)
    if len(groups) < 2:
        return worst
    lent = 0.0
    for group in reversed(groups):
        gap, size = rms(flax[group] - torch[group]), rms(torch[group])
        scale = max(size, lent)
        if gap:
            lent = max(lent, min(size, _NOISE * max(gap, 2.0**-53 * size)))
        if gap * (worst[1] or 1.0) > worst[0] * scale:
            worst = (gap, scale)
    return worst


def ancestors(exact: Any, own: Any, unit: float) -> Any:
    """The size of the numbers that values are what is left of, by the error that they have in a narrower dtype.

    A sum that cancels has the rounding of its terms. What is zero in the narrow dtype tells nothing, and is taken for
    what is left of anything.

    >>> ancestors(np.array([1e-3, 1.0]), np.array([1e-3 + 2.0**-24, 1.0 + 2.0**-24]), 2.0**-24).round(3).tolist()
    [1.0, 1.0]
    """
    return np.where(own == 0, np.inf, np.abs(own - exact) / unit)


def _by_size(
    torch: Any, flax: Any, rms: Callable[[Any], float], made_of: Any, limit: float, whole: float
) -> Iterator[tuple[float, float]]:
    """The difference and its scale of each group of values of about one size, of those that may be over the limit."""
    gaps, sizes = np.abs(flax - torch), np.maximum(np.abs(torch), np.abs(flax))
    bands = np.frexp(sizes)[1] // _SPAN
    for band in np.unique(bands[gaps > limit * sizes]):
        group = (bands == band) & (sizes > 0)
        scale = max(rms(torch[group]), min(whole, rms(made_of[group])))
        if scale < whole * _SMALL:
            yield rms(gaps[group]), scale


def _groups(torch: Any, flax: Any) -> list[Any]:
    """Places by magnitude, from the smallest, where there are gaps between magnitudes; zeros go with the smallest."""
    sizes = np.maximum(np.abs(torch), np.abs(flax))
    exponents = np.frexp(sizes)[1]
    present = np.unique(exponents[sizes > 0]) if sizes.size < _FEW else np.flatnonzero(_counts(exponents, sizes)) - _FEW
    edges = present[1:][np.diff(present) > _APART]
    if not edges.size:
        return [np.ones(torch.shape, bool)]
    index = np.where(sizes > 0, np.searchsorted(edges, exponents, side="right"), 0)
    return [index == n for n in range(len(edges) + 1)]


def _counts(exponents: Any, sizes: Any) -> Any:
    return np.bincount((exponents[sizes > 0] + _FEW).ravel())


def _close(own: Any, exact: Any) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.all(np.abs(own / exact - 1) < _EXACT))
