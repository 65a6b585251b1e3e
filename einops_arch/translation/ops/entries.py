"""Writes and sums at places that are tensors, several indices at once."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.masks import masked
from einops_arch.translation.ops.table import operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("index_copy")
def index_copy(writer: Writer, node: Node, input: Any, dim: int, index: Any, source: Any) -> Array:
    """Rows are written where the index says."""
    array, places, rows = (writer.ordered(tensor).code for tensor in (input, index, source))
    return from_value(writer.bind(f"{array}.at[{_row(input, dim, places)}].set({rows})"), node.outputs)


@operation("index_fill")
def index_fill(writer: Writer, node: Node, input: Any, dim: int, index: Any, value: Any) -> Array:
    """A number is written where the index says."""
    array, places = (writer.ordered(tensor).code for tensor in (input, index))
    code = f"{array}.at[{_row(input, dim, places)}].set({writer.number(value)})"
    return from_value(writer.bind(code), node.outputs)


def _row(input: Any, dim: int, places: str) -> str:
    return ", ".join([":"] * (dim % len(input.shape)) + [places])


@operation("index_put")
def index_put(writer: Writer, node: Node, input: Any, indices: Any, values: Any, accumulate: bool = False) -> Array:
    """Entries are written or added where several indices say."""
    if any(isinstance(part, Value) and part.dtype == "bool" for part in indices):
        if accumulate:
            raise UnknownOperationError("a part that depends on values is written", "torch.where")
        places = [slice(None) if part is None else part for part in indices]
        taken = sum(len(part.shape) if isinstance(part, Value) and part.dtype == "bool" else 1 for part in places)
        return masked(writer, node, input, [*places, *[slice(None)] * (len(input.shape) - taken)], values)
    array, written = writer.ordered(input).code, writer.ordered(values).code
    codes = ", ".join(":" if part is None else writer.ordered(part).code for part in indices)
    how = "add" if accumulate else "set"
    return from_value(writer.bind(f"{array}.at[{codes}].{how}({written})"), node.outputs)


@operation("take")
def take(writer: Writer, node: Node, input: Any, index: Any) -> Array:
    """Entries of the flattened tensor."""
    array, places = writer.ordered(input), writer.ordered(index)
    return from_value(writer.bind(f"{array.code}.ravel()[{places.code}]"), node.outputs)


@operation("bincount")
def bincount(writer: Writer, node: Node, input: Any, weights: Any = None, minlength: Any = 0) -> Array:
    """How often each integer is there: as many numbers as the largest integer asks for, which is a value."""
    raise UnknownOperationError(
        "the length of the result depends on values", "torch.zeros(length).index_add(0, x, torch.ones(len(x)))"
    )


_CHOOSE = {"amax": ("max", "-jnp.inf"), "amin": ("min", "jnp.inf"), "prod": ("multiply", "1")}
"""jax's name of what puts entries together, and the number that changes nothing."""


@operation("scatter_reduce")
def scatter_reduce(
    writer: Writer, node: Node, input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
) -> Array:
    """Entries are put together where an index of the same shape says."""
    if src.sizes != index.sizes:
        raise UnknownOperationError("scatter_reduce with an index of another shape than what is written")
    rank = len(input.shape)
    array, places, rows = (writer.ordered(tensor).code for tensor in (input, index, src))
    parts = []
    for axis in range(rank):
        units = ", ".join(":" if n == axis else "None" for n in range(rank))
        parts.append(places if axis == dim % rank else f"jnp.arange({places}.shape[{axis}])[{units}]")
    at = f"at[{', '.join(parts)}]"
    if reduce in _CHOOSE:
        how, neutral = _CHOOSE[reduce]
        if not include_self:
            if not input.dtype.startswith(("float", "bfloat")):
                raise UnknownOperationError(f"scatter_reduce of integers by {reduce!r} without include_self")
            array = f"{array}.{at}.set({neutral})"
        return from_value(writer.bind(f"{array}.{at}.{how}({rows})"), node.outputs)
    if reduce == "sum" and include_self:
        return from_value(writer.bind(f"{array}.{at}.add({rows})"), node.outputs)
    total = f"{array}.{at}.add({rows})" if include_self else f"jnp.zeros_like({array}).{at}.add({rows})"
    count = writer.bind(f"jnp.{'ones' if include_self else 'zeros'}_like({array}).{at}.add(1)")
    mean = total if reduce == "sum" else f"{total} / jnp.maximum({count}, 1)"
    code = mean if include_self else f"jnp.where({count} > 0, {mean}, {array})"
    return from_value(writer.bind(f"({code})" if include_self else code), node.outputs)


@operation("masked_scatter")
def masked_scatter(writer: Writer, node: Node, input: Any, mask: Any, source: Any) -> Array:
    """Where the mask is, the entries of another tensor in their order."""
    if mask.sizes != input.sizes:
        raise UnknownOperationError("a mask of another shape than the tensor", "expand_as")
    array, places, rows = (writer.ordered(tensor).code for tensor in (input, mask, source))
    number = writer.bind(f"jnp.cumsum({places}.ravel()).reshape({places}.shape) - 1")
    return from_value(writer.bind(f"jnp.where({places}, {rows}.ravel()[{number}], {array})"), node.outputs)


@operation("masked_select", "nonzero", "argwhere", "unique", "unique_consecutive", "histc")
def of_unknown_length(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """How many entries come out depends on values, which a compiled program cannot have."""
    raise UnknownOperationError("the shape of the result depends on values", "torch.where with a mask")


@operation("_pack_padded_sequence", "_pad_packed_sequence")
def packed(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """How many steps of a batch go on depends on values."""
    raise UnknownOperationError(
        "a packed sequence has as many entries as its lengths say, which are values",
        "the padded sequence, and what lies behind the lengths taken away with torch.where",
    )
