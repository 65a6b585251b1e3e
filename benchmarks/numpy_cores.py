"""The gram matrix in numpy, where `einops.einsum` would call `np.einsum`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import Bar, Case, Work
from einops_arch.functional import gram_matrix

__all__ = ["cases"]

GRAM_SHAPES = ((4, 64, 256, 256), (4, 512, 32, 32), (1, 128, 128, 128))


def cases(device: str) -> Iterator[Case]:
    """All rows; numpy knows one device."""
    del device
    for shape in GRAM_SHAPES:
        size = "x".join(map(str, shape))
        quick = shape == GRAM_SHAPES[-1]
        yield Case("gram_matrix", "numpy", size, "large", partial(_work, shape), Bar(0.2, ("np.einsum",)), quick=quick)


def _work(shape: tuple[int, ...]) -> Work:
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    peers = {"np.einsum": lambda: np.einsum("bchw,bdhw->bcd", x, x)}
    return Work(lambda: gram_matrix(x, normalize="none"), peers, _nearly)


def _nearly(ours: Any, theirs: Any) -> str | None:
    """Up to the rounding of float32 sums; `np.einsum` adds one after the other and rounds worse."""
    error, scale = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    return None if error <= 1e-3 * scale else f"the results differ by {error:.1e} of {scale:.1e}"
