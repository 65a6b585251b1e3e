"""`.pt`, `.pth` and `.bin` files: a state dict, or a checkpoint that holds one. Nothing in the file is run.

The files are read and written without PyTorch. The zip archives of today hold a pickle and the storages, stored as
they are; the older form is a row of pickles with the storages behind.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import brief, counted
from einops_arch.checkpoints.disk.blocks import BLOCK, blocks
from einops_arch.checkpoints.disk.pread import open_file, read_at, read_bytes
from einops_arch.checkpoints.disk.read_box import read_box
from einops_arch.checkpoints.formats import pickles
from einops_arch.checkpoints.formats.pickles import Call
from einops_arch.checkpoints.formats.torch_pickle import Storage, View, load_tensors, tensors_of
from einops_arch.checkpoints.formats.torch_state import find_state
from einops_arch.checkpoints.formats.torch_zip import Archive
from einops_arch.checkpoints.reader import Reader, reading
from einops_arch.checkpoints.tensors import DTYPES, Bits, carrier
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box, is_whole, slices

__all__ = ["LEGACY", "Place", "TorchReader", "TorchViews"]

_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older form."""
LEGACY = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little")
"""What a file of the older form begins with, by PyTorch's default protocol."""


@dataclass(frozen=True)
class Place:
    """Where a storage lies in a file, and the checksum that the archive has of it."""

    start: int
    size: int
    crc: int | None = None


class TorchViews(Reader):
    """Tensors that are views of storages in an open file."""

    path: Path
    file: int
    views: dict[str, View]
    places: dict[str, Place]

    def __init__(self) -> None:
        self._checked: set[str] = set()
        self.metadata = {"framework": "torch"}

    def bits(self, name: str) -> Bits:
        with reading(self.path):
            return self._bits(self.views[name])

    def _bits(self, view: View) -> Bits:
        if view.info.size and not self._whole(view):
            self._check(view.storage.key)
        start, end = view.span
        width = DTYPES[view.info.dtype]
        flat = np.empty((end - start) // width, carrier(view.info.dtype))
        read_at(self.file, self.places[view.storage.key].start + start if flat.size else 0, flat)
        if self._whole(view):
            self._compare(view.storage.key, zlib.crc32(flat.view(np.uint8).data))
        strides = tuple(stride * width for stride in view.strides)
        return view.resolve(np.lib.stride_tricks.as_strided(flat, view.info.shape, strides, writeable=False))

    def blocks(self, name: str) -> Iterator[Bits]:
        view = self.views[name]
        if not view.contiguous or not self._whole(view):
            yield from blocks(self.bits(name))
            return
        place, crc = self.places[view.storage.key], 0
        with reading(self.path):
            for at in range(0, place.size, BLOCK):
                block = np.empty(min(BLOCK, place.size - at), np.uint8)
                read_at(self.file, place.start + at, block)
                crc = zlib.crc32(block.data, crc)
                yield block
            self._compare(view.storage.key, crc)

    def part(self, name: str, box: Box) -> Bits:
        """A box; the archive's checksum is that of a whole storage, so it is held against whole tensors only."""
        view = self.views[name]
        if not view.contiguous or is_whole(box, view.info.shape):
            return self.bits(name)[slices(box)]
        start = self.places[view.storage.key].start + view.span[0]
        with reading(self.path):
            return read_box(self.file, start, view.info.shape, box, carrier(view.info.dtype))

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def _whole(self, view: View) -> bool:
        return view.span == (0, self.places[view.storage.key].size)

    def _check(self, key: str) -> None:
        """Hold the whole of a storage against its checksum, of which a tensor reads only a part."""
        place, crc = self.places[key], 0
        if key in self._checked or place.crc is None:
            return
        for at in range(0, place.size, BLOCK):
            crc = zlib.crc32(read_bytes(self.file, place.start + at, min(BLOCK, place.size - at)), crc)
        self._compare(key, crc)
        self._checked.add(key)

    def _compare(self, key: str, crc: int) -> None:
        if self.places[key].crc not in {None, crc}:
            raise CheckpointError(f"storage {key:.40} is damaged: its checksum is not that of the archive")


class TorchReader(TorchViews):
    """A file that is open.

    Args:
        path: the file.
        key: the entry that is the state dict, where there is more than one.
        drop: regular expressions; what has such a name in the state dict is left out, and may be anything.

    Raises:
        CheckpointError: it holds more than plain weights, or is not whole.
    """

    def __init__(self, path: Path, key: str | None = None, drop: Sequence[str] = ()) -> None:
        super().__init__()
        self.path = path
        self.file, self._size = open_file(path)
        try:
            with reading(path):
                zipped = read_bytes(self.file, 0, min(2, self._size)) == b"PK"
                foreign: list[Call] = []
                loaded = self._zip(foreign) if zipped else self._legacy(foreign)
                state, self.left_out, self.taken = self._found(loaded, key, foreign, drop)
                self.views, self.aliases = tensors_of(state, self._size)
                self.tensors = {name: view.info for name, view in self.views.items()}
                self._check_whole()
                for view in self.views.values():
                    self._find(view.storage)
        except BaseException as error:
            self.close()
            text = str(error).removeprefix(f"{path}: ")
            whole = text.startswith(("refused", "expected")) or text.endswith("not supported")
            if not isinstance(error, CheckpointError) or whole:
                raise
            raise CheckpointError(f"{path}: not a whole PyTorch file: {text}") from error

    def _found(
        self, loaded: object, key: str | None, foreign: Sequence[Call], drop: Sequence[str]
    ) -> tuple[Mapping[str, Any], dict[str, str], str]:
        """The tensors that are read, by name; what lies beside them, and their entry."""
        return find_state(loaded, key, foreign, drop)

    def _check_whole(self) -> None:
        """DeepSpeed leaves names without elements where its processes keep the parts, and the shapes beside them."""
        empty = [name for name, info in self.tensors.items() if not info.size]
        if empty and any(name.rpartition(".")[2] == "param_shapes" for name in self.left_out):
            raise CheckpointError(
                f"expected whole tensors, received {counted(len(empty), 'tensor')} without elements, such as "
                f"{brief(empty[0])}: ZeRO's third stage keeps their parts in other files; likely fix: the file that "
                "DeepSpeed's zero_to_fp32.py makes of them"
            )

    def _zip(self, foreign: list[Call]) -> object:
        self._archive: Archive | None = Archive(self.file, 0, self._size)
        self.places = {}
        return load_tensors(self._archive.pickle(), foreign=foreign)

    def _legacy(self, foreign: list[Call]) -> object:
        self._archive = None
        stream = BytesIO(read_bytes(self.file, 0, min(self._size, pickles.MAX_PICKLE)))
        # A pickle of another kind is asked for what it would run, before it is blamed for not being PyTorch's.
        first = load_tensors(stream)
        if type(first) is not int or first != _MAGIC:
            raise CheckpointError("it begins with none of PyTorch's marks")
        version, system = load_tensors(stream), load_tensors(stream)
        known = type(version) is int and version == 1001 and type(system) is dict
        if not known or system.get("little_endian") is not True:
            raise CheckpointError(f"expected version 1001 and little-endian numbers, received version {brief(version)}")
        seen: dict[str, Storage] = {}
        loaded = load_tensors(stream, seen, foreign)
        keys = load_tensors(stream)
        if not isinstance(keys, list) or not all(type(key) is str and key in seen for key in keys):
            raise CheckpointError("expected the keys of its storages")
        self.places, at = {}, stream.tell()
        for key in keys:
            size = seen[key].nbytes
            if at + 8 + size > self._size:
                raise CheckpointError(f"storage {key:.40} ends {at + 8 + size - self._size} bytes after the file")
            if int.from_bytes(read_bytes(self.file, at, 8), "little") != seen[key].size:
                raise CheckpointError(
                    f"storage {key:.40} has not the {seen[key].size} elements that its tensors expect"
                )
            self.places[key] = Place(at + 8, size)
            at += 8 + size
        return loaded

    def _find(self, storage: Storage) -> None:
        if self._archive is not None and storage.key not in self.places:
            self.places[storage.key] = Place(*self._archive.place(f"data/{storage.key}"))
        if storage.key not in self.places or self.places[storage.key].size != storage.nbytes:
            raise CheckpointError(
                f"storage {storage.key:.40} has not the {storage.nbytes} bytes that its tensors expect"
            )
