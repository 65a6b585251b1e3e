"""Folders of `torch.distributed.checkpoint`: a pickle that says where, and files that hold the pieces.

Read without PyTorch, and without running the pickle; written by PyTorch's own writer, one tensor at a time.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch.checkpoints.disk.blocks import contiguous
from einops_arch.checkpoints.disk.pread import open_file, read_at, read_bytes
from einops_arch.checkpoints.disk.read_box import read_box
from einops_arch.checkpoints.disk.sink import Progress
from einops_arch.checkpoints.formats import pickles
from einops_arch.checkpoints.formats.pickles import Call, Global
from einops_arch.checkpoints.formats.torch_pickle import View, load_tensors, tensors_of
from einops_arch.checkpoints.formats.torch_zip import Archive
from einops_arch.checkpoints.metadata import read_facts, write_facts
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import DTYPES, Bits, TensorInfo, carrier
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box, is_whole, sizes_of, slices, whole

__all__ = ["MARK", "DcpReader", "write_dcp"]

MARK = ".metadata"
_HOME = "torch.distributed.checkpoint"
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

    Raises:
        CheckpointError: it is not a whole checkpoint, or its pickle would import something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, tuple[int, int]] = {}
        file, size = open_file(path / MARK)
        try:
            if size > pickles.MAX_PICKLE:
                raise CheckpointError(f"expected at most {pickles.MAX_PICKLE} bytes, received {size}")
            loaded = pickles.load(BytesIO(read_bytes(file, 0, size)), _ALLOWED)
            self.tensors, self._pieces = _parse(loaded)
            self.facts, self.aliases = read_facts(path, self.tensors, "torch")
            for name, pieces in self._pieces.items():
                _check_cover(name, self.tensors[name], pieces)
            self._tie()
        except CheckpointError as error:
            raise CheckpointError(f"{path / MARK}: {error}") from error
        finally:
            os.close(file)

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
            try:
                array[slices(target)] = self._read(piece, info.dtype, inside)
            except CheckpointError as error:
                raise CheckpointError(f"{self.path / piece.file}: {name}: {error}") from error
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
        if (begin, end) == (0, room) and zlib.crc32(flat.data) != crc:
            raise CheckpointError("it is damaged: its checksum is not that of the archive")
        strides = tuple(stride * DTYPES[dtype] for stride in view.strides)
        bits = np.lib.stride_tricks.as_strided(flat.view(carrier(dtype)), piece.sizes, strides, writeable=False)
        return bits[slices(box)]

    def _open(self, piece: _Piece, dtype: str) -> tuple[int, Archive, View]:
        if piece.file not in self._files:
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
        for name in list(self.tensors):
            same = first.setdefault((self.tensors[name], tuple(self._pieces[name])), name)
            if same != name and self.tensors[name].size:
                self.aliases = {**self.aliases, name: same}
                self.tensors = {one: info for one, info in self.tensors.items() if one != name}


def write_dcp(path: Path, source: Reader, *, progress: Progress | None = None) -> None:
    """Write a folder with everything that a reader reads; aliases point to the same bytes.

    Raises:
        MissingFrameworkError: PyTorch is not installed.
    """
    require("torch", extra="torch", by="writing a torch.distributed.checkpoint folder")
    import torch
    import torch.distributed.checkpoint as dcp

    class Planner(dcp.DefaultSavePlanner):
        """Gives each tensor when it is written, and not before."""

        def resolve_data(self, write_item: Any) -> Any:
            name = write_item.index.fqn
            info = source.tensors[name]
            bits = np.array(contiguous(source.bits(name)).reshape(info.shape), copy=None)
            with warnings.catch_warnings():
                # It is only read.
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                tensor = torch.from_numpy(bits).view(getattr(torch, info.dtype))
            if progress is not None:
                progress(info.nbytes)
            return tensor

    shapes = {
        name: torch.empty(info.shape, dtype=getattr(torch, info.dtype), device="meta")
        for name, info in source.tensors.items()
    }
    writer = dcp.FileSystemWriter(path, thread_count=1, single_file_per_rank=True, sync_files=True)
    planner = Planner(flatten_state_dict=False, flatten_sharded_tensors=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.save(shapes, storage_writer=writer, planner=planner, no_dist=True)
    if source.aliases:
        _add_aliases(path, source.aliases)
    write_facts(path, source, aliases=False)


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


def _parse(loaded: Any) -> tuple[dict[str, TensorInfo], dict[str, list[_Piece]]]:
    facts = _state(loaded, "Metadata")
    tensors = {}
    for name, entry in _items(facts.get("state_dict_metadata")):
        if not isinstance(name, str):
            raise CheckpointError("expected names")
        if isinstance(entry, Call) and entry.path.endswith(".BytesStorageMetadata"):
            continue
        known = _state(entry, "TensorStorageMetadata")
        tensors[name] = TensorInfo(_size(known.get("size")), _dtype(known.get("properties")))
    pieces: dict[str, list[_Piece]] = {name: [] for name in tensors}
    sizes = {
        name: {_size(_state(chunk, "ChunkStorageMetadata").get("offsets")): _state(chunk, "ChunkStorageMetadata")
               for chunk in _list(_state(entry, "TensorStorageMetadata").get("chunks"))}
        for name, entry in _items(facts.get("state_dict_metadata")) if name in tensors
    }  # fmt: skip
    for index, place in _items(facts.get("storage_data")):
        where, what = _state(index, "MetadataIndex"), _state(place, "_StorageInfo")
        name = where.get("fqn")
        if name not in tensors:
            continue
        offsets = _size(where.get("offset"))
        if offsets not in sizes[name]:
            raise CheckpointError(f"{name:.80}: a piece that its metadata does not know")
        file, start, size = what.get("relative_path"), what.get("offset"), what.get("length")
        if not isinstance(file, str) or Path(file).name != file or file in {".", ".."} or "\0" in file:
            raise CheckpointError(f"{name:.80}: its file {file!r:.80} is not in the folder")
        if type(start) is not int or type(size) is not int or start < 0 or size < 0:
            raise CheckpointError(f"{name:.80}: expected a place in a file")
        pieces[name].append(_Piece(offsets, _size(sizes[name][offsets].get("sizes")), file, start, size))
    return tensors, pieces


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
    boxes = sorted({(piece.offsets, piece.sizes) for piece in pieces})
    if len(boxes) != len(pieces) and info.size:
        raise CheckpointError(f"{name:.80}: a piece is there twice")
    for one, (at, size) in enumerate(boxes):
        for other, extent in boxes[one + 1 :]:
            if rank and other[0] >= at[0] + size[0]:
                break
            if all(a < o + e and o < a + s for a, s, o, e in zip(at, size, other, extent, strict=True)):
                raise CheckpointError(f"{name:.80}: two pieces overlap")


def _state(value: Any, kind: str) -> Mapping[str, Any]:
    if not isinstance(value, Call) or not value.path.endswith(f".{kind}") or not isinstance(value.state, dict):
        raise CheckpointError(f"expected a {kind}")
    return value.state


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(value, dict):
        raise CheckpointError("expected a dictionary")
    return iter(value.items())


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise CheckpointError("expected a list")
    return value


def _size(value: Any) -> tuple[int, ...]:
    size = value.args[0] if isinstance(value, Call) and value.path == "torch.Size" and value.args else None
    if not isinstance(size, tuple | list) or not all(type(one) is int and one >= 0 for one in size):
        raise CheckpointError("expected a size")
    return tuple(size)


def _dtype(value: Any) -> str:
    first = value.state[0] if isinstance(value, Call) and isinstance(value.state, tuple) and value.state else None
    if not isinstance(first, Global):
        raise CheckpointError("expected a dtype")
    return first.path.removeprefix("torch.")
