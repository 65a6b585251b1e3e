"""One safetensors file, read at the places that its header names and written from the front to the back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import parse_json
from einops_arch.checkpoints.disk.buffer_pool import POOL
from einops_arch.checkpoints.disk.pread import open_file, read_at, read_bytes
from einops_arch.checkpoints.disk.read_box import read_box
from einops_arch.checkpoints.disk.sink import Progress, Sink
from einops_arch.checkpoints.formats.safetensors_header import build_header, parse_header
from einops_arch.checkpoints.limits import SAFETENSORS_HEADER
from einops_arch.checkpoints.reader import Reader, Span, reading
from einops_arch.checkpoints.tensors import DTYPES, Bits, TensorInfo, carrier
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box

__all__ = ["ALIASES", "SafetensorsReader", "aliases_of", "write_safetensors", "write_tensors"]

ALIASES = "aliases"
"""The metadata that says which names were tied: JSON, other name to the name in the file."""


class SafetensorsReader(Reader):
    """A file that is open.

    Raises:
        CheckpointError: it is not a whole safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file, size = open_file(path)
        try:
            with reading(f"{path}: not a whole safetensors file"):
                self._open(size)
        except BaseException:
            self.close()
            raise

    def _open(self, size: int) -> None:
        if size < 8:
            raise CheckpointError(f"expected at least 8 bytes, received {size}")
        length, most = int.from_bytes(read_bytes(self.file, 0, 8), "little"), min(size - 8, SAFETENSORS_HEADER)
        if length > most:
            raise CheckpointError(f"expected a header of at most {most} bytes, received {length}")
        tensors, metadata = parse_header(read_bytes(self.file, 8, length), size - 8 - length)
        self.tensors = {name: info for name, (info, _) in tensors.items()}
        self.starts = {name: 8 + length + start for name, (_, start) in tensors.items()}
        self.aliases, self.metadata = aliases_of(metadata, self.tensors), metadata

    def bits(self, name: str) -> Bits:
        with reading(self.path):
            info = self.tensors[name]
            array = POOL.empty(info.shape, carrier(info.dtype))
            read_at(self.file, self.starts[name], array)
            return array

    def part(self, name: str, box: Box) -> Bits:
        with reading(self.path):
            info = self.tensors[name]
            return read_box(self.file, self.starts[name], info.shape, box, carrier(info.dtype))

    def span(self, name: str) -> Span:
        return Span(self.file, self.starts[name], self.tensors[name].nbytes)

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def aliases_of(metadata: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> dict[str, str]:
    """The aliases that metadata names.

    Raises:
        CheckpointError: they do not fit the tensors.
    """
    if ALIASES not in metadata:
        return {}
    try:
        aliases = parse_json(metadata[ALIASES])
    except CheckpointError as error:
        raise CheckpointError(f"its aliases: not JSON: {error}") from None
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise CheckpointError("its aliases: expected names by name")
    for name, target in aliases.items():
        if target not in tensors or name in tensors:
            raise CheckpointError(
                f"its aliases: {brief(name)} is not another name of a tensor, received {brief(target)}"
            )
    return aliases


def write_safetensors(path: Path, source: Reader, *, progress: Progress | None = None) -> None:
    """Write one file with everything that a reader reads."""
    metadata = dict(source.metadata)
    metadata.pop(ALIASES, None)
    if source.aliases:
        metadata[ALIASES] = json.dumps(dict(sorted(source.aliases.items())))
    write_tensors(path, source, list(source.tensors), metadata, progress=progress)


def write_tensors(
    path: Path, source: Reader, names: list[str], metadata: Mapping[str, str], *, progress: Progress | None = None
) -> None:
    """Write some tensors of a reader into one file, which is on the disk when this returns."""
    # The widest first: every tensor then begins at a multiple of its element's size.
    by_name = {name: source.tensors[name] for name in sorted(names, key=_width(source))}
    with Sink(path, progress) as sink:
        sink.write(build_header(by_name, metadata))
        for name in by_name:
            sink.tensor(source, name)


def _width(source: Reader) -> Callable[[str], int]:
    return lambda name: -DTYPES[source.tensors[name].dtype]
