"""A checkpoint in the layout of the other framework, tensor by tensor: nothing is read before it is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from einops_arch.checkpoints.disk.blocks import blocks, contiguous
from einops_arch.checkpoints.reader import Reader, Span, Wrapper
from einops_arch.checkpoints.tensors import DTYPES, Bits, TensorInfo, carrier, info_of
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.layouts.boxes import Box, slices
from einops_arch.layouts.plan import ConstantStep, Move, Step
from einops_arch.layouts.slices import part_through
from einops_arch.port.check_reader import hold_reader

__all__ = ["Origin", "Ported"]


@dataclass(frozen=True)
class Origin:
    """Where a tensor of the destination comes from.

    Args:
        names: the tensors of the source; none for a constant.
        pattern: what becomes of them, in words.
        moved: nothing but the places of the elements changes.
    """

    names: tuple[str, ...]
    pattern: str
    moved: bool = True


class Ported(Wrapper):
    """A reader of one framework's checkpoint as a reader of the other's, or the same, checked against the model.

    Args:
        inner: the reader of the source.
        model: a Flax model, which may be abstract; its layers say how arrays lie.
        framework: `"torch"` or `"flax"`: what the source is.
        to: what is wanted.

    Attributes:
        origins: for each tensor, where it comes from.
        ignored: for each tensor of the source that nothing comes from, the reason.

    Raises:
        PortError: the source does not fit the model; the message lists every problem by path.
    """

    def __init__(self, inner: Reader, model: Any, framework: str, to: str) -> None:
        from einops_arch.flax.state import port_steps

        steps = port_steps(model, _Lazy(inner))
        self.origins: dict[str, Origin] = {}
        self.ignored: dict[str, str] = {}
        self._views: dict[str, Callable[[Bits], Bits]] = {}
        self._makers: dict[str, Callable[[], np.ndarray[Any, Any]]] = {}
        self._moves: dict[str, Callable[[Box], Bits]] = {}
        # The name that the source writes a tied tensor under comes first, and is the one that is written.
        steps = sorted(steps, key=lambda step: any(name in inner.aliases for name in _names(step[0], framework)))
        self._tied = _tied(steps, framework)
        super().__init__(_held(inner, steps, framework, self._tied, type(model).__name__))
        self.tensors, self.aliases = {}, {}
        if framework == to:
            self._pass_on()
        else:
            first: dict[int, str] = {}
            for step, variables in steps:
                if to == "flax":
                    self._to_flax(step, variables, first)
                else:
                    self._to_torch(step, variables, first)
        # In the order of the source, which is read from the front to the back then.
        order = {name: index for index, name in enumerate(self.inner.tensors)}
        self.tensors = dict(sorted(self.tensors.items(), key=lambda entry: self._position(entry[0], order)))

    def bits(self, name: str) -> Bits:
        info = self.tensors[name]
        if name in self._makers:
            return np.asarray(self._makers[name]()).view(carrier(info.dtype))
        return contiguous(self._view(name)).reshape(info.shape)

    def blocks(self, name: str) -> Iterator[Bits]:
        if name in self._makers:
            yield from blocks(self.bits(name))
        elif self._same_bytes(name):
            yield from self.inner.blocks(self._source(name))
        else:
            yield from blocks(self._view(name))

    def part(self, name: str, box: Box) -> Bits:
        if name in self._makers:
            return self.bits(name)[slices(box)]
        if name in self._moves:
            return self._moves[name](box)
        return self.inner.part(self._source(name), box)

    def span(self, name: str) -> Span | None:
        if name in self._makers or not self._same_bytes(name):
            return None
        return self.inner.span(self._source(name))

    def _part_forward(self, step: Move, index: int, box: Box) -> Bits:
        source = self.inner.aliases.get(step.name, step.name)
        shape = self.inner.tensors[source].shape

        def read(wanted: Box) -> Bits:
            return _turned(self.inner.part(source, _mirrored(wanted, shape, step.flip)), step.flip)

        wanted = ((index, index + 1), *box) if step.stacked else box
        part = part_through(step.pattern, shape, wanted, step.sizes, read)
        return part[0] if step.stacked else part

    def _part_backward(self, step: Move, shape: tuple[int, ...], box: Box) -> Bits:
        (leaf,) = step.leaves
        read = partial(self.inner.part, self.inner.aliases.get(leaf.path, leaf.path))
        wanted = _mirrored(box, shape, step.flip)
        return _turned(part_through(step.pattern.inverse(), leaf.shape, wanted, step.sizes, read), step.flip)

    def _source(self, name: str) -> str:
        (source,) = self.origins[name].names
        return self.inner.aliases.get(source, source)

    def _view(self, name: str) -> Bits:
        return self._views[name](self.inner.bits(self._source(name)))

    def _same_bytes(self, name: str) -> bool:
        """Whether the bytes are those of the source, found out on an array that has strides and no memory."""
        info = self.inner.tensors[self._source(name)]
        width = DTYPES[info.dtype]
        strides = [width * math.prod(info.shape[axis + 1 :]) for axis in range(len(info.shape))]
        blank = np.lib.stride_tricks.as_strided(np.zeros(1, carrier(info.dtype)), info.shape, strides, writeable=False)
        view = self._views[name](blank)
        return bool(view.flags.c_contiguous) and view.size == info.size

    def _position(self, name: str, order: Mapping[str, int]) -> int:
        places = (order[self.inner.aliases.get(name, name)] for name in self.origins[name].names)
        return min(places, default=len(order))

    def _pass_on(self) -> None:
        source = self.inner
        self.tensors, self.aliases = dict(source.tensors), dict(source.aliases)
        for group in self._tied:
            stored = [name for name in group if name in self.tensors]
            for name in stored[1:]:
                del self.tensors[name]
            self.aliases |= {name: stored[0] for name in group if name != stored[0]}
        for name in self.tensors:
            self.origins[name] = Origin((name,), "...")
            self._views[name] = lambda bits: bits

    def _to_flax(self, step: Step, variables: Any, first: dict[int, str]) -> None:
        names = tuple(step.expected)
        if not step.leaves:
            self.ignored |= {name: step.layout for name in names if self.inner.has(name)}
        for index, (leaf, variable) in enumerate(zip(step.leaves, variables, strict=True)):
            if first.setdefault(id(variable), leaf.path) != leaf.path:
                self.aliases[leaf.path] = first[id(variable)]
                continue
            narrow = isinstance(step, Move) and bool(step.dtype)
            dtype = leaf.dtype.name if narrow else self.inner.info(names[0]).dtype
            self.tensors[leaf.path] = TensorInfo(leaf.shape, dtype)
            moves = isinstance(step, Move) and not narrow
            self.origins[leaf.path] = Origin(names, step.layout, moves)
            if isinstance(step, Move) and moves:
                self._views[leaf.path] = _forward(step, index)
                self._moves[leaf.path] = partial(self._part_forward, step, index)
            else:
                self._makers[leaf.path] = partial(_make_flax, step, self.inner, index)

    def _to_torch(self, step: Step, variables: Any, first: dict[int, str]) -> None:
        paths = tuple(leaf.path for leaf in step.leaves)
        move = step if isinstance(step, Move) else None
        for name, (shape, _) in step.expected.items():
            if move is not None and len(variables) == 1 and first.setdefault(id(variables[0]), name) != name:
                self.aliases[name] = first[id(variables[0])]
                continue
            self.origins[name] = Origin(paths, _backward_text(step), move is not None and not move.dtype)
            if not paths:
                self.tensors[name] = info_of(step.to_torch()[name])
            else:
                dtype = move.dtype if move is not None and move.dtype else self.inner.info(paths[0]).dtype
                self.tensors[name] = TensorInfo(tuple(shape), dtype)
            if move is not None and not move.dtype and not move.stacked:
                self._views[name] = _backward(move)
                self._moves[name] = partial(self._part_backward, move, shape)
            else:
                self._makers[name] = partial(_make_torch, step, name)


class _Lazy(Mapping[str, np.ndarray[Any, Any]]):
    """Arrays that are read when they are asked for."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self.reader.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.reader.names())

    def __len__(self) -> int:
        return len(self.reader.names())


def _held(inner: Reader, steps: Any, framework: str, tied: list[list[str]], name: str) -> Reader:
    """The source, checked against the model."""
    if framework == "torch":
        expected = {name: spec for step, _ in steps for name, spec in step.expected.items()}
        constants = {step.name for step, _ in steps if isinstance(step, ConstantStep)}
        return hold_reader(inner, expected, tied, f"state of {name}", optional=constants)
    expected = {leaf.path: (leaf.shape, dtype_kind(leaf.dtype)) for step, _ in steps for leaf in step.leaves}
    return hold_reader(inner, expected, tied, f"leaves of {name}")


def _names(step: Step, framework: str) -> list[str]:
    return list(step.expected) if framework == "torch" else [leaf.path for leaf in step.leaves]


def _tied(steps: Any, framework: str) -> list[list[str]]:
    """Groups of names of the source that are one variable in the model."""
    groups: dict[int, list[str]] = {}
    for step, variables in steps:
        for variable, leaf in zip(variables, step.leaves, strict=True):
            if framework == "flax":
                groups.setdefault(id(variable), []).append(leaf.path)
            elif len(variables) == 1 and isinstance(step, Move):
                groups.setdefault(id(variable), []).append(step.name)
    return [names for names in groups.values() if len(names) > 1]


def _make_flax(step: Step, source: Reader, index: int) -> np.ndarray[Any, Any]:
    return step.to_flax(_Lazy(source))[index]


def _make_torch(step: Step, name: str) -> np.ndarray[Any, Any]:
    return step.to_torch()[name]


def _forward(step: Move, index: int) -> Callable[[Bits], Bits]:
    def view(bits: Bits) -> Bits:
        moved: Bits = step.pattern.opened().apply(_turned(bits, step.flip), step.sizes)
        return moved[index] if step.stacked else moved

    return view


def _backward(step: Move) -> Callable[[Bits], Bits]:
    inverse = step.pattern.inverse()

    def view(bits: Bits) -> Bits:
        moved: Bits = (inverse if step.flip else inverse.opened()).apply(bits, step.sizes)
        return _turned(moved, step.flip)

    return view


def _turned(bits: Bits, axes: int | None) -> Bits:
    backwards: Any = (..., *[slice(None, None, -1)] * (axes or 0))
    return bits[backwards] if axes else bits


def _mirrored(box: Box, shape: tuple[int, ...], axes: int | None) -> Box:
    first = len(box) - (axes or 0)
    turned = [(size - stop, size - start) for (start, stop), size in zip(box[first:], shape[first:], strict=True)]
    return (*box[:first], *turned)


def _backward_text(step: Step) -> str:
    if not isinstance(step, Move) or step.pattern.is_identity:
        return step.layout
    return str(step.pattern.inverse()).replace("*axes", "...") + (", flipped" if step.flip else "")
