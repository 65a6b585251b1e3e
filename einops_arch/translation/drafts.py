"""One draft of a class for each module: what its constructor makes, and what a call of it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from einops_arch.discovery.tracing.program import Node, Note, Record, Scope, Source, Value
from einops_arch.discovery.tracing.sizes import Axis, Comparison, expression_of
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.body import finish
from einops_arch.translation.children import Children
from einops_arch.translation.constants import constant_code
from einops_arch.translation.draft import Body, Draft, Order
from einops_arch.translation.fields import with_fields
from einops_arch.translation.layers import Layer
from einops_arch.translation.layout import Array, channels_last_order, from_value
from einops_arch.translation.needs import needed
from einops_arch.translation.ops.table import renamed
from einops_arch.translation.passing import (
    argument_text,
    border_names,
    border_order,
    by_name,
    enter,
    outputs_of,
    plain_call,
    result_of,
    twin_names,
    wanted_order,
)
from einops_arch.translation.records import Records
from einops_arch.translation.refusals import Refusal, UnknownOperationError
from einops_arch.translation.steps import check_inputs, run_nodes, splice
from einops_arch.translation.trees import all_scopes, argument_values, leaf_values
from einops_arch.translation.writer import Statement, Writer

__all__ = ["Drafts"]


class Drafts(Children):
    """All drafts of a model.

    Args:
        model: of PyTorch.
        train: recorded in training mode, or None.
        leaves: counterparts of one's own.
    """

    def __init__(self, model: Any, train: Scope | None, leaves: Mapping[type, Any]) -> None:
        super().__init__(model, leaves)
        self.train_calls: dict[str, list[Scope]] = {}
        self.seen: dict[tuple[str, str], int] = {}
        self.records = Records()
        self.partial = False
        self.layouts: dict[str, Order] = {}
        self.guards: list[tuple[int, int, str, int, str]] = []
        self.half: list[Note] = []
        self.fine_at_one: set[tuple[int, int]] = set()
        self.in_train = False
        self.plain: set[type] = set()
        for scope in all_scopes(train) if train is not None else ():
            self.train_calls.setdefault(scope.path, []).append(scope)

    def draft(
        self, scope: Scope, orders: Sequence[Order] | None = None, names: Sequence[list[str]] | None = None
    ) -> Draft:
        """The draft of the module of a call, written if it is the first call of it."""
        known = self.drafts.get(id(scope.module))
        if known is not None and known.bodies:
            return known
        draft = known or Draft(scope.module, self.paths.get(id(scope.module), scope.path), len(self.drafts))
        self.drafts[id(scope.module)] = draft
        draft.names = list(names) if names is not None else draft.names
        values = list(argument_values(scope))
        draft.orders = list(orders) if orders is not None else [tuple(range(len(value.shape))) for value in values]
        mode = "train" if self.in_train else "eval"
        draft.bodies[mode] = Body([], [], [])
        draft.bodies[mode] = self._body(draft, scope, mode)
        other = self._other_mode(scope) if mode == "eval" else None
        if other is not None:
            before, self.in_train = self.in_train, True
            draft.bodies["train"] = self._body(draft, other, "train")
            self.in_train = before
        self.make_attributes(draft)
        return draft

    def torn(self) -> set[type]:
        """Classes of which some take or give in one order of axes what others have in another."""
        result: set[type] = set()
        borders: dict[tuple[type, Any], Any] = {}
        for draft in self.drafts.values():
            outputs = next((body.orders for body in draft.bodies.values()), [])
            items = [*draft.borders.items(), *((n, (order,)) for n, order in enumerate(outputs) if order is not None)]
            for place, orders in items:
                known = borders.setdefault((draft.original, place), orders)
                if known != orders and [*map(len, known)] == [*map(len, orders)]:
                    result.add(draft.original)
        return result

    def _other_mode(self, scope: Scope) -> Scope | None:
        calls = self.train_calls.get(scope.path, [])
        number = self.seen.get((scope.path, "eval"), 0)
        self.seen[scope.path, "eval"] = number + 1
        return calls[number] if number < len(calls) else None

    def _body(self, draft: Draft, scope: Scope, mode: str) -> Body:
        owner = _Owner(self, draft, scope)
        writer = Writer(scope, owner, training=mode == "train")
        enter(draft, writer, scope, self.records)
        if scope.module is self.model:
            self._check_dtype(writer)
        if scope.module is self.model and self.guards:
            check_inputs(writer, list(argument_values(scope)), self.guards)
        run_nodes(writer, needed(scope))
        try:
            torn = type(scope.module) in self.plain and scope.module is not self.model
            spatial = torn and self.is_spatial(scope.module)
            result, orders, names = result_of(writer, scope.output, self.records, plain=torn, spatial=spatial)
            if isinstance(scope.output, Record):
                draft.kinds["return"] = self.records.name(scope.output)
        except UnknownOperationError as error:
            if not draft.refused:
                owner.refuse(Refusal(scope.path, "its return", "return", error.reason, error.fix))
            return Body(self._stub(draft), [], [], scope.output)
        if draft.refused:
            return Body(self._stub(draft), orders, names, scope.output)
        draft.fields |= with_fields(writer.statements, draft.module)
        choices = list(writer.choices)
        statements, arguments, source = list(writer.statements), list(draft.arguments), _return_source(scope)

        def finished(change: Callable[[str], str]) -> list[str]:
            changed = [replace(item, code=change(item.code)) for item in statements]
            return finish(changed, change(result), arguments, source, choices)

        lines = finish(statements, result, arguments, source, choices)
        draft.imports |= writer.imports
        return Body(lines, orders, names, scope.output, finished)

    def _check_dtype(self, writer: Writer) -> None:
        """In half precision the original may go another way."""
        for note in self.half:
            held = next((name for name, item in self.model.named_parameters() if item.is_floating_point()), None)
            inputs = [array for array in writer.arrays.values() if array.value.follows]
            code = self.variable("", held) if held is not None else inputs[0].code if inputs else None
            if code is None:
                self.refuse(Refusal(note.module, str(note.source), "dtype", note.reason, note.fix))
                continue
            writer.imports |= {"import jax.numpy as jnp", "from einops_arch.errors import ShapeError"}
            question = f"{code}.dtype != jnp.{note.operation}"
            place = f"{note.reason}, {Path(note.source.file).name}:{note.source.line}"
            writer.statements.append(Statement("", question, Source(), reason=place))

    def _stub(self, draft: Draft) -> list[str]:
        """What a class does that could not be written."""
        reasons = [str(item) for item in self.refusals if item.module == draft.path] or ["it could not be translated"]
        return [f"raise NotImplementedError({reasons[0]!r})"]

    def same_body(self, draft: Draft, scope: Scope) -> bool:
        """Whether another call of the module computes the same as the first."""
        mode = "train" if self.in_train else "eval"
        if mode == "eval":
            self._other_mode(scope)
        known = draft.bodies.get(mode)
        if known is None or draft.refused:
            return True
        arguments = list(draft.arguments)
        body = self._body(draft, scope, mode)
        return body.lines == known.lines and arguments == draft.arguments


def _is_of_one(comparison: Comparison) -> bool:
    """Whether it asks of a size that is not one whether it is one."""
    asked = (comparison.sign, comparison.answer) in (("!=", True), ("==", False), (">", True), ("<=", False))
    return asked and comparison.right == 1 and isinstance(comparison.left, FreeSize)


def _sizes_of(expression: Any) -> tuple[int, int] | None:
    """Both recorded sizes of what is an axis and nothing else."""
    expression = expression.expression if isinstance(expression, FreeSize) else expression
    while isinstance(expression, Axis) and expression.axis is None:
        expression = expression_of(expression.value)
    return expression.value.sizes[expression.axis] if isinstance(expression, Axis) else None


class _Owner:
    def __init__(self, drafts: Drafts, draft: Draft, scope: Scope) -> None:
        self.drafts = drafts
        self.draft = draft
        self.scope = scope
        self._used: set[str] = set()

    def refuse(self, refusal: Refusal) -> None:
        self.draft.refused = True
        if refusal.reason:
            self.drafts.refuse(refusal)

    def state(self, writer: Writer, value: Value) -> Array:
        root = self.draft.path
        inside = [path for path in value.path if not root or path.startswith(f"{root}.")]
        if not inside:
            raise UnknownOperationError(
                f"the parameter {value.path[0]} of another module is used", "pass it as an argument of forward"
            )
        path = min(inside, key=len)
        holder, _, leaf = path.rpartition(".")
        code = self.drafts.expression(root, holder)
        # A module that is written as a class of its own keeps PyTorch's leaves, a bare layer as the whole model too.
        layer = self.drafts.layer(self.drafts.modules[holder]) if holder != root else None
        if layer is not None and leaf in layer.parameters:
            attribute, order = layer.parameters[leaf]
            return from_value(f"{code}.{attribute}[...]", value, order)
        item = f"[{leaf}]" if type(self.drafts.modules[holder]).__name__ == "ParameterList" else f".{leaf}"
        return from_value(f"{code}{item}[...]", value)

    def constant(self, writer: Writer, value: Value) -> Array:
        writer.imports.add("import jax.numpy as jnp")
        name = (value.path[0] if value.path else f"constant_{len(self.drafts.arrays)}").replace(".", "_")
        code, array = constant_code(value.data, name, self._dtype(writer, value))
        if array is not None:
            # What many modules hold alike stands in the file once, and their code is the same.
            code = code.replace(f'["{name}"]', f'["{self.drafts.keep(name, array)}"]')
            writer.imports.add("import numpy as np")
        if code.startswith("functional."):
            writer.imports.add("from einops_arch.flax import functional")
        return from_value(writer.bind(code), value)

    def _dtype(self, writer: Writer, value: Value) -> str | None:
        """How the dtype of a constant is written; where no tensor tells that of the run, the caller casts."""
        try:
            return writer.dtype_of(value) if value.follows else None
        except UnknownOperationError:
            if self.scope.module is self.drafts.model:
                raise
            self.draft.casts = True
            return None

    def run_dtype(self) -> str | None:
        for name, parameter in self.scope.module.named_parameters():
            path = f"{self.draft.path}.{name}" if self.draft.path else name
            if parameter.is_floating_point() and (code := self.drafts.variable(self.draft.path, path)) is not None:
                return f"{code}.dtype"
        return None

    def asks(self, comparison: Comparison) -> bool:
        return not _is_of_one(comparison) or _sizes_of(comparison.left) not in self.drafts.fine_at_one

    def layer(self, attribute: str, code: str, *, shared: bool = False) -> str:
        if shared and attribute in self._used and self.draft.layers.get(attribute) == code:
            return attribute
        name, number = attribute, 1
        taken = {child for child, _ in self.draft.module.named_children()}
        while name in taken or name in self._used:
            number += 1
            name = f"{attribute}{number}"
        self._used.add(name)
        self.draft.layers[name] = code
        return name

    def call(self, writer: Writer, node: Node) -> None:
        scope = node.scope
        if scope is None:
            raise UnknownOperationError("a call without a record")
        layer = self.drafts.layer(scope.module) if scope.leaf or id(scope.module) in self.drafts.kept else None
        if layer is not None:
            self._layer_call(writer, node, scope, layer)
        elif self.drafts.vanishes(scope.module):
            splice(writer, node, scope)
        else:
            self._draft_call(writer, node, scope)
        if isinstance(node.outputs, Value) and len(node.outputs.shape) >= 3:
            order = writer.arrays[id(node.outputs)].order
            if order is not None:
                self.drafts.layouts[scope.path] = order

    def _reach(self, scope: Scope) -> str:
        path = self.drafts.paths.get(id(scope.module), scope.path)
        code = self.drafts.expression(self.draft.path, path)
        if code is None:
            aliases = [
                name
                for name, module in self.drafts.model.named_modules(remove_duplicate=False)
                if module is scope.module
            ]
            code = next((c for name in aliases if (c := self.drafts.expression(self.draft.path, name))), None)
        if code is None:
            raise UnknownOperationError(f"the module {path} is called, which is not inside of this one")
        return code

    def _layer_call(self, writer: Writer, node: Node, scope: Scope, layer: Layer) -> None:
        value = node.args[0] if node.args else next(iter(node.kwargs.values()))
        if layer.axes == "nothing":
            writer.arrays[id(node.outputs)] = writer.array(value).copy(node.outputs)
            return
        code = self._reach(scope)
        if layer.axes == "plain":
            plain_call(writer, node, code)
            return
        if any(item is not None for item in [*node.args, *node.kwargs.values()][1:]):
            raise UnknownOperationError(f"{layer.name} is called with more than its input")
        rank = len(value.shape)
        array = writer.array(value)
        order = wanted_order(layer, array, rank)
        array = writer.ordered(array, order)
        names = array.names
        if layer.axes == "last" and layer.name in ("Linear", "Conv1D") and "c" not in names[:-1]:
            names = [*names[:-1], "c"]
        if layer.axes == "embed":
            order, names = tuple(range(rank + 1)), [*array.names, "c"]
        elif layer.axes in ("unfold", "fold"):
            order, names = channels_last_order(len(node.outputs.shape)), []
        writer.arrays[id(node.outputs)] = writer.make(
            f"{code}({array.code})", node.outputs, order, names or None, call=layer.rngs
        )

    def _draft_call(self, writer: Writer, node: Node, scope: Scope) -> None:
        outer = list(leaf_values((node.args, node.kwargs)))
        known = self.drafts.drafts.get(id(scope.module))
        if known is not None and known.bodies:
            if len(known.orders) != len(outer):
                raise UnknownOperationError("the module is called with other arguments than before")
            if any(len(value.shape) != len(order) for value, order in zip(outer, known.orders, strict=True)):
                raise UnknownOperationError(
                    "the module is called with a tensor of another number of axes than before",
                    "x.unsqueeze(1) before that call and squeeze(1) after it",
                )
            orders = known.orders
            arrays = [writer.ordered(value, order) for value, order in zip(outer, orders, strict=True)]
            if not self.drafts.same_body(known, scope):
                raise UnknownOperationError("the module is called in two ways that compute different things")
            draft = known
        else:
            spatial = self.drafts.is_spatial(scope.module)
            plain = type(scope.module) in self.drafts.plain
            orders = [border_order(writer.array(value), spatial=spatial, plain=plain) for value in outer]
            arrays = [writer.ordered(value, order) for value, order in zip(outer, orders, strict=True)]
            known = Draft(scope.module, self.drafts.paths.get(id(scope.module), scope.path), len(self.drafts.drafts))
            known.names = [border_names(array, order) for array, order in zip(arrays, orders, strict=True)]
            self.drafts.drafts[id(scope.module)] = known
            draft = self.drafts.draft(scope, orders)
        if draft.refused and not self.drafts.partial:
            self.draft.refused = True
        by_id = {id(value): array.code for value, array in zip(outer, arrays, strict=True)}
        names = twin_names(scope)
        arguments, in_turn = [], True
        passed = [*zip([name for name, _ in by_name(scope)], node.args, strict=False), *node.kwargs.items()]
        for place, (name, item) in enumerate(passed):
            text = argument_text(writer, item, by_id, self.drafts.records)
            # What comes after an argument that is left out goes by name.
            in_turn = in_turn and place < len(node.args) and text is not None
            if text is not None:
                arguments.append(text if in_turn else f"{names.get(name, name)}={text}")
        code = writer.bind(f"{self._reach(scope)}({', '.join(arguments)})", call=True)
        writer.statements[-1].parts = len(node.outputs) if isinstance(node.outputs, (tuple, list)) else 0
        body = draft.bodies["train" if self.drafts.in_train and "train" in draft.bodies else next(iter(draft.bodies))]
        outputs_of(writer, code, node.outputs, body)
        for value in leaf_values(node.outputs) if draft.casts else ():
            if value.follows:
                array = writer.array(value)
                writer.arrays[id(value)] = renamed(
                    array, writer.bind(f"{array.code}.astype({writer.run_dtype()})"), value
                )


def _return_source(scope: Scope) -> Source:
    return scope.nodes[-1].source if scope.nodes else Source()
