"""The table of operations, by family: importing this fills it."""

from einops_arch.translation.ops import (
    arithmetic,
    attention,
    factories,
    fourier,
    images,
    indexing,
    nn,
    reductions,
    shapes,
    windows,
)
from einops_arch.translation.ops.table import operation, write_operation

__all__ = [
    "arithmetic",
    "attention",
    "factories",
    "fourier",
    "images",
    "indexing",
    "nn",
    "operation",
    "reductions",
    "shapes",
    "windows",
    "write_operation",
]
