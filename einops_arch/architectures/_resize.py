"""Resize a grid of embeddings as PyTorch's `interpolate` resizes an image: one weight matrix for each axis.

The matrix depends on sizes alone and is made of Python's floats, which are float64. So both frameworks multiply with
the same numbers, in every dtype, and gradients go through.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from einops import rearrange

__all__ = ["resize_positions", "resize_weights"]


def resize_positions(positions: Any, old: tuple[int, int], rows: Any, columns: Any) -> Any:
    """`1 (h w) e -> 1 (h w) e`: the embeddings of one grid for another, in any framework.

    Args:
        positions: one embedding for each patch of the old grid.
        old: height and width of the old grid.
        rows: weights of the heights, new by old, an array of the same framework; see `resize_weights`.
        columns: weights of the widths, new by old.
    """
    h, w = old
    grid = rows @ rearrange(positions, "1 (h w) e -> h (w e)", h=h, w=w)
    grid = columns @ rearrange(grid, "h (w e) -> w (h e)", w=w)
    return rearrange(grid, "w (h e) -> 1 (h w) e", h=rows.shape[0])


def resize_weights(old: int, new: int, *, antialias: bool) -> list[list[float]]:
    """What each of `new` positions takes of each of `old` ones, bicubic: a matrix with rows that sum to 1.

    `torch.nn.functional.interpolate(x, size=new, mode="bicubic", antialias=antialias)` along one axis. With
    antialiasing the kernel is Keys' with a=-0.5, grows where the grid shrinks, and is cut off at the edge; without, a
    is -0.75 and the edge is repeated.

    Args:
        old: size of the axis before.
        new: size of the axis after.
        antialias: whether to smooth where the grid shrinks.

    >>> [[round(weight, 4) for weight in row] for row in resize_weights(2, 3, antialias=False)]
    [[1.0868, -0.0868], [0.5, 0.5], [-0.0868, 1.0868]]
    """
    weigh = _antialiased if antialias else _interpolated
    return [weigh(old, position, old / new) for position in range(new)]


def _antialiased(old: int, position: int, scale: float) -> list[float]:
    stretch = max(scale, 1.0)
    centre, support = scale * (position + 0.5), 2 * stretch
    first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), old)
    kernel = _keys(-0.5)
    taps = [kernel((index - centre + 0.5) / stretch) for index in range(first, last)]
    total = sum(taps)
    return [0.0] * first + [tap / total for tap in taps] + [0.0] * (old - last)


def _interpolated(old: int, position: int, scale: float) -> list[float]:
    centre = scale * (position + 0.5) - 0.5
    nearest = math.floor(centre)
    kernel, weights = _keys(-0.75), [0.0] * old
    for index in range(nearest - 1, nearest + 3):
        weights[min(max(index, 0), old - 1)] += kernel(index - centre)
    return weights


def _keys(a: float) -> Callable[[float], float]:
    """Keys' cubic convolution kernel (1981)."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0

    return kernel
