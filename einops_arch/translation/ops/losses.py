"""Losses inside of a model, with PyTorch's reductions."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, channels_last_order, from_value
from einops_arch.translation.ops.table import functional, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer, is_floating

__all__: list[str] = []


def _reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction as an argument, nothing for the mean."""
    if size_average is not None or reduce is not None:
        raise UnknownOperationError("a loss with size_average or reduce", "reduction='mean', 'sum' or 'none'")
    return "" if reduction == "mean" else f", reduction={reduction!r}"


def _compared(writer: Writer, node: Node, input: Value, target: Value, arguments: str) -> Array:
    """A loss of two tensors of one shape, in the order in which the first one lies."""
    if len(input.shape) != len(target.shape) or any(a != b for a, b in zip(input.shape, target.shape, strict=True)):
        raise UnknownOperationError("a loss of tensors of other shapes", "expand the smaller one first")
    array = writer.whole(input)
    order = array.order or ()
    call = f"{node.name}({array.code}, {writer.ordered(target, order).code}{arguments})"
    left = order if node.outputs.shape else ()
    return writer.make(functional(writer, call), node.outputs, left, array.names if left else None)


@operation("mse_loss", "l1_loss")
def distance(
    writer: Writer,
    node: Node,
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Array:
    """Squared or absolute differences."""
    if weight is not None:
        raise UnknownOperationError("a loss with weights of its entries", "multiply the unreduced loss")
    return _compared(writer, node, input, target, _reduction(size_average, reduce, reduction))


@operation("smooth_l1_loss")
def smooth_l1(
    writer: Writer,
    node: Node,
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Array:
    """Squares near zero, absolute differences elsewhere."""
    extra = "" if beta == 1 else f", beta={beta}"
    return _compared(writer, node, input, target, _reduction(size_average, reduce, reduction) + extra)


@operation("huber_loss")
def huber(
    writer: Writer,
    node: Node,
    input: Any,
    target: Any,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Any = None,
) -> Array:
    """Squares near zero, lines elsewhere."""
    if weight is not None:
        raise UnknownOperationError("a loss with weights of its entries", "multiply the unreduced loss")
    extra = "" if delta == 1 else f", delta={delta}"
    return _compared(writer, node, input, target, _reduction(None, None, reduction) + extra)


@operation("binary_cross_entropy", "binary_cross_entropy_with_logits")
def binary(
    writer: Writer,
    node: Node,
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Array:
    """Of probabilities, or of their logits."""
    arguments = _reduction(size_average, reduce, reduction)
    if weight is None and pos_weight is None:
        return _compared(writer, node, input, target, arguments)
    # Weights are broadcast in PyTorch's order of axes.
    scores, goal = writer.ordered(input), writer.ordered(target)
    weights = "" if weight is None else f", {writer.ordered(weight).code}"
    weights += "" if pos_weight is None else f", pos_weight={writer.ordered(pos_weight).code}"
    call = f"{node.name}({scores.code}, {goal.code}{weights}{arguments})"
    return writer.make(functional(writer, call), node.outputs)


@operation("kl_div")
def divergence(
    writer: Writer,
    node: Node,
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Array:
    """Of log probabilities from probabilities."""
    if reduction == "batchmean":
        input_order = tuple(range(len(input.shape)))
        if (writer.whole(input).order or ()) != input_order:
            raise UnknownOperationError("the mean over a batch that is not the first axis")
    extra = ", log_target=True" if log_target else ""
    return _compared(writer, node, input, target, _reduction(size_average, reduce, reduction) + extra)


@operation("cross_entropy", "nll_loss")
def classes(
    writer: Writer,
    node: Node,
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Of scores whose classes PyTorch has on axis 1, and class indices or probabilities."""
    rank = len(input.shape)
    if rank < 2:
        raise UnknownOperationError("a cross entropy without a batch axis", "input[None], target[None]")
    arguments = _reduction(size_average, reduce, reduction)
    if ignore_index != -100:
        arguments += f", ignore_index={ignore_index}"
    if label_smoothing:
        arguments += f", label_smoothing={label_smoothing}"
    scores = writer.ordered(input, channels_last_order(rank))
    goal = writer.ordered(target, channels_last_order(rank) if is_floating(target) else None)
    if weight is not None:
        arguments = f", {writer.ordered(weight).code}{arguments}"
    return writer.make(functional(writer, f"{node.name}({scores.code}, {goal.code}{arguments})"), node.outputs)


@operation("triplet_margin_loss")
def triplet(
    writer: Writer,
    node: Node,
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Array:
    """How much nearer the positive has to be than the negative."""
    _reduction(size_average, reduce, reduction)
    first, near, far = (writer.ordered(tensor).code for tensor in (anchor, positive, negative))

    def distance(left: str, right: str) -> str:
        return functional(writer, f"norm({left} - {right} + {eps!r}, {float(p)!r}, axis=-1)")

    apart = distance(first, far)
    if swap:
        apart = f"jnp.minimum({apart}, {distance(near, far)})"
    losses = writer.bind(f"jax.nn.relu({distance(first, near)} - {apart} + {margin!r})")
    return from_value(losses if reduction == "none" else writer.bind(f"jnp.{reduction}({losses})"), node.outputs)
