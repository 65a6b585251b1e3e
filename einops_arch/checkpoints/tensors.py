"""What a tensor in a file is before its bytes are read: shape and dtype, under names that every framework knows.

Bits are moved as unsigned integers of the same size, so moving a bfloat16 needs no library that has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch._text import brief
from einops_arch.errors import CheckpointError
from einops_arch.layouts.arrays import Bits

__all__ = ["DTYPES", "FLOATS", "MAX_RANK", "Bits", "TensorInfo", "carrier", "info_of", "numpy_dtype"]

FLOATS = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}

DTYPES = {
    **FLOATS,
    **{f"{sign}int{8 * size}": size for size in (8, 4, 2, 1) for sign in ("", "u")},
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one element by the name of the dtype, which is the same in numpy, ml_dtypes, torch and jax."""

_LARGEST = 2**63 - 1
MAX_RANK = 64
"""numpy's."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The shape and dtype of a tensor.

    Raises:
        CheckpointError: no array of that shape or dtype exists.
    """

    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise CheckpointError(f"dtype {brief(self.dtype)} is not supported; known are {', '.join(DTYPES)}")
        if len(self.shape) > MAX_RANK:
            raise CheckpointError(f"expected at most {MAX_RANK} axes, received {len(self.shape)}")
        if any(size < 0 for size in self.shape):
            raise CheckpointError(f"expected sizes of at least 0, received shape {_short(self.shape)}")
        # Zeros do not make other sizes harmless: numpy multiplies them without.
        if math.prod(size for size in self.shape if size) * DTYPES[self.dtype] > _LARGEST:
            raise CheckpointError(f"no memory holds shape {_short(self.shape)} of {self.dtype}")

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.size * DTYPES[self.dtype]


def info_of(array: np.ndarray[Any, Any]) -> TensorInfo:
    """The shape and dtype of an array at hand."""
    return TensorInfo(tuple(array.shape), array.dtype.name)


def carrier(dtype: str) -> np.dtype[Any]:
    """The numpy dtype that carries the bits of a dtype."""
    return np.dtype(dtype) if dtype == "complex128" else np.dtype(f"u{DTYPES[dtype]}")


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy dtype, one of ml_dtypes where numpy has none.

    Raises:
        MissingFrameworkError: the dtype is one of ml_dtypes, which is not installed.
    """
    if dtype in np.sctypeDict:
        return np.dtype(dtype)
    require("ml_dtypes", extra="torch", by=f"an array of {dtype}")
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, dtype))


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) < 100 else f"{text[:100]}..."
