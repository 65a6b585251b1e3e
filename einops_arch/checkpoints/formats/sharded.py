"""safetensors in several files with an index, and the folders of the Hugging Face hub that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import exists, parse_json, read_json, write_json
from einops_arch.checkpoints.disk.sink import Progress
from einops_arch.checkpoints.formats.msgpack_file import MsgpackReader
from einops_arch.checkpoints.formats.safetensors_file import ALIASES, SafetensorsReader, aliases_of, write_tensors
from einops_arch.checkpoints.formats.torch_file import TorchReader
from einops_arch.checkpoints.reader import Reader, Span
from einops_arch.checkpoints.tensors import Bits
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box

__all__ = ["CONFIG", "FILES", "INDEX", "HubReader", "ShardedReader", "names_of_index", "open_index", "write_hub"]

INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
FLAX_INDEX = "flax_model.msgpack.index.json"
FILES = (
    *(INDEX, "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"),
    *(FLAX_INDEX, "flax_model.msgpack"),
    *("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    *("diffusion_pytorch_model.bin", "diffusion_flax_model.msgpack"),
    *("adapter_model.safetensors", "adapter_model.bin"),
)
"""Where the tensors of a hub folder are, the best first; those of an adapter of PEFT only where there are no others."""
_SHOWN = 12


def names_of_index(index: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The file of each tensor that an index names, and all that the index says.

    Raises:
        CheckpointError: it is no index.
    """
    content = read_json(index)
    where = content.get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(file, str) for file in where.values()):
        raise CheckpointError(f"{index}: expected file names by tensor name under weight_map")
    return where, content


def open_index(index: Path) -> Reader:
    """Open the shards that an index names: of tensors by their names, or of one tree of Flax.

    Raises:
        CheckpointError: the index and the shards do not agree, or a shard is not in the index's folder.
    """
    where, content = names_of_index(index)
    if where and all(file.endswith(".msgpack") for file in where.values()):
        return MsgpackReader(index, shards={name: _inside(index.parent, file) for name, file in where.items()})
    return ShardedReader(index, where, content)


class ShardedReader(Reader):
    """The shards that an index names, all open.

    Args:
        index: the file.
        where: the shard of each tensor.
        content: all that the index says.

    Raises:
        CheckpointError: the index and the shards do not agree, or a shard is not in the index's folder.
    """

    def __init__(self, index: Path, where: Mapping[str, str], content: Mapping[str, Any]) -> None:
        self.paths = [index]
        self._shards: dict[str, Reader] = {}
        try:
            for file in sorted(set(where.values())):
                self._shards[file] = _open(index.parent, file)
                self.paths.append(index.parent / file)
            self._of = {name: self._shards[file] for name, file in where.items()}
            lost = [name for name, shard in self._of.items() if name not in shard.tensors and name not in shard.aliases]
            more = [name for shard in self._shards.values() for name in shard.names() if name not in where]
            if lost or more:
                problem = (
                    f"{brief(lost[0])} is not in {where[lost[0]]}" if lost else f"{brief(more[0])} is not in the index"
                )
                raise CheckpointError(f"{index}: the index and the shards do not agree: {problem}")
            if sum(len(shard.names()) for shard in self._shards.values()) != len(where):
                raise CheckpointError(f"{index}: a tensor is in two shards")
            entries = content.get("metadata")
            entries = entries if isinstance(entries, dict) else {}
            known = {name: value for name, value in entries.items() if isinstance(value, str)}
            shards = self._shards.values()
            self.metadata = _agreed(index, [known, *(shard.metadata for shard in shards)]) | known
            self.tensors = {name: shard.tensors[name] for shard in shards for name in shard.tensors}
            inside = {name: target for shard in shards for name, target in shard.aliases.items()}
            self.aliases = {**inside, **aliases_of(self.metadata, self.tensors)}
            self.left_out = {
                f"{file}: {name}": reason
                for file, shard in self._shards.items()
                for name, reason in shard.left_out.items()
            }
        except BaseException:
            self.close()
            raise

    def bits(self, name: str) -> Bits:
        return self._of[name].bits(name)

    def blocks(self, name: str) -> Iterator[Bits]:
        return self._of[name].blocks(name)

    def part(self, name: str, box: Box) -> Bits:
        return self._of[name].part(name, box)

    def span(self, name: str) -> Span | None:
        return self._of[name].span(name)

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()


class HubReader(Reader):
    """A folder as the Hugging Face hub lays it out.

    Raises:
        CheckpointError: it has no weights, or they are not whole.
    """

    def __init__(self, folder: Path) -> None:
        weights = next((folder / name for name in FILES if exists(folder / name)), None)
        if weights is None:
            names = sorted(file.name for file in folder.iterdir())
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise CheckpointError(
                f"{folder}: expected a checkpoint, but the folder has none of {', '.join(FILES)}; it holds "
                f"{', '.join(map(brief, names[:_SHOWN])) or 'nothing'}{more}"
            )
        self._inner = open_index(weights) if weights.suffix == ".json" else _open(folder, weights.name)
        self.paths = self._inner.paths or [weights]
        self.tensors, self.aliases = self._inner.tensors, self._inner.aliases
        self.metadata, self.left_out = dict(self._inner.metadata), self._inner.left_out
        self.taken, self.by_leaves = self._inner.taken, self._inner.by_leaves
        try:
            config = read_json(folder / CONFIG) if exists(folder / CONFIG) else {}
        except CheckpointError:
            self.close()
            raise
        name, fields, framework = config.get("einops_arch"), config.get("config"), config.get("framework")
        if isinstance(name, str) and isinstance(fields, dict):
            told = {"architecture": name, "config": json.dumps(fields)}
            told |= {"framework": framework} if isinstance(framework, str) else {}
            try:
                whose = {key: self.metadata[key] for key in self.metadata if key != "config"}
                agreed = _agreed(folder / CONFIG, [told, whose])
                if parse_json(self.metadata.get("config", told["config"])) != fields:
                    reason = f"another config beside that of {CONFIG}, which was taken"
                    self.left_out = {**self.left_out, f"the config in {weights.name}": reason}
            except CheckpointError:
                self.close()
                raise
            self.metadata |= agreed

    def bits(self, name: str) -> Bits:
        return self._inner.bits(name)

    def blocks(self, name: str) -> Iterator[Bits]:
        return self._inner.blocks(name)

    def part(self, name: str, box: Box) -> Bits:
        return self._inner.part(name, box)

    def span(self, name: str) -> Span | None:
        return self._inner.span(name)

    def close(self) -> None:
        self._inner.close()


def write_hub(
    path: Path, source: Reader, *, max_shard_size: int | None = None, progress: Progress | None = None
) -> None:
    """Write a folder with `config.json` and one safetensors file, or shards and an index if it would be larger.

    Args:
        path: the folder, which must not exist.
        source: what to write.
        max_shard_size: bytes of tensors in one file; a larger tensor has a file of its own.
        progress: told of every block.
    """
    path.mkdir()
    shards = _split(source, max_shard_size)
    metadata = {name: value for name, value in source.metadata.items() if name != ALIASES}
    aliases = json.dumps(dict(sorted(source.aliases.items())))
    if "architecture" in metadata and "config" in metadata:
        fields = {"einops_arch": metadata["architecture"], "config": json.loads(metadata["config"])}
        write_json(path / CONFIG, {**fields, "framework": metadata.get("framework", "torch")})
    if len(shards) == 1:
        whole = {**metadata, **({ALIASES: aliases} if source.aliases else {})}
        write_tensors(path / "model.safetensors", source, shards[0], whole, progress=progress)
        return
    where = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_tensors(path / file, source, names, metadata, progress=progress)
        where.update(dict.fromkeys(names, file))
    index = {"total_size": sum(info.nbytes for info in source.tensors.values()), **metadata}
    if source.aliases:
        index[ALIASES] = aliases
    write_json(path / INDEX, {"metadata": index, "weight_map": dict(sorted(where.items()))})


def _agreed(place: Path, several: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What metadata in several places says of the network, some of it in one place or in all.

    Raises:
        CheckpointError: two places contradict each other.
    """
    agreed: dict[str, str] = {}
    for metadata in several:
        told = {name: metadata[name] for name in ("framework", "architecture", "config") if name in metadata}
        if metadata.get("format") == "flax":
            told.setdefault("framework", "flax")
        for name, value in told.items():
            known = agreed.setdefault(name, value)
            if known != value:
                raise CheckpointError(
                    f"{place}: expected one {name}, received {brief(known)}, and {brief(value)} beside the tensors"
                )
    return agreed


def _split(source: Reader, most: int | None) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, info in source.tensors.items():
        if shards[-1] and most is not None and size + info.nbytes > most:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += info.nbytes
    return shards


def _inside(folder: Path, file: str) -> Path:
    if Path(file).name != file or file in {"", ".", ".."} or "\\" in file or "\0" in file:
        raise CheckpointError(f"{folder}: the index names {brief(file)}, which is not in its folder")
    return folder / file


def _open(folder: Path, file: str) -> Reader:
    path = _inside(folder, file)
    kinds: dict[str, Callable[[Path], Reader]] = {
        ".safetensors": SafetensorsReader,
        ".bin": TorchReader,
        ".msgpack": MsgpackReader,
    }
    if path.suffix not in kinds:
        raise CheckpointError(f"{folder}: expected shards that end with {', '.join(kinds)}, received {brief(file)}")
    return kinds[path.suffix](path)
