"""One function that opens any checkpoint and one that writes any; all formats meet in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.checkpoints.disk import destination
from einops_arch.checkpoints.disk.buffer_pool import POOL
from einops_arch.checkpoints.disk.pread import open_file, read_bytes
from einops_arch.checkpoints.disk.sink import Progress
from einops_arch.checkpoints.download import fetch
from einops_arch.checkpoints.formats import dcp_folder, orbax_folder, orbax_manager
from einops_arch.checkpoints.formats.dcp_folder import DcpReader, write_dcp
from einops_arch.checkpoints.formats.msgpack_file import MsgpackReader
from einops_arch.checkpoints.formats.npz_file import NpzReader
from einops_arch.checkpoints.formats.orbax_folder import OrbaxReader, write_orbax
from einops_arch.checkpoints.formats.safetensors_file import SafetensorsReader, write_safetensors
from einops_arch.checkpoints.formats.sharded import FILES, HubReader, open_index, write_hub
from einops_arch.checkpoints.formats.torch_file import LEGACY, TorchReader
from einops_arch.checkpoints.formats.torch_writer import write_torch
from einops_arch.checkpoints.formats.trees import framework_of_names, leaf_of
from einops_arch.checkpoints.reader import MemoryReader, Reader, reading
from einops_arch.checkpoints.reader_views import Selected, checked_patterns
from einops_arch.checkpoints.trees_by_name import OfTree
from einops_arch.errors import CheckpointError

__all__ = [
    "FORMATS",
    "check_destination",
    "format_of",
    "open_checkpoint",
    "read_checkpoint",
    "write_checkpoint",
    "write_tensors",
]

FORMATS = {
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
    ".dcp": "dcp",
    ".hf": "hub",
    "": "orbax",
    ".orbax": "orbax",
}
"""The format by the ending of the name; an Orbax checkpoint is a folder and usually has none."""

READ_ONLY = {".msgpack": "msgpack", ".npz": "npz"}
"""Formats that are read and not written, by the ending of the name."""

_FRAMEWORK = {"torch": "torch", "dcp": "torch", "orbax": "flax"}
_INDEX = ".index.json"
_START = 30 + 4096
_OTHERS = {
    b"\x89HDF\r\n": "HDF5, as Keras writes it",
    b"\x1f\x8b": "something packed by gzip",
    b"BZh": "something packed by bzip2",
    b"\xfd7zXZ": "something packed by xz",
    b"\x28\xb5\x2f\xfd": "something packed by zstd",
    b"GGUF": "GGUF, as llama.cpp has it",
    b"\x93NUMPY": "one array of numpy",
    b"version https://git-lfs": "a pointer of Git LFS in the place of the file; likely fix: git lfs pull",
    b"<!DOCTYPE": "a web page in the place of the file",
    b"<!doctype": "a web page in the place of the file",
    b"<html": "a web page in the place of the file",
}
"""What other files begin with."""


def format_of(path: str | Path) -> str:
    """The format that a name stands for: `"safetensors"`, `"torch"`, `"dcp"`, `"hub"` or `"orbax"`.

    Raises:
        CheckpointError: no format has such a name.

    >>> format_of("weights/convnet.safetensors")
    'safetensors'
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        names = ", ".join(ending for ending in FORMATS if ending)
        raise CheckpointError(
            f"{path}: expected a name that ends with {names}, or a folder for Orbax, received {ending!r}"
        )
    return FORMATS[ending]


def open_checkpoint(
    path: str | Path, *, key: str | None = None, only: str | None = None, drop: Sequence[str] = ()
) -> Reader:
    """Open a checkpoint; what is in it is known at once, and tensors are read when they are asked for.

    No code in it is ever run.

    Args:
        path: a file, the index of shards, or a folder of Orbax, of `torch.distributed.checkpoint` or of the Hugging
            Face hub; `hf://someone/name` fetches one. Files whose ending says nothing are known by their first bytes.
            Of the folder of a `CheckpointManager` the last step is taken.
        key: the entry that holds the weights, such as `"model_ema"`, in a `.pt`, `.msgpack` or `.npz` file or a folder
            of Orbax or `torch.distributed.checkpoint`; found by itself if left out.
        only: leave out what has a name that does not begin with this.
        drop: regular expressions; what has a name in which one of them matches is left out.

    Returns:
        A reader, to be closed, or used in a `with` statement.

    Raises:
        CheckpointError: the file is not there, is damaged, is no checkpoint, or has no such entry.
        PortError: `only` or `drop` fits no name, leaves none, or is no regular expression.
        MissingFrameworkError: the format needs a framework that is not installed.
    """
    drop = checked_patterns(drop)
    if key == "":
        raise CheckpointError(f"{path}: expected the name of an entry, received an empty --key (key=)")
    if str(path).startswith("hf:/"):
        path = fetch(path)
    path = Path(path)
    try:
        path.stat()
    except FileNotFoundError:
        tensorflow = Path(f"{path}.index").is_file()
        raise CheckpointError(
            f"{path}: {'a checkpoint of TensorFlow, which is not read' if tensorflow else 'no such file or folder'}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise CheckpointError(f"{path}: cannot be read: {reason}") from error
    reader = _open(path, key, only, drop)
    reader.paths = [path, *reader.paths]
    try:
        if _is_flat_tree(reader):
            with reading(path):
                reader = OfTree(reader)
        return reader if only is None and not drop else Selected(reader, only, drop)
    except BaseException:
        reader.close()
        raise


def _is_flat_tree(reader: Reader) -> bool:
    """Whether names are all that there is of a tree of Flax."""
    if isinstance(reader, NpzReader):
        return reader.is_flat and reader.metadata["framework"] == "flax"
    # What safetensors' own writer for Flax has written says nothing, and PyTorch has no kernels.
    if not reader.metadata.keys().isdisjoint({"framework", "format"}):
        return False
    names = reader.names()
    ranks = {name: len(reader.info(name).shape) for name in names}
    return framework_of_names(names, ranks) == "flax" and any(leaf_of(name) == "kernel" for name in names)


def read_checkpoint(path: str | Path, *, key: str | None = None) -> Checkpoint:
    """Read a whole checkpoint into memory; no code in it is ever run.

    Args:
        path: what `open_checkpoint` takes.
        key: the entry of the file that holds the weights, as `open_checkpoint` takes it.

    Raises:
        CheckpointError: the file is not there, is damaged, or holds more than plain weights.
        MissingFrameworkError: the format needs a framework that is not installed.
    """
    with open_checkpoint(path, key=key) as reader:
        arrays = {name: reader.read(name) for name in reader.tensors}
        arrays |= {name: arrays[target] for name, target in reader.aliases.items()}
        return Checkpoint.from_metadata(arrays, reader.metadata)


def check_destination(
    path: str | Path, framework: str, *, force: bool = False, kind: str | None = None, source: Reader | None = None
) -> None:
    """Raise what `write_tensors` would raise, before the work that leads to it.

    Args:
        path: where to.
        framework: `"torch"` or `"flax"`: whose names and layout the arrays will have.
        force: replace what is there.
        kind: the format, if the name does not say it.
        source: what will be read, which the destination must not be.

    Raises:
        DestinationError: the destination exists already, is the source, or its folder is not there.
        CheckpointError: no format has such a name, or the format does not hold the state of that framework.
    """
    kind = kind or format_of(path)
    if _FRAMEWORK.get(kind, framework) != framework:
        holds = {
            "torch": "a .pt file holds PyTorch's state; write .safetensors or an Orbax folder for Flax",
            "dcp": "a .dcp folder holds PyTorch's state; write .safetensors or an Orbax folder for Flax",
            "orbax": "an Orbax folder holds the state of a Flax model; write .safetensors or .pt for PyTorch",
        }
        raise CheckpointError(f"{path}: {holds[kind]}")
    if source is not None:
        destination.check_distinct(Path(path), source.paths)
    destination.check(Path(path), force=force)


def write_tensors(
    path: str | Path,
    source: Reader,
    *,
    force: bool = False,
    kind: str | None = None,
    max_shard_size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write everything that a reader reads, one tensor at a time: whole, or not at all.

    Args:
        path: where to.
        source: what to write; its metadata says the framework.
        force: replace what is there.
        kind: the format, if the name does not say it: `"safetensors"`, `"torch"`, `"dcp"`, `"hub"` or `"orbax"`.
        max_shard_size: bytes of tensors in one file, for `"hub"`.
        progress: told the number of bytes after every block.

    Raises:
        DestinationError: the destination exists already, or cannot be written; nothing is left behind then.
        CheckpointError: the source cannot be read, or the format does not hold it.
    """
    path = Path(path)
    kind = kind or format_of(path)
    check_destination(path, source.metadata.get("framework", "torch"), force=force, kind=kind, source=source)
    if max_shard_size is not None and kind != "hub":
        raise CheckpointError(f"{path}: only a hub folder has shards; likely fix: a name that ends with .hf")
    with POOL.in_use(), destination.replacing(path, force=force) as temporary:
        if kind == "hub":
            write_hub(temporary, source, max_shard_size=max_shard_size, progress=progress)
        else:
            write = {"safetensors": write_safetensors, "torch": write_torch, "dcp": write_dcp, "orbax": write_orbax}
            write[kind](temporary, source, progress=progress)


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, *, force: bool = False) -> None:
    """Write a checkpoint that is in memory: whole, or not at all.

    Args:
        path: where to; its ending is the format, see `FORMATS`.
        checkpoint: what to write.
        force: replace what is there.

    Raises:
        DestinationError: the destination exists already, or cannot be written; nothing is left behind then.
        CheckpointError: no format has such a name, or the format does not hold the state of that framework.
    """
    write_tensors(path, MemoryReader(checkpoint.tensors, checkpoint.metadata()), force=force)


def _open(path: Path, key: str | None, only: str | None, drop: Sequence[str]) -> Reader:
    if path.is_dir():
        return _open_folder(path, key, only)
    return _open_file(path, key, drop)


def _open_folder(path: Path, key: str | None, only: str | None) -> Reader:
    try:
        inside = set(os.listdir(path))  # noqa: PTH208 - one look for all the marks
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    reader = _of_folder(path, inside, key, only)
    taken = {
        OrbaxReader: {orbax_folder.MARK, orbax_folder.TREE},
        DcpReader: {dcp_folder.MARK},
        HubReader: {file.name for file in reader.paths},
    }[type(reader)]
    others = [name for name in (*FILES, dcp_folder.MARK, orbax_folder.TREE) if name in inside and name not in taken]
    if others:
        # The folder of a manager has its marks further down.
        marks = (name for name in (*FILES, *sorted(taken)) if name in taken and name in inside)
        what = next(marks, "a step of Orbax")
        reader.left_out = {**reader.left_out, **dict.fromkeys(others, f"weights beside {what}, which was taken")}
    return reader


def _of_folder(path: Path, inside: set[str], key: str | None, only: str | None) -> OrbaxReader | DcpReader | HubReader:
    # A folder of the hub may have whatever else beside its weights.
    if inside.isdisjoint(FILES):
        with reading(path):
            managed = orbax_manager.find_item(path, inside, key) if orbax_manager.is_managed(path, inside) else None
        if managed is not None:
            item, key, beside = managed
            return OrbaxReader(item, key, beside)
    if not inside.isdisjoint((orbax_folder.MARK, orbax_folder.TREE)):
        return OrbaxReader(path, key)
    if dcp_folder.MARK in inside:
        return DcpReader(path, key, only)
    if key is not None:
        raise _without_entries(path, key)
    return HubReader(path)


def _open_file(path: Path, key: str | None, drop: Sequence[str]) -> Reader:
    kind = "index" if path.name.endswith(_INDEX) else format_of_file(path)
    if kind in {"index", "safetensors"} and key is not None:
        raise _without_entries(path, key)
    if kind == "index":
        return open_index(path)
    if kind == "safetensors":
        return SafetensorsReader(path)
    if kind in _TREES:
        return NpzReader(path, key, drop) if kind == "npz" else MsgpackReader(path, key)
    return TorchReader(path, key, drop)


_TREES = frozenset({"msgpack", "npz"})


def _without_entries(path: Path, key: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: only .pt, .msgpack and .npz files, Orbax and distributed folders have entries to choose from, "
        f"received --key {key}"
    )


def format_of_file(path: Path) -> str:
    """The format of a file by its first bytes; where they say nothing, by its ending.

    Raises:
        CheckpointError: neither of them is that of a format.
    """
    file, size = open_file(path)
    try:
        start = read_bytes(file, 0, min(size, _START))
    finally:
        os.close(file)
    header = int.from_bytes(start[:8], "little")
    if start[:4] == b"PK\3\4":
        return "npz" if _first_record(start).endswith(b".npy") else "torch"
    if start.startswith(LEGACY):
        return "torch"
    if start[8:9] == b"{" and 2 <= header <= size - 8:
        return "safetensors"
    others = next((name for mark, name in _OTHERS.items() if start.startswith(mark)), None)
    kind = {**FORMATS, **READ_ONLY}.get(path.suffix.lower(), "")
    if others is None and kind in {"safetensors", "torch", "msgpack", "npz"}:
        return kind
    if others is None and start[:1] == b"\x80" and start[1:2] in {b"\2", b"\3", b"\4", b"\5"}:
        return "torch"
    if others is None and _is_msgpack(start):
        return "msgpack"
    raise CheckpointError(
        f"{path}: expected a file that ends with .safetensors, .pt, .msgpack or .npz, or that begins as they do, "
        f"received {others or 'none of these'}"
    )


def _is_msgpack(start: bytes) -> bool:
    """Whether a file begins with a map whose first key is a text."""
    size = {0xDE: 3, 0xDF: 5}.get(start[0], 1) if start else 0
    is_map = bool(start) and (0x81 <= start[0] <= 0x8F or size > 1)
    return is_map and len(start) > size and (0xA1 <= start[size] <= 0xBF or 0xD9 <= start[size] <= 0xDB)


def _first_record(start: bytes) -> bytes:
    """The name of the first record of an archive."""
    length = int.from_bytes(start[26:28], "little")
    return start[30 : 30 + length]
