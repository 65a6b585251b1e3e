"""Flax's `.msgpack` files, as `flax.serialization.to_bytes` writes them: a tree of arrays, read without Flax.

Only the places of the arrays are kept when a file is opened; an array is read when it is asked for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import brief
from einops_arch.checkpoints.disk.pread import open_file, read_at, read_bytes
from einops_arch.checkpoints.disk.read_box import read_box
from einops_arch.checkpoints.formats.trees import framework_of_names, weights_of
from einops_arch.checkpoints.limits import (
    MSGPACK_DEPTH,
    MSGPACK_NAMES,
    MSGPACK_NAMES_FREE,
    MSGPACK_VALUES,
    NAME_LENGTH,
)
from einops_arch.checkpoints.reader import Reader, Span, reading
from einops_arch.checkpoints.tensors import DTYPES, MAX_RANK, Bits, TensorInfo, carrier
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box, sizes_of, slices, whole

__all__ = ["MsgpackReader"]

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
"""Flax's extensions of msgpack."""
_CHUNKED = "__msgpack_chunked_array__"
"""The key of an array that is larger than a message may be, in flat pieces."""
_LAST_CODE = 127
"""Of an extension that is not msgpack's own."""
_WINDOW = 1 << 16


class MsgpackReader(Reader):
    """A file that is open, or all the shards of one tree.

    Args:
        path: the file, or the index that names the shards.
        key: the entry that holds the weights, where it is not found by itself.
        shards: the file that each array is in, by the path of the array with slashes, as transformers 4 wrote it.

    Raises:
        CheckpointError: it is not a whole file of Flax's, or the index and the shards do not agree.
    """

    by_leaves = True

    def __init__(self, path: Path, key: str | None = None, shards: Mapping[str, Path] | None = None) -> None:
        self.path = path
        self._files: list[int] = []
        files = [path] if shards is None else sorted(set(shards.values()))
        try:
            trees = [self._tree(file) for file in files]
            with reading(path):
                self._held_against(shards, dict(zip(files, trees, strict=True)))
                leaves = {where: (leaf, tree) for tree in trees for where, leaf in tree.arrays.items()}
                arrays = {where: tree for where, (leaf, tree) in leaves.items() if isinstance(leaf, list)}
                names, beside = weights_of(arrays, key)
                if not names:
                    raise CheckpointError("expected a tree of arrays, received no array")
                self._pieces = {name: leaves[where][0] for where, name in names.items()}
                self.tensors = {name: _info(name, arrays[where], where) for where, name in names.items()}
        except BaseException:
            self.close()
            raise
        self.paths = [] if shards is None else [path, *files]
        self.aliases = {}
        self.left_out = {".".join(where): reason for where, reason in beside.items()}
        others = {where: leaf for where, (leaf, _) in leaves.items() if where not in arrays}
        self.left_out |= {".".join(where): f"{leaf}, and no array" for where, leaf in others.items()}
        ranks = {name: len(info.shape) for name, info in self.tensors.items()}
        self.metadata = {"framework": framework_of_names(self.tensors, ranks) or "flax"}

    def _tree(self, path: Path) -> _Parser:
        file, size = open_file(path)
        self._files.append(file)
        with reading(path):
            parser = _Parser(file, size)
            tree = parser.value(0, ())
            if parser.at != size:
                raise CheckpointError(f"not a whole msgpack file: {size - parser.at} bytes too many")
            if not isinstance(tree, dict):
                raise CheckpointError(f"expected a tree of arrays, received {brief(tree)}")
        return parser

    @staticmethod
    def _held_against(shards: Mapping[str, Path] | None, trees: Mapping[Path, _Parser]) -> None:
        """Each array of the index in its shard, and no other."""
        held = {("/".join(where), file) for file, tree in trees.items() for where in tree.arrays}
        named = held if shards is None else set(shards.items())
        for name, file in sorted(held ^ named):
            place = f"in {file.name}" if (name, file) in named else "in the index"
            raise CheckpointError(f"the index and the shards do not agree: {brief(name)} is not {place}")

    def bits(self, name: str) -> Bits:
        info = self.tensors[name]
        with reading(f"{self.path}: {brief(name)}"):
            flat = np.empty(info.size, carrier(info.dtype))
            done = 0
            for span in self._pieces[name]:
                count = span.size // flat.itemsize
                read_at(span.file, span.start, flat[done : done + count])
                done += count
        return flat.reshape(info.shape)

    def part(self, name: str, box: Box) -> Bits:
        info = self.tensors[name]
        if len(self._pieces[name]) != 1 or box == whole(info.shape) or 0 in sizes_of(box):
            return self.bits(name)[slices(box)]
        with reading(f"{self.path}: {brief(name)}"):
            span = self._pieces[name][0]
            return read_box(span.file, span.start, info.shape, box, carrier(info.dtype))

    def span(self, name: str) -> Span | None:
        return self._pieces[name][0] if len(self._pieces[name]) == 1 else None

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files = []


def _info(name: str, parser: _Parser, path: tuple[str, ...]) -> TensorInfo:
    shape, dtype = parser.forms[path]
    info = TensorInfo(shape, dtype)
    received = sum(span.size for span in parser.arrays[path])
    if received != info.nbytes:
        raise CheckpointError(f"{brief(name)}: expected {info.nbytes} bytes for {info}, received {received}")
    return info


class _Parser:
    """Follows the values of a file, and keeps where arrays lie; nothing larger than a name is read."""

    def __init__(self, file: int, size: int) -> None:
        self.file, self.size, self.at = file, size, 0
        self.left = MSGPACK_VALUES
        self.characters = MSGPACK_NAMES_FREE + MSGPACK_NAMES * size
        self.arrays: dict[tuple[str, ...], Any] = {}
        """The pieces of each array, or in words what else there is."""
        self.forms: dict[tuple[str, ...], tuple[tuple[int, ...], str]] = {}
        self._numbers: dict[tuple[str, ...], int] = {}
        self._window, self._start = b"", 0

    def take(self, count: int) -> bytes:
        """The next few bytes."""
        if self.at + count > self.size:
            raise CheckpointError(f"not a whole msgpack file: it ends {self.at + count - self.size} bytes too early")
        begin = self.at - self._start
        if begin < 0 or begin + count > len(self._window):
            self._start = self.at
            self._window = read_bytes(self.file, self.at, min(max(count, _WINDOW), self.size - self.at))
            begin = 0
        self.at += count
        return self._window[begin : begin + count]

    def skip(self, count: int) -> Span:
        """The place of the next bytes, which are not read."""
        if self.at + count > self.size:
            raise CheckpointError(f"not a whole msgpack file: it ends {self.at + count - self.size} bytes too early")
        self.at += count
        return Span(self.file, self.at - count, count)

    def value(self, depth: int, path: tuple[str, ...]) -> Any:
        """The next value: a dictionary where it is one, so that its parts are kept by their paths; else its kind."""
        self.left -= 1
        if depth > MSGPACK_DEPTH or self.left < 0:
            limit = f"{MSGPACK_VALUES} values" if self.left < 0 else f"{MSGPACK_DEPTH} inside each other"
            raise CheckpointError(f"refused as a bomb: more than {limit}")
        kind, length = self._head()
        if kind == "map":
            return self._map(length, depth, path)
        if kind == "list":
            # Flax writes none: what it has of a list is a map by number.
            raise CheckpointError(f"{brief('.'.join(path))}: expected a tree of arrays by name, received a list")
        if kind == "ext":
            return self._extension(length, path)
        if kind in {"text", "bytes"}:
            self.skip(length)
        elif kind == "int":
            self._numbers[path] = length
        self.arrays[path] = {"text": "text", "bytes": "bytes", "none": "nothing"}.get(kind, "a number")
        return kind

    def _map(self, length: int, depth: int, path: tuple[str, ...]) -> dict[str, Any]:
        names: dict[str, Any] = {}
        known, before = len(self.arrays), sum(map(len, path)) + len(path)
        for _ in range(length):
            name = self._name()
            # The whole path is kept for each value, and paths share what leads to them.
            self.characters -= before + len(name)
            if before + len(name) > NAME_LENGTH or self.characters < 0:
                raise CheckpointError(
                    f"refused as a bomb: more than {NAME_LENGTH} characters in the whole of a name, or "
                    f"many names as long as {before + len(name)}"
                )
            if name in names:
                raise CheckpointError(f"two values have the same name {brief(name)}")
            names[name] = None
            self.value(depth + 1, (*path, name))
        if _CHUNKED in names:
            self._unite(path, len(self.arrays) - known)
        return names

    def _unite(self, path: tuple[str, ...], count: int) -> None:
        """One array of the pieces that Flax has made of it, which are the last that were read."""
        size = len(path)
        own = {key[size:]: self.arrays[key] for key in islice(reversed(self.arrays), count)}
        sizes, spans, dtypes = [], [], set()
        for number in range(MAX_RANK):
            if ("shape", str(number)) not in own:
                break
            sizes.append(self._numbers[(*path, "shape", str(number))])
        for number in range(len(own)):
            piece = ("chunks", str(number))
            if piece not in own:
                break
            (span,) = own[piece]
            shape, dtype = self.forms[(*path, *piece)]
            if len(shape) != 1 or TensorInfo(shape, dtype).nbytes != span.size:
                raise CheckpointError(
                    f"{brief('.'.join(path))}: expected pieces of one axis, whole elements of {dtype} each, received "
                    f"{span.size} bytes for shape {shape}"
                )
            spans.append(span)
            dtypes.add(dtype)
        if len(dtypes) != 1 or len(own) != 1 + len(sizes) + len(spans):
            raise CheckpointError(f"{brief('.'.join(path))}: expected an array in pieces of one dtype")
        for key in own:
            del self.arrays[(*path, *key)]
            self.forms.pop((*path, *key), None)
        self.arrays[path], self.forms[path] = spans, (tuple(sizes), dtypes.pop())

    def _extension(self, length: int, path: tuple[str, ...]) -> str:
        code = self.take(1)[0]
        end = self.at + length
        if end > self.size:
            raise CheckpointError(f"not a whole msgpack file: it ends {end - self.size} bytes too early")
        if code > _LAST_CODE:
            raise CheckpointError(f"not a whole msgpack file: an extension {code}")
        if code not in {_ARRAY, _SCALAR}:
            self.skip(length)
            self.arrays[path] = "a complex number" if code == _COMPLEX else "an object of another library"
            return "ext"
        if self._head() != ("list", 3):
            raise _no_array(path)
        kind, rank = self._head()
        if kind != "list" or rank > MAX_RANK:
            raise _no_array(path)
        heads = [self._head() for _ in range(rank)]
        kind, count = self._head()
        if any(kind != "int" for kind, _ in heads) or kind != "text" or count > 32:
            raise _no_array(path)
        dtype = self.take(count).decode("ascii", "replace")
        kind, count = self._head()
        if kind != "bytes" or self.at + count != end:
            raise _no_array(path)
        if dtype not in DTYPES:
            raise CheckpointError(f"{brief('.'.join(path))}: dtype {brief(dtype)} is not supported")
        self.arrays[path], self.forms[path] = [self.skip(count)], (tuple(size for _, size in heads), dtype)
        return "ext"

    def _name(self) -> str:
        kind, length = self._head()
        if kind != "text" or length > NAME_LENGTH:
            raise CheckpointError(f"expected names of at most {NAME_LENGTH} characters as keys")
        return self.take(length).decode()

    def _head(self) -> tuple[str, int]:
        """The kind of the next value, and its length or, for a whole number, itself."""
        byte = self.take(1)[0]
        for kind, first, last in _SHORT:
            if first <= byte <= last:
                return kind, byte - first
        if byte >= 0xE0:
            return "int", byte - 0x100
        if byte not in _LONG:
            raise CheckpointError(f"not a whole msgpack file: a byte {byte:#x} where a value begins")
        kind, form = _LONG[byte]
        if not form:
            return kind, {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}.get(byte, 0)
        (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return kind, 0 if kind == "float" else number


_SHORT = (("int", 0x00, 0x7F), ("map", 0x80, 0x8F), ("list", 0x90, 0x9F), ("text", 0xA0, 0xBF))
_LONG = {
    0xC0: ("none", ""),
    0xC2: ("bool", ""),
    0xC3: ("bool", ""),
    0xC4: ("bytes", ">B"),
    0xC5: ("bytes", ">H"),
    0xC6: ("bytes", ">I"),
    0xC7: ("ext", ">B"),
    0xC8: ("ext", ">H"),
    0xC9: ("ext", ">I"),
    0xCA: ("float", ">f"),
    0xCB: ("float", ">d"),
    0xCC: ("int", ">B"),
    0xCD: ("int", ">H"),
    0xCE: ("int", ">I"),
    0xCF: ("int", ">Q"),
    0xD0: ("int", ">b"),
    0xD1: ("int", ">h"),
    0xD2: ("int", ">i"),
    0xD3: ("int", ">q"),
    **dict.fromkeys((0xD4, 0xD5, 0xD6, 0xD7, 0xD8), ("ext", "")),
    0xD9: ("text", ">B"),
    0xDA: ("text", ">H"),
    0xDB: ("text", ">I"),
    0xDC: ("list", ">H"),
    0xDD: ("list", ">I"),
    0xDE: ("map", ">H"),
    0xDF: ("map", ">I"),
}
"""What begins with each byte, and the form of the length or number behind it."""


def _no_array(path: tuple[str, ...]) -> CheckpointError:
    return CheckpointError(f"{brief('.'.join(path))}: expected the shape, dtype and bytes of an array")
