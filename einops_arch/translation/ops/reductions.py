"""Sums, means, extremes, softmax and the like: along axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import ROWS, functional, input_dims, operation, plain_int, renamed
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer, is_floating

__all__: list[str] = []


def reduced(
    writer: Writer, output: Value, value: Any, dims: Any, template: str, *, keepdim: bool, dtype: str = ""
) -> Array:
    """A reduction, written on the axes of the variable.

    Args:
        writer: of the body.
        output: what was recorded.
        value: what is reduced.
        dims: PyTorch's axes, or None for all.
        template: with `{x}` for the variable and `{axes}` for `axis=...`.
        keepdim: whether axes of one stay.
        dtype: what the variable is cast to before.
    """
    array = writer.whole(value)
    order = array.order or ()
    rank = len(order)
    places = input_dims(dims, rank)
    stored = sorted(order.index(n) for n in places)
    code = f"{array.code}.astype({dtype})" if dtype else array.code
    whole = len(places) == rank and not keepdim
    axes = "" if whole else f", axis={_axes(stored, rank)}"
    text = template.format(x=code, axes=axes + (", keepdims=True" if keepdim else ""))
    if keepdim:
        return writer.make(text, output, order, array.names)
    kept = [n for n in range(rank) if n not in places]
    return writer.make(text, output, [kept.index(n) for n in order if n in kept], [array.names[n] for n in kept])


def _axes(places: Sequence[int], rank: int) -> str:
    if len(places) == 1:
        return "-1" if places[0] == rank - 1 else str(places[0])
    return str(tuple(places))


_REDUCTIONS = {
    ("sum",): "jnp.sum({x}{axes})",
    ("mean",): "jnp.mean({x}{axes})",
    ("amax",): "jnp.max({x}{axes})",
    ("amin",): "jnp.min({x}{axes})",
    ("prod",): "jnp.prod({x}{axes})",
    ("any",): "jnp.any({x}{axes})",
    ("all",): "jnp.all({x}{axes})",
    ("logsumexp",): "jax.nn.logsumexp({x}{axes})",
    ("count_nonzero",): "jnp.count_nonzero({x}{axes})",
}


def _reduction(template: str) -> Callable[..., Array]:
    def row(
        writer: Writer,
        node: Node,
        input: Any,
        dim: Any = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
        axis: Any = None,
        keepdims: bool = False,
    ) -> Array:
        output = node.outputs
        target = ""
        totals = node.name in ("sum", "prod") and output.dtype != input.dtype
        if dtype is not None or totals or (is_floating(output) and not is_floating(input)):
            target = writer.dtype_of(output)
        dims = dim if axis is None else axis
        return reduced(writer, output, input, dims, template, keepdim=keepdim or keepdims, dtype=target)

    return row


for _names, _template in _REDUCTIONS.items():
    for _name in _names:
        ROWS[_name] = _reduction(_template)


@operation("max", "min")
def extreme(writer: Writer, node: Node, input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Of all, along an axis with its place, or of two tensors."""
    if isinstance(dim, Value):
        ROWS_NAME = "maximum" if node.name == "max" else "minimum"  # noqa: N806
        return ROWS[ROWS_NAME](writer, node, input, dim)
    if dim is None:
        return reduced(writer, node.outputs, input, None, f"jnp.{node.name}({{x}}{{axes}})", keepdim=False)
    # The entry at the place, as in PyTorch: its gradient goes there alone, and never meets 0 / 0 under jit.
    values, places = node.outputs
    array = writer.whole(input)
    order = array.order or ()
    axis = order.index(int(dim) % len(order))
    text = -1 if axis == len(order) - 1 else axis
    keeps = ", keepdims=True" if keepdim else ""
    kind = "largest" if node.name == "max" else "smallest"
    entry = functional(writer, f"{kind}({array.code}, axis={text}{keeps})")
    where = f"jnp.arg{node.name}({array.code}, axis={text}{keeps})"
    kept = [n for n in range(len(order)) if keepdim or n != int(dim) % len(order)]
    after = [kept.index(n) for n in order if n in kept]
    names = [array.names[n] for n in kept]
    return (
        writer.make(entry, values, after, names),
        writer.make(where, places, after, names),
    )


@operation("argmax", "argmin")
def place(writer: Writer, node: Node, input: Any, dim: Any = None, keepdim: bool = False) -> Array:
    """Where the largest or smallest entry is."""
    if dim is None:
        array = writer.ordered(input)
        return from_value(writer.bind(f"jnp.{node.name}({array.code})"), node.outputs)
    return reduced(writer, node.outputs, input, dim, f"jnp.{node.name}({{x}}{{axes}})", keepdim=keepdim)


@operation("var", "std")
def spread(
    writer: Writer,
    node: Node,
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Array:
    """The variance or its root; unbiased, if not said otherwise."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    ddof = correction if correction is not None else 0 if unbiased is False else 1
    extra = f", ddof={ddof}" if ddof else ""
    return reduced(writer, node.outputs, input, dim, _spread(writer, node.name, extra), keepdim=keepdim)


def _spread(writer: Writer, name: str, extra: str) -> str:
    return f"jnp.var({{x}}{{axes}}{extra})" if name == "var" else functional(writer, f"std({{x}}{{axes}}{extra})")


@operation("var_mean", "std_mean")
def spread_and_mean(
    writer: Writer,
    node: Node,
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Any:
    """Both at once."""
    ddof = correction if correction is not None else 0 if unbiased is False else 1
    extra = f", ddof={ddof}" if ddof else ""
    name = node.name.partition("_")[0]
    first, second = node.outputs
    return (
        reduced(writer, first, input, dim, _spread(writer, name, extra), keepdim=keepdim),
        reduced(writer, second, input, dim, "jnp.mean({x}{axes})", keepdim=keepdim),
    )


@operation("norm", "vector_norm", "linalg_vector_norm", "linalg_norm")
def norm(
    writer: Writer,
    node: Node,
    input: Any,
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    ord: Any = None,
    dtype: Any = None,
) -> Array:
    """The root of the sum of squares, or the sum of absolute values."""
    asked = p if ord is None else ord
    p = 2 if asked in ("fro", None) else asked
    of_matrix = node.name == "linalg_norm" and (len(node.args) > 1 or ord is not None) and asked not in ("fro", None)
    if of_matrix and (len(input.shape) == 2 if dim is None else isinstance(dim, (tuple, list)) and len(dim) == 2):
        raise UnknownOperationError("a norm of matrices", "torch.linalg.vector_norm, if that is meant")
    if dtype is not None or not isinstance(p, (int, float)) or (p < 0 and p != float("-inf")):
        raise UnknownOperationError(f"a norm of order {p}", "an order of at least 0")
    order = "" if p == 2 else f", p={writer.number(p)}"
    return reduced(writer, node.outputs, input, dim, functional(writer, f"norm({{x}}{{axes}}{order})"), keepdim=keepdim)


@operation("normalize")
def normalize(writer: Writer, node: Node, input: Any, p: Any = 2.0, dim: int = 1, eps: float = 1e-12) -> Array:
    """Divided by its length along an axis."""
    if not isinstance(p, (int, float)) or p < 0:
        raise UnknownOperationError(f"a norm of order {p}", "an order of at least 0")
    array = writer.whole(input)
    order = array.order or ()
    axes = _axes(sorted(order.index(n) for n in input_dims(dim, len(order))), len(order))
    settings = f"p={p!r}, axis={axes}, epsilon={eps!r}"
    return writer.make(functional(writer, f"normalize({array.code}, {settings})"), node.outputs, order, array.names)


@operation("softmax", "log_softmax", "softmin")
def softmax(
    writer: Writer,
    node: Node,
    input: Any,
    dim: Any = None,
    _stacklevel: int = 3,
    dtype: Any = None,
) -> Array:
    """Along an axis."""
    if dim is None:
        raise UnknownOperationError("softmax without dim", "name the axis")
    array = writer.whole(input)
    order = array.order or ()
    sign = "-" if node.name == "softmin" else ""
    code = f"{array.code}.astype({writer.dtype_of(node.outputs)})" if dtype is not None else array.code
    name = "log_softmax" if node.name == "log_softmax" else "softmax"
    if not order:
        # A scalar is one value along an axis.
        return renamed(array, writer.bind(f"jax.nn.{name}({sign}{code}[None])[0]"), node.outputs)
    axis = order.index(int(dim) % len(order))
    text = f"jax.nn.{name}({sign}{code}, axis={-1 if axis == len(order) - 1 else axis})"
    return renamed(array, writer.bind(text), node.outputs)


@operation("cumsum", "cumprod")
def cumulative(writer: Writer, node: Node, input: Any, dim: int, dtype: Any = None) -> Array:
    """Sums of all before."""
    array = writer.whole(input)
    order = array.order or ()
    wider = dtype is not None or input.dtype != node.outputs.dtype
    extra = f", dtype={writer.dtype_of(node.outputs)}" if wider else ""
    text = f"jnp.{node.name}({array.code}, axis={order.index(dim % len(order))}{extra})"
    return renamed(array, writer.bind(text), node.outputs)


@operation("diff")
def difference(
    writer: Writer, node: Node, input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
) -> Array:
    """Each entry less the one before."""
    if input.dtype == "bool":
        raise UnknownOperationError("differences of a mask")
    axis = dim % len(input.shape)
    text = f"jnp.diff({writer.ordered(input).code}, {plain_int(n)}, axis={axis}"
    for name, beside in (("prepend", prepend), ("append", append)):
        text += "" if beside is None else f", {name}={writer.ordered(beside).code}"
    return from_value(writer.bind(f"{text})"), node.outputs)


@operation("sort", "argsort")
def sort(writer: Writer, node: Node, input: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """In order, and where the entries were."""
    array = writer.ordered(input)
    extra = f", axis={dim}, stable=True" + (", descending=True" if descending else "")
    places = f"jnp.argsort({array.code}{extra})"
    if node.name == "argsort":
        return from_value(writer.bind(places), node.outputs)
    values, where = node.outputs
    return (from_value(writer.bind(f"jnp.sort({array.code}{extra})"), values), from_value(writer.bind(places), where))
