"""Writes where a mask is true: `x[mask] = value`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array
from einops_arch.translation.ops.table import elementwise
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__ = ["masked"]


def masked(writer: Writer, node: Node, input: Any, parts: Sequence[Any], value: Any) -> Array:
    """What is written where a mask is: a number, or a tensor that is the same at every place of the mask.

    Args:
        writer: of the body.
        node: the operation.
        input: that is written on.
        parts: the index, the mask and whole axes.
        value: that is written.
    """
    whole = slice(None)
    places = [n for n, part in enumerate(parts) if not (isinstance(part, slice) and part == whole)]
    mask = parts[places[0]]
    if len(places) > 1 or not (isinstance(mask, Value) and mask.dtype == "bool") or not mask.shape:
        raise UnknownOperationError("a part that depends on values is written", "torch.where")
    after = len(parts) - 1 - places[0]
    condition = _with_units(writer, mask, len(mask.shape), after)
    if isinstance(value, Value):
        value = _cast(writer, input, _spread(writer, value, len(mask.shape), after))
    elif input.dtype == "bool":
        value = bool(value)
    elif isinstance(value, float) and "float" not in input.dtype and "complex" not in input.dtype:
        value = int(value)
    return elementwise(writer, node.outputs, "jnp.where({}, {}, {})", condition, value, input)


def _with_units(writer: Writer, value: Value | Array, place: int, count: int) -> Array:
    """The tensor with so many axes of one before a place."""
    array = writer.array(value)
    shape, sizes = array.value.shape, array.value.sizes
    wide = Value(
        (*shape[:place], *(1,) * count, *shape[place:]),
        array.value.dtype,
        sizes=(*sizes[:place], *((1, 1),) * count, *sizes[place:]),
        follows=array.value.follows,
    )
    result = array.copy(wide)
    result.logical[place:place] = [[] for _ in range(count)]
    return result


def _spread(writer: Writer, value: Value, rank: int, after: int) -> Value | Array:
    """The written tensor, whose axis for the places of a mask is of one, with such an axis for each of the mask."""
    place = len(value.shape) - after - 1
    if place < 0:
        return value
    if value.sizes[place] != (1, 1):
        fix = "torch.where or masked_scatter"
        raise UnknownOperationError("other numbers for each place of a mask are written", fix)
    return _with_units(writer, value, place, rank - 1)


def _cast(writer: Writer, input: Value, value: Value | Array) -> Any:
    """PyTorch casts what is written."""
    written = value.value if isinstance(value, Array) else value
    if (written.dtype, written.follows) == (input.dtype, input.follows):
        return value
    array = writer.array(value)
    return array.copy(code=writer.bind(f"{array.code}.astype({writer.dtype_of(input)})"))
