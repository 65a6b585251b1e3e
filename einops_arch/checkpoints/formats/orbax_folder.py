"""Orbax folders, as `StandardCheckpointer` writes them: the nested state of a Flax model.

Tensors are read from TensorStore one at a time. Orbax writes what it is given at once, so it is given promises, which
are kept one after the other.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch._text import brief, printable
from einops_arch.checkpoints.disk.bounded_json import exists, parse_json, read_json
from einops_arch.checkpoints.disk.foreign_errors import foreign_writer
from einops_arch.checkpoints.disk.sink import Progress
from einops_arch.checkpoints.formats.trees import weights_of
from einops_arch.checkpoints.limits import ORBAX_EXPANSION
from einops_arch.checkpoints.metadata import METADATA, read_metadata, write_metadata
from einops_arch.checkpoints.reader import Reader, reading
from einops_arch.checkpoints.tensors import DTYPES, Bits, TensorInfo, carrier, numpy_dtype
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box, slices

__all__ = ["MARK", "TREE", "OrbaxReader", "write_orbax"]

MARK = "_CHECKPOINT_METADATA"
"""The file by which an Orbax folder is known, or a step of a `CheckpointManager`."""
TREE = "_METADATA"
"""The file that says which arrays are in a folder."""

_CHUNK = 64 << 20
"""Bytes of a piece of an array in the files, and so of what is encoded or decoded at a time."""
_EMPTY = "empty"
"""The fact that says dtype and shape of arrays without elements, JSON by name."""
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_ARRAY = frozenset({".zarray", "zarr.json"})
"""The file that says shape and dtype of an array."""
_CONTAINERS = ("None", "Dict", "List", "Tuple", "NamedTuple")
"""What is empty, and so in the list of what is there."""


class OrbaxReader(Reader):
    """A folder that is open.

    Args:
        path: the folder.
        key: the entry that holds the weights, where it is not found by itself.
        beside: what lies beside the folder, with the reason why it was not taken.

    Raises:
        CheckpointError: it is not a whole Orbax checkpoint.
        MissingFrameworkError: Orbax is not installed.
    """

    def __init__(self, path: Path, key: str | None = None, beside: Mapping[str, str] | None = None) -> None:
        require("orbax.checkpoint", extra="flax", by="an Orbax folder")
        import tensorstore

        self.path = path.resolve()
        limits = {
            "cache_pool": {"total_bytes_limit": _CHUNK},
            "file_io_concurrency": {"limit": 4},
            "data_copy_concurrency": {"limit": 2},
        }
        self._context = tensorstore.Context(limits)
        if not any((path / name).is_file() for name in (TREE, MARK)):
            raise CheckpointError(f"{path}: expected an Orbax checkpoint, but the folder has no {MARK}")
        with reading(f"{path}: not a whole Orbax checkpoint"):
            room = _bytes_of(path)
            metadata = read_json(path / TREE)
            # Earlier versions do not say it.
            metadata.setdefault("use_ocdbt", exists(path / "manifest.ocdbt"))
            own = exists(path / METADATA)
            arrays, others = _leaves(metadata)
        rest: dict[tuple[str, ...], str] = {}
        # The folder may be whole, and an entry that was asked for not in it.
        with reading(path):
            if own and key is None:
                names = {parts: ".".join(parts) for parts in arrays}
            else:
                names, rest = weights_of(arrays, key)
            if arrays and not names:
                raise CheckpointError("expected arrays, received none but those of a training")
        with reading(f"{path}: not a whole Orbax checkpoint"):
            left_out = {".".join(parts): why for parts, why in (rest | others).items()}
            known = {".".join(parts) for parts in (*arrays, *others)}
            # Those of a database are not listed: a small one may have any number of them.
            unsaid = set() if metadata["use_ocdbt"] else _folders(self.path) - known
            left_out |= dict.fromkeys(sorted(unsaid), f"an array in the folder, and not in its {TREE}")
            self.left_out = {**(beside or {}), **left_out}
            specs = {name: _spec(self.path, metadata, ".".join(parts)) for parts, name in names.items()}
            opening = {name: tensorstore.open(spec, context=self._context, read=True) for name, spec in specs.items()}
            self._stores = {name: future.result() for name, future in opening.items()}
            self.tensors = {
                name: TensorInfo(tuple(map(int, store.shape)), store.dtype.name) for name, store in self._stores.items()
            }
            _check_sizes(self._stores, self.tensors, room)
            if not metadata["use_ocdbt"]:
                for name, spec in specs.items():
                    _check_chunks(name, self._stores[name], Path(spec["kvstore"]["path"]))
            empty = _empty(path)
            if twice := self.tensors.keys() & empty.keys():
                raise CheckpointError(f"{brief(min(twice))} is there twice, with elements and without")
            self.tensors |= empty
            self.metadata, self.aliases = read_metadata(path, self.tensors, "flax")
            self.metadata.pop(_EMPTY, None)

    def bits(self, name: str) -> Bits:
        return self._read(name, ...)

    def part(self, name: str, box: Box) -> Bits:
        return self._read(name, slices(box))

    def _read(self, name: str, index: Any) -> Bits:
        if name not in self._stores:
            return np.empty(self.tensors[name].shape, carrier(self.tensors[name].dtype))[index]
        with reading(f"{self.path}: {printable(name)}: not a whole Orbax checkpoint"):
            # Whole chunks of the folder are read, as TensorStore's caches and codecs have them.
            array = np.asarray(self._stores[name][index].read().result())
        return array.view(carrier(self.tensors[name].dtype))


def write_orbax(path: Path, source: Reader, *, progress: Progress | None = None) -> None:
    """Write a folder with everything that a reader reads.

    Raises:
        MissingFrameworkError: Orbax is not installed.
    """
    require("orbax.checkpoint", extra="flax", by="an Orbax folder")
    import jax
    import orbax.checkpoint as ocp

    class Handler(ocp.type_handlers.NumpyHandler):
        """Make one array, write it, forget it."""

        async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
            for value, info, arg in zip(values, infos, args or [ocp.SaveArgs()] * len(values), strict=True):
                for future in await super().serialize([value.make()], [info], [arg]):
                    future.result()
                if progress is not None:
                    progress(value.nbytes)
            return []

    # Earlier versions copy each array, and have no word for it.
    copies = "deepcopy_host_arrays" in inspect.signature(Handler.__init__).parameters
    handler = Handler(**({"deepcopy_host_arrays": False} if copies else {}))
    registry = ocp.type_handlers.create_type_handler_registry(
        (_Promise, handler), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    # Orbax refuses arrays without elements.
    empty = {name: [info.dtype, *info.shape] for name, info in source.tensors.items() if not info.size}
    full = [name for name in source.tensors if name not in empty]
    if not full:
        raise CheckpointError("an Orbax folder needs at least one array with elements")
    _check_names(full)
    tree = _nest({name: _Promise(source, name) for name in full})
    arguments = _nest({name: ocp.SaveArgs(chunk_byte_size=_CHUNK) for name in full})
    whole = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    with foreign_writer(path.name, "Orbax"), ocp.Checkpointer(whole) as checkpointer:
        checkpointer.save(path.resolve(), args=ocp.args.PyTreeSave(tree, save_args=arguments))
    write_metadata(path, source, {_EMPTY: json.dumps(empty)} if empty else {})


class _Promise:
    """An array that is not there yet, with what Orbax asks an array for."""

    def __init__(self, source: Reader, name: str) -> None:
        self._source, self._name = source, name
        info = source.tensors[name]
        self.shape, self.dtype = info.shape, numpy_dtype(info.dtype)
        self.size, self.nbytes, self.ndim = info.size, info.nbytes, len(info.shape)

    def make(self) -> np.ndarray[Any, Any]:
        # Orbax and TensorStore see the memory and not the strides.
        return np.ascontiguousarray(self._source.read(self._name)).reshape(self.shape)


def _bytes_of(path: Path) -> int:
    """The bytes of a folder's files, all of which are regular ones: TensorStore would wait for a pipe."""
    total = 0
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            file = Path(folder) / name
            if name in folders and not file.is_symlink():
                continue
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{brief(str(file.relative_to(path)))}: not a regular file")
            total += status.st_size
    return total


def _check_sizes(stores: Mapping[str, Any], tensors: Mapping[str, TensorInfo], room: int) -> None:
    """Hold what the arrays say of themselves against the bytes that are there, before memory is taken for them."""
    most = room * ORBAX_EXPANSION
    for name, store in stores.items():
        width = DTYPES[tensors[name].dtype]
        for layout in (store.chunk_layout.read_chunk, store.chunk_layout.write_chunk):
            # None for an array without axes.
            size = math.prod(layout.shape or ()) * width
            if size > most:
                raise CheckpointError(
                    f"{brief(name)}: its chunks have {size} bytes, more than the {room} bytes of the folder can hold"
                )
    total = sum(info.nbytes for info in tensors.values())
    if total > most:
        raise CheckpointError(f"its arrays have {total} bytes, more than the {room} bytes of the folder can hold")


def _check_chunks(name: str, store: Any, folder: Path) -> None:
    """As many files as there are chunks, where each is a file, so that a grown shape is no surprise later."""
    shape = store.chunk_layout.write_chunk.shape or ()
    chunks = math.prod(-(-size // chunk) for size, chunk in zip(store.shape, shape, strict=True))
    files = sum(len(names) for _, _, names in os.walk(folder)) - 1
    if files < chunks:
        raise CheckpointError(f"{brief(name)}: expected {chunks} chunks, received {max(files, 0)}")


def _folders(path: Path) -> set[str]:
    """The names of the arrays that have a folder, whatever the checkpoint says of itself."""
    folders = (Path(folder) for folder, _, names in os.walk(path) if not _ARRAY.isdisjoint(names))
    return {folder.relative_to(path).as_posix() for folder in folders if folder != path}


def _check_names(names: Iterable[str]) -> None:
    """Orbax takes any string as a key, and TensorStore makes a path of it."""
    for name in names:
        if name.endswith("/"):
            raise CheckpointError(f"{brief(name)}: a name that ends with a slash is not one of an Orbax folder's")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CheckpointError(f"{brief(name)}: half of a character is not in a name of an Orbax folder's") from None


def _empty(path: Path) -> dict[str, TensorInfo]:
    text = read_json(path / METADATA).get(_EMPTY, "{}") if exists(path / METADATA) else "{}"
    entries = parse_json(text).items()
    return {name: TensorInfo(tuple(map(int, shape)), dtype) for name, (dtype, *shape) in entries if 0 in shape}


def _leaves(metadata: Mapping[str, Any]) -> tuple[list[tuple[str, ...]], dict[tuple[str, ...], str]]:
    """The keys that lead to each array, and to what else there is, with the reason why it is none."""
    arrays: list[tuple[str, ...]] = []
    seen: set[str] = set()
    others: dict[tuple[str, ...], str] = {}
    for entry in metadata["tree_metadata"].values():
        kind = entry["value_metadata"]["value_type"]
        keys = [part["key"] for part in entry["key_metadata"]]
        if not all(isinstance(part, str | int) for part in keys):
            raise CheckpointError("expected strings and numbers as keys")
        parts = tuple(map(str, keys))
        if kind in _ARRAYS:
            name = ".".join(parts)
            if name in seen:
                raise CheckpointError(f"two arrays have the same name {brief(name)}")
            seen.add(name)
            arrays.append(parts)
        elif kind not in _CONTAINERS:
            others[parts] = f"it is no array but {brief(kind)}"
    return arrays, others


def _spec(path: Path, metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What TensorStore needs to find an array."""
    if metadata["use_ocdbt"]:
        # A path as it is: in a URL `%20` would be a space, and `?` the end.
        base = {"driver": "file", "path": f"{path}/"}
        store = {"driver": "ocdbt", "base": base, "path": name if name.endswith("/") else f"{name}/"}
    else:
        if "\0" in name or "\\" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise CheckpointError(f"{brief(name)} points outside of the folder")
        store = {"driver": "file", "path": f"{path / name}/"}
    # A chunk that is not there was lost: Orbax stores those of zeros too.
    driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
    return {"driver": driver, "kvstore": store, "fill_missing_data_reads": False}


def _nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split(".")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise CheckpointError(f"{name}: {folder} is an array and cannot hold others, in an Orbax folder")
        if last in node:
            raise CheckpointError(f"{name}: it holds arrays and cannot be one, in an Orbax folder")
        node[last] = leaf
    return tree
