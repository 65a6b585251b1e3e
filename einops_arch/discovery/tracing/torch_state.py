"""What a PyTorch model keeps from call to call: its state before and after a run, held together."""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from einops_arch.discovery.tracing.program import Note, Scope, Source, Value, map_tree, values_in
from einops_arch.discovery.tracing.sizes import Comparison, Size, SizeFloat
from einops_arch.discovery.tracing.torch_questions import DRAWS
from einops_arch.layouts.arrays import digest

__all__ = [
    "copy_of_model",
    "Snapshot",
    "empty_caches",
    "first_difference",
    "forget_computed",
    "held_tensors",
    "hook_notes",
    "memories",
    "outlines",
    "names_of_steps",
    "place_of_forward",
    "random_state",
    "reads",
    "tensors_at",
]

# Written by torch.nn.Module itself; parameters, buffers and hooks are looked at on their own.
_OWN = frozenset(vars(torch.nn.Module())) - {"training"}


class Snapshot:
    """The state of all modules of a model: numbers, containers, tensors by identity and by content.

    Args:
        module: the model; what it holds stays alive as long as this does.
        contents: look at the numbers of tensors as well.
    """

    def __init__(self, module: torch.nn.Module, *, contents: bool = True) -> None:
        self.alive: list[Any] = []
        self.contents = contents
        self.marks = {
            f"{path}.{name}" if path else name: self._mark(item, set())
            for path, child in module.named_modules()
            for name, item in _held(child).items()
        }

    def changes(
        self, module: torch.nn.Module, modelled: Mapping[str, Any], changed: Sequence[str] | None = None
    ) -> Iterator[Note]:
        """What a run changed in the model.

        Args:
            module: the same model after the run.
            modelled: buffers that layers of the twin update themselves, by path.
            changed: the paths, where they are known.
        """
        modules = dict(module.named_modules())
        for path in self.changed(module) if changed is None else changed:
            if path in modelled:
                continue
            owner = max((item for item in modules if path.startswith(f"{item}.") or not item), key=len)
            name = path[len(owner) :].lstrip(".")
            if name == "training":
                reason, fix = "forward changes the mode of a module", "call train() and eval() outside of forward"
            else:
                reason = f"forward changes {path}, so the next call does something else"
                fix = "give it as an argument of forward and return it"
            yield Note(owner, place_of_forward(modules[owner]), "forward", reason, fix)

    def changed(self, module: torch.nn.Module) -> list[str]:
        """The paths of what a run changed in the model."""
        after = Snapshot(module).marks
        return [path for path in sorted({*self.marks, *after}) if self.marks.get(path) != after.get(path)]

    def _mark(self, item: Any, open_items: set[int]) -> Any:
        """Something that is equal if the item is the same and has the same content."""
        if item is None or isinstance(item, (bool, int, str, bytes, complex)):
            return item
        if isinstance(item, float):
            return repr(item)
        self.alive.append(item)
        if not self.contents and isinstance(item, torch.Tensor):
            return id(item)
        content = next((mark(item) for kind, mark in _CONTENTS if isinstance(item, kind)), None)
        if content is not None or id(item) in open_items:
            return (id(item), content)
        inside = open_items | {id(item)}
        if isinstance(item, Mapping):
            return (id(item), [(repr(key), self._mark(part, inside)) for key, part in item.items()])
        if isinstance(item, (tuple, list, deque)):
            return (type(item).__name__, [self._mark(part, inside) for part in item])
        return (id(item), [(name, self._mark(part, inside)) for name, part in _attributes(item)])


def empty_caches(module: torch.nn.Module) -> list[dict[Any, Any]]:
    """Plain dicts of modules that hold nothing yet, in which a forward may keep what it has computed."""
    return [item for child in module.modules() for item in vars(child).values() if type(item) is dict and not item]


def forget_computed(caches: Sequence[dict[Any, Any]], root: Scope) -> None:
    """Empty those caches that a run filled with what parameters and buffers alone give: it is computed again.

    Such a model holds its table of biases until it is trained on, and gives the same with and without it.

    Args:
        caches: that were empty before the run.
        root: what the run recorded.
    """
    for cache in caches:
        if cache and all(isinstance(item, torch.Tensor) and _is_of_state(item, root) for item in cache.values()):
            cache.clear()


def _is_of_state(tensor: torch.Tensor, root: Scope) -> bool:
    """Whether operations of a run made a tensor of parameters, buffers and fixed numbers, and of nothing else."""
    for scope in _scopes(root):
        value = scope.values.get(id(tensor))
        if value is not None and value.origin == "operation":
            made = {id(output): node for node in scope.nodes for output in values_in(node.outputs)}
            return _needs_state_only(value, made)
    return False


def _needs_state_only(value: Value, made: Mapping[int, Any]) -> bool:
    if value.origin != "operation":
        return value.origin in ("state", "constant")
    node = made.get(id(value))
    if node is None or node.kind != "operation" or node.name in DRAWS or node.writes is not None:
        return False
    sizes: list[Any] = []
    map_tree((node.args, node.kwargs), lambda leaf: sizes.append(leaf) if isinstance(leaf, (Size, SizeFloat)) else leaf)
    return not sizes and all(_needs_state_only(item, made) for item in values_in((node.args, node.kwargs)))


def _scopes(scope: Scope) -> Iterator[Scope]:
    yield scope
    for node in scope.nodes:
        if node.scope is not None:
            yield from _scopes(node.scope)


def place_of_forward(module: torch.nn.Module) -> Source:
    """Where a module's forward begins."""
    code = getattr(getattr(module.forward, "__func__", module.forward), "__code__", None)
    return Source(code.co_filename, code.co_firstlineno) if code is not None else Source()


def _held(module: torch.nn.Module) -> dict[str, Any]:
    plain = {name: item for name, item in vars(module).items() if name not in _OWN}
    return {**plain, **module._buffers, **module._parameters}


def _attributes(item: Any) -> list[tuple[str, Any]]:
    slots = [name for base in type(item).__mro__ for name in getattr(base, "__slots__", ()) if hasattr(item, name)]
    return [*getattr(item, "__dict__", {}).items(), *((name, getattr(item, name)) for name in slots)]


_CONTENTS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (torch.Tensor, lambda item: (item._version, tuple(item.shape), str(item.dtype), digest(item))),
    (np.ndarray, lambda item: (item.shape, hashlib.sha1(item.tobytes(), usedforsecurity=False).hexdigest())),
    ((torch.nn.Module, type, FunctionType, BuiltinFunctionType, MethodType), lambda item: True),
    (torch.Generator, lambda item: digest(item.get_state())),
    (random.Random, lambda item: item.getstate()),
    (np.random.Generator, lambda item: repr(item.bit_generator.state)),
    ((set, frozenset), lambda item: sorted(map(repr, item))),
    (itertools.count, repr),
)


def held_tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    """All tensors that modules hold: parameters, buffers, attributes, and what stands in containers."""
    return [item for item in Snapshot(module, contents=False).alive if isinstance(item, torch.Tensor)]


def outlines(model: torch.nn.Module) -> dict[str, Any]:
    """What plain attributes of all modules hold, by path: tensors without their numbers, all else as it is."""
    return {
        f"{path}.{name}" if path else name: _outline(item)
        for path, module in model.named_modules()
        for name, item in vars(module).items()
        if name not in _OWN
    }


def memories(before: Mapping[str, Any], after: Mapping[str, Any], later: Mapping[str, Any]) -> frozenset[str]:
    """The attributes in which a model only keeps tensors of its last call, as maps of attention for a picture.

    Whether a later call reads them is another question: see `reads`.

    Args:
        before: outlines of the model before its first call.
        after: after it.
        later: after a second one, which must leave as much behind and no more.
    """
    return frozenset(
        path
        for path, outline in after.items()
        if _has_tensor(outline) and later.get(path) == outline and before.get(path) in (None, (), outline)
    )


def tensors_at(module: torch.nn.Module, paths: Sequence[str]) -> list[torch.Tensor]:
    """The tensors that attributes hold, in containers as well."""
    modules, held = dict(module.named_modules()), []
    for path in paths:
        owner, _, name = path.rpartition(".")
        held += tree_leaves(vars(modules[owner]).get(name) if owner in modules else None)
    return [item for item in held if isinstance(item, torch.Tensor)]


def reads(root: Scope, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether a run that was recorded takes one of these tensors, which an earlier call left behind.

    Args:
        root: what was recorded.
        tensors: they must have been alive all the time.
    """
    held = {id(tensor) for tensor in tensors}
    return any(
        key in held and value.origin == "constant" for scope in _scopes(root) for key, value in scope.values.items()
    )


def _outline(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return ("tensor", str(item.dtype))
    if isinstance(item, Mapping):
        return tuple((repr(key), _outline(part)) for key, part in item.items())
    if isinstance(item, (tuple, list, deque)):
        return tuple(_outline(part) for part in item)
    return item if item is None or isinstance(item, (bool, int, float, str)) else id(item)


def _has_tensor(outline: Any) -> bool:
    if not isinstance(outline, tuple):
        return False
    return (len(outline) == 2 and outline[0] == "tensor") or any(map(_has_tensor, outline))


def random_state() -> Any:
    """The state of Python's and numpy's own random numbers."""
    return random.getstate(), repr(np.random.get_state())  # noqa: NPY002 it is what models use


def copy_of_model(model: torch.nn.Module, *, shared: bool = False) -> torch.nn.Module:
    """A copy; weights that old `weight_norm` and `spectral_norm` made for the last call are copied as numbers.

    Args:
        model: the model.
        shared: parameters are those of the model and take no memory, for a run that does not overwrite them.
    """
    held = [item for module in model.modules() for item in vars(module).values() if isinstance(item, torch.Tensor)]
    known: dict[int, Any] = {id(item): item.detach().clone() for item in held if not item.is_leaf}
    if shared:
        known |= {id(item): item for item in model.parameters()}
    _copy_plain(model, known)
    return copy.deepcopy(model, known)


def _copy_plain(model: torch.nn.Module, known: dict[int, Any]) -> None:
    """Copy modules that have nothing of their own to say about it: each has a dozen empty dicts, which take long.

    Args:
        model: the model.
        known: what is copied already, as `copy.deepcopy` has it; the copies are put in.
    """
    plain = [module for module in model.modules() if _is_plain(module.__class__) and id(module) not in known]
    for module in plain:
        known[id(module)] = object.__new__(module.__class__)
    for module in plain:
        copied = known[id(module)].__dict__
        for name, item in vars(module).items():
            if item is None or type(item) in (bool, int, float, str):
                copied[name] = item
            elif type(item) in (dict, OrderedDict) and not item:
                known[id(item)] = copied[name] = type(item)()
            else:
                copied[name] = copy.deepcopy(item, known)


@functools.cache
def _is_plain(kind: Any) -> bool:
    """Whether modules of a class are copied attribute by attribute."""
    for base in kind.__mro__:
        # What layers of torch define is for files of old versions, but for the recurrent ones.
        own = vars(base).keys() & _COPIES
        of_torch = base.__module__.startswith("torch.nn.modules.") and own <= {"__setstate__"}
        if own and base not in (object, torch.nn.Module) and not of_torch:
            return False
    return True


_COPIES = frozenset(
    ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__slots__", "__new__")
)


def hook_notes(module: torch.nn.Module) -> Iterator[Note]:
    """Hooks that a recording cannot hold: those that run around the whole model, and those of gradients."""
    fix = "remove it, and do in forward what it does"
    for names, place in ((("_forward_pre_hooks",), "forward pre-hook"),):
        for name in names:
            for hook in getattr(module, name).values():
                yield Note("", Source(), _hook_name(hook), f"the whole model has a {place}", fix)
    for path, child in module.named_modules():
        for name in ("_backward_hooks", "_backward_pre_hooks"):
            for hook in getattr(child, name).values():
                yield Note(path, Source(), _hook_name(hook), "a hook changes gradients on their way back", fix)
    for path, tensor in module.named_parameters():
        hooks = [*(tensor._backward_hooks or {}).values()]
        hooks += [*(getattr(tensor, "_post_accumulate_grad_hooks", None) or {}).values()]
        for hook in hooks:
            reason = f"the parameter {path} has a hook on its gradient"
            yield Note(path.rpartition(".")[0], Source(), _hook_name(hook), reason, fix)


def _hook_name(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))


def first_difference(first: Scope, second: Scope) -> tuple[Scope, Source, str] | None:
    """Where two runs of one model at the same sizes part: the module call, the place, and the operation."""
    steps, others = list(_steps(first, {})), list(_steps(second, {}))
    for step, other in zip(steps, others, strict=False):
        if step[1] != other[1]:
            return step[0]
    if len(steps) != len(others):
        longer = steps if len(steps) > len(others) else others
        return longer[min(len(steps), len(others))][0]
    return None


def names_of_steps(scope: Scope) -> Iterator[tuple[tuple[Scope, Source, str], str]]:
    """The operations of a run by name, without casts, each with its place."""
    for node in scope.nodes:
        if node.name not in _CASTS and node.kind != "comparison":
            # The smallest number of a dtype, which masks are filled with, is another one in each.
            numbers = [item for item in node.args if isinstance(item, (int, float)) and abs(item) < 6e4]
            yield (scope, node.source, node.name), f"{node.name} {[float(item) for item in numbers]}"
        if node.scope is not None:
            yield from names_of_steps(node.scope)


_CASTS = frozenset(("to", "float", "double", "half", "bfloat16", "type", "type_as", "detach", "contiguous"))


def _steps(scope: Scope, numbers: dict[int, int]) -> Iterator[tuple[tuple[Scope, Source, str], Any]]:
    for node in scope.nodes:
        place = (scope, node.source, node.name)
        if node.name == "detach" and node.function is None and isinstance(node.outputs, Value):
            # Put there for torch.no_grad(): whether there are gradients is not what is asked here.
            numbers[id(node.outputs)] = _number(node.args[0], numbers)
            continue
        yield place, (node.kind, node.name, _seen(node.args, numbers), _seen(node.kwargs, numbers))
        if node.scope is not None:
            yield from _steps(node.scope, numbers)
        yield place, _seen(node.outputs, numbers)
    source = scope.nodes[-1].source if scope.nodes else Source()
    yield (scope, source, "return"), _seen(scope.output, numbers)


def _number(value: Value, numbers: dict[int, int]) -> int:
    # Key 0 counts: a value that stands for another has its number.
    if id(value) not in numbers:
        numbers[id(value)] = numbers[0] = numbers.get(0, 0) + 1
    return numbers[id(value)]


def _seen(tree: Any, numbers: dict[int, int]) -> Any:
    """What can be compared of the arguments or results of a step."""
    if isinstance(tree, Value):
        content = digest(tree.data) if tree.origin == "constant" and tree.data is not None else ""
        return (_number(tree, numbers), tree.shape, tree.dtype, tree.origin, tree.path, content)
    if isinstance(tree, Comparison):
        return (tree.sign, tree.answer)
    if isinstance(tree, slice):
        return tuple(_seen(part, numbers) for part in (tree.start, tree.stop, tree.step))
    if isinstance(tree, Mapping):
        return [(repr(key), _seen(item, numbers)) for key, item in tree.items()]
    if isinstance(tree, (tuple, list)):
        return [_seen(item, numbers) for item in tree]
    if isinstance(tree, Size):
        return int.__int__(tree)
    if isinstance(tree, (float, SizeFloat)):
        return repr(float.__float__(tree))
    return tree if isinstance(tree, (int, str, bool, torch.dtype, type(None))) else type(tree).__name__
