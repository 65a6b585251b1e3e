"""The recorder: what a module does while it runs, told by torch function modes and hooks of modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from einops_arch.discovery.tracing.affine import Affine, Known, affine_of
from einops_arch.discovery.tracing.branches import only_warns
from einops_arch.discovery.tracing.program import Node, Note, Record, Scope, Source, Value, map_tree, values_in
from einops_arch.discovery.tracing.sizes import Axis, Comparison, Size, leaves_as_plain
from einops_arch.discovery.tracing.torch_casts import finite_entries
from einops_arch.discovery.tracing.torch_questions import (
    ASKED,
    BY_DRAW,
    BY_VALUE,
    DRAWS,
    FIXES,
    INSPECTIONS,
    NO_DRAW,
    REFUSED,
)
from einops_arch.discovery.tracing.torch_state import held_tensors
from einops_arch.discovery.tracing.torch_statements import current_source, is_message
from einops_arch.discovery.tracing.torch_trees import (
    argument_names,
    is_plain_index,
    leaves_in,
    memory_of,
    name_of,
    opened,
    own_size,
    tensor_attributes,
)

__all__ = ["Recorder"]

_LARGE = 2**24
_SET_REQUIRES_GRAD = torch.Tensor.requires_grad.__set__
_SHAPES = frozenset(["size", "shape"])
_COUNTS = frozenset(["numel", "nelement"])


class Recorder(TorchFunctionMode):
    """Keeps the calls of modules and functions while a module runs.

    Args:
        module: that is going to run.
        gradients: whether it runs with gradients.
    """

    only_records = True

    def __init__(self, module: torch.nn.Module, *, gradients: bool) -> None:
        super().__init__()
        self.module = module
        self.gradients = gradients
        self.held = {memory for tensor in held_tensors(module) if (memory := memory_of(tensor)) is not None}
        self.stack: list[Scope] = []
        self.root: Scope | None = None
        self.notes: list[Note] = []
        self.kept: list[Any] = []
        self.versions: dict[int, int] = {}
        self.storages: dict[int, set[int]] = {}
        self.state: dict[int, list[str]] = {}
        self.affine: Known = {}
        self.casts: list[Source] = []
        self.drawn: set[int] = set()
        self.views: dict[int, tuple[int, Any]] = {}
        self.busy = 0
        self.layers: set[str] = set()
        for name, tensor in module.state_dict(keep_vars=True).items():
            self.state.setdefault(id(tensor), []).append(name)
        self.attributes: dict[int, str] = {}
        self.before = tensor_attributes(module)
        for path, tensor in self.before.items():
            if id(tensor) not in self.state:
                self.attributes.setdefault(id(tensor), path)

    # Values

    def value(self, tensor: torch.Tensor, source: Source, operation: str = "") -> Value:
        scope, key = self.stack[-1], id(tensor)
        if key in scope.stale and not self.written_back(tensor, source):
            self.note(source, operation, "a tensor is used that was overwritten in place through another one")
        if key in scope.values:
            if self.versions.get(key, tensor._version) != tensor._version:
                self.note(source, operation, "a tensor was overwritten where the recorder could not see it")
                self.versions[key] = tensor._version
            return scope.values[key]
        shape, dtype = tuple(int(size) for size in tensor.shape), str(tensor.dtype).removeprefix("torch.")
        if key in self.state:
            value = Value(shape, dtype, "state", tuple(self.state[key]))
        elif any(key in outer.values for outer in self.stack[:-1]):
            self.note(
                source,
                operation,
                "a tensor of another module is used without having been passed as an argument",
                "pass it as an argument of forward",
            )
            value = Value(shape, dtype, "constant", data=tensor)
        else:
            path = self.attributes.get(key)
            value = Value(shape, dtype, "constant", (path,) if path else (), tensor.detach().clone())
        self.keep(tensor, value)
        return value

    def keep(self, tensor: torch.Tensor, value: Value) -> None:
        """From here on the tensor is this value, in the module call that is running."""
        key = id(tensor)
        self.kept.append(tensor)
        self.stack[-1].values[key] = value
        self.stack[-1].stale.pop(key, None)
        self.versions[key] = tensor._version
        if (memory := memory_of(tensor)) is not None:
            self.storages.setdefault(memory, set()).add(key)

    def fresh(self, tensor: torch.Tensor, origin: str = "operation", path: tuple[str, ...] = ()) -> Value:
        shape, dtype = tuple(int(size) for size in tensor.shape), str(tensor.dtype).removeprefix("torch.")
        value = Value(shape, dtype, origin, path)
        self.keep(tensor, value)
        return value

    def values_of(self, tree: Any, source: Source, operation: str = "") -> Any:
        return map_tree(
            opened(tree), lambda leaf: self.value(leaf, source, operation) if isinstance(leaf, torch.Tensor) else leaf
        )

    def note(self, source: Source, operation: str, reason: str, fix: str = "") -> None:
        path = self.stack[-1].path if self.stack else ""
        entry = Note(path, source, operation, reason, fix)
        if entry not in self.notes:
            self.notes.append(entry)

    # Operations

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if self.busy or not self.stack or self.stack[-1].leaf:
            return func(*args, **kwargs)
        name = name_of(func)
        if name in ("__len__", "is_same_size", "squeeze", "squeeze_", "split") and args:
            self.asked(name, args, kwargs)
        if func == _SET_REQUIRES_GRAD and args[1] and args[0].requires_grad:
            # Set on an input, which has a gradient here already.
            return None
        if name in INSPECTIONS or name.startswith("_set"):
            return func(*args, **kwargs)
        tensors = [leaf for leaf in leaves_in((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self.busy += 1
        try:
            return self._recorded(func, name, args, kwargs, tensors)
        finally:
            self.busy -= 1

    def _recorded(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor]
    ) -> Any:
        if name in _SHAPES | _COUNTS and tensors:
            return self._sizes(func, name, args, kwargs)
        source = current_source()
        self.check_autocast(source)
        if name in REFUSED and tensors:
            inner = self.values_of((args, kwargs), source, name)
            if not self.is_known(name, inner[0], source):
                drawn = name == "__bool__" and id(inner[0][0]) in self.drawn
                fix = FIXES.get(name, BY_VALUE)
                self.note(source, name, *((BY_DRAW, NO_DRAW) if drawn else (REFUSED[name], fix)))
            return func(*args, **kwargs)
        inner = self.values_of((args, kwargs), source, name) if name != "__setitem__" else self._set_item(args, source)
        versions = [tensor._version for tensor in tensors]
        output = func(*args, **kwargs)
        finite = finite_entries(name, args, output)
        if finite is not None:
            self.casts.append(source)
            output = torch.where(finite, output, 0)
        changed = [tensor for tensor, version in zip(tensors, versions, strict=True) if tensor._version != version]
        if not changed and any(output is tensor for tensor in tensors):
            # A cast to the dtype that is there gives the tensor itself, which another dtype would not.
            output = output.view(output.shape)
        plain_name = name if name.startswith("__") else name.rstrip("_")
        if not changed and not any(isinstance(leaf, torch.Tensor) for leaf in leaves_in(output)):
            if tensors:
                self.note(source, name, f"gives {type(output).__name__}, which is no tensor", BY_VALUE)
            return output
        node = Node("operation", plain_name, inner[0], inner[1], None, source, function=func)
        self.stack[-1].nodes.append(node)
        if changed:
            self.overwritten(node, changed, tensors, name)
            return output
        node.outputs = map_tree(
            opened(output), lambda leaf: self.fresh(leaf) if isinstance(leaf, torch.Tensor) else leaf
        )
        if plain_name in DRAWS or any(id(value) in self.drawn for value in values_in((inner[0], inner[1]))):
            self.drawn.update(id(value) for value in values_in(node.outputs) if not value.shape)
        self.affine |= affine_of(plain_name, inner[0], inner[1], node.outputs, self.affine)
        if name == "__getitem__" and memory_of(output) == memory_of(args[0]) and is_plain_index(args[1]):
            self.views[id(output)] = (id(args[0]), inner[0][1])
        if self.without_gradient(tensors):
            self.detach(output, source)
        self.check_range(name, output, source)
        return output

    def overwritten(
        self, node: Node, changed: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], name: str
    ) -> None:
        """An operation changed tensors in place: the first holds what it gave."""
        target = changed[0]
        node.writes = self.stack[-1].values[id(target)]
        if node.writes.origin not in ("state", "constant"):
            self.check_write(target, node.source, name)
        if self.without_gradient(tensors):
            self.note(node.source, name, "a tensor with a gradient is overwritten under torch.no_grad()")
        self.changed(target)
        node.outputs = self.fresh(target)
        if node.writes.origin == "state":
            node.outputs.path = node.writes.path
        if any(memory_of(tensor) != memory_of(target) for tensor in changed[1:]):
            self.note(node.source, name, "several tensors are overwritten at once")

    def is_traced(self, tensor: Any) -> bool:
        """Whether nothing is known of the values of a tensor that is at hand."""
        if not isinstance(tensor, torch.Tensor) or not self.stack:
            return False
        value = self.stack[-1].values.get(id(tensor))
        known = self.affine.get(id(value)) if value is not None else None
        return not isinstance(known, Affine) or not known.constant

    def is_known(self, name: str, args: Sequence[Any], source: Source) -> bool:
        """Whether the number that a program asks for is the same at every size, or leads to warnings only."""
        if name in ("__bool__", "__contains__") and only_warns(source.file, source.line):
            return True
        known = self.affine.get(id(args[0])) if name in ASKED and args else None
        return isinstance(known, Affine) and known.constant

    def written_back(self, tensor: torch.Tensor, source: Source) -> bool:
        """A part that was taken by an index and overwritten, and nothing else of this memory, is put in its place."""
        scope = self.stack[-1]
        part = scope.stale[id(tensor)]
        base, index = self.views.get(part, (0, None))
        if base != id(tensor) or part in scope.stale or part not in scope.values or id(tensor) not in scope.values:
            return False
        args = (scope.values[id(tensor)], index, scope.values[part])
        node = Node("operation", "__setitem__", args, {}, None, source)
        scope.nodes.append(node)
        node.outputs = self.fresh(tensor)
        return True

    def check_autocast(self, source: Source) -> None:
        """Autocast casts inside of operations, where no recording sees it."""
        if torch.is_autocast_enabled("cpu"):
            reason = "it runs under autocast, which casts inside of operations"
            fix = "enabled=False there, and in Flax the dtype= of the layers"
            self.note(source, "autocast", reason, fix)

    def check_range(self, name: str, output: Any, source: Source) -> None:
        """JAX has integers of 32 bits unless it is told otherwise; other inputs may give larger ones than these."""
        for leaf in leaves_in(output):
            if not isinstance(leaf, torch.Tensor) or leaf.dtype != torch.int64 or not leaf.numel():
                continue
            if max(-int(leaf.min()), int(leaf.max())) >= _LARGE:
                self.note(
                    source,
                    name,
                    f"it gives integers of {_LARGE} and more, which may not fit into the 32 bits that JAX has",
                    "smaller numbers, or floating point",
                )

    def without_gradient(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether the program stops gradients here that there would have been."""
        # A parameter that is frozen now may be trained later; what stops its gradient here stops it then.
        return (
            self.gradients
            and not torch.is_grad_enabled()
            and any(tensor.requires_grad or isinstance(tensor, torch.nn.Parameter) for tensor in tensors)
        )

    def detach(self, output: Any, source: Source) -> None:
        """Say of what was made under `torch.no_grad()` that it has no gradient."""
        for leaf in leaves_in(output):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                node = Node("operation", "detach", (self.stack[-1].values[id(leaf)],), {}, None, source)
                self.stack[-1].nodes.append(node)
                node.outputs = self.fresh(leaf)

    def check_write(self, tensor: torch.Tensor, source: Source, name: str) -> None:
        """Memory of the model that is overwritten is state, through whatever tensor it is reached."""
        if memory_of(tensor) in self.held:
            self.note(
                source,
                name,
                "a buffer, parameter or other tensor of the model is overwritten in forward",
                "give it as an argument of forward and return it",
            )

    def _sizes(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = args[0] if args else kwargs["input"]
        answer = func(*args, **kwargs)
        value = self.value(tensor, current_source(again=True), name)
        if value.origin in ("state", "constant"):
            return answer
        sizes = [Size(size, Axis(value, axis)) for axis, size in enumerate(value.shape)]
        if name in _COUNTS:
            total: Any = 1
            for size in sizes:
                total = size * total
            return total
        if isinstance(answer, torch.Size):
            return torch.Size(sizes)
        axis = args[1] if len(args) > 1 else kwargs["dim"]
        return sizes[int(axis)]

    def _set_item(self, args: tuple[Any, ...], source: Source) -> tuple[Any, dict[str, Any]]:
        """Python writes `x[i] += y` as a view that changes in place and is then written where it is already."""
        tensor, index, item = args
        scope = self.stack[-1]
        if isinstance(item, torch.Tensor) and scope.stale.get(id(tensor)) == id(item):
            del scope.stale[id(tensor)]
            self.versions[id(tensor)] = tensor._version
        return self.values_of((tensor, index, item), source, "__setitem__"), {}

    def changed(self, tensor: torch.Tensor) -> None:
        """A tensor was overwritten: all others that share its memory, and outer names of it, hold something else."""
        memory = memory_of(tensor)
        for key in {id(tensor), *self.storages.get(memory, ())} if memory is not None else {id(tensor)}:
            for scope in self.stack:
                if key in scope.values and not (scope is self.stack[-1] and key == id(tensor)):
                    known = scope.stale.get(key)
                    scope.stale[key] = id(tensor) if known in (None, id(tensor)) else 0
            if key in self.versions and key != id(tensor):
                # Told by `stale` from here on.
                self.versions[key] = -1
        self.versions = {key: version for key, version in self.versions.items() if version >= 0}

    def asked(self, name: str, tensors: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """`len` gives a number, `is_same_size` an answer, `squeeze` takes axes of one: they hold for these sizes."""
        if name.startswith("squeeze"):
            sizes = self._sizes(torch.Tensor.size, "size", (tensors[0],), {})
            dims = kwargs.get("dim", tensors[1] if len(tensors) > 1 else range(len(sizes)))
            for dim in [dims] if isinstance(dims, int) else dims:
                _ = isinstance(dim, int) and sizes[dim] == 1
            return
        if name == "split":
            width = kwargs.get("split_size", kwargs.get("split_size_or_sections", next(iter(tensors[1:2]), None)))
            if isinstance(width, int) and width > 0:
                dim = int(kwargs.get("dim", tensors[2] if len(tensors) > 2 else 0))
                size = self._sizes(torch.Tensor.size, "size", (tensors[0],), {})[dim]
                leaves_as_plain((size + width - 1) // width)
            return
        shapes = [self._sizes(torch.Tensor.size, "size", (tensor,), {}) for tensor in tensors[:2]]
        if name == "__len__":
            leaves_as_plain(shapes[0][0])
        elif len(shapes[0]) == len(shapes[1]):
            for left, right in zip(*shapes, strict=True):
                _ = left == right

    def compared(self, comparison: Comparison) -> None:
        if self.busy or not self.stack or self.stack[-1].leaf or is_message():
            return
        self.stack[-1].nodes.append(
            Node("comparison", comparison.sign, (comparison,), {}, None, current_source(again=True))
        )

    # Modules

    def enter(self, module: torch.nn.Module, path: str, leaf: bool, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """A module is called: give its arguments, with sizes as they are known inside."""
        self.busy += 1
        try:
            return self._entered(module, path, leaf, args, kwargs)
        finally:
            self.busy -= 1

    def leave(self, output: Any) -> Any:
        """A module returns."""
        self.busy += 1
        try:
            return self._left(output)
        finally:
            self.busy -= 1

    def _entered(self, module: torch.nn.Module, path: str, leaf: bool, args: Any, kwargs: Any) -> tuple[Any, Any]:
        source = current_source()
        if leaf and self.stack:
            self.check_autocast(source)
        node = None
        if self.stack:
            if self.stack[-1].leaf:
                self.stack.append(Scope(module, path, leaf=True))
                return args, kwargs
            inner = self.values_of((args, kwargs), source, type(module).__name__)
            node = Node("call", path, inner[0], inner[1], None, source)
            self.stack[-1].nodes.append(node)
        scope = Scope(module, path, leaf, training=module.training)
        if leaf:
            self.layers.add(path)
        if node is not None:
            node.scope = scope
        else:
            self.root = scope
        self.stack.append(scope)
        args, kwargs = map_tree((args, kwargs), own_size)
        names = argument_names(module, args, kwargs)
        scope.args, scope.kwargs = _inputs((args, kwargs), names, self)
        scope.watched = [(leaf, leaf._version) for leaf in leaves_in((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        return args, kwargs

    def _left(self, output: Any) -> Any:
        scope = self.stack[-1]
        if len(self.stack) > 1 and self.stack[-2].leaf:
            self.stack.pop()
            return output
        # The statement that returns is gone by now; the last one that did something stands for it.
        source = scope.nodes[-1].source if scope.nodes else current_source(again=True)
        if scope.leaf:
            for tensor, mark in scope.watched:
                if tensor._version != mark:
                    self.check_write(tensor, source, type(scope.module).__name__)
                    self.changed(tensor)
                    self.versions[id(tensor)] = tensor._version
                    scope.values.pop(id(tensor), None)
            scope.output = map_tree(
                opened(output), lambda leaf: self.fresh(leaf) if isinstance(leaf, torch.Tensor) else leaf
            )
        else:
            scope.output = self.values_of(output, source, "return")
        self.stack.pop()
        if self.stack:
            node = next(node for node in reversed(self.stack[-1].nodes) if node.scope is scope)
            output = map_tree(output, own_size) if isinstance(output, (tuple, list)) else output
            node.outputs = map_tree(
                opened(output), lambda leaf: self.fresh(leaf) if isinstance(leaf, torch.Tensor) else leaf
            )
            if scope.leaf and self.without_gradient(
                [*(tensor for tensor, _ in scope.watched), *scope.module.parameters()]
            ):
                self.detach(output, node.source)
        scope.watched = []  # a tensor holds all that it was computed from
        return output

    def check_attributes(self) -> None:
        """A module that keeps a tensor of the run for the next call is not the function that was recorded."""
        for path, tensor in tensor_attributes(self.module).items():
            old = self.before.get(path)
            owner = path.rpartition(".")[0]
            if old is not tensor and id(tensor) not in self.state and owner not in self.layers:
                self.notes.append(
                    Note(owner, Source(), "=", f"the module keeps a tensor of the run as {path}", "return it instead")
                )


def _inputs(arguments: Any, names: Any, recorder: Recorder) -> Any:
    """Values for the tensors of a call, each with the name of its argument."""
    args, kwargs = arguments

    def named(tree: Any, name: str) -> Any:
        tree = opened(tree)
        if isinstance(tree, torch.Tensor):
            if id(tree) in recorder.state:
                return recorder.value(tree, Source())
            known = recorder.stack[-1].values.get(id(tree))
            return known if known is not None else recorder.fresh(tree, "input", (name,))
        if isinstance(tree, (tuple, list)) and not isinstance(tree, torch.Size):
            items = [named(item, f"{name}.{n}") for n, item in enumerate(tree)]
            return tuple(items) if isinstance(tree, tuple) else items
        if isinstance(tree, Mapping):
            fields = {key: named(item, f"{name}.{key}") for key, item in tree.items()}
            return Record(tree.kind, fields) if isinstance(tree, Record) else fields
        return tree

    return (
        tuple(named(item, name) for item, name in zip(args, names, strict=False)),
        {name: named(item, name) for name, item in kwargs.items()},
    )
