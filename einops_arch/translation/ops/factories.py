"""Tensors that are made: ranges, constants, and others like one that is there."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.constants import WINDOWS, window_code
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import functional, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


def _sizes(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


@operation("zeros", "ones", "empty", "new_zeros", "new_ones", "new_empty")
def filled(writer: Writer, node: Node, *shape: Any, **kwargs: Any) -> Array:
    """All zeros or ones."""
    if node.name.startswith("new"):
        shape = shape[1:]
    sizes = writer.number(_sizes(shape) if shape else tuple(kwargs["size"]))
    kind = "ones" if node.name.endswith("ones") else "zeros"
    dtype = writer.dtype_of(node.outputs)
    return from_value(writer.bind(f"jnp.{kind}({sizes}, {dtype})"), node.outputs)


@operation("full", "new_full")
def full(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """All the same."""
    args = args[1:] if node.name == "new_full" else args
    size = args[0] if args else kwargs["size"]
    value = args[1] if len(args) > 1 else kwargs["fill_value"]
    text = f"jnp.full({writer.number(tuple(size))}, {writer.number(value)}, {writer.dtype_of(node.outputs)})"
    return from_value(writer.bind(text), node.outputs)


@operation("zeros_like", "ones_like", "empty_like", "full_like")
def like(writer: Writer, node: Node, input: Any, fill_value: Any = None, **kwargs: Any) -> Array:
    """The shape of another tensor."""
    array = writer.whole(input)
    name = "zeros_like" if node.name == "empty_like" else node.name
    middle = f", {writer.number(fill_value)}" if node.name == "full_like" else ""
    dtype = "" if node.outputs.dtype == input.dtype else f", dtype={writer.dtype_of(node.outputs)}"
    return writer.make(f"jnp.{name}({array.code}{middle}{dtype})", node.outputs, array.order, array.names)


@operation("arange")
def arange(writer: Writer, node: Node, *ends: Any, **kwargs: Any) -> Array:
    """Numbers in a row."""
    named = [kwargs[name] for name in ("start", "end", "step") if name in kwargs]
    numbers = [writer.number(end) for end in (*ends, *named)]
    text = f"jnp.arange({', '.join(numbers)}, dtype={writer.dtype_of(node.outputs)})"
    return from_value(writer.bind(text), node.outputs, names=["n"])


@operation("linspace")
def linspace(writer: Writer, node: Node, start: Any, end: Any, steps: Any, **kwargs: Any) -> Array:
    """Numbers at equal distances."""
    numbers = ", ".join(writer.number(number) for number in (start, end, steps))
    text = f"jnp.linspace({numbers}, dtype={writer.dtype_of(node.outputs)})"
    return from_value(writer.bind(text), node.outputs, names=["n"])


@operation(*(f"{name}_window" for name in WINDOWS))
def window(writer: Writer, node: Node, window_length: Any, periodic: bool = True, *more: Any, **kwargs: Any) -> Array:
    """The windows of short Fourier transforms."""
    if more:
        raise UnknownOperationError("a window with coefficients of its own")
    code = window_code(
        node.name.removesuffix("_window"),
        writer.number(window_length),
        writer.dtype_of(node.outputs),
        periodic=periodic,
    )
    return from_value(writer.bind(functional(writer, code.removeprefix("functional."))), node.outputs, names=["n"])


@operation("fft_fftfreq", "fft_rfftfreq")
def frequencies(writer: Writer, node: Node, n: Any, d: Any = 1.0, **kwargs: Any) -> Array:
    """The frequencies of a Fourier transform."""
    code = f"jnp.fft.{node.name.removeprefix('fft_')}({writer.number(n)}, {writer.number(d)})"
    return from_value(writer.bind(f"{code}.astype({writer.dtype_of(node.outputs)})"), node.outputs, names=["n"])


@operation("eye")
def eye(writer: Writer, node: Node, n: Any, m: Any = None, **kwargs: Any) -> Array:
    """Ones on the diagonal."""
    columns = "" if m is None else f", {writer.number(m)}"
    text = f"jnp.eye({writer.number(n)}{columns}, dtype={writer.dtype_of(node.outputs)})"
    return from_value(writer.bind(text), node.outputs)


@operation("new_tensor")
def new_tensor(writer: Writer, node: Node, input: Any, data: Any, **kwargs: Any) -> Array:
    """Numbers of the program as a tensor of another one's dtype."""
    return tensor(writer, node, data)


@operation("tensor", "as_tensor", "scalar_tensor", "asarray")
def tensor(writer: Writer, node: Node, data: Any, **kwargs: Any) -> Array:
    """Numbers of the program as a tensor."""
    if isinstance(data, Value):
        return writer.array(data).copy(node.outputs)
    text = f"jnp.asarray({_literal(writer, data)}, {writer.dtype_of(node.outputs)})"
    return from_value(writer.bind(text), node.outputs)


def _literal(writer: Writer, data: Any) -> str:
    if isinstance(data, (tuple, list)):
        return f"[{', '.join(_literal(writer, item) for item in data)}]"
    return writer.number(data)


@operation(
    "rand", "randn", "randint", "rand_like", "randn_like", "randperm", "bernoulli", "uniform", "normal", "multinomial"
)
def random(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """Random draws are refused by the table; dropout and stochastic depth have rows of their own."""
    raise UnknownOperationError(
        "it draws random numbers", "dropout, stochastic depth, or the noise as an argument of forward"
    )
