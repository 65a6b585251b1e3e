"""Where in an output the difference sits: by channel and by position, and what such a picture means."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Array, rms
from einops_arch.parity.runs.axes import Layout

__all__ = ["ErrorMaps", "error_maps", "first_maps"]

_CHANNELS, _SIDE = 256, 64
"""Larger maps are made smaller by the rms of neighbours: no screen shows more."""


@dataclasses.dataclass(frozen=True)
class ErrorMaps:
    """The float64 difference of one output, relative to the rms of PyTorch's.

    Args:
        path: of the module.
        shape: PyTorch's.
        channels: rms by channel, or by feature; none where the output has no such axis.
        positions: rms by position, rows and columns; one row for a sequence, none where there are no positions.
        axes: what the rows and columns are, such as `("h", "w")`.
        reading: what the pictures say, in words; empty if nothing stands out.
    """

    path: str
    shape: tuple[int, ...]
    channels: tuple[float, ...] = ()
    positions: tuple[tuple[float, ...], ...] = ()
    axes: tuple[str, str] = ("", "")
    reading: tuple[str, ...] = ()


def error_maps(path: str, torch: Array, flax: Array, layout: Layout) -> ErrorMaps | None:
    """The maps of two results that should be the same.

    Args:
        path: of the module.
        torch: PyTorch's, in float64, in its own layout.
        flax: Flax's, in float64.
        layout: which axis of PyTorch's each axis of Flax's is; channels are last in Flax.

    Returns:
        The maps; None where the shapes differ, or the numbers are integers, not finite, or too few axes.

    >>> torch = np.ones((1, 2, 4, 5))
    >>> flax = np.ones((1, 4, 5, 2))
    >>> flax[:, 0] += 0.5
    >>> error_maps("conv", torch, flax, (0, 2, 3, 1)).reading
    ('the difference is at the border alone (top 1), as of another padding',)
    """
    moved = torch.transpose(layout)
    if moved.shape != flax.shape or moved.ndim < 2 or moved.dtype.kind != "f" or flax.dtype.kind != "f":
        return None
    if not moved.size or not (np.isfinite(moved).all() and np.isfinite(flax).all()):
        return None
    scale = rms(moved) or 1.0
    error = np.abs(flax.astype(np.float64) - moved) / scale
    channels = _rms(error, tuple(range(error.ndim - 1)))
    # A sequence has its batch beside it, which is first or second; both axes are shown.
    moves = layout != tuple(range(len(layout)))
    names = {3: ("", "w") if moves else ("first axis", "second axis"), 4: ("h", "w"), 5: ("h", "w")}
    positions = np.zeros((0, 0))
    if error.ndim in names:
        keep = {3: (1,) if moves else (0, 1), 4: (1, 2), 5: (2, 3)}[error.ndim]
        positions = np.atleast_2d(_rms(error, tuple(n for n in range(error.ndim) if n not in keep)))
    spatial = positions if error.ndim > 3 or moves else positions[:0]
    readings = [*_border(spatial), *_comb(channels), *_sequence(positions, names.get(error.ndim, ("", "")))]
    return ErrorMaps(
        path,
        tuple(torch.shape),
        tuple(map(float, _smaller(channels, 0, _CHANNELS))),
        tuple(tuple(map(float, row)) for row in _smaller(_smaller(positions, 0, _SIDE), 1, _SIDE)),
        names.get(error.ndim, ("", "")),
        tuple(readings),
    )


def _rms(values: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.sqrt(np.mean(np.square(values), axis=axes)))


def _border(positions: Array) -> list[str]:
    """Wrong lines at the border and nothing inside."""
    bad = positions > limits.FLOAT64
    if not bad.any() or bad.all():
        return []
    sides: list[tuple[str, int]] = []
    for names, axis in ((("top", "bottom"), 0), (("left", "right"), 1)):
        if bad.shape[axis] < 3:
            continue
        # The share of each line that is wrong: a ring is wrong all along, whatever else is.
        whole = np.asarray(bad.all(axis=1 - axis))
        first = _leading(whole)
        last = _leading(whole[::-1])
        sides += [(name, count) for name, count in zip(names, (first, last), strict=True) if count]
    inside = bad.copy()
    for name, count in sides:
        lines = inside if name in ("top", "bottom") else inside.T
        lines[slice(count) if name in ("top", "left") else slice(-count, None)] = False
    if not sides or inside.any():
        return []
    where = ", ".join(f"{name} {count}" for name, count in sides)
    return [f"the difference is at the border alone ({where}), as of another padding"]


def _leading(flags: Array) -> int:
    return int(flags.size if flags.all() else np.argmin(flags))


def _comb(channels: Array) -> list[str]:
    """Channels that agree among channels that do not."""
    bad = channels > limits.FLOAT64
    if not bad.any() or bad.all():
        return []
    right = np.flatnonzero(~bad)
    gaps = set(np.diff(right).tolist())
    if right.size > 2 and len(gaps) == 1 and 1 not in gaps:
        shown = ", ".join(map(str, right[:3]))
        return [f"only channels {shown} ... (a comb) are right, as of another order of the channels"]
    return [f"{int(bad.sum())} of {bad.size} channels differ: {_listed(np.flatnonzero(bad).tolist())}"]


def _sequence(positions: Array, axes: tuple[str, str]) -> list[str]:
    """The first wrong step of a sequence."""
    if axes[0] != "first axis":
        return []
    bad = positions > limits.FLOAT64
    readings = []
    for n, name in enumerate(axes):
        lines = bad.any(axis=1 - n)
        if lines.any() and not lines.all():
            readings.append(f"along the {name} only these differ: {_listed(np.flatnonzero(lines).tolist())}")
    return readings


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:12]))
    return shown + (f" and {len(numbers) - 12} more" if len(numbers) > 12 else "")


def _smaller(values: Array, axis: int, size: int) -> Array:
    """At most `size` lines along an axis, each the rms of neighbours."""
    count = values.shape[axis]
    if count <= size:
        return values
    starts = np.arange(size) * count // size
    sums = np.add.reduceat(np.square(values), starts, axis=axis)
    shape = [1] * values.ndim
    shape[axis] = size
    return np.asarray(np.sqrt(sums / np.diff(np.append(starts, count)).reshape(shape)))


def first_maps(two: Any, row: Any) -> ErrorMaps | None:
    """The maps of the first output of the first wrong call.

    Args:
        two: both runs, as `einops_arch.parity.report.pair.RunPair`.
        row: of the first divergence; None if there is none.
    """
    if row is None or row.verdict.passed:
        return None
    pairs = []
    if row.order < len(two.torch.calls) and two.torch.calls[row.order].path == row.path:
        call = two.torch.calls[row.order]
        other = next(
            (flax_call for flax_call in two.flax.calls if (flax_call.path, flax_call.index) == (call.path, call.index)),
            None,
        )
        if other is not None and len(other.arrays) == len(call.arrays):
            pairs = [
                (array, other.arrays[n], two.layouts.get((call.path, call.index, n)))
                for n, array in enumerate(call.arrays)
            ]
    for torch, flax, layout in pairs:
        maps = None if layout is None else error_maps(row.path, torch, flax, layout)
        if maps is not None and max((*maps.channels, 0.0)) > limits.FLOAT64:
            return maps
    return None
