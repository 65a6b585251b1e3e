"""The table of operations, by family: importing this fills it."""

from einops_arch.translation.ops import (
    arithmetic,
    attention,
    edges,
    factories,
    fourier,
    images,
    indexing,
    items,
    joins,
    losses,
    nn,
    pixels,
    reductions,
    shapes,
    windows,
)
from einops_arch.translation.ops.table import operation, write_operation

__all__ = [
    "arithmetic",
    "attention",
    "edges",
    "factories",
    "fourier",
    "images",
    "indexing",
    "items",
    "joins",
    "losses",
    "nn",
    "operation",
    "pixels",
    "reductions",
    "shapes",
    "windows",
    "write_operation",
]
