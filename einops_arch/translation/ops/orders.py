"""What depends on the order of entries: medians, quantiles, running extremes, the first of a row."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.reductions import reduced
from einops_arch.translation.ops.table import functional, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("median")
def median(writer: Writer, node: Node, input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The lower of the two in the middle, of all or along an axis with its place."""
    if dim is None:
        return from_value(writer.bind(functional(writer, f"median({writer.ordered(input).code})")), node.outputs)
    array, axis = writer.ordered(input), int(dim) % len(input.shape)
    values, places = node.outputs
    place = writer.bind(functional(writer, f"median_place({array.code}, {axis}, keepdims=True)"))
    return _taken(writer, array, place, axis, (values, places), keepdim=keepdim)


@operation("kthvalue")
def kthvalue(writer: Writer, node: Node, input: Any, k: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest entry along an axis and its place."""
    array, axis = writer.ordered(input), dim % len(input.shape)
    order = f"jnp.argsort({array.code}, axis={axis}, stable=True)"
    place = writer.bind(f"jnp.take({order}, jnp.asarray([{writer.number(k)} - 1]), axis={axis})")
    return _taken(writer, array, place, axis, tuple(node.outputs), keepdim=keepdim)


def _taken(
    writer: Writer, array: Array, place: str, axis: int, outputs: tuple[Value, Value], *, keepdim: bool
) -> tuple[Array, Array]:
    """The entries at places along an axis that has one entry, and the places."""
    entry = f"jnp.take_along_axis({array.code}, {place}, axis={axis})"
    if not keepdim:
        entry, place = f"jnp.squeeze({entry}, {axis})", f"jnp.squeeze({place}, {axis})"
    return from_value(writer.bind(entry), outputs[0]), from_value(writer.bind(place), outputs[1])


@operation("quantile")
def quantile(
    writer: Writer,
    node: Node,
    input: Any,
    q: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Array:
    """Below which a share of the entries lies."""
    if not isinstance(q, float):
        raise UnknownOperationError("several quantiles at once", "one call for each")
    method = "" if interpolation == "linear" else f', method="{interpolation}"'
    return reduced(writer, node.outputs, input, dim, f"jnp.quantile({{x}}, {q!r}{{axes}}{method})", keepdim=keepdim)


@operation("aminmax")
def aminmax(writer: Writer, node: Node, input: Any = None, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest and the largest entry."""
    least, most = node.outputs
    return (
        reduced(writer, least, input, dim, "jnp.min({x}{axes})", keepdim=keepdim),
        reduced(writer, most, input, dim, "jnp.max({x}{axes})", keepdim=keepdim),
    )


@operation("cummax", "cummin")
def running_extreme(writer: Writer, node: Node, input: Any, dim: int) -> Any:
    """The largest or smallest entry so far; its place is the last of several."""
    array, axis = writer.ordered(input), dim % len(input.shape)
    values, places = node.outputs
    extreme = writer.bind(f"jax.lax.{node.name}({array.code}, axis={axis})")
    units = ", ".join(":" if n == axis else "None" for n in range(len(input.shape)))
    numbers = f"jnp.arange({array.code}.shape[{axis}])[{units}]"
    place = writer.bind(f"jax.lax.cummax(jnp.where({array.code} == {extreme}, {numbers}, 0), axis={axis})")
    entry = f"jnp.take_along_axis({array.code}, {place}, axis={axis})"
    return from_value(writer.bind(entry), values), from_value(place, places)


@operation("logcumsumexp")
def logcumsumexp(writer: Writer, node: Node, input: Any, dim: int) -> Array:
    """Running sums of exponentials, as logarithms."""
    array = writer.ordered(input)
    return from_value(writer.bind(f"jax.lax.cumlogsumexp({array.code}, axis={dim % len(input.shape)})"), node.outputs)


@operation("nansum", "nanmean")
def without_nan(writer: Writer, node: Node, input: Any, dim: Any = None, keepdim: bool = False) -> Array:
    """Of the entries that are numbers."""
    return reduced(writer, node.outputs, input, dim, f"jnp.{node.name}({{x}}{{axes}})", keepdim=keepdim)


@operation("topk")
def topk(
    writer: Writer, node: Node, input: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    """The largest or smallest entries along an axis and where they are."""
    array, axis = writer.ordered(input), dim % len(input.shape)
    last = axis == len(input.shape) - 1
    if largest:
        along = "" if last else f", axis={axis}"
        variable = writer.bind(f"jax.lax.top_k({array.code}, {writer.number(k)}{along})")
        return [from_value(f"{variable}[{n}]", output) for n, output in enumerate(node.outputs)]
    order = f"jnp.argsort({array.code}, axis={axis}, stable=True)"
    place = writer.bind(f"jax.lax.slice_in_dim({order}, 0, {writer.number(k)}, axis={axis})")
    entry = writer.bind(f"jnp.take_along_axis({array.code}, {place}, axis={axis})")
    return [from_value(entry, node.outputs[0]), from_value(place, node.outputs[1])]
