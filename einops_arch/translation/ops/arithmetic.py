"""Arithmetic, comparisons, activations and casts: element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array
from einops_arch.translation.ops.table import ROWS, elementwise, functional, operation, promoted, renamed
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer, is_floating

__all__: list[str] = []

_BINARY = {
    ("mul", "__mul__", "__rmul__", "multiply", "__imul__"): "({} * {})",
    ("eq", "__eq__"): "({} == {})",
    ("ne", "__ne__", "not_equal"): "({} != {})",
    ("lt", "__lt__", "less"): "({} < {})",
    ("le", "__le__", "less_equal"): "({} <= {})",
    ("gt", "__gt__", "greater"): "({} > {})",
    ("ge", "__ge__", "greater_equal"): "({} >= {})",
    ("pow", "__pow__"): "({} ** {})",
    ("maximum",): "jnp.maximum({}, {})",
    ("minimum",): "jnp.minimum({}, {})",
    ("remainder", "__mod__"): "({} % {})",
    ("floor_divide", "__floordiv__"): "({} // {})",
    ("bitwise_and", "__and__", "__rand__"): "({} & {})",
    ("bitwise_or", "__or__", "__ror__"): "({} | {})",
    ("bitwise_xor", "__xor__"): "({} ^ {})",
    ("logical_and",): "jnp.logical_and({}, {})",
    ("logical_or",): "jnp.logical_or({}, {})",
    ("logical_xor",): "jnp.logical_xor({}, {})",
}
_UNARY = {
    ("neg", "__neg__", "negative"): "(-{})",
    ("exp",): "jnp.exp({})",
    ("log",): "jnp.log({})",
    ("log1p",): "jnp.log1p({})",
    ("log2",): "jnp.log2({})",
    ("log10",): "jnp.log10({})",
    ("expm1",): "jnp.expm1({})",
    ("sqrt",): "jnp.sqrt({})",
    ("rsqrt",): "jax.lax.rsqrt({})",
    ("sin",): "jnp.sin({})",
    ("cos",): "jnp.cos({})",
    ("tan",): "jnp.tan({})",
    ("asin", "arcsin"): "jnp.arcsin({})",
    ("acos", "arccos"): "jnp.arccos({})",
    ("atan", "arctan"): "jnp.arctan({})",
    ("sinh",): "jnp.sinh({})",
    ("cosh",): "jnp.cosh({})",
    ("tanh",): "jnp.tanh({})",
    ("erf",): "jax.scipy.special.erf({})",
    ("sigmoid",): "jax.nn.sigmoid({})",
    ("square",): "jnp.square({})",
    ("reciprocal",): "(1 / {})",
    ("floor",): "jnp.floor({})",
    ("ceil",): "jnp.ceil({})",
    ("round",): "jnp.round({})",
    ("trunc",): "jnp.trunc({})",
    ("sign",): "jnp.sign({})",
    ("isnan",): "jnp.isnan({})",
    ("isinf",): "jnp.isinf({})",
    ("isfinite",): "jnp.isfinite({})",
    ("logical_not",): "jnp.logical_not({})",
    ("__invert__", "bitwise_not"): "(~{})",
    ("detach", "data"): "jax.lax.stop_gradient({})",
    ("real",): "jnp.real({})",
    ("imag",): "jnp.imag({})",
}
# With the flag `inplace` of torch.nn.functional.
_ACTIVATIONS = {
    ("relu",): "jax.nn.relu({})",
    ("relu6",): "functional.relu6({})",
    ("silu",): "functional.silu({})",
    ("mish",): "functional.mish({})",
    ("hardswish",): "functional.hardswish({})",
    ("hardsigmoid",): "functional.hardsigmoid({})",
    ("selu",): "functional.selu({})",
    ("logsigmoid", "log_sigmoid"): "functional.logsigmoid({})",
    ("softsign",): "functional.softsign({})",
    ("tanhshrink",): "functional.tanhshrink({})",
    ("abs", "__abs__", "absolute"): "functional.absolute({})",
}


def _binary(template: str) -> Callable[..., Array]:
    def row(writer: Writer, node: Node, input: Any, other: Any, *, out: None = None) -> Array:
        if "*" in template and "**" not in template and _changes_nothing(node, input, other, 1):
            return writer.array(input).copy(node.outputs)
        return elementwise(
            writer, node.outputs, template, promoted(writer, node.outputs, input), promoted(writer, node.outputs, other)
        )

    return row


def _changes_nothing(node: Node, input: Any, other: Any, neutral: int) -> bool:
    """Whether the other operand is the number that leaves every entry, and its dtype, as it is."""
    return (
        isinstance(input, Value)
        and isinstance(other, (int, float))
        and not isinstance(other, bool)
        and other == neutral
        and (input.dtype, input.follows) == (node.outputs.dtype, node.outputs.follows)
    )


def _unary(template: str) -> Callable[..., Array]:
    def row(writer: Writer, node: Node, input: Any) -> Array:
        return elementwise(writer, node.outputs, template, promoted(writer, node.outputs, input))

    return row


def _activation(template: str) -> Callable[..., Array]:
    def row(writer: Writer, node: Node, input: Any, inplace: bool = False) -> Array:
        if template.startswith("functional."):
            writer.imports.add("from einops_arch.flax import functional")
        return elementwise(writer, node.outputs, template, input)

    return row


for _make, _table in ((_binary, _BINARY), (_unary, _UNARY), (_activation, _ACTIVATIONS)):
    for _names, _template in _table.items():
        for _name in _names:
            ROWS[_name] = _make(_template)


@operation("add", "__add__", "__radd__", "__iadd__")
def add(writer: Writer, node: Node, input: Any, other: Any, *, alpha: Any = 1) -> Array:
    """`input + alpha * other`."""
    return _sum(writer, node, "+", input, other, alpha)


@operation("sub", "__sub__", "subtract", "__isub__")
def sub(writer: Writer, node: Node, input: Any, other: Any, *, alpha: Any = 1) -> Array:
    """`input - alpha * other`."""
    return _sum(writer, node, "-", input, other, alpha)


@operation("__rsub__", "rsub")
def rsub(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """`other - input`."""
    return _sum(writer, node, "-", other, input, 1)


def _sum(writer: Writer, node: Node, sign: str, left: Any, right: Any, alpha: Any) -> Array:
    # Zero and a float give another zero where the float is -0.
    if not is_floating(node.outputs) and _changes_nothing(node, left, right, 0):
        return writer.array(left).copy(node.outputs)
    left, right = promoted(writer, node.outputs, left), promoted(writer, node.outputs, right)
    if alpha != 1:
        return elementwise(writer, node.outputs, f"({{}} {sign} {{}} * {{}})", left, alpha, right)
    return elementwise(writer, node.outputs, f"({{}} {sign} {{}})", left, right)


@operation("div", "__truediv__", "true_divide", "divide", "__itruediv__")
def div(writer: Writer, node: Node, input: Any, other: Any, *, rounding_mode: str | None = None) -> Array:
    """`input / other`, rounded or not."""
    if rounding_mode is None and _changes_nothing(node, input, other, 1):
        return writer.array(input).copy(node.outputs)
    template = {None: "({} / {})", "floor": "({} // {})", "trunc": "jnp.trunc({} / {})"}[rounding_mode]
    if rounding_mode == "trunc" and not is_floating(node.outputs):
        template = "(({0} - jnp.fmod({0}, {1})) // {1})"
    return elementwise(
        writer, node.outputs, template, promoted(writer, node.outputs, input), promoted(writer, node.outputs, other)
    )


@operation("__rtruediv__", "__rdiv__")
def rdiv(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """`other / input`."""
    return elementwise(writer, node.outputs, "({} / {})", other, promoted(writer, node.outputs, input))


@operation("__rpow__")
def rpow(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """`other ** input`."""
    negative = isinstance(other, (int, float)) and other < 0
    template = "(({}) ** {})" if negative else "({} ** {})"
    return elementwise(writer, node.outputs, template, other, promoted(writer, node.outputs, input))


@operation("addcmul")
def addcmul(writer: Writer, node: Node, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Array:
    """`input + value * tensor1 * tensor2`."""
    return elementwise(writer, node.outputs, "({} + {} * {} * {})", input, value, tensor1, tensor2)


@operation("lerp")
def lerp(writer: Writer, node: Node, input: Any, end: Any, weight: Any) -> Array:
    """`input + weight * (end - input)`."""
    return elementwise(writer, node.outputs, "({} + {} * ({} - {}))", input, weight, end, input)


@operation("clamp", "clip", "clamp_min", "clamp_max")
def clamp(writer: Writer, node: Node, input: Any, min: Any = None, max: Any = None) -> Array:
    """Bounds on both sides or one; the gradient at a bound is that of the input."""
    if node.name == "clamp_max" and max is None:
        min, max = None, min  # noqa: A001
    input, min, max = (promoted(writer, node.outputs, item) for item in (input, min, max))  # noqa: A001
    if max is None:
        return elementwise(writer, node.outputs, functional(writer, "clamp({}, {})"), input, min)
    return elementwise(writer, node.outputs, functional(writer, "clamp({}, {}, {})"), input, min, max)


@operation("atan2", "arctan2")
def atan2(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """The angle of a point; its gradient at the origin is 0."""
    operands = (promoted(writer, node.outputs, item) for item in (input, other))
    return elementwise(writer, node.outputs, functional(writer, "atan2({}, {})"), *operands)


@operation("hardtanh")
def hardtanh(
    writer: Writer,
    node: Node,
    input: Any,
    min_val: Any = -1.0,
    max_val: Any = 1.0,
    inplace: bool = False,
) -> Array:
    """Bounds on both sides."""
    return elementwise(writer, node.outputs, functional(writer, "hardtanh({}, {}, {})"), input, min_val, max_val)


@operation("gelu")
def gelu(writer: Writer, node: Node, input: Any, approximate: str = "none") -> Array:
    """Exact, or by tanh."""
    return elementwise(writer, node.outputs, f"jax.nn.gelu({{}}, approximate={approximate == 'tanh'})", input)


@operation("leaky_relu")
def leaky_relu(writer: Writer, node: Node, input: Any, negative_slope: Any = 0.01, inplace: bool = False) -> Array:
    """A slope below 0."""
    return elementwise(writer, node.outputs, functional(writer, "leaky_relu({}, {})"), input, negative_slope)


@operation("elu")
def elu(writer: Writer, node: Node, input: Any, alpha: Any = 1.0, inplace: bool = False) -> Array:
    """An exponential below 0."""
    return elementwise(writer, node.outputs, functional(writer, "elu({}, {})"), input, alpha)


@operation("celu")
def celu(writer: Writer, node: Node, input: Any, alpha: Any = 1.0, inplace: bool = False) -> Array:
    """An exponential below 0."""
    return elementwise(writer, node.outputs, functional(writer, "celu({}, {})"), input, alpha)


@operation("prelu")
def prelu(writer: Writer, node: Node, input: Any, weight: Any) -> Array:
    """A learned slope below 0, one for all channels or one each."""
    slope = writer.array(weight)
    if math.prod(weight.shape) > 1:
        slope = slope.copy()
        slope.logical = [slope.logical[0], *([] for _ in input.shape[2:])]
        slope.value = Value(
            (weight.shape[0], *(1 for _ in input.shape[2:])),
            weight.dtype,
            sizes=(weight.sizes[0], *((1, 1) for _ in input.shape[2:])),
        )
    return elementwise(writer, node.outputs, "jnp.where({0} > 0, {0}, {1} * {0})", input, slope)


@operation("softplus")
def softplus(writer: Writer, node: Node, input: Any, beta: Any = 1, threshold: Any = 20) -> Array:
    """The linear part begins where PyTorch's does."""
    return elementwise(writer, node.outputs, functional(writer, "softplus({}, {}, {})"), input, beta, threshold)


@operation("where")
def where(writer: Writer, node: Node, condition: Any, input: Any = None, other: Any = None) -> Array:
    """One or the other."""
    if input is None:
        raise UnknownOperationError("the shape of the result depends on values")
    return elementwise(
        writer,
        node.outputs,
        "jnp.where({}, {}, {})",
        condition,
        promoted(writer, node.outputs, input),
        promoted(writer, node.outputs, other),
    )


@operation("masked_fill")
def masked_fill(writer: Writer, node: Node, input: Any, mask: Any, value: Any) -> Array:
    """A number where the mask is."""
    return elementwise(
        writer, node.outputs, "jnp.where({}, {}, {})", mask, promoted(writer, node.outputs, value), input
    )


@operation("nan_to_num")
def nan_to_num(
    writer: Writer, node: Node, input: Any, nan: Any = None, posinf: Any = None, neginf: Any = None
) -> Array:
    """A number where there is none."""
    named = {"nan": nan or 0.0, "posinf": posinf, "neginf": neginf}
    settings = "".join(f", {name}={{}}" for name, number in named.items() if number is not None)
    numbers = [number for number in named.values() if number is not None]
    return elementwise(writer, node.outputs, f"jnp.nan_to_num({{}}{settings})", input, *numbers)


@operation("zero")
def zero(writer: Writer, node: Node, input: Any) -> Array:
    """All zeros."""
    return elementwise(writer, node.outputs, "jnp.zeros_like({})", input)


@operation("fill")
def fill(writer: Writer, node: Node, input: Any, value: Any) -> Array:
    """All the same."""
    return elementwise(writer, node.outputs, "jnp.full_like({}, {})", input, value)


@operation("to", "type_as", "float", "double", "half", "bfloat16", "long", "int", "bool", "type", "cpu", "cuda", "byte")
def cast(writer: Writer, node: Node, input: Any, *args: Any, **kwargs: Any) -> Array:
    """Another dtype; devices are jax's own affair."""
    output = node.outputs
    array = writer.array(input)
    if output.dtype == input.dtype and output.follows == input.follows:
        return array.copy(output)
    if array.repeated:
        array = writer.ordered(array)
    return renamed(array, writer.bind(f"{array.code}.astype({writer.dtype_of(output)})"), output)


@operation("contiguous", "clone", "requires_grad", "alias", "positive", "__copy__", "__deepcopy__", "pin_memory")
def same(writer: Writer, node: Node, input: Any, *args: Any, **kwargs: Any) -> Array:
    """The same numbers."""
    return writer.array(input).copy(node.outputs)


@operation("copy")
def copy(writer: Writer, node: Node, input: Any, src: Any, non_blocking: bool = False) -> Array:
    """The numbers of another tensor."""
    if input.sizes == src.sizes and input.dtype == src.dtype:
        return writer.array(src).copy(node.outputs)
    return elementwise(writer, node.outputs, "jnp.broadcast_to({1}, {0}.shape).astype({0}.dtype)", input, src)
