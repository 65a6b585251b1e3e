"""Resize a grid of embeddings as PyTorch's `interpolate` resizes an image: one weight matrix for each axis.

The matrix depends on sizes alone and is made in float64. So both frameworks multiply with the same numbers, in every
dtype, and gradients go through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einops import rearrange, reduce

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


def resize_weights(arange: Callable[[int, int], Any], old: int, new: int, *, antialias: bool) -> Any:
    """What each of `new` positions takes of each of `old` ones, bicubic: a matrix `o i` with rows that sum to 1.

    `torch.nn.functional.interpolate(x, size=new, mode="bicubic", antialias=antialias)` along one axis. With
    antialiasing the kernel is Keys' with a=-0.5, grows where the grid shrinks, and is cut off at the edge; without, a
    is -0.75 and the edge is repeated.

    Args:
        arange: makes an array of the numbers from the first up to the second, in float64.
        old: size of the axis before.
        new: size of the axis after.
        antialias: whether to smooth where the grid shrinks.

    >>> import numpy as np
    >>> resize_weights(lambda *ends: np.arange(*ends, dtype=np.float64), 2, 3, antialias=False).round(4).tolist()
    [[1.0868, -0.0868], [0.5, 0.5], [-0.0868, 1.0868]]
    """
    center = rearrange(arange(0, new) + 0.5, "o -> o 1") * (old / new) - 0.5
    if antialias:
        weights = _keys(abs(arange(0, old) - center) / max(old / new, 1.0), a=-0.5)
        return weights / reduce(weights, "o i -> o 1", "sum")
    # Two more positions at each edge, which the edge stands for.
    wide, index = rearrange(arange(-2, old + 2), "k -> k 1"), arange(0, old)
    edge = ((wide < 0) & (index == 0)) | ((wide >= old) & (index == old - 1))
    # Times ones of float64, because a framework may make truth into a narrower number.
    fold = ((wide == index) | edge) * (0 * index + 1)
    return _keys(abs(rearrange(wide, "k 1 -> k") - center), a=-0.75) @ fold


def _keys(x: Any, a: float) -> Any:
    """Keys' cubic convolution kernel (1981) at distances `x`."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return near * (x < 1) + far * ((x >= 1) & (x < 2))
