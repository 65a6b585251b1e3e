"""Record what a PyTorch module does, call by call, at the level of torch functions."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from einops_arch.discovery.tracing.affine import Affine, Known, affine_of
from einops_arch.discovery.tracing.branches import only_warns
from einops_arch.discovery.tracing.program import Node, Note, Record, Scope, Source, Value, map_tree, values_in
from einops_arch.discovery.tracing.sizes import Axis, Comparison, Size, leaves_as_plain, listening
from einops_arch.discovery.tracing.torch_casts import finite_entries
from einops_arch.discovery.tracing.torch_functions import forward_of, has_own_gradient
from einops_arch.discovery.tracing.torch_state import held_tensors
from einops_arch.discovery.tracing.tracing_told import told_of_tracing
from einops_arch.discovery.tracing.watched import watched_functions

__all__ = ["Recording", "record_program", "tensors_in"]

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_MODULES = f"{_TORCH}nn{os.sep}modules{os.sep}"
_SKIPPED = (
    str(Path(__file__)),
    *(str(Path(__file__).with_name(name)) for name in ("sizes.py", "watched.py")),
    str(Path(contextlib.__file__)),
)

# Asked of a tensor, these answer what every recording of the same kind answers.
_INSPECTIONS = frozenset(
    (
        *("dim", "ndimension", "ndim", "dtype", "device", "layout", "is_cuda", "is_cpu", "is_mps", "is_meta", "is_xpu"),
        *("is_quantized", "is_sparse", "is_nested", "is_mkldnn", "is_contiguous", "is_floating_point", "is_complex"),
        *("requires_grad", "requires_grad_", "grad_fn", "is_leaf", "get_device", "element_size", "stride", "names"),
        *("__len__", "__hash__", "is_inference", "is_conj", "is_neg", "has_names", "_is_view", "_version", "grad"),
        *(
            "is_tensor",
            "is_signed",
            "result_type",
            "promote_types",
            "can_cast",
            "data_ptr",
            "is_sparse_csr",
            "is_vulkan",
        ),
        *("_has_compatible_shallow_copy_type", "is_same_size", "is_xla", "is_maia", "is_ipu", "is_hpu", "is_mtia"),
    )
)
_REFUSED = {
    "__bool__": "the program takes another way for other values",
    "item": "a number is taken out of a tensor",
    "tolist": "numbers are taken out of a tensor",
    "numpy": "a tensor leaves torch for numpy",
    "__array__": "a tensor leaves torch for numpy",
    "__int__": "a number is taken out of a tensor",
    "__float__": "a number is taken out of a tensor",
    "__index__": "a tensor is used as a Python index",
    "__contains__": "the program takes another way for other values",
    "equal": "the program takes another way for other values",
    "allclose": "the program takes another way for other values",
    "nonzero": "the shape of the result depends on values",
    "unique": "the shape of the result depends on values",
    "masked_select": "the shape of the result depends on values",
    "unique_consecutive": "the shape of the result depends on values",
    "argwhere": "the shape of the result depends on values",
    "bincount": "the shape of the result depends on values",
    "backward": "gradients are computed inside of the model",
    "is_nonzero": "the program takes another way for other values",
    "__format__": "a value is written as text",
    "__repr__": "a value is written as text",
    "__str__": "a value is written as text",
    "register_hook": "a hook changes gradients on their way back",
    "register_post_accumulate_grad_hook": "a hook changes gradients on their way back",
    "retain_grad": "gradients are kept inside of the model",
}
# One number, which may be the same at every size.
_ASKED = ("__bool__", "item", "__int__", "__float__")
_BY_VALUE = "write it with torch.where, or give the value as an argument of the constructor"
_DRAWS = frozenset(["rand", "randn", "randint", "rand_like", "bernoulli", "uniform", "normal"])
_BY_DRAW = "the program takes another way by a random draw, as where whole layers are left out in training"
_NO_DRAW = "no such draw, as with config.layerdrop = 0 or encoder_layerdrop = decoder_layerdrop = 0"
_LARGE = 2**24
_SET_REQUIRES_GRAD = torch.Tensor.requires_grad.__set__
_SHAPES = frozenset(["size", "shape"])
_COUNTS = frozenset(["numel", "nelement"])


class Recording:
    """What one run left behind.

    Args:
        root: the call of the whole module.
        notes: what cannot be written.
        casts: where a number that is not finite became an integer; it was recorded as 0.
    """

    def __init__(self, root: Scope, notes: Sequence[Note], casts: Sequence[Source] = ()) -> None:
        self.root = root
        self.notes = tuple(notes)
        self.casts = tuple(casts)


def record_program(
    module: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_leaf: Callable[[torch.nn.Module], bool],
    *,
    gradients: bool = True,
) -> Recording:
    """Run a module once and record it.

    Args:
        module: the module; its buffers may change as in any run, so give a copy.
        args: by position.
        kwargs: by name.
        is_leaf: whether a module's inside is left unrecorded.
        gradients: whether it runs with gradients, so that parts that have none are seen.
    """
    recorder = _Recorder(module, gradients=gradients)
    _TURNS.clear()
    homes = {sys.modules.get(type(child).__module__) for child in module.modules()}
    homes = {home for home in homes if home is not None and not home.__name__.startswith("torch.")}
    with (
        _watched(module, recorder, is_leaf),
        _custom_functions(recorder),
        torch.set_grad_enabled(gradients),
        recorder,
        listening(recorder.compared),
        watched_functions(homes),
        told_of_tracing(recorder.is_traced),
    ):
        if gradients:
            args, kwargs = map_tree((tuple(args), dict(kwargs)), _with_gradient)
        module(*args, **dict(kwargs))
    if recorder.root is None:
        raise RuntimeError("the module returned without having been called")
    recorder.check_attributes()
    return Recording(recorder.root, recorder.notes, recorder.casts)


class _Recorder(TorchFunctionMode):
    def __init__(self, module: torch.nn.Module, *, gradients: bool) -> None:
        super().__init__()
        self.module = module
        self.gradients = gradients
        self.held = {memory for tensor in held_tensors(module) if (memory := _memory(tensor)) is not None}
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
        self.before = _tensor_attributes(module)
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
        if (memory := _memory(tensor)) is not None:
            self.storages.setdefault(memory, set()).add(key)

    def fresh(self, tensor: torch.Tensor, origin: str = "operation", path: tuple[str, ...] = ()) -> Value:
        shape, dtype = tuple(int(size) for size in tensor.shape), str(tensor.dtype).removeprefix("torch.")
        value = Value(shape, dtype, origin, path)
        self.keep(tensor, value)
        return value

    def values_of(self, tree: Any, source: Source, operation: str = "") -> Any:
        return map_tree(
            _opened(tree), lambda leaf: self.value(leaf, source, operation) if isinstance(leaf, torch.Tensor) else leaf
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
        name = _name(func)
        if name in ("__len__", "is_same_size", "squeeze", "squeeze_", "split") and args:
            self.asked(name, args, kwargs)
        if func == _SET_REQUIRES_GRAD and args[1] and args[0].requires_grad:
            # Set on an input, which has a gradient here already.
            return None
        if name in _INSPECTIONS or name.startswith("_set"):
            return func(*args, **kwargs)
        tensors = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
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
        source = _source()
        if name in _REFUSED and tensors:
            inner = self.values_of((args, kwargs), source, name)
            if not self.is_known(name, inner[0], source):
                drawn = name == "__bool__" and id(inner[0][0]) in self.drawn
                self.note(source, name, *((_BY_DRAW, _NO_DRAW) if drawn else (_REFUSED[name], _BY_VALUE)))
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
        if not changed and not any(isinstance(leaf, torch.Tensor) for leaf in _leaves(output)):
            if tensors:
                self.note(source, name, f"gives {type(output).__name__}, which is no tensor", _BY_VALUE)
            return output
        node = Node("operation", plain_name, inner[0], inner[1], None, source, function=func)
        self.stack[-1].nodes.append(node)
        if changed:
            self.overwritten(node, changed, tensors, name)
            return output
        node.outputs = map_tree(
            _opened(output), lambda leaf: self.fresh(leaf) if isinstance(leaf, torch.Tensor) else leaf
        )
        if plain_name in _DRAWS or any(id(value) in self.drawn for value in values_in((inner[0], inner[1]))):
            self.drawn.update(id(value) for value in values_in(node.outputs) if not value.shape)
        self.affine |= affine_of(plain_name, inner[0], inner[1], node.outputs, self.affine)
        if name == "__getitem__" and _memory(output) == _memory(args[0]) and _is_plain_index(args[1]):
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
        if any(_memory(tensor) != _memory(target) for tensor in changed[1:]):
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
        known = self.affine.get(id(args[0])) if name in _ASKED and args else None
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

    def check_range(self, name: str, output: Any, source: Source) -> None:
        """JAX has integers of 32 bits unless it is told otherwise; other inputs may give larger ones than these."""
        for leaf in _leaves(output):
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
        return self.gradients and not torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)

    def detach(self, output: Any, source: Source) -> None:
        """Say of what was made under `torch.no_grad()` that it has no gradient."""
        for leaf in _leaves(output):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                node = Node("operation", "detach", (self.stack[-1].values[id(leaf)],), {}, None, source)
                self.stack[-1].nodes.append(node)
                node.outputs = self.fresh(leaf)

    def check_write(self, tensor: torch.Tensor, source: Source, name: str) -> None:
        """Memory of the model that is overwritten is state, through whatever tensor it is reached."""
        if _memory(tensor) in self.held:
            self.note(
                source,
                name,
                "a buffer, parameter or other tensor of the model is overwritten in forward",
                "give it as an argument of forward and return it",
            )

    def _sizes(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = args[0] if args else kwargs["input"]
        answer = func(*args, **kwargs)
        value = self.value(tensor, _source(again=True), name)
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
        memory = _memory(tensor)
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
        if self.busy or not self.stack or self.stack[-1].leaf or _is_message():
            return
        self.stack[-1].nodes.append(Node("comparison", comparison.sign, (comparison,), {}, None, _source(again=True)))

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
        source = _source()
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
        args, kwargs = map_tree((args, kwargs), _own_size)
        names = _argument_names(module, args, kwargs)
        scope.args, scope.kwargs = _inputs((args, kwargs), names, self)
        scope.watched = [(leaf, leaf._version) for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        return args, kwargs

    def _left(self, output: Any) -> Any:
        scope = self.stack[-1]
        if len(self.stack) > 1 and self.stack[-2].leaf:
            self.stack.pop()
            return output
        # The statement that returns is gone by now; the last one that did something stands for it.
        source = scope.nodes[-1].source if scope.nodes else _source(again=True)
        if scope.leaf:
            for tensor, mark in scope.watched:
                if tensor._version != mark:
                    self.check_write(tensor, source, type(scope.module).__name__)
                    self.changed(tensor)
                    self.versions[id(tensor)] = tensor._version
                    scope.values.pop(id(tensor), None)
            scope.output = map_tree(
                _opened(output), lambda leaf: self.fresh(leaf) if isinstance(leaf, torch.Tensor) else leaf
            )
        else:
            scope.output = self.values_of(output, source, "return")
        self.stack.pop()
        if self.stack:
            node = next(node for node in reversed(self.stack[-1].nodes) if node.scope is scope)
            output = map_tree(output, _own_size) if isinstance(output, (tuple, list)) else output
            node.outputs = map_tree(
                _opened(output), lambda leaf: self.fresh(leaf) if isinstance(leaf, torch.Tensor) else leaf
            )
            if scope.leaf and self.without_gradient(
                [*(tensor for tensor, _ in scope.watched), *scope.module.parameters()]
            ):
                self.detach(output, node.source)
        return output

    def check_attributes(self) -> None:
        """A module that keeps a tensor of the run for the next call is not the function that was recorded."""
        for path, tensor in _tensor_attributes(self.module).items():
            old = self.before.get(path)
            owner = path.rpartition(".")[0]
            if old is not tensor and id(tensor) not in self.state and owner not in self.layers:
                self.notes.append(
                    Note(owner, Source(), "=", f"the module keeps a tensor of the run as {path}", "return it instead")
                )


@contextlib.contextmanager
def _watched(
    module: torch.nn.Module, recorder: _Recorder, is_leaf: Callable[[torch.nn.Module], bool]
) -> Iterator[None]:
    handles = []
    for path, child in module.named_modules():
        leaf = is_leaf(child) and child is not module
        handles.append(
            child.register_forward_pre_hook(
                lambda child, args, kwargs, path=path, leaf=leaf: recorder.enter(child, path, leaf, args, kwargs),
                with_kwargs=True,
                prepend=leaf,  # the hook that makes the weight of a layer belongs to the layer
            )
        )
        handles.append(child.register_forward_hook(lambda child, args, output: recorder.leave(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _custom_functions(recorder: _Recorder) -> Iterator[None]:
    """Functions with a gradient of their own are seen here alone: torch does not tell a mode about them."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(function: Any, *args: Any, **kwargs: Any) -> Any:
        if recorder.stack and not recorder.stack[-1].leaf and not recorder.busy:
            recorder.busy += 1
            try:
                own = kwargs or has_own_gradient(function, args)
            finally:
                recorder.busy -= 1
            if not own:
                return forward_of(function, args)
            recorder.note(
                _source(again=True),
                function.__qualname__,
                "a torch.autograd.Function has a gradient of its own",
                "write its forward in plain torch, or give a Flax class with leaves=",
            )
        return original.__get__(None, function)(*args, **kwargs)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


def _with_gradient(item: Any) -> Any:
    """A tensor that has a gradient, and may be overwritten."""
    if isinstance(item, torch.Tensor) and item.is_floating_point():
        return item.detach().requires_grad_().clone()
    return item


def _opened(tree: Any) -> Any:
    """Dataclasses, such as the `ModelOutput` of transformers, as records of what they hold; all else as it is."""
    if is_dataclass(tree) and not isinstance(tree, type):
        return Record(type(tree), {item.name: _opened(getattr(tree, item.name)) for item in fields(tree)})
    if type(tree) in (tuple, list):
        return type(tree)(_opened(item) for item in tree)
    return tree


def _is_plain_index(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is Ellipsis or (isinstance(part, (int, slice)) and not isinstance(part, bool)) for part in parts)


def _own_size(leaf: Any) -> Any:
    """A size that enters another module call is an argument there."""
    return Size(int.__int__(leaf), Axis(leaf, None)) if isinstance(leaf, Size) else leaf


def _inputs(arguments: Any, names: Any, recorder: _Recorder) -> Any:
    """Values for the tensors of a call, each with the name of its argument."""
    args, kwargs = arguments

    def named(tree: Any, name: str) -> Any:
        tree = _opened(tree)
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


def _argument_names(module: torch.nn.Module, args: Any, kwargs: Any) -> list[str]:
    import inspect

    parameters = list(inspect.signature(module.forward).parameters.values())
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}.{n}" for n in range(len(args) - len(names))]
            break
        names.append(parameter.name)
    return names + [f"argument_{n}" for n in range(len(names), len(args))]


def _leaves(tree: Any) -> Iterator[Any]:
    tree = _opened(tree)
    if isinstance(tree, Mapping):
        for item in tree.values():
            yield from _leaves(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _leaves(item)
    elif isinstance(tree, slice):
        yield from _leaves((tree.start, tree.stop, tree.step))
    else:
        yield tree


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors of nested containers and dataclasses, in their order."""
    return (leaf for leaf in _leaves(tree) if isinstance(leaf, torch.Tensor))


def _memory(tensor: torch.Tensor) -> int | None:
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def _tensor_attributes(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Tensors that modules hold as plain attributes or as buffers that are not saved."""
    held: dict[str, torch.Tensor] = {}
    for path, child in module.named_modules():
        for name, item in {**vars(child), **child._buffers, **child._parameters}.items():
            if isinstance(item, torch.Tensor):
                held[f"{path}.{name}" if path else name] = item
    return held


def _name(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", name))
    return name


_TURNS: dict[tuple[int, str], tuple[tuple[int, int], int, int]] = {}


def _turned(source: Source, frame: Any) -> Source:
    """Which time the statement runs in this call of its function: an instruction that comes again begins a new turn."""
    if source.file.endswith("container.py"):
        return source
    key = (id(frame), source.file)
    statement, instruction, turn = _TURNS.get(key, ((0, 0), -1, 0))
    if statement != source.statement or frame.f_lasti <= instruction:
        turn += 1
    _TURNS[key] = (source.statement, frame.f_lasti, turn)
    return dataclasses.replace(source, turn=turn)


def _source(*, again: bool = False) -> Source:
    frame: Any = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = file.startswith(_TORCH) and not (file.startswith(_MODULES) and not file.endswith("module.py"))
        if not inside and file not in _SKIPPED:
            source = _named_by_caller(_statement(file, frame.f_lineno, frame.f_code.co_name), frame)
            return source if again else _turned(source, frame)
        frame = frame.f_back
    return Source()


def _named_by_caller(source: Source, frame: Any) -> Source:
    """Which of several targets an expression belongs to; what a function returns has the name that its caller gives."""
    if len(source.targets) > 1:
        return _one_of_several(source, frame)
    outer = frame
    while not source.targets and _returns(outer.f_code.co_filename, outer.f_lineno):
        outer = outer.f_back
        if outer is None or outer.f_code.co_filename.startswith(_TORCH) or outer.f_code.co_filename in _SKIPPED:
            return source
        named = _statement(outer.f_code.co_filename, outer.f_lineno, outer.f_code.co_name)
        source = dataclasses.replace(source, targets=_one_of_several(named, outer).targets)
    return source


def _one_of_several(source: Source, frame: Any) -> Source:
    """`a, b = f(x), g(x)`: the instruction is inside of one of both."""
    places = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    spans = _element_spans(source.file, source.statement)
    if places is None or None in places or len(spans) != len(source.targets):
        return source
    start, end = (places[0], places[2]), (places[1], places[3])
    for target, (first, last) in zip(source.targets, spans, strict=True):
        if first <= start and end <= last:
            return dataclasses.replace(source, targets=(target,))
    return source


@functools.cache
def _element_spans(file: str, statement: tuple[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    for node in _statements(file):
        if isinstance(node, ast.Assign) and (node.lineno, node.end_lineno) == statement:
            items = node.value.elts if isinstance(node.value, (ast.Tuple, ast.List)) else []
            return [((e.lineno, e.col_offset), (e.end_lineno or 0, e.end_col_offset or 0)) for e in items]
    return []


@functools.cache
def _returns(file: str, line: int) -> bool:
    return any(
        isinstance(node, ast.Return) and node.lineno <= line <= (node.end_lineno or node.lineno)
        for node in _statements(file)
    )


def _is_message() -> bool:
    """Whether a size is only written into the text of `_assert` or of an error."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename in _SKIPPED:
        if frame.f_code.co_name == "written":
            line = _outer(frame)
            return line is not None and _only_told(line.f_code.co_filename, line.f_lineno)
        frame = frame.f_back
    return False


def _outer(frame: Any) -> Any:
    while frame is not None and frame.f_code.co_filename in _SKIPPED:
        frame = frame.f_back
    return frame


@functools.cache
def _only_told(file: str, line: int) -> bool:
    """Whether a line is inside of a call of `_assert`, of a print or a log, of `assert` or `raise`."""
    told = ("_assert", "print", "warn", "warning", "info", "debug", "warn_once", "warning_once")
    for node in _messages(file):
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, (ast.Raise, ast.Assert)):
                return True
            function = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
            if isinstance(function, (ast.Name, ast.Attribute)):
                return (function.id if isinstance(function, ast.Name) else function.attr) in told
    return False


@functools.cache
def _messages(file: str) -> tuple[ast.stmt, ...]:
    return tuple(item for item in _statements(file) if isinstance(item, (ast.Raise, ast.Assert, ast.Expr)))


@functools.cache
def _statement(file: str, line: int, function: str) -> Source:
    best: ast.stmt | None = None
    for statement in _statements(file):
        end = statement.end_lineno or statement.lineno
        if statement.lineno <= line <= end and (best is None or statement.lineno >= best.lineno):
            best = statement
    if best is None:
        return Source(file, line, function, (line, line))
    return Source(file, line, function, (best.lineno, best.end_lineno or best.lineno), _targets(best))


@functools.cache
def _statements(file: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ()
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr, ast.Assert, ast.Raise)
    return tuple(node for node in ast.walk(tree) if isinstance(node, simple))


def _targets(statement: ast.stmt) -> tuple[str, ...]:
    if isinstance(statement, ast.Assign):
        target: Any = statement.targets[0]
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        target = statement.target
    else:
        return ()
    names = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    return tuple(name.id if isinstance(name, ast.Name) else "" for name in names)
