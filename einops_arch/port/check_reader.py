"""A checkpoint, held against what a model expects before any of its tensors is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from einops_arch.checkpoints.disk.blocks import blocks
from einops_arch.checkpoints.reader import Reader, Span, Wrapper
from einops_arch.checkpoints.tensors import Bits, TensorInfo, carrier, numpy_dtype
from einops_arch.errors import MissingFrameworkError
from einops_arch.layouts.boxes import Box, slices
from einops_arch.layouts.state import Expected, Held, hold_state

__all__ = ["hold_reader"]

_COUNTER = TensorInfo((), "int64")


def hold_reader(
    reader: Reader, expected: Expected, tied: Sequence[Sequence[str]], what: str, *, optional: Collection[str] = ()
) -> Reader:
    """A checkpoint with every name that a model expects: all of tied tensors, and counters that old files lack.

    Args:
        reader: the checkpoint, which is closed with what is given back.
        expected: the names, with the shape and the kind of number that each must have.
        tied: groups of names that are one tensor in the model.
        what: what is going to happen, for the error.
        optional: names that cannot be missed.

    Raises:
        PortError: it does not fit; the message lists every problem by path.
    """

    def same(first: str, other: str) -> bool:
        first, other = (reader.aliases.get(name, name) for name in (first, other))
        return first == other or reader.digest(first) == reader.digest(other)

    forms = {name: _form(reader.info(name)) for name in reader.names()}
    held = hold_state(expected, forms, tied, optional=optional, same=same)
    held.check(what)
    held.tell()
    return _Completed(reader, held)


class _Completed(Wrapper):
    """A reader with the names that follow from others."""

    def __init__(self, inner: Reader, held: Held) -> None:
        super().__init__(inner)
        more = {name: inner.aliases.get(source, source) for name, source in held.sources.items() if name != source}
        self._counters = frozenset(held.counters)
        self.aliases = {**inner.aliases, **more}
        self.tensors = {**inner.tensors, **dict.fromkeys(held.counters, _COUNTER)}

    def bits(self, name: str) -> Bits:
        return np.zeros((), carrier(_COUNTER.dtype)) if name in self._counters else self.inner.bits(name)

    def blocks(self, name: str) -> Iterator[Bits]:
        return blocks(self.bits(name)) if name in self._counters else self.inner.blocks(name)

    def part(self, name: str, box: Box) -> Bits:
        return self.bits(name)[slices(box)] if name in self._counters else self.inner.part(name, box)

    def span(self, name: str) -> Span | None:
        return None if name in self._counters else self.inner.span(name)


class _Form(NamedTuple):
    """What is known of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


def _form(info: TensorInfo) -> _Form:
    try:
        return _Form(info.shape, numpy_dtype(info.dtype))
    except MissingFrameworkError:
        # A floating-point type that numpy does not have.
        return _Form(info.shape, np.dtype("float32"))
