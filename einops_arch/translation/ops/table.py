"""The table of operations: by the name of a torch function, the function that writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer, is_floating

__all__ = ["ROWS", "elementwise", "functional", "input_dims", "operation", "renamed", "write_operation"]

Row = Callable[..., Any]
ROWS: dict[str, Row] = {}
CUSTOM: dict[Any, Row] = {}


def operation(*names: str) -> Callable[[Row], Row]:
    """A row of the table.

    The function takes the writer, the node and the operation's arguments as torch has them, with `Value` for tensors,
    and gives an `Array` for each tensor that comes out, in the structure that torch gives.
    """

    def add(row: Row) -> Row:
        for name in names:
            if name in ROWS:
                raise ValueError(f"operation: {name} has a row already")
            ROWS[name] = row
        return row

    return add


def write_operation(writer: Writer, node: Node) -> None:
    """Write one operation.

    Raises:
        UnknownOperationError: the table has no row for it, or the row does not cover this use.
    """
    row = CUSTOM.get(node.function) or ROWS.get(node.name)
    if row is None:
        raise UnknownOperationError(
            "there is no row for it in the table of operations", "einops_arch.translation.register_op"
        )
    try:
        result = row(writer, node, *node.args, **{k: v for k, v in node.kwargs.items() if (k, v) != ("out", None)})
    except TypeError as error:
        if row.__name__ in str(error) and "argument" in str(error):
            reason = str(error).partition("() ")[2] or str(error)
            raise UnknownOperationError(f"an argument is not known: its row {reason}") from error
        raise
    store(writer, node.outputs, result)


def store(writer: Writer, outputs: Any, result: Any) -> None:
    """Remember the arrays that a row gave under the values that were recorded."""
    if isinstance(outputs, Value):
        if not isinstance(result, Array):
            raise UnknownOperationError(f"its row gave {type(result).__name__} for a tensor")
        writer.arrays[id(outputs)] = result
        return
    if isinstance(outputs, dict):
        for name, output in outputs.items():
            store(writer, output, result[name])
    elif isinstance(outputs, (tuple, list)):
        for output, array in zip(outputs, result, strict=True):
            store(writer, output, array)


def input_dims(dims: Any, rank: int) -> list[int]:
    """`dim=` arguments as places from the front; None is all of them."""
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        return list(range(rank))
    if isinstance(dims, (tuple, list)):
        return [int(dim) % rank for dim in dims]
    return [int(dims) % rank] if rank else []


def renamed(array: Array, code: str, value: Value) -> Array:
    """Another variable with the axes of this one."""
    result = array.copy(value, code)
    for place, group in enumerate(result.stored):
        if len(group) == 1 and group[0].code:
            group[0].code = f"{code}.shape[{place}]"
    return result


def elementwise(writer: Writer, output: Value, template: str, *operands: Any) -> Array:
    """An expression of tensors and numbers that are broadcast as PyTorch does it.

    Args:
        writer: of the body.
        output: what was recorded.
        template: with a `{}` for each operand.
        operands: values, arrays and numbers.
    """
    tensors = [operand for operand in operands if isinstance(operand, (Value, Array))]
    arrays = [writer.array(tensor) for tensor in tensors]
    if len(arrays) == 1 and (arrays[0].value.sizes == output.sizes):
        array = arrays[0]
        if array.repeated:
            array = writer.ordered(array)
        codes = [array.code if isinstance(item, (Value, Array)) else writer.factor(item) for item in operands]
        return renamed(array, writer.bind(template.format(*codes)), output)
    rank = len(output.shape)
    order = next(
        (
            array.order
            for array in arrays
            if len(array.logical) == rank and array.order is not None and not array.repeated
        ),
        tuple(range(rank)),
    )
    names = _broadcast_names(arrays, rank)
    codes = []
    widest = 0
    for operand in operands:
        if not isinstance(operand, (Value, Array)):
            codes.append(writer.factor(operand))
            continue
        array = broadcast_to_order(writer, writer.array(operand), order, arrays)
        codes.append(array.code)
        widest = max(widest, len(array.stored))
    result = writer.make(template.format(*codes), output, order, names)
    return without_units(result, rank - widest)


def without_units(array: Array, count: int) -> Array:
    """The array where its variable lacks so many unit axes in front, as no operand had them."""
    if any(array.stored[:count]):
        raise UnknownOperationError("an axis of the result is in no operand")
    array.stored = array.stored[count:]
    for place, group in enumerate(array.stored):
        if group and group[0].code:
            group[0].code = f"{array.code}.shape[{place}]"
    return array


def _broadcast_names(arrays: Sequence[Array], rank: int) -> list[str] | None:
    """Each axis has the name of the first operand that is not broadcast along it."""
    names = []
    for place in range(rank):
        groups = (array.logical[place - rank] for array in arrays if rank - place <= len(array.logical))
        names.append(next((group[0].name for group in groups if group), "1"))
    return names if any(name != "1" for name in names) else None


def broadcast_to_order(writer: Writer, array: Array, order: Sequence[int], beside: Sequence[Array] = ()) -> Array:
    """The array with unit axes where PyTorch's broadcasting puts them, in this order."""
    rank = len(order)
    missing = rank - len(array.logical)
    wide = array.copy()
    kept = [axis for group in wide.stored for axis in group]
    for place, group in enumerate(wide.logical):
        # A repeated axis need not be repeated where another operand has it.
        if group and all(axis not in kept for axis in group) and _has(beside, array, place, missing, rank):
            wide.logical[place] = []
    wide.logical = [[] for _ in range(missing)] + wide.logical
    target = list(order)
    while target and not wide.logical[target[0]] and len(target) > len(array.stored):
        target.pop(0)
    if not array.stored and not array.logical:
        return array
    # Unit axes in front broadcast by themselves.
    while target and len(target) > 1 and not wide.logical[target[0]] and not _starts_with_unit(wide, target):
        target.pop(0)
    if not target:
        return array
    places = sorted(target)
    wide.logical = [wide.logical[n] for n in places]
    sizes = tuple(
        (math.prod(axis.sizes[0] for axis in group), math.prod(axis.sizes[1] for axis in group))
        for group in wide.logical
    )
    value = array.value
    wide.value = Value(tuple(size[0] for size in sizes), value.dtype, sizes=sizes, follows=value.follows)
    return writer.ordered(wide, [places.index(n) for n in target])


def _starts_with_unit(array: Array, target: Sequence[int]) -> bool:
    return len(array.stored) >= len(target) and not array.stored[0]


def _has(arrays: Sequence[Array], array: Array, place: int, missing: int, rank: int) -> bool:
    for other in arrays:
        at = place + missing - (rank - len(other.logical))
        if other is array or at < 0:
            continue
        kept = [axis for group in other.stored for axis in group]
        if other.logical[at] and all(axis in kept for axis in other.logical[at]):
            return True
    return False


def functional(writer: Writer, call: str) -> str:
    """A call of a function of einops_arch that has PyTorch's values, and its gradients where there is a kink."""
    writer.imports.add("from einops_arch.flax import functional")
    return f"functional.{call}"


def promoted(writer: Writer, output: Value, operand: Any) -> Any:
    """A tensor that takes part in a floating-point result without a say in its dtype: integers, and single numbers."""
    if not is_floating(output) or not isinstance(operand, Value):
        return operand
    single = not operand.shape and output.shape and (operand.dtype, operand.follows) != (output.dtype, output.follows)
    if single or not is_floating(operand):
        array = writer.array(operand)
        return renamed(array, writer.bind(f"{array.code}.astype({writer.dtype_of(output)})"), operand)
    return operand


def plain_int(number: Any) -> int:
    """A number that must not depend on a size.

    Raises:
        UnknownOperationError: it does.
    """
    if isinstance(number, FreeSize) or not isinstance(number, int):
        raise UnknownOperationError("a size is used where only a fixed number can stand")
    return int.__int__(number)


def whole_value(writer: Writer, code: str, value: Value) -> Array:
    """An array in PyTorch's order for an expression."""
    return from_value(writer.bind(code), value)
