"""Channels become pixels, grids and triangles."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, Elementary, from_value, reshape
from einops_arch.translation.ops.joins import unpacked
from einops_arch.translation.ops.table import operation, plain_int
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("pixel_shuffle")
def pixel_shuffle(writer: Writer, node: Node, input: Any, upscale_factor: int) -> Array:
    """`b (c r1 r2) h w -> b c (h r1) (w r2)`."""
    factor = plain_int(upscale_factor)
    b, c, h, w = input.sizes
    value = Value(
        (b[0], c[0] // factor**2, factor, factor, h[0], w[0]),
        input.dtype,
        sizes=(b, (c[0] // factor**2,) * 2, (factor, factor), (factor, factor), h, w),
    )
    split_array = reshape(writer.array(input), value, ["" for _ in value.shape])
    if split_array is None:
        raise UnknownOperationError("channels that the factor does not divide")
    batch, channels, rows, columns, height, width = split_array.logical
    _name(channels, rows, columns)
    split_array.logical = [batch, channels, height + rows, width + columns]
    split_array.value = node.outputs
    return split_array


def _name(channels: list[Elementary], rows: list[Elementary], columns: list[Elementary]) -> None:
    """The axes of a pixel go by the letters of the glossary."""
    for groups, name in ((channels, "c"), (rows, "r1"), (columns, "r2")):
        if len(groups) == 1:
            groups[0].name = name


@operation("pixel_unshuffle")
def pixel_unshuffle(writer: Writer, node: Node, input: Any, downscale_factor: int) -> Array:
    """`b c (h r1) (w r2) -> b (c r1 r2) h w`."""
    factor = plain_int(downscale_factor)
    b, c, h, w = input.sizes
    sizes = (
        b,
        c,
        (h[0] // factor, h[1] // factor),
        (factor, factor),
        (w[0] // factor, w[1] // factor),
        (factor, factor),
    )
    value = Value(tuple(size[0] for size in sizes), input.dtype, sizes=sizes)
    split_array = reshape(writer.array(input), value, ["" for _ in sizes])
    if split_array is None:
        raise UnknownOperationError("sizes that the factor does not divide")
    batch, channels, height, rows, width, columns = split_array.logical
    _name(channels, rows, columns)
    split_array.logical = [batch, channels + rows + columns, height, width]
    split_array.value = node.outputs
    return split_array


@operation("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(writer: Writer, node: Node, input: Any, groups: int) -> Array:
    """`b (g c) *s -> b (c g) *s`."""
    count = plain_int(groups)
    b, c, *space = input.sizes
    sizes = (b, (count, count), (c[0] // count, c[1] // count), *space)
    value = Value(tuple(size[0] for size in sizes), input.dtype, sizes=sizes)
    split_array = reshape(writer.array(input), value, ["" for _ in sizes])
    if split_array is None or c[0] % count:
        raise UnknownOperationError("channels that the groups do not divide")
    batch, group, channels, *rest = split_array.logical
    split_array.logical = [batch, channels + group, *rest]
    split_array.value = node.outputs
    return split_array


@operation("meshgrid")
def meshgrid(writer: Writer, node: Node, *tensors: Any, indexing: str = "ij") -> list[Array]:
    """Coordinates of a grid."""
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    parts = ", ".join(writer.ordered(tensor).code for tensor in tensors)
    rank = len(tensors)
    return unpacked(
        writer,
        f'jnp.meshgrid({parts}, indexing="{indexing}")',
        node.outputs,
        tuple(range(rank)),
        ["h", "w", "d"][:rank],
    )


@operation("tril", "triu")
def triangle(writer: Writer, node: Node, input: Any, diagonal: Any = 0) -> Array:
    """One side of the diagonal."""
    array = writer.ordered(input)
    offset = "" if diagonal == 0 else f", {writer.number(diagonal)}"
    return from_value(writer.bind(f"jnp.{node.name}({array.code}{offset})"), node.outputs)
