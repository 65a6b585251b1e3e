"""Entries and parts: indices, slices, and writes on parts."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.masks import masked
from einops_arch.translation.ops.table import operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer, is_floating

__all__: list[str] = []


@operation("__getitem__")
def getitem(writer: Writer, node: Node, input: Any, index: Any) -> Array:
    """Basic indices in the order of the variable; indices that are tensors in PyTorch's."""
    return _item(writer, node, input, index)


def _item(writer: Writer, node: Node, input: Any, index: Any) -> Array:
    parts = _full_index(index, len(input.shape))
    if any(isinstance(part, (Value, list, bool)) for part in parts):
        return _advanced(writer, node, input, parts)
    array = writer.array(input)
    taken = [part for part in parts if part is not None]
    if all(isinstance(part, slice) and _index_code(writer, part) == ":" for part in taken):
        result = array.copy(node.outputs)
        axes = iter(result.logical)
        result.logical = [[] if part is None else next(axes) for part in parts]
        return result
    array = writer.whole(input)
    order = array.order or ()
    codes = [_index_code(writer, part) for part in taken]
    stored = [codes[n] for n in order]
    while stored and stored[-1] == ":":
        stored.pop()
    if len(stored) == 1 and stored[0].isdigit() and len(set(input.sizes[order[0]])) == 1:
        writer.has_parts(array.code, input.sizes[order[0]][0])
    kept = [n for n, part in enumerate(taken) if isinstance(part, slice)]
    code = f"{array.code}[{', '.join(stored)}]"
    sizes, shape = [], []
    outputs = iter(zip(node.outputs.sizes, node.outputs.shape, strict=True))
    for part in parts:
        if part is None:
            next(outputs)
        elif isinstance(part, slice):
            size, length = next(outputs)
            sizes.append(size)
            shape.append(length)
    inner = Value(tuple(shape), node.outputs.dtype, sizes=tuple(sizes), follows=node.outputs.follows)
    inner_order = [kept.index(n) for n in order if n in kept]
    result = writer.make(code, inner, inner_order, [array.names[n] for n in kept])
    result.value = node.outputs
    axes = iter(result.logical)
    result.logical = [[] if part is None else next(axes) for part in parts if part is None or isinstance(part, slice)]
    return result


def _full_index(index: Any, rank: int) -> list[Any]:
    parts = list(index) if isinstance(index, tuple) else [index]
    # A mask takes as many axes as it has.
    taken = sum(
        len(part.shape) if isinstance(part, Value) and part.dtype == "bool" else 1
        for part in parts
        if part is not None and part is not Ellipsis
    )
    fill = [slice(None)] * (rank - taken)
    if any(part is Ellipsis for part in parts):
        place = next(n for n, part in enumerate(parts) if part is Ellipsis)
        return [*parts[:place], *fill, *parts[place + 1 :]]
    return [*parts, *fill]


def _index_code(writer: Writer, part: Any) -> str:
    if part is None:
        return "None"
    if isinstance(part, slice):
        ends = ["" if end is None else writer.number(end) for end in (part.start, part.stop)]
        step = "" if part.step in (None, 1) else f":{writer.number(part.step)}"
        return f"{ends[0]}:{ends[1]}{step}"
    if isinstance(part, list):
        return f"jnp.asarray({part})"
    return writer.number(part)


def _advanced(writer: Writer, node: Node, value: Any, parts: list[Any]) -> Array:
    if any(isinstance(part, Value) and part.dtype == "bool" for part in parts):
        fix = "torch.where, or sums with the mask: (x * mask).sum() / mask.sum() is the mean of x[mask]"
        raise UnknownOperationError("the shape of the result depends on values", fix)
    if any(isinstance(part, bool) for part in parts):
        raise UnknownOperationError("an index that is True or False")
    array = writer.ordered(value)
    codes = [_index_code(writer, part) for part in parts]
    while codes and codes[-1] == ":":
        codes.pop()
    return from_value(writer.bind(f"{array.code}[{', '.join(codes)}]"), node.outputs)


@operation("__setitem__")
def setitem(writer: Writer, node: Node, input: Any, index: Any, value: Any) -> Array:
    """A part is written."""
    parts = _full_index(index, len(input.shape))
    if any(isinstance(part, Value) and part.dtype == "bool" for part in parts):
        return masked(writer, node, input, parts, value)
    array = writer.ordered(input)
    codes = [_index_code(writer, part) for part in parts]
    while len(codes) > 1 and codes[-1] == ":":
        codes.pop()
    written = writer.number(value)
    if isinstance(value, Value) and value.follows and not input.follows and is_floating(input):
        # PyTorch casts what is written; jax wants to be told.
        written = f"{written}.astype({writer.dtype(input.dtype)})"
    return from_value(writer.bind(f"{array.code}.at[{', '.join(codes)}].set({written})"), node.outputs)


@operation("narrow")
def narrow(writer: Writer, node: Node, input: Any, dim: int, start: Any, length: Any) -> Array:
    """A part along an axis."""
    if not isinstance(start, int) or not isinstance(length, int):
        raise UnknownOperationError("a part whose ends depend on a size", "a slice")
    parts: list[Any] = [slice(None)] * len(input.shape)
    parts[dim] = slice(start, start + length)
    return _item(writer, node, input, tuple(parts))


@operation("select")
def select(writer: Writer, node: Node, input: Any, dim: int, index: Any) -> Array:
    """One entry along an axis."""
    parts: list[Any] = [slice(None)] * len(input.shape)
    parts[dim] = index
    return _item(writer, node, input, tuple(parts))


@operation("index_select")
def index_select(writer: Writer, node: Node, input: Any, dim: int, index: Any) -> Array:
    """Entries along an axis."""
    parts: list[Any] = [slice(None)] * len(input.shape)
    parts[dim] = index
    return _item(writer, node, input, tuple(parts))


@operation("gather")
def gather(writer: Writer, node: Node, input: Any, dim: int, index: Any, sparse_grad: bool = False) -> Array:
    """Entries along an axis, others for each place."""
    return _along(writer, node, input, index, dim, may_repeat=False)


@operation("take_along_dim")
def take_along_dim(writer: Writer, node: Node, input: Any, indices: Any, dim: Any = None) -> Array:
    """Entries along an axis, others for each place; an axis of one of either side counts for all."""
    if dim is None:
        raise UnknownOperationError("places in the flattened tensor", "flatten it first and name the axis")
    return _along(writer, node, input, indices, dim, may_repeat=True)


def _along(writer: Writer, node: Node, input: Any, index: Any, dim: int, *, may_repeat: bool) -> Array:
    for n, (size, other) in enumerate(zip(input.sizes, index.sizes, strict=True)):
        if n != dim % len(input.sizes) and size != other and not (may_repeat and (1, 1) in (size, other)):
            raise UnknownOperationError("an index of another shape than the tensor")
    array, places = writer.ordered(input), writer.ordered(index)
    code = f"jnp.take_along_axis({array.code}, {places.code}, axis={dim})"
    return from_value(writer.bind(code), node.outputs)
