"""Matrix products and attention."""

from __future__ import annotations

import re
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import functional, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("matmul", "__matmul__", "bmm", "mm", "mv", "dot", "__rmatmul__")
def matmul(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """The product over the last axis of one and the last but one of the other."""
    if node.name == "__rmatmul__":
        input, other = other, input  # noqa: A001
    left, right = writer.ordered(input), writer.ordered(other)
    return writer.make(f"({left.code} @ {right.code})", node.outputs, names=_product_names(left, right, node.outputs))


def _product_names(left: Array, right: Array, output: Value) -> list[str] | None:
    if len(left.logical) == len(right.logical) == len(output.shape) >= 2:
        names = [*left.names[:-1], right.names[-1]]
        return names if len(set(names)) == len(names) else [*left.names[:-1], f"{right.names[-1]}1"]
    return None


@operation("baddbmm", "addmm")
def add_product(
    writer: Writer,
    node: Node,
    input: Any,
    *factors: Any,
    beta: Any = 1,
    alpha: Any = 1,
    **named: Any,
) -> Array:
    """`beta * input + alpha * first @ second`."""
    # By name they are `batch1` and `batch2`, or `mat1` and `mat2`.
    first, second = (*factors, *(named[name] for name in sorted(named)))
    before = writer.ordered(input).code
    product = f"{writer.ordered(first).code} @ {writer.ordered(second).code}"
    if alpha != 1:
        product = f"{writer.number(alpha)} * ({product})"
    if beta == 0:
        return from_value(writer.bind(f"({product})"), node.outputs)
    if beta != 1:
        before = f"{writer.number(beta)} * {before}"
    return from_value(writer.bind(f"({before} + {product})"), node.outputs)


@operation("einsum")
def einsum(writer: Writer, node: Node, equation: str, *operands: Any) -> Array:
    """A sum of products, by letters."""
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    codes = ", ".join(writer.ordered(operand).code for operand in operands)
    names = None
    right = equation.replace(" ", "").partition("->")[2]
    if re.fullmatch(r"[a-zA-Z]+", right) and len(set(right)) == len(right):
        names = list(right)
    return writer.make(f'jnp.einsum("{equation}", {codes})', node.outputs, names=names)


@operation("outer", "ger")
def outer(writer: Writer, node: Node, input: Any, vec2: Any) -> Array:
    """All products of two vectors."""
    return from_value(
        writer.bind(f"jnp.outer({writer.ordered(input).code}, {writer.ordered(vec2).code})"), node.outputs
    )


@operation("scaled_dot_product_attention")
def attention(
    writer: Writer,
    node: Node,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Array:
    """softmax(q k^T scale + mask) v."""
    q, k, v = (writer.ordered(tensor) for tensor in (query, key, value))
    if not dropout_p:
        return _without_dropout(writer, node, (q, k, v), attn_mask, is_causal=is_causal, scale=scale, shares=enable_gqa)
    if not writer.training:
        raise UnknownOperationError("dropout outside of training", "dropout_p=p if self.training else 0.0")
    k_code, v_code = k.code, v.code
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        groups = query.shape[-3] // key.shape[-3]
        k_code, v_code = (writer.bind(f"jnp.repeat({code}, {groups}, axis=-3)") for code in (k_code, v_code))
    mask = "" if attn_mask is None else f", {writer.ordered(attn_mask).code}"
    if is_causal:
        mask = f", {functional(writer, f'causal_mask({q.code}.shape[-2], {k_code}.shape[-2])')}"
    factor = f", scale={writer.number(scale)}" if scale is not None else ""
    scores = functional(writer, f"attention_scores({q.code}, {k_code}{mask}{factor})")
    weights = writer.bind(f"{functional(writer, f'safe_softmax({scores})')}.astype({v_code}.dtype)")
    writer.imports.add("from einops_arch.flax.layers import Dropout")
    attribute = writer.owner.layer("attention_dropout", f"Dropout({dropout_p!r}, rngs=rngs)")
    weights = writer.bind(f"self.{attribute}({weights})")
    return writer.make(f"({weights} @ {v_code})", node.outputs, names=_product_names(q, v, node.outputs))


def _without_dropout(
    writer: Writer,
    node: Node,
    arrays: tuple[Array, Array, Array],
    mask: Any,
    *,
    is_causal: bool,
    scale: Any,
    shares: bool,
) -> Array:
    q, k, v = arrays
    extra = "" if mask is None else f", {writer.ordered(mask).code}"
    extra += ", is_causal=True" if is_causal else ""
    extra += f", scale={writer.number(scale)}" if scale is not None else ""
    extra += ", enable_gqa=True" if shares else ""
    writer.imports.add("from einops_arch.flax.functional import scaled_dot_product_attention")
    code = f"scaled_dot_product_attention({q.code}, {k.code}, {v.code}{extra})"
    return writer.make(code, node.outputs, names=_product_names(q, v, node.outputs))
