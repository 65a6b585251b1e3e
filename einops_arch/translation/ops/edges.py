"""Padding, and entries that go round or the other way."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node
from einops_arch.discovery.tracing.sizes import Operation
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.layout import Array
from einops_arch.translation.ops.shapes import shape_arguments
from einops_arch.translation.ops.table import input_dims, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("roll")
def roll(writer: Writer, node: Node, input: Any, shifts: Any, dims: Any = None) -> Array:
    """Entries go round."""
    if dims is None:
        raise UnknownOperationError("a roll over all axes at once", "name the axes")
    array = writer.whole(input)
    order = array.order or ()
    places = tuple(order.index(dim) for dim in input_dims(dims, len(input.shape)))
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    code = f"jnp.roll({array.code}, {writer.number(shifts)}, axis={places})"
    return writer.make(code, node.outputs, order, array.names)


@operation("flip", "fliplr", "flipud")
def flip(writer: Writer, node: Node, input: Any, *dims: Any, **kwargs: Any) -> Array:
    """Entries in the opposite order."""
    array = writer.whole(input)
    order = array.order or ()
    named = {"fliplr": (1,), "flipud": (0,)}.get(node.name) or (shape_arguments(dims) if dims else kwargs["dims"])
    places = tuple(order.index(dim) for dim in input_dims(named, len(input.shape)))
    return writer.make(f"jnp.flip({array.code}, axis={places})", node.outputs, order, array.names)


def _may_be_negative(width: Any) -> bool:
    """Whether a width that depends on sizes is a difference, which takes away where it is negative."""
    return isinstance(width, FreeSize) and _is_difference(width.expression)


def _is_difference(expression: Any) -> bool:
    if not isinstance(expression, Operation) or expression.sign == "%":
        return False
    return expression.sign == "-" or any(map(_is_difference, expression.operands))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@operation("pad")
def pad(writer: Writer, node: Node, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Array:
    """More on both sides; the widths name the last axis first."""
    if all(isinstance(width, int) and width == 0 for width in pad):
        return writer.array(input).copy(node.outputs)
    rank = len(input.shape)
    widths: list[Any] = [(0, 0)] * rank
    for n in range(len(pad) // 2):
        widths[rank - 1 - n] = (pad[2 * n], pad[2 * n + 1])
    array = writer.whole(input)
    order = array.order or ()
    negative = any(isinstance(width, int) and width < 0 for width in pad)
    if mode == "constant" and any(_may_be_negative(width) for width in pad):
        filling = f"jnp.asarray({writer.number(value or 0)}, {array.code}.dtype)"
        triples = ", ".join(f"({', '.join(writer.number(width) for width in widths[n])}, 0)" for n in order)
        return writer.make(f"jax.lax.pad({array.code}, {filling}, ({triples},))", node.outputs, order, array.names)
    pairs = ", ".join(f"({writer.number(widths[n][0])}, {writer.number(widths[n][1])})" for n in order)
    if negative:
        if mode != "constant" or any(isinstance(width, FreeSize) for width in pad):
            raise UnknownOperationError("negative padding")
        cut = [f"{max(0, -low) or ''}:{-max(0, -high) or ''}" for low, high in (widths[n] for n in order)]
        code = f"{array.code}[{', '.join(cut)}]"
        positive = [(max(0, low), max(0, high)) for low, high in (widths[n] for n in order)]
        if any(low or high for low, high in positive):
            code = f"jnp.pad({code}, {tuple(positive)}, constant_values={writer.number(value or 0)})"
        return writer.make(code, node.outputs, order, array.names)
    extra = ""
    if mode != "constant":
        extra = f', mode="{_PAD_MODES[mode]}"'
    elif value not in (None, 0):
        extra = f", constant_values={writer.number(value)}"
    return writer.make(f"jnp.pad({array.code}, ({pairs}){extra})", node.outputs, order, array.names)
