"""numpy's `.npz` files: an archive of arrays, whose names have slashes or dots. Pickled objects in it are refused."""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import brief
from einops_arch.checkpoints.disk.blocks import BLOCK
from einops_arch.checkpoints.disk.pread import open_file, read_bytes
from einops_arch.checkpoints.formats.torch_zip import Window
from einops_arch.checkpoints.formats.trees import framework_of_names, weights_of
from einops_arch.checkpoints.limits import NPZ_EXPANSION, NPZ_HEADER
from einops_arch.checkpoints.reader import Reader, reading
from einops_arch.checkpoints.tensors import Bits, TensorInfo, carrier
from einops_arch.errors import CheckpointError

__all__ = ["NpzReader"]

_START = b"PK\3\4"
"""Of a record of an archive."""
_TEXTS = {"U": "text", "S": "bytes", "M": "dates", "m": "spans of time"}
"""What numpy has arrays of that are no numbers, by the kind of their dtype."""
_BAD = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, zlib.error)


class NpzReader(Reader):
    """A file that is open.

    Args:
        path: the file.
        key: the entry that holds the weights, where it is not found by itself.
        drop: regular expressions; entries with such a name are left out, and may be anything.

    Raises:
        CheckpointError: it is not a whole file of numpy's, or holds pickled objects.
    """

    by_leaves = True

    def __init__(self, path: Path, key: str | None = None, drop: Sequence[str] = ()) -> None:
        self.path = path
        self.file, size = open_file(path)
        try:
            with reading(path):
                # What stands before an archive is nothing to `zipfile`, and makes numpy take the file for another kind.
                if read_bytes(self.file, 0, min(4, size)) != _START:
                    raise CheckpointError("not a whole file of numpy's: it does not begin with an array of an archive")
                self._window = Window(self.file, 0, size)
                self._archive = _opened(self._window)
                entries = self._archive.infolist()
                if len({entry.filename for entry in entries}) != len(entries):
                    raise CheckpointError("an array is there twice")
                _check(entries, size)
                members = {_path(entry.filename): entry for entry in entries}
                names, beside = weights_of(members, key)
                self.is_flat = all(len(path) == 1 for path in members)
                if not names or len(members) != len(entries):
                    raise CheckpointError("expected arrays by name, received none" if not names else "names clash")
                self._entries = {name: members[path] for path, name in names.items()}
                headers = {name: _dropped(name, drop) or self._header(name) for name in names.values()}
                self._headers = {name: header for name, header in headers.items() if not isinstance(header, str)}
                others = {name: header for name, header in headers.items() if isinstance(header, str)}
                if not self._headers:
                    raise CheckpointError(f"expected arrays of numbers, received {next(iter(others.values()))}")
                self.tensors = {name: info for name, (info, *_) in self._headers.items()}
        except BaseException:
            self.close()
            raise
        self.aliases = {}
        self.left_out = {**{".".join(path): reason for path, reason in beside.items()}, **others}
        ranks = {name: len(info.shape) for name, info in self.tensors.items()}
        self.metadata = {"framework": framework_of_names(self.tensors, ranks) or "torch"}

    def bits(self, name: str) -> Bits:
        info, dtype, fortran, start = self._headers[name]
        with reading(f"{self.path}: {brief(name)}"):
            entry = self._entries[name]
            array = np.empty(info.size, dtype)
            with self._stream(entry) as stream:
                _skip(stream, start)
                view = array.view(np.uint8).data
                done = 0
                while done < len(view):
                    try:
                        count = stream.readinto(view[done : done + BLOCK])
                    except _BAD as error:
                        raise CheckpointError(f"it is damaged: {error!s:.100}") from None
                    if not count:
                        raise CheckpointError(f"it ends {len(view) - done} bytes too early")
                    done += count
                _check_end(stream)
        if dtype.byteorder == ">":
            array = array.astype(dtype.newbyteorder("<"))
        shaped = array.reshape(info.shape, order="F" if fortran else "C")
        return shaped.view(carrier(info.dtype))

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def _header(self, name: str) -> tuple[TensorInfo, np.dtype[Any], bool, int] | str:
        """What an array is, the order of its axes and where it begins; in words if it has no numbers."""
        entry = self._entries[name]
        with self._stream(entry) as stream:
            shape, fortran, dtype, read = _read_header(name, stream)
        if dtype.hasobject:
            raise CheckpointError(f"refused, {brief(name)} is no array of numbers but pickled objects")
        if dtype.kind in _TEXTS:
            return f"{_TEXTS[dtype.kind]} of dtype {brief(dtype.str)}, and no numbers"
        if dtype.kind == "V":
            why = {1: "float8", 2: "bfloat16"}.get(0 if dtype.fields or dtype.subdtype else dtype.itemsize)
            fix = f"; numpy forgets {why} so; likely fix: write it with safetensors" if why else ""
            raise CheckpointError(f"{brief(name)}: {brief(str(dtype))} says no kind of number{fix}")
        try:
            info = TensorInfo(tuple(map(int, shape)), dtype.newbyteorder("=").name)
        except CheckpointError as error:
            raise CheckpointError(f"{brief(name)}: {error}") from None
        if info.nbytes != entry.file_size - read:
            raise CheckpointError(f"{brief(name)}: expected {info.nbytes} bytes, received {entry.file_size - read}")
        return info, dtype, fortran, read

    def _stream(self, entry: zipfile.ZipInfo) -> Any:
        # The bound of a directory is not that of the arrays.
        self._window.room = entry.compress_size + NPZ_HEADER + (1 << 20)
        return self._archive.open(entry)


def _dropped(name: str, drop: Sequence[str]) -> str | None:
    """Why an entry is not looked at."""
    return next((f"its name matches --drop {pattern}" for pattern in drop if re.search(pattern, name)), None)


def _opened(window: Window) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BufferedReader(window))
    except (*_BAD, OSError) as error:
        raise CheckpointError(f"not a zip archive: {error!s:.100}") from None


def _check(entries: list[zipfile.ZipInfo], size: int) -> None:
    total, at = 0, 0
    for entry in sorted(entries, key=lambda record: record.header_offset):
        if not entry.filename.endswith(".npy"):
            raise CheckpointError(f"expected names that end with .npy, received {brief(entry.filename)}")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or entry.flag_bits & 1:
            raise CheckpointError(f"{brief(entry.filename)} is encrypted, or packed otherwise than numpy does it")
        if entry.header_offset < at:
            raise CheckpointError(f"record {brief(entry.filename)} overlaps another; it is refused as a bomb")
        at = entry.header_offset + 30 + entry.compress_size
        total += entry.file_size
    if total > NPZ_EXPANSION * size or at > size:
        raise CheckpointError(f"its arrays have {total} bytes, more than the {size} bytes of the file can hold")


def _path(name: str) -> tuple[str, ...]:
    parts = name.removesuffix(".npy").split("/")
    return tuple(part for part in parts if part) or ("",)


def _read_header(name: str, stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, dtype, and the bytes that say them."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise CheckpointError(f"{brief(name)}: version {version} of numpy's format is not supported")
        with warnings.catch_warnings():
            # Of files of Python 2, which are as whole as others.
            warnings.filterwarnings("ignore", message="Reading `.npy` or `.npz` file", category=UserWarning)
            shape, fortran, dtype = read(stream, max_header_size=NPZ_HEADER)
    except (*_BAD, OSError) as error:
        raise CheckpointError(f"{brief(name)}: not a whole array of numpy: {error!s:.100}") from None
    return shape, fortran, dtype, stream.tell()


def _skip(stream: Any, count: int) -> None:
    """Past the header, which was read when the file was opened."""
    try:
        received = len(stream.read(count))
    except _BAD as error:
        raise CheckpointError(f"it is damaged: {error!s:.100}") from None
    if received < count:
        raise CheckpointError("it ends within its header")


def _check_end(stream: Any) -> None:
    """Behind the last byte the archive's checksum is held against what was read."""
    try:
        more = stream.read(1)
    except _BAD as error:
        raise CheckpointError(f"it is damaged: {error!s:.100}") from None
    if more:
        raise CheckpointError("it has bytes too many")
