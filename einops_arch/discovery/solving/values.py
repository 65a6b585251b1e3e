"""The values that a function is tried with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from einops_arch.discovery.solving.sampling import Sizes

__all__ = ["close", "counted", "integers", "normal", "scattered", "shapes_of"]


def shapes_of(inputs: Sequence[Sequence[str]], sizes: Sizes) -> tuple[tuple[int, ...], ...]:
    """The shape of each input."""
    return tuple(tuple(sizes[name] for name in names) for names in inputs)


def counted(shapes: Sequence[Sequence[int]]) -> list[Any]:
    """One array for each shape; all elements together are numbered from 1."""
    arrays, start = [], 1
    for shape in shapes:
        total = math.prod(shape)
        arrays.append(np.arange(start, start + total, dtype=np.float64).reshape(shape))
        start += total
    return arrays


def scattered(shapes: Sequence[Sequence[int]], seed: int) -> list[Any]:
    """Arrays of random whole numbers of both signs, hardly two of them equal, exact in float32 too."""
    random = np.random.default_rng(seed)
    return [random.integers(-(2**24), 2**24, shape, np.int32).astype(np.float64) for shape in shapes]


def normal(shapes: Sequence[Sequence[int]], seed: int) -> list[Any]:
    """Random arrays of values around 0."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape, np.float32) for shape in shapes]


def integers(shapes: Sequence[Sequence[int]], seed: int) -> list[Any]:
    """Random small whole numbers without 0: sums and products of them have no rounding."""
    random = np.random.default_rng(seed)
    return [random.integers(1, 4, shape) * random.choice([-1.0, 1.0], shape) for shape in shapes]


def close(received: Any, other: Any, dtype: str | None) -> bool:
    """Equal, up to the rounding of a mean or a product."""
    precise = dtype == "float64" and received.dtype == np.float64
    tolerance = 1e-9 if precise else 1e-4
    return received.shape == other.shape and bool(np.allclose(received, other, rtol=tolerance, atol=tolerance / 10))
