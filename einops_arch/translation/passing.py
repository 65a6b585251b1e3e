"""What goes into a call and what comes out of it: trees of tensors, records, lists and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Record, Scope, Value
from einops_arch.discovery.tracing.sizes import Axis
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.draft import Body, Draft, Order
from einops_arch.translation.layers import Layer
from einops_arch.translation.layout import Array, channels_last_order, default_names, from_value
from einops_arch.translation.records import Records
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.trees import leaf_values
from einops_arch.translation.writer import Writer

__all__ = ["argument_text", "border_order", "by_name", "enter", "outputs_of", "plain_call", "result_of", "wanted_order"]


def wanted_order(layer: Layer, array: Array, rank: int) -> Order:
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


def border_order(array: Array, *, spatial: bool = False, plain: bool = False) -> Order:
    """The order of axes in which a tensor goes into a class or comes out of it.

    Args:
        array: the tensor.
        spatial: whether the class takes images.
        plain: whether it is PyTorch's, as other modules of the class have it in another one.
    """
    rank = len(array.logical)
    if spatial and rank == 4:
        return channels_last_order(rank)
    own = tuple(range(rank))
    if plain:
        return own
    if array.order is not None and not array.repeated and array.order in (own, channels_last_order(rank)):
        return array.order
    return channels_last_order(rank) if array.order is None and _is_channels_last(array) else own


def _is_channels_last(array: Array) -> bool:
    """Whether an image was regrouped whose variable has the channels last, as after a shuffle of channels."""
    if len(array.logical) < 4 or array.repeated or not array.stored or not all(array.logical[1:]):
        return False
    last = array.stored[-1]
    return array.logical[1][0] in last and not any(group[0] in last for group in array.logical[2:])


def argument_text(writer: Writer, item: Any, codes: Mapping[int, str], records: Records | None = None) -> str | None:
    """An argument as it is passed; constants are not."""
    if isinstance(item, Value):
        return codes[id(item)]
    if isinstance(item, FreeSize):
        return writer.number(item)
    if isinstance(item, (tuple, list)) and _passes(item):
        parts = [argument_text(writer, part, codes) or _constant(part) for part in item]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(item, Record) and records is not None and _passes(item):
        passed = {key: part for key, part in item.items() if part is not None}
        texts = [
            f"{key}={argument_text(writer, part, codes, records) or _constant(part)}" for key, part in passed.items()
        ]
        return f"{records.name(item)}({', '.join(texts)})"
    if isinstance(item, Mapping) and _passes(item):
        entries = [f"{key!r}: {argument_text(writer, part, codes) or _constant(part)}" for key, part in item.items()]
        return f"{{{', '.join(entries)}}}"
    return None


def border_names(array: Array, order: Order) -> list[str]:
    """The names of the axes at the border of a module: an image goes by the letters of the glossary."""
    names = array.names
    image = len(order) == 4 and order == channels_last_order(4)
    odd = image and (names[1] in ("g", "k", "heads") or any(re.fullmatch(r"[a-z]+\d+", name) for name in names))
    return default_names(4) if odd else names


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


def enter(draft: Draft, writer: Writer, scope: Scope, records: Records) -> None:
    """Arguments of the call, by name."""
    names: list[str] = []
    position = 0
    renamed = twin_names(scope)

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

    passed = [(renamed[name], tree) for name, tree in by_name(scope) if _passes(tree)]
    draft.kinds |= {name: records.name(tree) for name, tree in passed if isinstance(tree, Record)}
    for name, tree in passed:
        names.append(name)
        before = position
        take(tree, name)
        draft.borders[name] = tuple(draft.orders[before:position])
    draft.arguments = names


def _plain_names(names: Sequence[str]) -> list[str]:
    """Letters without the numbers that they have where the module is called, so that all calls read alike."""
    plain = [re.sub(r"[0-9]+$", "", name) or name for name in names]
    return plain if len(set(plain)) == len(plain) else list(names)


def twin_names(scope: Scope) -> dict[str, str]:
    """The names that the arguments of a call have in the twin; in small letters, but for what users give by name."""
    names = {name: _argument_name(name) for name, tree in by_name(scope) if _passes(tree)}
    if not scope.path:
        return names
    taken = list(names.values())
    return {
        name: code if code.lower() == code or code.lower() in taken else code.lower() for name, code in names.items()
    }


def by_name(scope: Scope) -> list[tuple[str, Any]]:
    """The arguments of a call by the names that the original has for them."""
    return [*zip(_parameter_names(scope), scope.args, strict=False), *scope.kwargs.items()]


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


def result_of(
    writer: Writer, output: Any, records: Records, *, plain: bool = False, spatial: bool = False
) -> tuple[str, list[Order | None], list[list[str]]]:
    """What is returned as code, with the order and the names of the axes of each tensor in it."""
    orders: list[Order | None] = []
    names: list[list[str]] = []

    def code(tree: Any) -> str:
        if isinstance(tree, Value):
            array = writer.array(tree)
            order = border_order(array, plain=plain, spatial=spatial)
            array = writer.ordered(array, order)
            orders.append(order)
            names.append(border_names(array, order))
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


def outputs_of(writer: Writer, code: str, outputs: Any, body: Body) -> None:
    """Remember how each tensor that comes out of a call is reached."""
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


def plain_call(writer: Writer, node: Node, code: str) -> None:
    """A layer that takes and gives PyTorch's axes."""
    values = list(leaf_values((node.args, node.kwargs)))
    codes = {id(value): writer.ordered(value).code for value in values}
    variable = writer.bind(f"{code}({', '.join(_call_arguments(writer, node, codes))})", call=True)
    outputs_of(writer, variable, node.outputs, Body([], [], []))


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
        text = argument_text(writer, item, codes)
        if text is None and item is not by_name.get(name, inspect.Parameter.empty) and item != by_name.get(name):
            text = _constant(item)
        in_turn = in_turn and text is not None and place < len(node.args)
        if text is not None:
            yield text if in_turn else f"{name}={text}"
