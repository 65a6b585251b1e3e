"""Sums and writes at indices that are tensors."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("index_add")
def index_add(writer: Writer, node: Node, input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Array:
    """Rows are added where the index says."""
    array, places, rows = (writer.ordered(tensor).code for tensor in (input, index, source))
    if alpha != 1:
        rows = f"{writer.number(alpha)} * {rows}"
    inner = ", ".join([":"] * (dim % len(input.shape)) + [places])
    return from_value(writer.bind(f"{array}.at[{inner}].add({rows})"), node.outputs)


@operation("scatter_add")
def scatter_add(writer: Writer, node: Node, input: Any, dim: int, index: Any, src: Any) -> Array:
    """Entries are added where an index of the same shape says."""
    return _scatter(writer, node, input, dim, index, src, "add")


@operation("scatter")
def scatter(
    writer: Writer, node: Node, input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None
) -> Array:
    """Entries are written where an index of the same shape says."""
    return _scatter(writer, node, input, dim, index, value if src is None else src, "set")


def _scatter(writer: Writer, node: Node, target: Any, dim: int, index: Any, source: Any, how: str) -> Array:
    rank = len(target.shape)
    if rank > 3 or (hasattr(source, "sizes") and source.sizes != index.sizes):
        raise UnknownOperationError("an index of another shape than what is written")
    array, places = writer.ordered(target).code, writer.ordered(index).code
    written = writer.number(source)
    parts = []
    for axis in range(rank):
        if axis == dim % rank:
            parts.append(places)
        else:
            units = ", ".join(":" if n == axis else "None" for n in range(rank))
            parts.append(f"jnp.arange({places}.shape[{axis}])[{units}]" if rank > 1 else places)
    return from_value(writer.bind(f"{array}.at[{', '.join(parts)}].{how}({written})"), node.outputs)
