"""Tensors that are made: ranges, constants, and others like one that is there."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.constants import WINDOWS, window_code
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import functional, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


def _sizes(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


@operation("zeros", "ones", "empty", "new", "new_zeros", "new_ones", "new_empty")
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


_SMALL = 64
"""Numbers of an array that may stand in the code."""


def _literal(writer: Writer, data: Any) -> str:
    if isinstance(data, np.ndarray):
        if data.size > _SMALL:
            raise UnknownOperationError(f"an array of {data.size} numbers of numpy is used", "a buffer")
        return _literal(writer, data.tolist())
    if isinstance(data, (tuple, list)):
        return f"[{', '.join(_literal(writer, item) for item in data)}]"
    return writer.number(data)


@operation("randn_like", "rand_like")
def drawn_like(writer: Writer, node: Node, input: Any, **kwargs: Any) -> Array:
    """Random numbers in the shape of another tensor; a layer of the twin holds the random stream."""
    array = writer.whole(input)
    same = node.outputs.dtype == input.dtype
    dtype = f"{array.code}.dtype" if same else writer.dtype_of(node.outputs)
    code = f"self.{_noise(writer)}.{_distribution(node)}({array.code}.shape, {dtype})"
    return writer.make(writer.bind(code), node.outputs, array.order, array.names)


@operation("randn", "rand")
def drawn(writer: Writer, node: Node, *shape: Any, **kwargs: Any) -> Array:
    """Random numbers."""
    sizes = writer.number(_sizes(shape) if shape else tuple(kwargs["size"]))
    code = f"self.{_noise(writer)}.{_distribution(node)}({sizes}, {writer.dtype_of(node.outputs)})"
    return from_value(writer.bind(code), node.outputs)


@operation("normal", "uniform")
def drawn_with(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """Random numbers between two bounds, or of a mean and a deviation; often written into a tensor."""
    if node.writes is not None:
        args = args[1:]
    names = ("mean", "std") if node.name == "normal" else ("from", "to")
    values = dict(zip(names, (0.0, 1.0), strict=True)) | dict(zip(names, args, strict=False)) | kwargs
    first, second = (values[name] for name in names)
    if not isinstance(first, Value) and not isinstance(second, Value):
        scale = second - first if node.name == "uniform" else second
        code = f"self.{_noise(writer)}.{node.name}({_sizes_of(writer, node)}, {writer.dtype_of(node.outputs)})"
        code = code if scale == 1 else f"{writer.number(scale)} * {code}"
        return from_value(writer.bind(f"{writer.number(first)} + {code}" if first else code), node.outputs)
    code = f"self.{_noise(writer)}.normal({_sizes_of(writer, node)}, {writer.dtype_of(node.outputs)})"
    mean, deviation = (
        writer.ordered(part).code if isinstance(part, Value) else writer.number(part) for part in (first, second)
    )
    # PyTorch has no gradient through it; the other way, mean + deviation * randn, has.
    return from_value(writer.bind(f"jax.lax.stop_gradient({mean} + {deviation} * {code})"), node.outputs)


def _sizes_of(writer: Writer, node: Node) -> str:
    """The sizes of what a draw gives, by a tensor that has them or as they were asked for."""
    like = next((item for item in node.args if isinstance(item, Value) and item.shape == node.outputs.shape), None)
    if like is not None:
        code = writer.ordered(like).code
        # What is only made to be filled is not made.
        fresh = re.fullmatch(r"jnp\.zeros\((\([^()]*\)), [^()]+\)", code)
        return fresh[1] if fresh else f"{code}.shape"
    size = next((item for item in node.args if isinstance(item, (tuple, list))), node.kwargs.get("size"))
    if size is None:
        raise UnknownOperationError("it draws random numbers of a shape that is not known")
    return writer.number(tuple(size))


@operation("randint")
def drawn_integers(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """Random integers."""
    numbers = [item for item in args if not isinstance(item, (tuple, list))]
    numbers += [kwargs[name] for name in ("low", "high") if name in kwargs]
    size = next((item for item in args if isinstance(item, (tuple, list))), kwargs.get("size", ()))
    low, high = (0, numbers[0]) if len(numbers) == 1 else numbers
    bounds = f"{writer.number(low)}, {writer.number(high)}"
    return from_value(
        writer.bind(f"self.{_noise(writer)}.integers({writer.number(tuple(size))}, {bounds})"), node.outputs
    )


def _noise(writer: Writer) -> str:
    writer.imports.add("from einops_arch.flax.layers import Noise")
    return writer.owner.layer("noise", "Noise(rngs=rngs)", shared=True)


def _distribution(node: Node) -> str:
    return "normal" if node.name.startswith("randn") else "uniform"


@operation("randint_like", "randperm", "bernoulli", "multinomial", "poisson", "exponential")
def random(writer: Writer, node: Node, *args: Any, **kwargs: Any) -> Array:
    """Other draws are refused by the table; dropout and stochastic depth have rows of their own."""
    raise UnknownOperationError(
        "it draws random numbers", "dropout, stochastic depth, torch.randn, or the numbers as an argument of forward"
    )
