"""Reshapes and permutations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.layout import Array, from_value, reshape
from einops_arch.translation.ops.table import input_dims, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__ = ["reshaped", "shape_arguments"]


def reshaped(writer: Writer, array: Array, output: Value, numbers: Sequence[Any]) -> Array:
    """A view: lazily as a pattern, or as a reshape where no pattern says it."""
    codes = []
    for number, size in zip(numbers, output.sizes, strict=True):
        free = isinstance(number, FreeSize) and size[0] != size[1]
        codes.append(writer.number(number) if free else "")
    return _with_sizes(writer, array, output, codes)


def _with_sizes(writer: Writer, array: Array, output: Value, codes: list[str]) -> Array:
    """Axes regrouped where that is all, else numbers read in their order; one size may be without code."""
    lazy = reshape(array, output, codes)
    if lazy is not None and _can_be_written(lazy):
        return lazy
    whole = writer.ordered(array)
    shape = []
    inferred = False
    for size, code in zip(output.sizes, codes, strict=True):
        if code:
            shape.append(code)
        elif size[0] == size[1]:
            shape.append(str(size[0]))
        elif not inferred:
            shape.append("-1")
            inferred = True
        else:
            raise UnknownOperationError("two sizes of the view are not known")
    return from_value(writer.bind(f"{whole.code}.reshape({', '.join(shape)})"), output)


def _can_be_written(array: Array) -> bool:
    """Of each group that the variable has, all sizes but one must be known."""
    return all(
        sum(1 for axis in group if not axis.fixed and not axis.code) <= 1 for group in array.stored if len(group) > 1
    )


def shape_arguments(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sizes, whether they came as one tuple or one by one."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


@operation("view", "reshape")
def view(writer: Writer, node: Node, input: Any, *shape: Any, **kwargs: Any) -> Array:
    """Another shape."""
    shape = shape_arguments(shape) if shape else tuple(kwargs.get("shape", kwargs.get("size", ())))
    if len(shape) != len(node.outputs.shape):
        raise UnknownOperationError("a view of another dtype")
    return reshaped(writer, writer.array(input), node.outputs, shape)


@operation("view_as", "reshape_as")
def view_as(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """The shape of another tensor."""
    return _like_output(writer, node, input, other)


def _like_output(writer: Writer, node: Node, value: Any, other: Any = None) -> Array:
    array = writer.array(value)
    codes = ["" for _ in node.outputs.shape]
    if other is not None:
        beside = writer.array(other)
        codes = [writer.size_of(beside, n) if a != b else "" for n, (a, b) in enumerate(node.outputs.sizes)]
    return _with_sizes(writer, array, node.outputs, codes)


@operation("flatten", "ravel")
def flatten(writer: Writer, node: Node, input: Any, start_dim: int = 0, end_dim: int = -1) -> Array:
    """Neighbouring axes as one."""
    return _like_output(writer, node, input)


@operation("unflatten")
def unflatten(writer: Writer, node: Node, input: Any, dim: int, sizes: Any) -> Array:
    """One axis as several."""
    dim = dim % len(input.shape)
    before = [-1 if a != b else a for a, b in input.sizes]
    numbers = [*before[:dim], *sizes, *before[dim + 1 :]]
    return reshaped(writer, writer.array(input), node.outputs, numbers)


@operation("unsqueeze")
def unsqueeze(writer: Writer, node: Node, input: Any, dim: int) -> Array:
    """A new axis of one."""
    result = writer.array(input).copy(node.outputs)
    result.logical.insert(dim % len(node.outputs.shape), [])
    return result


@operation("squeeze")
def squeeze(writer: Writer, node: Node, input: Any, dim: Any = None) -> Array:
    """Axes of one go."""
    result = writer.array(input).copy(node.outputs)
    dims = input_dims(dim, len(input.shape))
    result.logical = [group for n, group in enumerate(result.logical) if not (n in dims and input.sizes[n] == (1, 1))]
    if len(result.logical) != len(node.outputs.shape):
        raise UnknownOperationError("whether an axis goes depends on its size", "name it: squeeze(dim)")
    return result


@operation("permute")
def permute(writer: Writer, node: Node, input: Any, *dims: Any, **kwargs: Any) -> Array:
    """Axes in another order: no line is written."""
    order = input_dims(shape_arguments(dims) if dims else kwargs["dims"], len(input.shape))
    return _permuted(writer, node, input, order)


@operation("transpose", "swapaxes", "swapdims")
def transpose(writer: Writer, node: Node, input: Any, dim0: int, dim1: int) -> Array:
    """Two axes change places."""
    rank = len(input.shape)
    order = list(range(rank))
    order[dim0 % rank], order[dim1 % rank] = order[dim1 % rank], order[dim0 % rank]
    return _permuted(writer, node, input, order)


@operation("t", "T", "mT", "adjoint", "H")
def turned(writer: Writer, node: Node, input: Any) -> Array:
    """The last two axes, or all, change places."""
    rank = len(input.shape)
    order = list(range(rank))[::-1] if node.name == "T" else [*range(rank - 2), rank - 1, rank - 2]
    return _permuted(writer, node, input, order if rank > 1 else list(range(rank)))


@operation("movedim", "moveaxis")
def movedim(writer: Writer, node: Node, input: Any, source: Any, destination: Any) -> Array:
    """Axes go elsewhere."""
    rank = len(input.shape)
    sources, targets = input_dims(source, rank), input_dims(destination, rank)
    order: list[int] = [-1] * rank
    for left, right in zip(sources, targets, strict=True):
        order[right] = left
    rest = iter(n for n in range(rank) if n not in sources)
    return _permuted(writer, node, input, [next(rest) if n < 0 else n for n in order])


def _permuted(writer: Writer, node: Node, value: Any, order: Sequence[int]) -> Array:
    result = writer.array(value).copy(node.outputs)
    result.logical = [result.logical[n] for n in order]
    return result
