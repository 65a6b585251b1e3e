"""Special functions, remainders and further comparisons: element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import ROWS, elementwise, functional, operation, promoted
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []

_UNARY = {
    ("exp2", "special_exp2"): "jnp.exp2({})",
    ("erfc", "special_erfc"): "jax.scipy.special.erfc({})",
    ("erfinv", "special_erfinv"): "jax.scipy.special.erfinv({})",
    ("lgamma", "special_gammaln"): "jax.scipy.special.gammaln({})",
    ("digamma", "special_digamma"): "jax.scipy.special.digamma({})",
    ("special_erf",): "jax.scipy.special.erf({})",
    ("special_expit",): "jax.nn.sigmoid({})",
    ("special_log1p",): "jnp.log1p({})",
    ("special_expm1",): "jnp.expm1({})",
    ("sinc", "special_sinc"): "jnp.sinc({})",
    ("asinh", "arcsinh"): "jnp.arcsinh({})",
    ("acosh", "arccosh"): "jnp.arccosh({})",
    ("atanh", "arctanh"): "jnp.arctanh({})",
    ("deg2rad",): "jnp.deg2rad({})",
    ("rad2deg",): "jnp.rad2deg({})",
    ("frac",): "({0} - jnp.trunc({0}))",
    ("isposinf",): "jnp.isposinf({})",
    ("isneginf",): "jnp.isneginf({})",
    ("signbit",): "jnp.signbit({})",
    ("angle",): "jnp.angle({})",
    ("conj", "conj_physical", "resolve_conj"): "jnp.conj({})",
    ("fix",): "jnp.trunc({})",
    ("special_entr",): "jax.scipy.special.entr({})",
    ("special_ndtr",): "jax.scipy.special.ndtr({})",
    ("special_log_ndtr",): "jax.scipy.special.log_ndtr({})",
}
_BINARY = {
    ("fmod",): "jnp.fmod({}, {})",
    ("logaddexp",): "jnp.logaddexp({}, {})",
    ("logaddexp2",): "jnp.logaddexp2({}, {})",
    ("copysign",): "jnp.copysign({}, {})",
    ("heaviside",): "jnp.heaviside({}, {})",
    ("hypot",): "jnp.hypot({}, {})",
    ("fmax",): "jnp.fmax({}, {})",
    ("fmin",): "jnp.fmin({}, {})",
    ("xlogy", "special_xlogy"): "jax.scipy.special.xlogy({}, {})",
    ("bitwise_left_shift", "__lshift__"): "({} << {})",
    ("bitwise_right_shift", "__rshift__"): "({} >> {})",
}


def _row(template: str) -> Callable[..., Array]:
    def row(writer: Writer, node: Node, input: Any, *other: Any) -> Array:
        operands = [promoted(writer, node.outputs, item) for item in (input, *other)]
        return elementwise(writer, node.outputs, template, *operands)

    return row


for _names, _template in (_UNARY | _BINARY).items():
    for _name in _names:
        ROWS[_name] = _row(_template)


@operation("logit", "special_logit")
def logit(writer: Writer, node: Node, input: Any, eps: Any = None) -> Array:
    """The inverse of the sigmoid, of numbers that are kept away from 0 and 1 by eps."""
    x = promoted(writer, node.outputs, input)
    if eps is not None:
        x = elementwise(writer, node.outputs, functional(writer, f"clamp({{}}, {eps!r}, {1 - eps!r})"), x)
    return elementwise(writer, node.outputs, "jax.scipy.special.logit({})", x)


@operation("addcdiv")
def addcdiv(writer: Writer, node: Node, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Array:
    """`input + value * tensor1 / tensor2`."""
    return elementwise(writer, node.outputs, "({} + {} * {} / {})", input, value, tensor1, tensor2)


@operation("hardshrink", "softshrink")
def shrink(writer: Writer, node: Node, input: Any, lambd: Any = 0.5) -> Array:
    """Zeros near 0."""
    return elementwise(writer, node.outputs, functional(writer, f"{node.name}({{}}, {{}})"), input, lambd)


@operation("threshold", "_threshold")
def threshold(writer: Writer, node: Node, input: Any, threshold: Any, value: Any, inplace: bool = False) -> Array:
    """A number where the input is not above the threshold."""
    return elementwise(writer, node.outputs, functional(writer, "threshold({}, {}, {})"), input, threshold, value)


@operation("isclose")
def isclose(
    writer: Writer, node: Node, input: Any, other: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False
) -> Array:
    """Whether two numbers are as good as equal."""
    extra = ", equal_nan=True" if equal_nan else ""
    template = f"jnp.isclose({{}}, {{}}, rtol={rtol!r}, atol={atol!r}{extra})"
    return elementwise(writer, node.outputs, template, input, other)


@operation("isin")
def isin(writer: Writer, node: Node, elements: Any, test_elements: Any, *, invert: bool = False) -> Array:
    """Whether each entry is one of some numbers."""
    if not isinstance(elements, Value):
        raise UnknownOperationError("whether a number is in a tensor", "a comparison and any()")
    array = writer.whole(elements)
    numbers = (
        writer.ordered(test_elements).code if isinstance(test_elements, Value) else f"jnp.asarray({test_elements!r})"
    )
    code = f"jnp.isin({array.code}, {numbers}{', invert=True' if invert else ''})"
    return writer.make(code, node.outputs, array.order, array.names)


@operation("bucketize")
def bucketize(
    writer: Writer, node: Node, input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False
) -> Array:
    """Between which boundaries each number lies."""
    if not isinstance(input, Value):
        return from_value(writer.bind(_places(writer, boundaries, writer.number(input), right=right)), node.outputs)
    array = writer.whole(input)
    return writer.make(_places(writer, boundaries, array.code, right=right), node.outputs, array.order, array.names)


@operation("searchsorted")
def searchsorted(
    writer: Writer,
    node: Node,
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Array:
    """Where each number would have to stand in a sorted row."""
    if sorter is not None or len(sorted_sequence.shape) != 1:
        raise UnknownOperationError("a sorted sequence of more than one axis, or an order of its own")
    return bucketize(writer, node, input, sorted_sequence, right=right or side == "right")


def _places(writer: Writer, boundaries: Any, code: str, *, right: bool) -> str:
    side = ', side="right"' if right else ""
    return f"jnp.searchsorted({writer.ordered(boundaries).code}, {code}{side})"
