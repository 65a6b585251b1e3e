"""The one interface of all formats: what is in a checkpoint first, then its tensors one at a time.

A format is a `Reader` and a function that writes what any reader reads. So is everything that happens on the way: a
port, a change of dtype and a change of names are readers around a reader, and nothing is read before it is written.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeAlias

import numpy as np

from einops_arch._text import printable
from einops_arch.checkpoints.disk.blocks import blocks
from einops_arch.checkpoints.tensors import Bits, TensorInfo, carrier, info_of, numpy_dtype
from einops_arch.errors import CheckpointError, EinopsArchError
from einops_arch.layouts.boxes import Box, slices

__all__ = ["MemoryReader", "Reader", "Span", "Traced", "Wrapper", "reading", "reason"]


Traced: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Names in a file, and patterns."""


@dataclass(frozen=True)
class Span:
    """Bytes of an open file that are a tensor in C order."""

    file: int
    start: int
    size: int


class Reader(ABC):
    """A checkpoint that is open for reading.

    Attributes:
        tensors: what is there, by name, in the order in which it is best read. A tied tensor is there once.
        aliases: the other names of tied tensors, and the name under which `tensors` has each.
        metadata: strings by name: the framework, the architecture, its config.
        taken: the entry of the file under which they lie, such as `state_dict`; empty if they are the file itself.
        left_out: what the file holds beside these tensors, by name, each with the reason why it is not among them.
        paths: the files and folders that are read.
        by_leaves: whose names they are is told by the leaves, where nothing in the file says it.
    """

    tensors: dict[str, TensorInfo]
    aliases: dict[str, str]
    metadata: dict[str, str]
    taken: str = ""
    left_out: Mapping[str, str] = MappingProxyType({})
    paths: Sequence[Path] = ()
    by_leaves: bool = False

    @abstractmethod
    def bits(self, name: str) -> Bits:
        """The bits of a tensor, in whatever order they lie in memory; `name` is one of `tensors`."""

    def blocks(self, name: str) -> Iterator[Bits]:
        """The bytes of a tensor in C order, a block at a time."""
        yield from blocks(self.bits(name))

    def part(self, name: str, box: Box) -> Bits:
        """The bits of a box of a tensor; where the format can, nothing else is read."""
        return self.bits(name)[slices(box)]

    def span(self, name: str) -> Span | None:
        """Where the bytes of a tensor lie in a file as they are, if they do."""
        return None

    def close(self) -> None:  # noqa: B027 - most formats hold files open, not all
        """Let go of files."""

    def info(self, name: str) -> TensorInfo:
        """What is known of a tensor, by any of its names."""
        return self.tensors[self.aliases.get(name, name)]

    def names(self) -> list[str]:
        """Every name, aliases included."""
        return [*self.tensors, *self.aliases]

    def has(self, name: str) -> bool:
        """Whether something has this name, aliases included."""
        return name in self.tensors or name in self.aliases

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A tensor, by any of its names, as an array."""
        name = self.aliases.get(name, name)
        return self.bits(name).view(numpy_dtype(self.tensors[name].dtype))

    def digest(self, name: str) -> str:
        """The SHA-256 of a tensor's dtype, shape and bytes in C order."""
        name = self.aliases.get(name, name)
        info = self.tensors[name]
        digest = hashlib.sha256(f"{info.dtype} {info.shape}".encode())
        for block in self.blocks(name):
            digest.update(block.data)
        return digest.hexdigest()

    def traced(self, name: str) -> Traced:
        """The names in the file that a tensor is made of, and the patterns by which it is, the first one first."""
        return (name,), ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class Wrapper(Reader):
    """A reader around a reader, which it closes."""

    def __init__(self, inner: Reader) -> None:
        self.inner = inner
        self.tensors, self.aliases, self.metadata = inner.tensors, inner.aliases, inner.metadata
        self.taken, self.left_out, self.paths = inner.taken, inner.left_out, inner.paths
        self.by_leaves = inner.by_leaves

    def bits(self, name: str) -> Bits:
        return self.inner.bits(name)

    def blocks(self, name: str) -> Iterator[Bits]:
        return self.inner.blocks(name)

    def part(self, name: str, box: Box) -> Bits:
        return self.inner.part(name, box)

    def span(self, name: str) -> Span | None:
        return self.inner.span(name)

    def traced(self, name: str) -> Traced:
        return self.inner.traced(name)

    def traced_together(self, names: Iterable[str]) -> Traced:
        """The same of several tensors of the reader inside."""
        rows = [self.inner.traced(name) for name in names]
        sources = dict.fromkeys(source for sources, _ in rows for source in sources)
        return tuple(sources), tuple(dict.fromkeys(pattern for _, patterns in rows for pattern in patterns))

    def close(self) -> None:
        self.inner.close()


class MemoryReader(Reader):
    """Arrays that are in memory already; arrays that are the same memory are tied."""

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> None:
        first: dict[Any, str] = {}
        same = {name: first.setdefault(_identity(array), name) for name, array in arrays.items()}
        self.arrays = {name: array for name, array in arrays.items() if same[name] == name}
        self.aliases = {name: target for name, target in same.items() if target != name}
        self.tensors = {name: info_of(array) for name, array in self.arrays.items()}
        self.metadata = dict(metadata)

    def bits(self, name: str) -> Bits:
        array = self.arrays[name]
        little = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
        return array.astype(little, copy=False).view(carrier(self.tensors[name].dtype))


@contextlib.contextmanager
def reading(place: str | Path) -> Iterator[None]:
    """Let a reader fail in one way only: whatever goes wrong in the block is a `CheckpointError` that names the place.

    Each reader has its own use of this around all that it does with untrusted bytes; an interrupt passes.

    Args:
        place: what is read: a path, and what it was taken for.

    Raises:
        CheckpointError: for every exception; those of the package that are not one stay as they are.
    """
    try:
        yield
    except CheckpointError as error:
        raise (
            error if str(error).startswith(printable(str(place), "")) else CheckpointError(*error.within(place))
        ) from error
    except EinopsArchError:
        raise
    except Exception as error:
        raise CheckpointError(f"{place}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What went wrong, in one line; what an error holds may be untrusted too, and endless to print: only text is."""
    if isinstance(error, RecursionError):
        return "things inside each other too deep"
    if isinstance(error, MemoryError):
        return "it does not fit the memory"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    texts = [f"{part:.300}" for part in error.args if isinstance(part, str)]
    return printable(": ".join([type(error).__name__, *texts]), "")


def _identity(array: np.ndarray[Any, Any]) -> Any:
    # Two arrays without elements may be anywhere, and are tied only if they are one.
    place = array.__array_interface__["data"][0] if array.size else id(array)
    return place, array.shape, array.strides, array.dtype
