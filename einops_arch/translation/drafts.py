"""One draft of a class for each module: what its constructor makes, and what a call of it computes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from einops_arch.discovery.tracing.program import Node, Note, Record, Scope, Source, Value
from einops_arch.discovery.tracing.sizes import Axis, Comparison, expression_of
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.body import finish
from einops_arch.translation.constants import constant_code, variable_code
from einops_arch.translation.droppath import counterpart
from einops_arch.translation.fields import with_fields
from einops_arch.translation.layers import Layer, is_sequence
from einops_arch.translation.layout import Array, channels_last_order, from_value
from einops_arch.translation.needs import needed
from einops_arch.translation.ops import write_operation
from einops_arch.translation.ops.table import functional, renamed
from einops_arch.translation.records import Records
from einops_arch.translation.refusals import Refusal, UnknownOperationError
from einops_arch.translation.writer import Statement, Writer

__all__ = ["Draft", "Drafts", "all_scopes"]

Order = tuple[int, ...]


@dataclass
class Body:
    """The lines of a call in one mode, and the orders of what it gives."""

    lines: list[str]
    orders: list[Order | None]
    names: list[list[str]]
    structure: Any = None
    finished: Callable[[Callable[[str], str]], list[str]] | None = None


def without_children(body: Body, names: Sequence[str]) -> list[str] | None:
    """The lines of a body in which calls of some children give what they take; None where that cannot be said."""

    class Skip(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            called = ast.unparse(node.func)
            if called.removeprefix("self.") in names and called.startswith("self.") and len(node.args) == 1:
                return node.args[0]
            return node

    def skipped(code: str) -> str:
        return ast.unparse(Skip().visit(ast.parse(code, mode="eval").body))

    return body.finished(skipped) if body.finished is not None else None


@dataclass
class Draft:
    """One module of the original.

    Args:
        module: of PyTorch.
        path: its path.
        number: in the order of first use.
        arguments: names of what a call takes.
        orders: of each tensor that goes in.
        bodies: by mode, `"eval"` and `"train"`.
        attributes: what the constructor makes: name and code.
        imports: that it needs.
        layers: layers that stand for functions of the original.
        fields: numbers of the module that its call reads.
        kinds: types of arguments, and of what is returned, that are dataclasses.
        casts: whether what it gives has still to be cast to the dtype of the run.
    """

    module: Any
    path: str
    number: int
    arguments: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    constants: Any = None
    bodies: dict[str, Body] = field(default_factory=dict)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    layers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    chain: list[str] | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    casts: bool = False
    refused: bool = False

    @property
    def original(self) -> type:
        return type(self.module)


class Drafts:
    """All drafts of a model.

    Args:
        model: of PyTorch.
        train: recorded in training mode, or None.
        leaves: counterparts of one's own.
    """

    def __init__(self, model: Any, train: Scope | None, leaves: Mapping[type, Any]) -> None:
        self.model = model
        self.leaves = dict(leaves)
        self.modules = dict(model.named_modules())
        self.paths = {id(module): path for path, module in self.modules.items()}
        self.kept = _kept_identities(model, self.leaves)
        self.drafts: dict[int, Draft] = {}
        self.refusals: list[Refusal] = []
        self.train_calls: dict[str, list[Scope]] = {}
        self.seen: dict[tuple[str, str], int] = {}
        self.arrays: dict[str, Any] = {}
        self.records = Records()
        self.moves = 0
        self.partial = False
        self.layouts: dict[str, Order] = {}
        self.guards: list[tuple[int, int, str, int, str]] = []
        self.half: list[Note] = []
        self.fine_at_one: set[tuple[int, int]] = set()
        self._in_train = False
        self._spatial: dict[int, bool] = {}
        for scope in all_scopes(train) if train is not None else ():
            self.train_calls.setdefault(scope.path, []).append(scope)

    def layer(self, module: Any) -> Layer | None:
        if id(module) in self.kept:
            return Layer("Identity")
        return counterpart(module, self.leaves)

    def refuse(self, refusal: Refusal) -> None:
        if refusal not in self.refusals:
            self.refusals.append(refusal)

    def vanishes(self, module: Any) -> bool:
        """A module without state and without children is written where it is called."""
        layer = self.layer(module)
        if layer is not None:
            return layer.axes == "nothing"
        return (
            not any(True for _ in module.children())
            and not any(True for _ in module.parameters(recurse=False))
            and not any(True for _ in module.buffers(recurse=False))
            and not is_sequence(module)
            and type(module).__name__ not in ("ModuleList", "ModuleDict", "ParameterList")
        )

    def is_spatial(self, module: Any) -> bool:
        """Whether a module takes images: what is inside of it wants channels last."""
        if id(module) not in self._spatial:
            first = next((layer for item in module.modules() if (layer := self.layer(item)) is not None), None)
            self._spatial[id(module)] = first is not None and (
                first.spatial == 2 or type(module).__name__.endswith("2d")
            )
        return self._spatial[id(module)]

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
        values = list(_argument_values(scope))
        draft.orders = list(orders) if orders is not None else [tuple(range(len(value.shape))) for value in values]
        mode = "train" if self._in_train else "eval"
        draft.bodies[mode] = Body([], [], [])
        draft.bodies[mode] = self._body(draft, scope, mode)
        other = self._other_mode(scope) if mode == "eval" else None
        if other is not None:
            before, self._in_train = self._in_train, True
            draft.bodies["train"] = self._body(draft, other, "train")
            self._in_train = before
        self._attributes(draft)
        return draft

    def _other_mode(self, scope: Scope) -> Scope | None:
        calls = self.train_calls.get(scope.path, [])
        number = self.seen.get((scope.path, "eval"), 0)
        self.seen[scope.path, "eval"] = number + 1
        return calls[number] if number < len(calls) else None

    # Bodies

    def _body(self, draft: Draft, scope: Scope, mode: str) -> Body:
        owner = _Owner(self, draft, scope)
        writer = Writer(scope, owner, training=mode == "train")
        _enter(draft, writer, scope, self.records)
        if scope.module is self.model:
            self._check_dtype(writer)
        if scope.module is self.model and self.guards:
            _check_inputs(writer, list(_argument_values(scope)), self.guards)
        run_nodes(writer, needed(scope))
        try:
            result, orders, names = _result(writer, scope.output, self.records)
            if isinstance(scope.output, Record):
                draft.kinds["return"] = self.records.name(scope.output)
        except UnknownOperationError as error:
            if not draft.refused:
                owner.refuse(Refusal(scope.path, "its return", "return", error.reason, error.fix))
            return Body(self._stub(draft), [], [], scope.output)
        if draft.refused:
            return Body(self._stub(draft), orders, names, scope.output)
        draft.fields |= with_fields(writer.statements, draft.module)
        statements, arguments, source = list(writer.statements), list(draft.arguments), _return_source(scope)

        def finished(change: Callable[[str], str]) -> list[str]:
            changed = [replace(item, code=change(item.code)) for item in statements]
            return finish(changed, change(result), arguments, source)

        lines = finish(statements, result, arguments, source)
        self.moves += sum(line.count("rearrange(") + line.count("repeat(") for line in lines)
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

    def variable(self, owner_path: str, path: str) -> str | None:
        """How a parameter is reached from a module."""
        holder, _, leaf = path.rpartition(".")
        code = self.expression(owner_path, holder)
        layer = self.layer(self.modules[holder]) if holder != owner_path else None
        attribute = layer.parameters.get(leaf, (leaf, ()))[0] if layer is not None else leaf
        return None if code is None or not attribute.isidentifier() else f"{code}.{attribute}"

    def _stub(self, draft: Draft) -> list[str]:
        """What a class does that could not be written."""
        reasons = [str(item) for item in self.refusals if item.module == draft.path] or ["it could not be translated"]
        return [f"raise NotImplementedError({reasons[0]!r})"]

    def same_body(self, draft: Draft, scope: Scope) -> bool:
        """Whether another call of the module computes the same as the first."""
        mode = "train" if self._in_train else "eval"
        if mode == "eval":
            self._other_mode(scope)
        known = draft.bodies.get(mode)
        if known is None or draft.refused:
            return True
        arguments = list(draft.arguments)
        body = self._body(draft, scope, mode)
        return body.lines == known.lines and arguments == draft.arguments

    # Constructors

    def _attributes(self, draft: Draft) -> None:
        draft.attributes = list(self.attributes_of(draft.module, draft.path, draft))
        draft.attributes += list(draft.layers.items())

    def attributes_of(self, module: Any, path: str, draft: Draft) -> Iterator[tuple[str, str]]:
        for name, parameter in module._parameters.items():  # noqa: SLF001 no public name keeps their order
            if parameter is not None:
                draft.imports.add("import jax.numpy as jnp")
                yield name, variable_code(parameter, trained=True)
        saved = module.state_dict(keep_vars=True)
        for name, buffer in module._buffers.items():  # noqa: SLF001
            if buffer is not None and name in saved:
                draft.imports.add("import jax.numpy as jnp")
                yield name, variable_code(buffer, trained=False)
        for name, child in module.named_children():
            code = self.construct(child, f"{path}.{name}" if path else name, draft)
            if code is not None:
                yield name, code

    def construct(self, module: Any, path: str, draft: Draft) -> str | None:
        """How a child is made, or None where it leaves no trace."""
        layer = self.layer(module)
        if layer is not None:
            if layer.axes == "nothing":
                return None
            draft.imports |= {f"from {layer.home} import {layer.name}", *layer.imports}
            return layer.code
        if id(module) in self.drafts:
            return f"__draft_{self.drafts[id(module)].number}__(rngs=rngs)"
        container = self._container(module, path, draft)
        if container is not None or is_sequence(module) or type(module).__name__ in ("ModuleList", "ModuleDict"):
            return container
        if not module.state_dict():
            return None
        # Never called: kept because the state has its names.
        idle = Draft(module, path, len(self.drafts))
        self.drafts[id(module)] = idle
        self._attributes(idle)
        return f"__draft_{idle.number}__(rngs=rngs)"

    def _container(self, module: Any, path: str, draft: Draft) -> str | None:
        """How a list, a dict or a sequence of modules is made."""
        kind = type(module).__name__
        if kind == "ModuleList":
            items = []
            for name, child in module.named_children():
                code = self.construct(child, f"{path}.{name}", draft)
                if code is None:
                    draft.imports.add("from einops_arch.flax.layers import Identity")
                items.append(code or "Identity()")
            return f"nnx.List([{', '.join(items)}])"
        if is_sequence(module):
            named = self.sequence(module, path, draft)
            if not named:
                return None
            draft.imports.add("from einops_arch.flax.layers import Sequential")
            return _sequential(named)
        if kind == "ModuleDict":
            made = {name: self.construct(child, f"{path}.{name}", draft) for name, child in module.named_children()}
            inner = ", ".join(f'"{name}": {code}' for name, code in made.items() if code is not None)
            return f"nnx.Dict({{{inner}}})"
        if kind == "ParameterList":
            draft.imports.add("import jax.numpy as jnp")
            return f"nnx.List([{', '.join(variable_code(item, trained=True) for item in module)}])"
        return None

    def sequence(self, module: Any, path: str, draft: Draft) -> dict[str, str]:
        """The children of a Sequential that leave a trace, by name."""
        named = {}
        for name, child in module.named_children():
            code = self.construct(child, f"{path}.{name}" if path else name, draft)
            if code is not None:
                named[name] = code
        return named

    def expression(self, owner_path: str, path: str) -> str | None:
        """How a module, or what it holds, is reached from another: `self.layers[0].conv`."""
        if owner_path and path != owner_path and not path.startswith(f"{owner_path}."):
            return None
        names = path[len(owner_path) :].strip(".")
        code, at = "self", self.modules[owner_path]
        for name in names.split(".") if names else []:
            kind = type(at).__name__
            if kind in ("ModuleList", "ParameterList"):
                code += f"[{name}]"
            elif is_sequence(at) and name.isdigit():
                kept = [key for key, child in at.named_children() if not self.vanishes(child)]
                code += f"[{kept.index(name) if name in kept else name}]"
            elif kind == "ModuleDict":
                code += f'["{name}"]'
            else:
                code += f".{name}"
            at = getattr(at, name) if not isinstance(at, (list, tuple)) else at[int(name)]
        return code


def _kept_identities(model: Any, leaves: Mapping[type, Any]) -> set[int]:
    """Children that do nothing where other modules of the class have a child that does something."""
    children: dict[tuple[type, str], list[Any]] = {}
    for module in model.modules():
        for name, child in module.named_children():
            children.setdefault((type(module), name), []).append(child)
    kept: set[int] = set()
    for (kind, _), modules in children.items():
        if kind.__module__.startswith("torch.nn.modules.container"):
            continue
        layers = [counterpart(module, dict(leaves)) for module in modules]
        idle = [layer is not None and layer.axes == "nothing" for layer in layers]
        if any(idle) and not all(idle):
            kept.update(id(module) for module, nothing in zip(modules, idle, strict=True) if nothing)
    return kept


def _sequential(named: Mapping[str, str]) -> str:
    if list(named) == [str(n) for n in range(len(named))]:
        return f"Sequential({', '.join(named.values())})"
    inner = ", ".join(f'"{name}": {code}' for name, code in named.items())
    return f"Sequential({{{inner}}})"


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
                write_operation(writer, node)
            writer.note_made(node.outputs)
        except UnknownOperationError as error:
            if error.reason != "it takes a tensor that was not written":
                writer.owner.refuse(Refusal(writer.scope.path, str(node.source), node.name, error.reason, error.fix))
            else:
                writer.owner.refuse(Refusal("", "", "", ""))


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


def _check_inputs(writer: Writer, inputs: Sequence[Value], guards: Sequence[tuple[int, int, str, int, str]]) -> None:
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
            known = next((key for key, item in self.drafts.arrays.items() if _same_array(item, array)), name)
            self.drafts.arrays[known] = array
            code = code.replace(f'["{name}"]', f'["{known}"]')
            writer.imports.add("import numpy as np")
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

    def layer(self, attribute: str, code: str) -> str:
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
            _splice(writer, node, scope)
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
            _plain_call(writer, node, code)
            return
        if any(item is not None for item in [*node.args, *node.kwargs.values()][1:]):
            raise UnknownOperationError(f"{layer.name} is called with more than its input")
        rank = len(value.shape)
        array = writer.array(value)
        order = _wanted_order(layer, array, rank)
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
        outer = list(_leaf_values((node.args, node.kwargs)))
        known = self.drafts.drafts.get(id(scope.module))
        if known is not None and known.bodies:
            if len(known.orders) != len(outer):
                raise UnknownOperationError("the module is called with other arguments than before")
            orders = known.orders
            arrays = [writer.ordered(value, order) for value, order in zip(outer, orders, strict=True)]
            if not self.drafts.same_body(known, scope):
                raise UnknownOperationError("the module is called in two ways that compute different things")
            draft = known
        else:
            spatial = self.drafts.is_spatial(scope.module)
            orders = [_border_order(writer.array(value), spatial=spatial) for value in outer]
            arrays = [writer.ordered(value, order) for value, order in zip(outer, orders, strict=True)]
            self.names = [array.names for array in arrays]
            known = Draft(scope.module, self.drafts.paths.get(id(scope.module), scope.path), len(self.drafts.drafts))
            known.names = [array.names for array in arrays]
            self.drafts.drafts[id(scope.module)] = known
            draft = self.drafts.draft(scope, orders)
        if draft.refused and not self.drafts.partial:
            self.draft.refused = True
        by_id = {id(value): array.code for value, array in zip(outer, arrays, strict=True)}
        arguments = [
            *(text for item in node.args if (text := _argument(writer, item, by_id, self.drafts.records)) is not None),
            *(
                f"{name}={text}"
                for name, item in node.kwargs.items()
                if (text := _argument(writer, item, by_id, self.drafts.records)) is not None
            ),
        ]
        code = writer.bind(f"{self._reach(scope)}({', '.join(arguments)})", call=True)
        writer.statements[-1].parts = len(node.outputs) if isinstance(node.outputs, (tuple, list)) else 0
        body = draft.bodies["train" if self.drafts._in_train and "train" in draft.bodies else next(iter(draft.bodies))]  # noqa: SLF001
        _outputs(writer, code, node.outputs, body)
        for value in _leaf_values(node.outputs) if draft.casts else ():
            if value.follows:
                array = writer.array(value)
                writer.arrays[id(value)] = renamed(
                    array, writer.bind(f"{array.code}.astype({writer.run_dtype()})"), value
                )


def _wanted_order(layer: Layer, array: Array, rank: int) -> Order:
    """The order of axes in which a layer takes its input."""
    plain = tuple(range(rank))
    if layer.axes == "channels":
        if layer.spatial is None or rank == layer.spatial + 2:
            return channels_last_order(rank)
        if rank != layer.spatial + 1:
            raise UnknownOperationError(f"{layer.name} on {rank} axes")
        return (*range(1, rank), 0)
    if layer.axes in ("unfold", "fold"):
        if rank != (4 if layer.axes == "unfold" else 3):
            raise UnknownOperationError(f"{layer.name} without a batch axis")
        return channels_last_order(rank)
    order = array.order
    if layer.axes == "embed" or order is None or array.repeated or (layer.axes == "last" and order[-1] != rank - 1):
        return plain
    return order


def _border_order(array: Array, *, spatial: bool = False) -> Order:
    rank = len(array.logical)
    plain = tuple(range(rank))
    if spatial and rank == 4:
        return channels_last_order(rank)
    if array.order is not None and not array.repeated and array.order in (plain, channels_last_order(rank)):
        return array.order
    return plain


def _argument(writer: Writer, item: Any, codes: Mapping[int, str], records: Records | None = None) -> str | None:
    """An argument as it is passed; constants are not."""
    if isinstance(item, Value):
        return codes[id(item)]
    if isinstance(item, FreeSize):
        return writer.number(item)
    if isinstance(item, (tuple, list)) and _passes(item):
        parts = [_argument(writer, part, codes) or _constant(part) for part in item]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(item, Record) and records is not None and _passes(item):
        passed = {key: part for key, part in item.items() if part is not None}
        texts = [f"{key}={_argument(writer, part, codes, records) or _constant(part)}" for key, part in passed.items()]
        return f"{records.name(item)}({', '.join(texts)})"
    if isinstance(item, Mapping) and _passes(item):
        entries = [f"{key!r}: {_argument(writer, part, codes) or _constant(part)}" for key, part in item.items()]
        return f"{{{', '.join(entries)}}}"
    return None


def _constant(part: Any) -> str:
    if part is None or isinstance(part, (bool, int, float, str)):
        return repr(part)
    kind = type(part).__name__
    if kind.endswith("Cache"):
        raise UnknownOperationError(f"it is called with or gives a {kind} of keys and values", "config.use_cache=False")
    raise UnknownOperationError(f"it is called with or gives a {kind}")


def _passes(item: Any) -> bool:
    if isinstance(item, (Value, FreeSize)):
        return True
    if isinstance(item, Mapping):
        return any(_passes(part) for part in item.values())
    return isinstance(item, (tuple, list)) and any(_passes(part) for part in item)


def _enter(draft: Draft, writer: Writer, scope: Scope, records: Records) -> None:
    """Arguments of the call, by name."""
    names: list[str] = []
    position = 0
    parameters = _parameter_names(scope)

    def take(tree: Any, code: str) -> None:
        nonlocal position
        if isinstance(tree, Value):
            if tree.origin == "input" or id(tree) not in writer.arrays:
                order = draft.orders[position] if position < len(draft.orders) else None
                label = _plain_names(draft.names[position]) if position < len(draft.names) else None
                writer.arrays[id(tree)] = from_value(code, tree, order, label)
            position += 1
        elif isinstance(tree, FreeSize):
            if isinstance(tree.expression, Axis):
                writer.sizes[id(tree.expression.value)] = code
        elif isinstance(tree, (tuple, list)):
            writer.lists[code] = len(tree)
            for n, item in enumerate(tree):
                take(item, f"{code}[{n}]")
        elif isinstance(tree, Mapping):
            for key, item in tree.items():
                take(item, f"{code}.{key}" if isinstance(tree, Record) else f"{code}[{key!r}]")

    passed = [
        (_argument_name(name), tree)
        for name, tree in [*zip(parameters, scope.args, strict=False), *scope.kwargs.items()]
        if _passes(tree)
    ]
    draft.kinds |= {name: records.name(tree) for name, tree in passed if isinstance(tree, Record)}
    for name, tree in passed:
        names.append(name)
        take(tree, name)
    draft.arguments = names


def _same_array(left: Any, right: Any) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())


def _plain_names(names: Sequence[str]) -> list[str]:
    """Letters without the numbers that they have where the module is called, so that all calls read alike."""
    plain = [re.sub(r"[0-9]+$", "", name) or name for name in names]
    return plain if len(set(plain)) == len(plain) else list(names)


def _argument_name(name: str) -> str:
    import builtins
    import keyword

    name = name.replace(".", "_")
    if name == "input":
        return "x"
    return f"{name}_" if keyword.iskeyword(name) or name in dir(builtins) or name in ("rngs", "self") else name


def _parameter_names(scope: Scope) -> list[str]:
    import inspect

    names: list[str] = []
    for parameter in inspect.signature(scope.module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}.{n}" for n in range(len(scope.args) - len(names))]
            break
        names.append(parameter.name)
    return names + [f"argument_{n}" for n in range(len(names), len(scope.args))]


def _result(writer: Writer, output: Any, records: Records) -> tuple[str, list[Order | None], list[list[str]]]:
    orders: list[Order | None] = []
    names: list[list[str]] = []

    def code(tree: Any) -> str:
        if isinstance(tree, Value):
            array = writer.array(tree)
            order = _border_order(array)
            array = writer.ordered(array, order)
            orders.append(order)
            names.append(array.names)
            return array.code
        if isinstance(tree, FreeSize):
            return writer.number(tree)
        if isinstance(tree, (tuple, list)):
            items = [code(item) for item in tree]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if isinstance(tree, Record):
            fields = {key: code(item) for key, item in tree.items() if item is not None}
            return f"{records.name(tree)}({', '.join(f'{key}={text}' for key, text in fields.items())})"
        if isinstance(tree, Mapping):
            return f"{{{', '.join(f'{key!r}: {code(item)}' for key, item in tree.items() if item is not None)}}}"
        return _constant(tree)

    writer.node = None
    return code(output), orders, names


def _outputs(writer: Writer, code: str, outputs: Any, body: Body) -> None:
    position = 0

    def take(tree: Any, text: str) -> None:
        nonlocal position
        if isinstance(tree, Value):
            order = body.orders[position] if position < len(body.orders) else None
            label = body.names[position] if position < len(body.names) else None
            writer.arrays[id(tree)] = from_value(text, tree, order, label)
            position += 1
        elif isinstance(tree, FreeSize):
            if isinstance(tree.expression, Axis):
                writer.sizes[id(tree.expression.value)] = text
        elif isinstance(tree, (tuple, list)):
            for n, item in enumerate(tree):
                take(item, f"{text}[{n}]")
        elif isinstance(tree, Mapping):
            for key, item in tree.items():
                take(item, f"{text}.{key}" if isinstance(tree, Record) else f"{text}[{key!r}]")

    take(outputs, code)


def _plain_call(writer: Writer, node: Node, code: str) -> None:
    """A layer that takes and gives PyTorch's axes."""
    values = list(_leaf_values((node.args, node.kwargs)))
    codes = {id(value): writer.ordered(value).code for value in values}
    variable = writer.bind(f"{code}({', '.join(_call_arguments(writer, node, codes))})", call=True)
    _outputs(writer, variable, node.outputs, Body([], [], []))


def _call_arguments(writer: Writer, node: Node, codes: Mapping[int, str]) -> Iterator[str]:
    """Arguments of a layer by PyTorch's names: tensors, and what differs from the default."""
    import inspect

    scope = node.scope
    parameters = list(inspect.signature(scope.module.forward).parameters.values()) if scope is not None else []
    by_name = {item.name: item.default for item in parameters}
    positional = [item.name for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD]
    named = [*zip(positional, node.args, strict=False), *node.kwargs.items()]
    if len(node.args) > len(positional):
        raise UnknownOperationError("a layer is called with *args", "a layer that takes its arguments by name")
    in_turn = True
    for place, (name, item) in enumerate(named):
        text = _argument(writer, item, codes)
        if text is None and item is not by_name.get(name, inspect.Parameter.empty) and item != by_name.get(name):
            text = _constant(item)
        in_turn = in_turn and text is not None and place < len(node.args)
        if text is not None:
            yield text if in_turn else f"{name}={text}"


def _splice(writer: Writer, node: Node, scope: Scope) -> None:
    """Write the inside of a call where it is called."""
    inner = list(_leaf_values((scope.args, scope.kwargs)))
    outer = list(_leaf_values((node.args, node.kwargs)))
    for value, argument in zip(inner, outer, strict=True):
        if value.origin == "input":
            writer.arrays[id(value)] = writer.array(argument).copy(value)
    for taken, passed in zip(_sizes((scope.args, scope.kwargs)), _sizes((node.args, node.kwargs)), strict=True):
        if isinstance(taken.expression, Axis):
            writer.sizes[id(taken.expression.value)] = writer.number(passed)
    run_nodes(writer, needed(scope))
    writer.node = node
    for output, recorded in zip(_leaf_values(scope.output), _leaf_values(node.outputs), strict=True):
        writer.arrays[id(recorded)] = writer.array(output).copy(recorded)
    for number, size in zip(_sizes(scope.output), _sizes(node.outputs), strict=True):
        if isinstance(size.expression, Axis):
            writer.sizes[id(size.expression.value)] = writer.number(number)


def _leaf_values(tree: Any) -> Iterator[Value]:
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from _leaf_values(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _leaf_values(item)


def _sizes(tree: Any) -> Iterator[FreeSize]:
    if isinstance(tree, FreeSize):
        yield tree
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from _sizes(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _sizes(item)


def _argument_values(scope: Scope) -> Iterator[Value]:
    yield from _leaf_values((scope.args, scope.kwargs))


def all_scopes(scope: Scope) -> Iterator[Scope]:
    """A call and all calls inside of it."""
    yield scope
    for node in scope.nodes:
        if node.scope is not None:
            yield from all_scopes(node.scope)


def _return_source(scope: Scope) -> Source:
    return scope.nodes[-1].source if scope.nodes else Source()
