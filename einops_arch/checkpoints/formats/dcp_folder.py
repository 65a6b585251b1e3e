"""Folders of `torch.distributed.checkpoint`: a pickle that says where, and files that hold the pieces.

Read without PyTorch, and without running the pickle; written by PyTorch's own writer, one tensor at a time.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from einops_arch._frameworks import require
from einops_arch._text import brief, printable
from einops_arch.checkpoints.disk.foreign_errors import foreign_writer
from einops_arch.checkpoints.disk.pread import open_file, read_at, read_bytes, size_of
from einops_arch.checkpoints.disk.read_box import read_box
from einops_arch.checkpoints.disk.sink import Progress, Sink
from einops_arch.checkpoints.formats import pickles
from einops_arch.checkpoints.formats.dcp_tree import weights_in
from einops_arch.checkpoints.formats.pickles import Call, Global
from einops_arch.checkpoints.formats.torch_pickle import View, load_tensors, tensors_of
from einops_arch.checkpoints.formats.torch_writer import write_tensor
from einops_arch.checkpoints.formats.torch_zip import Archive
from einops_arch.checkpoints.limits import DCP_COMPARISONS, FILE_NAME
from einops_arch.checkpoints.metadata import read_metadata, write_metadata
from einops_arch.checkpoints.reader import Reader, reading
from einops_arch.checkpoints.tensors import DTYPES, MAX_RANK, Bits, TensorInfo, carrier
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box, is_whole, sizes_of, slices, whole

__all__ = ["MARK", "DcpReader", "write_dcp"]

MARK = ".metadata"
_FILE = "__0_0.distcp"
"""The one file with tensors of a folder that is written here, as PyTorch calls that of its first process."""
_HOME = "torch.distributed.checkpoint"
_MOST_OPEN = 64
"""Files that are open at a time: each process of a large training writes one, and a system allows about a thousand."""
_ALLOWED = (
    f"{_HOME}.metadata.*",
    f"{_HOME}.filesystem._StorageInfo",
    *(f"torch.{dtype}" for dtype in DTYPES),
    "torch.Size",
    "torch.serialization._get_layout",
    "collections.OrderedDict",
    # The name that the checkpoint had; it is not used.
    *(f"{module}.{kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
)


@dataclass(frozen=True)
class _Piece:
    """A box of a tensor, and the part of a file that holds it."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    size: int


class DcpReader(Reader):
    """A folder that is open.

    Args:
        path: the folder.
        key: the entry that is the state dict, where it is not known by itself.
        only: what the names must begin with, which may be those of the whole folder.

    Raises:
        CheckpointError: it is not a whole checkpoint, has no such entry, or its pickle would import something else.
    """

    def __init__(self, path: Path, key: str | None = None, only: str | None = None) -> None:
        self.path = path
        self._files: dict[str, tuple[int, int]] = {}
        with reading(path / MARK):
            tensors, parts, objects, keys = _parse(_loaded(path / MARK))
            new, self.left_out, self.taken = weights_in(tensors, objects, keys, key, only)
            self.tensors = {new[name]: info for name, info in tensors.items() if name in new}
            self._pieces = {new[name]: pieces for name, pieces in parts.items() if name in new}
            self.metadata, self.aliases = read_metadata(path, self.tensors, "torch")
            _check_sizes(path, self.tensors, self._pieces)
            for name, pieces in self._pieces.items():
                _check_cover(name, self.tensors[name], pieces)
            self._tie()

    def bits(self, name: str) -> Bits:
        return self.part(name, whole(self.tensors[name].shape))

    def part(self, name: str, box: Box) -> Bits:
        info = self.tensors[name]
        array = np.empty(sizes_of(box), carrier(info.dtype))
        for piece in self._pieces[name]:
            meet = tuple(
                (max(start, at), min(stop, at + size))
                for (start, stop), at, size in zip(box, piece.offsets, piece.sizes, strict=True)
            )
            if any(start >= stop for start, stop in meet):
                continue
            inside = tuple((start - at, stop - at) for (start, stop), at in zip(meet, piece.offsets, strict=True))
            target = tuple((start - at, stop - at) for (start, stop), (at, _) in zip(meet, box, strict=True))
            with reading(f"{self.path / piece.file}: {printable(name)}"):
                array[slices(target)] = self._read(piece, info.dtype, inside)
        return array

    def close(self) -> None:
        for file, _ in self._files.values():
            os.close(file)
        self._files = {}

    def _read(self, piece: _Piece, dtype: str, box: Box) -> Bits:
        """A box of a piece; the archive's checksum is that of the whole piece, so it is held against nothing less."""
        file, archive, view = self._open(piece, dtype)
        start, room, crc = archive.place(f"data/{view.storage.key}")
        begin, end = view.span
        if room != view.storage.nbytes:
            raise CheckpointError(f"expected a storage of {view.storage.nbytes} bytes, received {room}")
        if view.contiguous and not is_whole(box, piece.sizes):
            return read_box(file, start + begin, piece.sizes, box, carrier(dtype))
        flat = np.empty(end - begin, np.uint8)
        read_at(file, start + begin, flat)
        if (begin, end) == (0, room) and crc is not None and zlib.crc32(flat.data) != crc:
            raise CheckpointError("it is damaged: its checksum is not that of the archive")
        strides = tuple(stride * DTYPES[dtype] for stride in view.strides)
        bits = np.lib.stride_tricks.as_strided(flat.view(carrier(dtype)), piece.sizes, strides, writeable=False)
        return view.resolve(bits[slices(box)])

    def _open(self, piece: _Piece, dtype: str) -> tuple[int, Archive, View]:
        if piece.file not in self._files:
            if len(self._files) >= _MOST_OPEN:
                os.close(self._files.pop(next(iter(self._files)))[0])
            self._files[piece.file] = open_file(self.path / piece.file)
        file, size = self._files[piece.file]
        if piece.start + piece.size > size:
            raise CheckpointError(f"the file ends {piece.start + piece.size - size} bytes too early")
        archive = Archive(file, piece.start, piece.size)
        views, _ = tensors_of({"it": load_tensors(archive.pickle())}, piece.size)
        view = views["it"]
        if (view.info.shape, view.info.dtype) != (piece.sizes, dtype):
            raise CheckpointError(f"expected {dtype} of shape {piece.sizes}, received {view.info}")
        return file, archive, view

    def _tie(self) -> None:
        """Names whose pieces are the same parts of the same files are one tensor."""
        first: dict[Any, str] = {}
        tied: dict[str, str] = {}
        for name, info in self.tensors.items():
            same = first.setdefault((info, tuple(self._pieces[name])), name)
            if same != name and info.size:
                tied[name] = same
        self.aliases = {**self.aliases, **tied}
        self.tensors = {name: info for name, info in self.tensors.items() if name not in tied}


def write_dcp(path: Path, source: Reader, *, progress: Progress | None = None) -> None:
    """Write a folder with everything that a reader reads; aliases point to the same bytes.

    Raises:
        MissingFrameworkError: PyTorch is not installed.
    """
    require("torch", extra="torch", by="writing a torch.distributed.checkpoint folder")
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.storage import WriteResult

    class Writer(dcp.FileSystemWriter):
        """PyTorch's writer but for the tensors, each of which its own keeps until the last one is written."""

        def write_data(self, plan: Any, planner: Any) -> Any:
            results = []
            with Sink(path / _FILE, progress) as sink:
                for item in plan.items:
                    start = sink.position
                    write_tensor(sink, source, item.index.fqn)
                    place = _StorageInfo(_FILE, start, sink.position - start)
                    results.append(WriteResult(item.index, sink.position - start, place))
            done: Any = torch.futures.Future()
            done.set_result(results)
            return done

    shapes = {
        name: torch.empty(info.shape, dtype=getattr(torch, info.dtype), device="meta")
        for name, info in source.tensors.items()
    }
    with warnings.catch_warnings(), foreign_writer(path.name, _HOME):
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        planner = dcp.DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        dcp.save(shapes, storage_writer=Writer(path, sync_files=True), planner=planner, no_dist=True)
        if source.aliases:
            _add_aliases(path, source.aliases)
    write_metadata(path, source, aliases=False)


def _add_aliases(path: Path, aliases: Mapping[str, str]) -> None:
    """Let other names point to the same pieces, so that PyTorch's own reader finds them too."""
    import torch.distributed.checkpoint as dcp

    metadata = dcp.FileSystemReader(path).read_metadata()
    for name, target in aliases.items():
        metadata.state_dict_metadata[name] = metadata.state_dict_metadata[target]
        for index, place in list(metadata.storage_data.items()):
            if index.fqn == target:
                metadata.storage_data[dcp.metadata.MetadataIndex(name, index.offset, index.index)] = place
    with (path / MARK).open("wb") as file:
        pickle.dump(metadata, file)
        file.flush()
        os.fsync(file.fileno())


def _loaded(path: Path) -> Any:
    file, size = open_file(path)
    try:
        if size > pickles.MAX_PICKLE:
            raise CheckpointError(f"expected at most {pickles.MAX_PICKLE} bytes, received {size}")
        return pickles.load(BytesIO(read_bytes(file, 0, size)), _ALLOWED)
    finally:
        os.close(file)


def _parse(loaded: Any) -> tuple[dict[str, TensorInfo], dict[str, list[_Piece]], dict[str, str], Any]:
    """The tensors, their pieces, what is no tensor with the reason, and the keys that each name was joined from."""
    content = _state(loaded, "Metadata")
    places = _dict(content.get("storage_data"))
    tensors: dict[str, TensorInfo] = {}
    chunks: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {}
    left_out: dict[str, str] = {}
    count = 0
    for name, entry in _dict(content.get("state_dict_metadata")).items():
        if not isinstance(name, str):
            raise CheckpointError("expected names")
        if isinstance(entry, Call) and entry.path.endswith(".BytesStorageMetadata"):
            left_out[name] = "it is no tensor but a pickled object"
            continue
        known = _state(entry, "TensorStorageMetadata")
        tensors[name] = TensorInfo(_size(known.get("size")), _dtype(name, known.get("properties")))
        parts = _list(known.get("chunks"))
        # One list may be that of many tensors, and each of its chunks has a place in a file of its own.
        count += len(parts)
        if count > len(places):
            raise CheckpointError(f"expected a place for each of {count} or more pieces, received {len(places)}")
        states = [_state(part, "ChunkStorageMetadata") for part in parts]
        chunks[name] = {_size(state.get("offsets")): _size(state.get("sizes")) for state in states}
    pieces: dict[str, list[_Piece]] = {name: [] for name in tensors}
    for index, place in places.items():
        where, what = _state(index, "MetadataIndex"), _state(place, "_StorageInfo")
        name = where.get("fqn")
        if not isinstance(name, str):
            raise CheckpointError(f"expected the name of a tensor, received a {type(name).__name__}")
        if name not in tensors:
            continue
        offsets = _size(where.get("offset"))
        if offsets not in chunks[name]:
            raise CheckpointError(f"{name:.80}: a piece that its metadata does not know")
        if what.get("transform_descriptors"):
            raise CheckpointError(f"{name:.80}: its bytes were transformed when written, which is not supported")
        file, start, size = what.get("relative_path"), what.get("offset"), what.get("length")
        if not _is_file_name(file):
            raise CheckpointError(f"{name:.80}: its file {brief(file)} is not in the folder")
        if not (_is_number(start) and _is_number(size)):
            raise CheckpointError(f"{name:.80}: expected a place in a file")
        pieces[name].append(_Piece(offsets, chunks[name][offsets], file, start, size))
    return tensors, pieces, left_out, content.get("planner_data")


def _check_sizes(path: Path, tensors: Mapping[str, TensorInfo], pieces: Mapping[str, list[_Piece]]) -> None:
    """Every piece lies in its file, and has a byte there for each of its own."""
    files: dict[str, int] = {}
    for name, parts in pieces.items():
        for piece in parts:
            if piece.file not in files:
                files[piece.file] = size_of(path / piece.file)
            if piece.start + piece.size > files[piece.file]:
                short = piece.start + piece.size - files[piece.file]
                raise CheckpointError(f"{name:.80}: the file {piece.file} ends {short} bytes too early")
            needed = TensorInfo(piece.sizes, tensors[name].dtype).nbytes
            if needed > piece.size:
                raise CheckpointError(
                    f"{name:.80}: expected {needed} bytes or more for a piece of shape {piece.sizes}, received "
                    f"{piece.size} in {piece.file}"
                )


def _check_cover(name: str, info: TensorInfo, pieces: list[_Piece]) -> None:
    """Every element is in one piece: the boxes lie inside, are as many elements, and no two of them overlap."""
    rank, total = len(info.shape), 0
    for piece in pieces:
        ends = [at + size for at, size in zip(piece.offsets, piece.sizes, strict=False)]
        inside = len(piece.offsets) == len(piece.sizes) == rank and all(map(int.__le__, ends, info.shape))
        if not inside:
            raise CheckpointError(f"{name:.80}: a piece lies outside of the tensor")
        total += TensorInfo(piece.sizes, info.dtype).size
    if total != info.size or not pieces:
        raise CheckpointError(f"{name:.80}: expected pieces of {info.size} elements, received {total}")
    if len({(piece.offsets, piece.sizes) for piece in pieces}) != len(pieces) and info.size:
        raise CheckpointError(f"{name:.80}: a piece is there twice")
    if len(pieces) > 1 and rank and _overlap(pieces):
        raise CheckpointError(f"{name:.80}: two pieces overlap")


def _overlap(pieces: list[_Piece]) -> bool:
    """Whether two boxes share an element; each is compared with those that begin before it ends on the busiest axis."""
    starts = np.array([piece.offsets for piece in pieces if 0 not in piece.sizes], np.int64)
    sizes = np.array([piece.sizes for piece in pieces if 0 not in piece.sizes], np.int64)
    if len(starts) < 2:
        return False
    axis = max(range(starts.shape[1]), key=lambda candidate: len(np.unique(starts[:, candidate])))
    order = np.argsort(starts[:, axis], kind="stable")
    starts, ends = starts[order], (starts + sizes)[order]
    last = np.searchsorted(starts[:, axis], ends[:, axis], side="left")
    work = int((last - np.arange(len(last)) - 1).sum()) * starts.shape[1]
    if work > DCP_COMPARISONS:
        raise CheckpointError(f"{len(pieces)} pieces in disorder take more than {DCP_COMPARISONS} comparisons")
    for number, stop in enumerate(last):
        later = slice(number + 1, stop)
        if np.any(np.all((starts[later] < ends[number]) & (ends[later] > starts[number]), axis=1)):
            return True
    return False


def _state(value: Any, kind: str) -> Mapping[str, Any]:
    if not isinstance(value, Call) or not value.path.endswith(f".{kind}") or not isinstance(value.state, dict):
        raise CheckpointError(f"expected a {kind}")
    return value.state


def _dict(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise CheckpointError("expected a dictionary")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise CheckpointError("expected a list")
    return value


def _size(value: Any) -> tuple[int, ...]:
    size = value.args[0] if isinstance(value, Call) and value.path == "torch.Size" and value.args else None
    # Its length before its numbers: many entries may share one that is long.
    if not isinstance(size, tuple | list) or len(size) > MAX_RANK or not all(map(_is_number, size)):
        raise CheckpointError("expected a size")
    return tuple(size)


def _is_file_name(value: Any) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and len(value) <= FILE_NAME
        and Path(value).name == value
        and "\0" not in value
        and value != ".."
    )


def _is_number(value: Any) -> TypeGuard[int]:
    """A number of elements or bytes, as systems have them."""
    return type(value) is int and 0 <= value < 1 << 63


def _dtype(name: str, value: Any) -> str:
    state = value.state if isinstance(value, Call) and isinstance(value.state, tuple) else ()
    if not state or not isinstance(state[0], Global):
        raise CheckpointError("expected a dtype")
    layout = state[1] if len(state) > 1 else None
    if isinstance(layout, Call) and layout.args[:1] != ("torch.strided",):
        raise CheckpointError(f"{name:.80}: expected a dense tensor; sparse ones are not supported")
    return state[0].path.removeprefix("torch.")
