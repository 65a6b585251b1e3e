"""The steps of a call, one after the other, and the questions about sizes that it asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from einops_arch.discovery.tracing.program import Node, Scope, Source, Value
from einops_arch.discovery.tracing.sizes import Axis
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.needs import needed
from einops_arch.translation.ops import write_operation
from einops_arch.translation.ops.table import functional
from einops_arch.translation.refusals import Refusal, UnknownOperationError
from einops_arch.translation.trees import leaf_values, sizes_in
from einops_arch.translation.writer import Statement, Writer

__all__ = ["check_inputs", "run_nodes", "splice"]


def run_nodes(writer: Writer, nodes: Sequence[Node]) -> None:
    """Write steps one after the other; what cannot be written is refused, and the rest goes on."""
    for node in nodes:
        writer.node = node
        try:
            if node.kind == "comparison":
                _guard(writer, node)
            elif node.kind == "call":
                writer.owner.call(writer, node)
            elif node.writes is not None and node.writes.origin in ("state", "constant"):
                raise UnknownOperationError("a buffer or parameter is overwritten in forward")
            else:
                _write(writer, node)
            writer.note_made(node.outputs)
        except UnknownOperationError as error:
            if error.reason != "it takes a tensor that was not written":
                writer.owner.refuse(Refusal(writer.scope.path, str(node.source), node.name, error.reason, error.fix))
            else:
                writer.owner.refuse(Refusal("", "", "", ""))


def _write(writer: Writer, node: Node) -> None:
    """Write an operation; a row that fails on arguments it was not made for refuses them."""
    try:
        write_operation(writer, node)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = f"its row in the table of operations does not know this use ({type(error).__name__}: {error})"
        raise UnknownOperationError(reason, "einops_arch.translation.register_op") from error


def _guard(writer: Writer, node: Node) -> None:
    comparison = node.args[0]
    if not isinstance(comparison.left, FreeSize) and not isinstance(comparison.right, FreeSize):
        return
    if not writer.owner.asks(comparison):
        return
    sides = [writer.number(side) for side in (comparison.left, comparison.right)]
    question = f"{sides[0]} {comparison.sign} {sides[1]}"
    if not comparison.answer:
        opposite = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[comparison.sign]
        question = f"{sides[0]} {opposite} {sides[1]}"
    writer.imports.add("from einops_arch.errors import ShapeError")
    place = f"{Path(node.source.file).name}:{node.source.line}" if node.source.file else ""
    writer.statements.append(Statement("", question, node.source, reason=place))


def check_inputs(writer: Writer, inputs: Sequence[Value], guards: Sequence[tuple[int, int, str, int, str]]) -> None:
    """One line for each input whose axes are not all free."""
    for number, value in enumerate(inputs):
        array = writer.array(value)
        sizes = {axis: size for n, axis, sign, size, _ in guards if n == number and sign == "=="}
        names = [str(sizes.get(n, array.names[n] if array.names[n] != "1" else "1")) for n in array.order or ()]
        if sizes:
            functional(writer, "")
            code = f'functional.check_shape({array.code}, "{" ".join(names)}")'
            writer.statements.append(Statement("", code, Source()))
        for n, axis, sign, size, reason in guards:
            if n == number and sign != "==":
                writer.imports.add("from einops_arch.errors import ShapeError")
                question = f"{array.code}.shape[{(array.order or ()).index(axis)}] {sign} {size}"
                writer.statements.append(Statement("", question, Source(), reason=reason))


def splice(writer: Writer, node: Node, scope: Scope) -> None:
    """Write the inside of a call where it is called."""
    inner = list(leaf_values((scope.args, scope.kwargs)))
    outer = list(leaf_values((node.args, node.kwargs)))
    for value, argument in zip(inner, outer, strict=True):
        if value.origin == "input":
            writer.arrays[id(value)] = writer.array(argument).copy(value)
    for taken, passed in zip(sizes_in((scope.args, scope.kwargs)), sizes_in((node.args, node.kwargs)), strict=True):
        if isinstance(taken.expression, Axis):
            writer.sizes[id(taken.expression.value)] = writer.number(passed)
    run_nodes(writer, needed(scope))
    writer.node = node
    for output, recorded in zip(leaf_values(scope.output), leaf_values(node.outputs), strict=True):
        writer.arrays[id(recorded)] = writer.array(output).copy(recorded)
    for number, size in zip(sizes_in(scope.output), sizes_in(node.outputs), strict=True):
        if isinstance(size.expression, Axis):
            writer.sizes[id(size.expression.value)] = writer.number(number)
