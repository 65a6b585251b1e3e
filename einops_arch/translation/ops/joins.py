"""Joins, splits and copies beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.layout import Array, Elementary, default_names, from_value
from einops_arch.translation.ops.shapes import shape_arguments
from einops_arch.translation.ops.table import operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("expand", "expand_as", "broadcast_to")
def expand(writer: Writer, node: Node, input: Any, *shape: Any, **kwargs: Any) -> Array:
    """Axes of one are repeated, where it turns out that somebody needs it."""
    shape = shape_arguments(shape) if shape else tuple(kwargs.get("size", kwargs.get("shape", ())))
    output = node.outputs
    if len(shape) == 1 and isinstance(shape[0], Value):
        beside = writer.array(shape[0])
        codes = [writer.size_of(beside, n) if a != b else "" for n, (a, b) in enumerate(output.sizes)]
    else:
        codes = [writer.number(number) if isinstance(number, FreeSize) else "" for number in shape]
    result = writer.array(input).copy(output)
    missing = len(output.shape) - len(input.shape)
    result.logical = [[] for _ in range(missing)] + result.logical
    taken = result.names
    for n, sizes in enumerate(output.sizes):
        before = input.sizes[n - missing] if n >= missing else (1, 1)
        if before != sizes:
            name = _default(n, len(output.sizes), taken)
            result.logical[n] = [Elementary(name, sizes, codes[n] if sizes[0] != sizes[1] else "")]
    return result


def _default(place: int, rank: int, taken: Sequence[str]) -> str:
    name = (["b", "n", "c"] if rank == 3 else ["b", "c", "h", "w", "d"])[place] if place < 3 else f"a{place}"
    return name if name not in taken else f"a{place}"


@operation("repeat", "tile")
def tile(writer: Writer, node: Node, input: Any, *repeats: Any) -> Array:
    """Copies beside each other."""
    repeats = shape_arguments(repeats)
    missing = len(node.outputs.shape) - len(input.shape)
    sizes = [(1, 1)] * missing + list(input.sizes)
    if all(size == (1, 1) or number == 1 for size, number in zip(sizes, repeats, strict=False)):
        result = writer.array(input).copy(node.outputs)
        result.logical = [[] for _ in range(missing)] + result.logical
        taken = result.names
        for n, number in enumerate(repeats):
            if sizes[n] == (1, 1) and node.outputs.sizes[n] != (1, 1):
                code = writer.number(number) if isinstance(number, FreeSize) else ""
                name = _default(n, len(sizes), taken)
                result.logical[n] = [Elementary(name, node.outputs.sizes[n], code)]
        return result
    array = writer.ordered(input)
    counts = writer.number(tuple(repeats))
    return from_value(writer.bind(f"jnp.tile({array.code}, {counts})"), node.outputs)


@operation("repeat_interleave")
def repeat_interleave(writer: Writer, node: Node, input: Any, repeats: Any, dim: Any = None) -> Array:
    """Each entry several times in a row."""
    if not isinstance(repeats, int) or dim is None:
        raise UnknownOperationError("repeats that are no number")
    array = writer.whole(input)
    order = array.order or ()
    axis = order.index(dim % len(input.shape))
    code = f"jnp.repeat({array.code}, {writer.number(repeats)}, axis={axis})"
    return writer.make(code, node.outputs, order, array.names)


@operation("cat", "concat", "concatenate")
def cat(writer: Writer, node: Node, tensors: Any, dim: Any = 0, *, axis: Any = None) -> Array:
    """One after the other."""
    dim = dim if axis is None else axis
    kept = [tensor for tensor in tensors if not (len(tensor.shape) == 1 and tensor.shape[0] == 0)]
    rank = len(node.outputs.shape)
    first = next((writer.array(tensor) for tensor in kept if writer.array(tensor).order is not None), None)
    order = first.order if first is not None and first.order is not None and not first.repeated else tuple(range(rank))
    parts = []
    for tensor in kept:
        array = writer.ordered(tensor, order)
        code = array.code
        if tensor.dtype != node.outputs.dtype or tensor.follows != node.outputs.follows:
            code = f"{code}.astype({writer.dtype_of(node.outputs)})"
        parts.append(code)
    names = first.names if first is not None else None
    place = order.index(int(dim) % rank)
    place_text = -1 if place == rank - 1 else place
    joined = _whole_list(writer, parts) or f"[{', '.join(parts)}]"
    return writer.make(f"jnp.concatenate({joined}, axis={place_text})", node.outputs, order, names)


def _whole_list(writer: Writer, parts: Sequence[str]) -> str | None:
    """The argument of which these are all entries, in their order: however many it has, the code is the same."""
    name = parts[0].removesuffix("[0]")
    return (
        name if writer.lists.get(name) == len(parts) and parts == [f"{name}[{n}]" for n in range(len(parts))] else None
    )


@operation("stack")
def stack(writer: Writer, node: Node, tensors: Any, dim: int = 0) -> Array:
    """A new axis, of which these are the entries."""
    rank = len(node.outputs.shape)
    parts = [writer.ordered(tensor) for tensor in tensors]
    place = dim % rank
    names = list(parts[0].names)
    new = next(name for name in ("t", "n", "m", "k", *default_names(rank)) if name not in names)
    code = f"jnp.stack([{', '.join(part.code for part in parts)}], axis={place})"
    return writer.make(code, node.outputs, names=[*names[:place], new, *names[place:]])


@operation("split", "chunk", "split_with_sizes", "tensor_split")
def split(writer: Writer, node: Node, input: Any, sizes: Any = None, dim: Any = 0, **kwargs: Any) -> list[Array]:
    """Parts along an axis."""
    sizes = kwargs.get("split_size_or_sections", kwargs.get("chunks", kwargs.get("split_size", sizes)))
    array = writer.whole(input)
    rank = len(input.shape)
    order = array.order or ()
    axis = order.index(int(dim) % rank)
    place = -1 if axis == rank - 1 else axis
    outputs = node.outputs
    widths = [output.sizes[int(dim) % rank] for output in outputs]
    if len(set(widths)) == 1:
        code = f"jnp.split({array.code}, {len(outputs)}, axis={place})"
    elif all(a == b for a, b in widths):
        ends = [sum(width[0] for width in widths[: n + 1]) for n in range(len(widths) - 1)]
        code = f"jnp.split({array.code}, {ends}, axis={place})"
    elif isinstance(sizes, (tuple, list)):
        numbers = [writer.number(size) for size in sizes]
        ends_code = ", ".join(" + ".join(numbers[: n + 1]) for n in range(len(numbers) - 1))
        code = f"jnp.split({array.code}, [{ends_code}], axis={place})"
    else:
        raise UnknownOperationError("the sizes of the parts depend on a size in a way that is not known")
    return unpacked(writer, code, outputs, order, array.names)


def unpacked(
    writer: Writer, code: str, outputs: Sequence[Value], order: Sequence[int], names: Sequence[str]
) -> list[Array]:
    """One variable for each entry of a tuple."""
    variable = writer.bind(code)
    writer.has_parts(variable, len(outputs))
    return [from_value(f"{variable}[{n}]", output, order, names) for n, output in enumerate(outputs)]


@operation("unbind")
def unbind(writer: Writer, node: Node, input: Any, dim: int = 0) -> list[Array]:
    """The entries along an axis."""
    rank = len(input.shape)
    dim = dim % rank
    rest = [n for n in range(rank) if n != dim]
    array = writer.ordered(input, (dim, *rest))
    names = [array.names[n] for n in rest]
    writer.has_parts(array.code, len(node.outputs))
    return [
        from_value(f"{array.code}[{n}]", output, tuple(range(rank - 1)), names) for n, output in enumerate(node.outputs)
    ]


@operation("hstack", "vstack", "row_stack", "dstack", "column_stack")
def stacked(writer: Writer, node: Node, tensors: Any) -> Array:
    """Beside, below or behind each other, with unit axes where they are missing."""
    name = "vstack" if node.name == "row_stack" else node.name
    parts = ", ".join(writer.ordered(tensor).code for tensor in tensors)
    return from_value(writer.bind(f"jnp.{name}([{parts}])"), node.outputs)


@operation("broadcast_tensors")
def broadcast_tensors(writer: Writer, node: Node, *tensors: Any) -> list[Array]:
    """All of them with the axes of all."""
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    parts = ", ".join(writer.ordered(tensor).code for tensor in tensors)
    rank = len(node.outputs[0].shape)
    return unpacked(writer, f"jnp.broadcast_arrays({parts})", node.outputs, tuple(range(rank)), default_names(rank))


@operation("atleast_1d", "atleast_2d", "atleast_3d")
def at_least(writer: Writer, node: Node, *tensors: Any) -> Any:
    """Unit axes where there are fewer than that."""
    if len(tensors) != 1 or not isinstance(tensors[0], Value):
        raise UnknownOperationError("several tensors at once", "one call for each")
    code = f"jnp.{node.name}({writer.ordered(tensors[0]).code})"
    return from_value(writer.bind(code), node.outputs)


@operation("unsafe_split", "unsafe_chunk", "hsplit", "vsplit", "dsplit")
def other_split(writer: Writer, node: Node, input: Any, sizes: Any = None, dim: int = 0) -> list[Array]:
    """Parts along an axis that the name says, or as `split` and `chunk` give them."""
    named = {"vsplit": 0, "dsplit": 2, "hsplit": 0 if len(input.shape) == 1 else 1}
    return split(writer, node, input, sizes, named.get(node.name, dim))
