"""Windows as rows and back, and windows along one axis."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node
from einops_arch.translation.layout import Array, channels_last_order, from_value
from einops_arch.translation.ops.table import functional, operation, plain_int
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("unfold")
def unfold(writer: Writer, node: Node, input: Any, *args: Any, **kwargs: Any) -> Array:
    """`torch.nn.functional.unfold`, or the method of tensors, which takes an axis, a size and a step."""
    if getattr(node.function, "__module__", "") == "torch.nn.functional":
        return _rows(writer, node, input, *args, **kwargs)
    names = ("dimension", "size", "step")
    dim, size, step = (args[n] if n < len(args) else kwargs[name] for n, name in enumerate(names))
    rank = len(input.shape)
    axis = plain_int(dim) % rank
    x = writer.ordered(input).code
    width, stride = plain_int(size), plain_int(step)
    starts = f"jnp.arange(0, {x}.shape[{axis}] - {width - 1}, {stride})"
    code = f"jnp.take({x}, {starts}[:, None] + jnp.arange({width}), axis={axis})"
    return from_value(writer.bind(code if axis == rank - 1 else f"jnp.moveaxis({code}, {axis + 1}, -1)"), node.outputs)


def _rows(
    writer: Writer,
    node: Node,
    input: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Array:
    array = writer.ordered(input, _image(len(input.shape)))
    call = f"unfold({array.code}{_settings(writer, kernel_size, stride, padding, dilation)})"
    return writer.make(functional(writer, call), node.outputs, _turned(len(node.outputs.shape)))


@operation("fold")
def fold(
    writer: Writer,
    node: Node,
    input: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Array:
    """`torch.nn.functional.fold`."""
    array = writer.ordered(input, _turned(len(input.shape)))
    size = writer.number(_pair(output_size))
    call = f"fold({array.code}, {size}{_settings(writer, kernel_size, stride, padding, dilation)})"
    return writer.make(functional(writer, call), node.outputs, _image(len(node.outputs.shape)))


def _settings(writer: Writer, window: Any, *others: Any) -> str:
    text = f", {writer.number(_pair(window))}"
    for name, value, default in zip(("strides", "padding", "dilation"), others, (1, 0, 1), strict=True):
        if _pair(value) != (default, default):
            text += f", {name}={writer.number(_pair(value))}"
    return text


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _image(rank: int) -> tuple[int, ...]:
    return channels_last_order(4) if rank == 4 else (1, 2, 0)


def _turned(rank: int) -> tuple[int, ...]:
    """Rows and columns have changed places."""
    return (0, 2, 1) if rank == 3 else (1, 0)
