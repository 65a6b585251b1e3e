"""Orbax folders, as `StandardCheckpointer` writes them: the nested state of a Flax model.

Tensors are read from TensorStore one at a time. Orbax writes what it is given at once, so it is given promises, which
are kept one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch.checkpoints.disk.sink import Progress
from einops_arch.checkpoints.metadata import FACTS, read_facts, read_json, write_facts
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import Bits, TensorInfo, carrier, numpy_dtype
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box, slices

__all__ = ["MARK", "OrbaxReader", "write_orbax"]

MARK = "_CHECKPOINT_METADATA"
"""The file by which an Orbax folder is known."""

_CHUNK = 64 << 20
"""Bytes of a piece of an array in the files, and so of what is encoded or decoded at a time."""
_EMPTY = "empty"
"""The fact that says dtype and shape of arrays without elements, JSON by name."""
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")


class OrbaxReader(Reader):
    """A folder that is open.

    Raises:
        CheckpointError: it is not a whole Orbax checkpoint.
        MissingFrameworkError: Orbax is not installed.
    """

    def __init__(self, path: Path) -> None:
        require("orbax.checkpoint", extra="flax", by="an Orbax folder")
        import tensorstore

        self.path = path.resolve()
        limits = {
            "cache_pool": {"total_bytes_limit": _CHUNK},
            "file_io_concurrency": {"limit": 4},
            "data_copy_concurrency": {"limit": 2},
        }
        self._context = tensorstore.Context(limits)
        if not (path / MARK).is_file():
            raise CheckpointError(f"{path}: expected an Orbax checkpoint, but the folder has no {MARK}")
        metadata = read_json(path / "_METADATA")
        stores = {}
        try:
            specs = dict(_specs(self.path, metadata))
            opening = {name: tensorstore.open(spec, context=self._context, read=True) for name, spec in specs.items()}
            stores = {name: future.result() for name, future in opening.items()}
            self.tensors = {
                name: TensorInfo(tuple(map(int, one.shape)), one.dtype.name) for name, one in stores.items()
            }
            self.tensors |= _empty(path)
            self.facts, self.aliases = read_facts(path, self.tensors, "flax")
            self.facts.pop(_EMPTY, None)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: not a whole Orbax checkpoint: {error}") from error
        except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: not a whole Orbax checkpoint: {error!s:.300}") from error
        self._stores = stores

    def bits(self, name: str) -> Bits:
        return self._read(name, ...)

    def part(self, name: str, box: Box) -> Bits:
        return self._read(name, slices(box))

    def _read(self, name: str, index: Any) -> Bits:
        if name not in self._stores:
            return np.empty(self.tensors[name].shape, carrier(self.tensors[name].dtype))[index]
        try:
            # Whole chunks of the folder are read, as TensorStore's caches and codecs have them.
            array = np.asarray(self._stores[name][index].read().result())
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.path}: {name}: not a whole Orbax checkpoint: {error!s:.300}") from error
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

    registry = ocp.type_handlers.create_type_handler_registry(
        (_Promise, Handler(deepcopy_host_arrays=False)), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    # Orbax refuses arrays without elements.
    empty = {name: [info.dtype, *info.shape] for name, info in source.tensors.items() if not info.size}
    full = [name for name in source.tensors if name not in empty]
    if not full:
        raise CheckpointError("an Orbax folder needs at least one array with elements")
    tree = _nest({name: _Promise(source, name) for name in full})
    arguments = _nest({name: ocp.SaveArgs(chunk_byte_size=_CHUNK) for name in full})
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(path.resolve(), args=ocp.args.PyTreeSave(tree, save_args=arguments))
    write_facts(path, source, {_EMPTY: json.dumps(empty)} if empty else {})


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


def _empty(path: Path) -> dict[str, TensorInfo]:
    text = read_json(path / FACTS).get(_EMPTY, "{}") if (path / FACTS).is_file() else "{}"
    found = json.loads(text).items()
    return {name: TensorInfo(tuple(map(int, shape)), dtype) for name, (dtype, *shape) in found if 0 in shape}


def _specs(path: Path, metadata: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of each array, and what TensorStore needs to find it."""
    keys = {}
    for entry in metadata["tree_metadata"].values():
        kind = entry["value_metadata"]["value_type"]
        if kind in _ARRAYS:
            parts = [str(part["key"]) for part in entry["key_metadata"]]
            keys[".".join(parts)] = parts
        elif kind not in {"None", "Dict", "List", "Tuple", "NamedTuple"}:
            raise CheckpointError(f"expected arrays, received a {kind!r:.60}")
    if len(keys) < sum(e["value_metadata"]["value_type"] in _ARRAYS for e in metadata["tree_metadata"].values()):
        raise CheckpointError("two arrays have the same name")
    # The state of nnx has one more level, for the value of each variable.
    states = bool(keys) and all(len(parts) > 1 and parts[-1] == "value" for parts in keys.values())
    ocdbt = metadata.get("use_ocdbt", True)
    for name in keys:
        if not ocdbt and (name.startswith(".") or "/" in name or "\\" in name):
            raise CheckpointError(f"{name!r:.80} points outside of the folder")
        store = {"driver": "ocdbt", "base": f"file://{path}/", "path": f"{name}/"}
        store = store if ocdbt else {"driver": "file", "path": f"{path / name}/"}
        driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
        yield name.removesuffix(".value") if states else name, {"driver": driver, "kvstore": store}


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
