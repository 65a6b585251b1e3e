"""Tied tensors and shared modules: one variable or module of the twin under each of its names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from einops_arch.translation.draft import Draft
from einops_arch.translation.drafts import Drafts
from einops_arch.translation.refusals import Refusal

__all__ = ["tie"]


@dataclass(frozen=True)
class _Tie:
    """The path `other` is the same as the path `first`: a module, or a parameter or buffer."""

    first: str
    other: str
    module: bool


def tie(drafts: Drafts, root: Draft) -> list[Refusal]:
    """Add to the constructors what makes one of two names for the same; gives what cannot be tied.

    Args:
        drafts: all of them.
        root: of the whole model.
    """
    refusals = []
    for item in _ties(drafts.model):
        owner = _owner(drafts, root, item)
        made = _tied(drafts, owner, item)
        if made is None:
            reason = f"{item.first} and {item.other} are one tensor, in layers that hold it in other layouts"
            refusals.append(Refusal(item.first.rpartition(".")[0], "the model", "tied", reason))
            continue
        name, code, line = made
        owner.imports |= {line} if line else set()
        owner.attributes = [(key, text) for key, text in owner.attributes if key != name]
        owner.attributes.append((name, code))
    return refusals


def _ties(model: Any) -> Iterator[_Tie]:
    modules: dict[int, str] = {}
    shared: list[str] = []
    for path, module in model.named_modules(remove_duplicate=False):
        if any(path.startswith(f"{other}.") for other in shared):
            continue
        if id(module) in modules:
            shared.append(path)
            if module.state_dict():
                yield _Tie(modules[id(module)], path, module=True)
        else:
            modules[id(module)] = path
    tensors: dict[int, str] = {}
    for path, tensor in model.state_dict(keep_vars=True).items():
        if any(path.startswith(f"{other}.") for other in shared):
            continue
        if id(tensor) in tensors:
            yield _Tie(tensors[id(tensor)], path, module=False)
        else:
            tensors[id(tensor)] = path


def _owner(drafts: Drafts, root: Draft, item: _Tie) -> Draft:
    """The innermost module with a class of its own in which both are."""
    by_path = {draft.path: draft for draft in drafts.drafts.values()}
    parts: list[str] = []
    for left, right in zip(item.first.split(".")[:-1], item.other.split(".")[:-1], strict=False):
        if left != right:
            break
        parts.append(left)
    while parts and ".".join(parts) not in by_path:
        parts.pop()
    return by_path[".".join(parts)] if parts else root


def _tied(drafts: Drafts, owner: Draft, item: _Tie) -> tuple[str, str, str] | None:
    """What is assigned, to what, and the import that it needs."""
    if item.module:
        left, right = (drafts.expression(owner.path, path) for path in (item.first, item.other))
        return None if left is None or right is None else (_name(right), left, "")
    sides = []
    for path in (item.first, item.other):
        holder, _, leaf = path.rpartition(".")
        layer = drafts.layer(drafts.modules[holder]) if holder != owner.path else None
        attribute, order = layer.parameters.get(leaf, (leaf, None)) if layer is not None else (leaf, None)
        if layer is not None and leaf not in layer.parameters:
            return None
        sides.append((drafts.expression(owner.path, holder), attribute, order or None, layer, drafts.modules[holder]))
    if [side[3].name if side[3] is not None else "" for side in sides] == ["Linear", "Embed"]:
        sides.reverse()
    (left, attribute, order, layer, _), (right, other_attribute, other_order, other_layer, module) = sides
    if left is None or right is None:
        return None
    if _plain(order) == _plain(other_order):
        return _name(f"{right}.{other_attribute}"), f"{left}.{attribute}", ""
    if layer is not None and other_layer is not None and (layer.name, other_layer.name) == ("Embed", "Linear"):
        bias = "" if module.bias is not None else ", use_bias=False"
        line = "from einops_arch.flax.layers.tied import TiedLinear"
        return _name(right), f"TiedLinear({left}{bias}, rngs=rngs)", line
    return None


def _plain(order: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if order is None or order == tuple(range(len(order))) else order


def _name(code: str) -> str:
    """An attribute of the owner by its name, one further inside as it is reached."""
    name = code.removeprefix("self.")
    return name if name.isidentifier() else code
