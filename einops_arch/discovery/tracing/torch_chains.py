"""Watch a PyTorch module run once: which shape operations it calls, where, and on what."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import einops
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from einops_arch.discovery.solving.chains import RawChain, Step, axis_names

__all__ = ["record"]

_MOVES = frozenset(
    (
        *("view", "reshape", "view_as", "reshape_as", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze"),
        *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "contiguous", "clone"),
        *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle"),
        *("expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave"),
    )
)
_PARTS = frozenset(
    ["__getitem__", "narrow", "select", "index_select", "diagonal", "roll", "flip", "flipud", "fliplr", "rot90", "pad"]
)
_SPLITS = frozenset(["split", "chunk", "unbind", "tensor_split", "split_with_sizes", "hsplit", "vsplit"])
_JOINS = frozenset(["cat", "concat", "concatenate", "stack"])
_NOT_A_CHAIN = {"contiguous", "clone"}
_FIRST = ("conv", "batch_norm", "pool", "interpolate", "pixel_shuffle", "group_norm", "instance_norm")
_LAST = ("linear", "layer_norm", "embedding", "rms_norm")
_HEADS = ("matmul", "bmm", "scaled_dot_product_attention", "baddbmm", "__matmul__")
_LIBRARY = (
    f"{Path(torch.__file__).parent}{os.sep}",
    f"{Path(einops.__file__).parent}{os.sep}",
    str(Path(contextlib.__file__)),
)


@dataclass
class _Call:
    """A recorded operation on the tensor `source`."""

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    source: torch.Tensor
    output: Any
    step: Step
    module: str
    order: int

    def again(self, tensor: torch.Tensor) -> Any:
        if self.args:
            return self.func(tensor, *self.args[1:], **self.kwargs)
        return self.func(**{**self.kwargs, "input": tensor})

    @property
    def key(self) -> Hashable:
        return self.name, repr(_plain(self.args[1:])), repr(_plain(self.kwargs))


class _Recorder(TorchFunctionMode):
    """Keeps every shape operation, and every tensor that one of them gave to something else."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, _Call] = {}
        self.layouts: dict[int, tuple[str, int]] = {}
        self.wanted: dict[int, str] = {}
        """The layout that whatever takes a tensor first expects."""
        self.versions: dict[int, int] = {}
        self.ends: dict[int, torch.Tensor] = {}
        self.used_by_moves: set[int] = set()
        self.single: list[tuple[str, _Call, list[torch.Tensor]]] = []
        self.path: list[str] = []
        self.kept: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = _name(func)
        output = func(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        if not tensors or not any(True for _ in _tensors(output)):
            return output
        source = args[0] if args else kwargs.get("input", kwargs.get("tensors"))
        if name in _MOVES and isinstance(output, torch.Tensor) and isinstance(source, torch.Tensor):
            self._keep(name, func, args, kwargs, source, output, move=output.dtype == source.dtype)
        elif name in _PARTS and isinstance(output, torch.Tensor) and isinstance(source, torch.Tensor):
            whole = name == "__getitem__" and output.numel() == source.numel() and _adds_axes(args[1])
            self._keep(name, func, args, kwargs, source, output, move=whole)
        elif name in _SPLITS or name in _JOINS:
            self._keep(name, func, args, kwargs, source, output, move=False)
        else:
            self._consume(tensors)
            self._tag(name, tensors, output)
            if (layout := _layout(name)) in {"first", "last"}:
                self.wanted.setdefault(id(tensors[0]), layout)
        return output

    def _keep(
        self, name: str, func: Any, args: Any, kwargs: dict[str, Any], source: Any, output: Any, *, move: bool
    ) -> None:
        call = _Call(
            name,
            func,
            args,
            kwargs,
            source,
            output,
            _where(name, args[1:], output),
            self.path[-1] if self.path else "",
            len(self.kept),
        )
        inputs = [source] if isinstance(source, torch.Tensor) else list(_tensors(source))
        if any(_strange(tensor) for tensor in inputs):
            return
        self.kept += [*inputs, output]
        for tensor in inputs:
            self.versions.setdefault(id(tensor), _version(tensor))
        if move:
            if not (source is output and name in _NOT_A_CHAIN):
                self.made[id(output)] = call
                self.versions[id(output)] = _version(output)
                self.used_by_moves.add(id(source))
            self._tag("", inputs, output)
            return
        self._consume(inputs)
        for tensor in _tensors(output):
            self.versions[id(tensor)] = _version(tensor)
        self.single.append((name, call, inputs))
        self._tag("", inputs, output)

    def _consume(self, tensors: Sequence[torch.Tensor]) -> None:
        for tensor in tensors:
            if id(tensor) in self.made:
                self.ends[id(tensor)] = tensor

    def _tag(self, name: str, inputs: Sequence[torch.Tensor], output: Any) -> None:
        if layout := _layout(name):
            tag = (layout, next(_tensors(output)).ndim)
        else:
            tag = next((self.layouts[id(tensor)] for tensor in inputs if id(tensor) in self.layouts), ("", 0))
        for tensor in _tensors(output):
            if tag[0]:
                self.layouts[id(tensor)] = tag
                self.kept.append(tensor)

    def chains(self) -> Iterator[RawChain]:
        for number, call in self.made.items():
            if number not in self.used_by_moves:
                self.ends.setdefault(number, call.output)
        for end in self.ends.values():
            if (chain := self._path_to(end)) is not None:
                yield chain
        for name, call, inputs in self.single:
            if (chain := self._one(name, call, inputs)) is not None:
                yield chain

    def _path_to(self, end: torch.Tensor) -> RawChain | None:
        calls: list[_Call] = []
        at = end
        while id(at) in self.made:
            calls.append(self.made[id(at)])
            at = calls[-1].source
            if len(calls) > 1000:
                return None
        calls.reverse()
        if all(call.name in _NOT_A_CHAIN for call in calls):
            return None

        def part(first: int, last: int) -> RawChain:
            chosen = calls[first:last]
            return self._raw("move", chosen, [chosen[0].source], [chosen[-1].output], _replay(chosen))

        raw = self._raw("move", calls, [at], [end], _replay(calls))
        raw.part = part
        return raw

    def _one(self, name: str, call: _Call, inputs: list[torch.Tensor]) -> RawChain | None:
        outputs = list(_tensors(call.output))

        def replay(values: Sequence[Any]) -> list[Any]:
            tensors = [torch.from_numpy(np.array(value)) for value in values]
            source: Any = tensors if name in _JOINS else tensors[0]
            if call.args:
                result = call.func(source, *call.args[1:], **call.kwargs)
            else:
                result = call.func(**{**call.kwargs, "tensors" if name in _JOINS else "input": source})
            return [tensor.numpy() for tensor in _tensors(result)]

        kind = "pack" if name in _JOINS else "unpack" if name in _SPLITS else "move"
        raw = self._raw(kind, [call], inputs, outputs, replay)
        raw.pure = False
        default = 0
        dim = call.kwargs.get("dim", call.kwargs.get("axis"))
        if dim is None:
            place = 1 if name in _JOINS or name == "unbind" else 2
            dim = call.args[place] if len(call.args) > place else default
        if not isinstance(dim, int):
            return None
        rank = inputs[0].ndim + (name == "stack")
        raw.axis = dim % rank if rank else 0
        if len({tensor.dtype for tensor in inputs}) > 1 or len({tensor.ndim for tensor in inputs}) > 1:
            return None
        return raw

    def _raw(
        self,
        kind: str,
        calls: Sequence[_Call],
        inputs: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        replay: Callable[[Sequence[Any]], list[Any]],
    ) -> RawChain:
        def values() -> tuple[list[Any], list[Any]] | None:
            if any(
                _version(tensor) != self.versions.get(id(tensor), _version(tensor)) for tensor in (*inputs, *outputs)
            ):
                return None
            return [_array(tensor) for tensor in inputs], [_array(tensor) for tensor in outputs]

        rank = inputs[0].ndim
        guess = self.wanted.get(id(outputs[0]), "first" if rank in {4, 5} else "last")
        layout, made_at = self.layouts.get(id(inputs[0]), (guess, rank))
        self.wanted.setdefault(id(inputs[0]), layout)
        if layout == "last" and made_at == 3 < rank:
            # Features that were split since.
            layout = "heads"
        return RawChain(
            kind,
            calls[-1].module,
            tuple(call.step for call in calls),
            tuple(tuple(tensor.shape) for tensor in inputs),
            axis_names(inputs[0].ndim, layout),
            replay,
            tuple(call.key for call in calls),
            values,
            order=calls[-1].order,
        )


def _replay(calls: Sequence[_Call]) -> Callable[[Sequence[Any]], list[Any]]:
    def replay(values: Sequence[Any]) -> list[Any]:
        tensor = torch.from_numpy(np.array(values[0]))
        for call in calls:
            tensor = call.again(tensor)
        return [tensor.numpy()]

    return replay


def record(module: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> list[RawChain]:
    """Run a module once, without gradients, and give the chains of its shape operations in the order of running.

    Args:
        module: a `torch.nn.Module`, or any function of tensors.
        inputs: by position.
        keywords: by name.
    """
    recorder = _Recorder()
    with _watched(module, recorder.path), torch.no_grad(), recorder:
        recorder.kept.append(module(*inputs, **keywords))
    return sorted(recorder.chains(), key=lambda chain: chain.order)


@contextlib.contextmanager
def _watched(module: Any, path: list[str]) -> Iterator[None]:
    """Keep the dotted path of the module that is running."""
    handles = []
    if isinstance(module, torch.nn.Module):
        for name, child in module.named_modules():
            handles.append(child.register_forward_pre_hook(lambda *_, name=name: path.append(name)))
            handles.append(child.register_forward_hook(lambda *_: path.pop() and None, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layout(name: str) -> str:
    """Where an operation has its channels, "" where that says nothing."""
    for words, layout in ((_FIRST, "first"), (_HEADS, "heads"), (_LAST, "last")):
        if any(word in name for word in words):
            return layout
    return ""


def _name(func: Any) -> str:
    name: str = getattr(func, "__name__", "")
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name


def _where(name: str, arguments: Sequence[Any], output: Any) -> Step:
    frame = sys._getframe(2)  # noqa: SLF001 the only way to a caller's line that costs nothing
    while frame.f_back is not None and frame.f_code.co_filename.startswith((*_LIBRARY, __file__)):
        frame = frame.f_back
    if len(arguments) == 1 and isinstance(arguments[0], list | tuple):
        arguments = arguments[0]
    sizes = tuple(arguments) if all(isinstance(argument, int) for argument in arguments) else ()
    if name in {"view", "reshape"} and isinstance(output, torch.Tensor):
        sizes = tuple(output.shape)  # what -1 stands for, too
    return Step(name, frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname, sizes)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _plain(value: Any) -> Any:
    """Arguments without their tensors, of which the shape is enough."""
    if isinstance(value, torch.Tensor):
        return ("tensor", tuple(value.shape), value.tolist() if value.ndim < 2 and value.numel() < 64 else id(value))
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _plain(item)) for key, item in value.items())
    return value


def _adds_axes(index: Any) -> bool:
    words = index if isinstance(index, tuple) else (index,)
    return all(word is None or word is Ellipsis or (isinstance(word, slice) and word == slice(None)) for word in words)


def _strange(tensor: torch.Tensor) -> bool:
    """Inside of `vmap` a tensor has no values of its own."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor) or tensor.is_meta  # noqa: SLF001


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001


def _array(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.resolve_conj().numpy()
