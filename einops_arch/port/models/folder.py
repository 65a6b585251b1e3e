"""Read a folder of public weights, as the Hugging Face hub lays it out, under our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import Checkpoint, Description, describe
from einops_arch.checkpoints.download import fetch
from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.formats.sharded import CONFIG
from einops_arch.checkpoints.metadata import read_json
from einops_arch.checkpoints.reader import Reader, Span, Traced, Wrapper
from einops_arch.checkpoints.tensors import Bits, TensorInfo
from einops_arch.errors import CheckpointError
from einops_arch.layouts.boxes import Box
from einops_arch.port.bounds import check_bounds
from einops_arch.port.convert import convert
from einops_arch.port.models.recognize import recognize
from einops_arch.port.models.recognized import Recognized

__all__ = ["RECOGNIZED", "PretrainedReader", "open_pretrained", "read_pretrained"]

RECOGNIZED = "recognised_by"
"""The metadata entry that says what a folder was recognised by."""


class PretrainedReader(Wrapper):
    """The tensors of another library's file by canonical names; what is one array here is put together when read.

    Args:
        inner: the file.
        recognized: the network in it.
    """

    def __init__(self, inner: Reader, recognized: Recognized) -> None:
        super().__init__(inner)
        # By the names under which the file holds them, so that tied tensors meet.
        sources = {
            name: tuple(inner.aliases.get(source, source) for source in names)
            for name, names in recognized.naming.sources(inner.names()).items()
        }
        first: dict[tuple[str, ...], str] = {}
        for name, names in sources.items():
            first.setdefault(names, name)
        self._sources = {name: names for names, name in first.items()}
        self.tensors = {name: self._packed(names) for name, names in self._sources.items()}
        self.aliases = {name: first[names] for name, names in sources.items() if first[names] != name}
        known = Description("torch", recognized.architecture, recognized.config).metadata()
        self.metadata = {**inner.metadata, **known, RECOGNIZED: recognized.why}
        self.left_out = {**inner.left_out, **recognized.naming.left_out(inner.names())}

    def bits(self, name: str) -> Bits:
        parts = [self.inner.bits(source) for source in self._sources[name]]
        return parts[0] if len(parts) == 1 else rearrange(parts, "qkv o ... -> (qkv o) ...")

    def blocks(self, name: str) -> Iterator[Bits]:
        for source in self._sources[name]:
            yield from self.inner.blocks(source)

    def part(self, name: str, box: Box) -> Bits:
        sources = self._sources[name]
        if len(sources) == 1:
            return self.inner.part(sources[0], box)
        (first, last), *rest = box
        size = self.inner.tensors[sources[0]].shape[0]
        parts = []
        for number, source in enumerate(sources):
            start, stop = max(first - number * size, 0), min(last - number * size, size)
            if start < stop or (first == last and not number):
                parts.append(self.inner.part(source, ((start, max(start, stop)), *rest)))
        return np.concatenate(parts)

    def traced(self, name: str) -> Traced:
        return self.traced_together(self._sources.get(name, ()))

    def span(self, name: str) -> Span | None:
        sources = self._sources[name]
        return self.inner.span(sources[0]) if len(sources) == 1 else None

    def _packed(self, sources: tuple[str, ...]) -> TensorInfo:
        infos = [self.inner.tensors[source] for source in sources]
        if len(set(infos)) > 1:
            raise CheckpointError(
                f"expected one shape and dtype of {', '.join(sources)}, which are one array here, received "
                f"{', '.join(f'{info.shape} of {info.dtype}' for info in infos)}"
            )
        if len(infos) == 1:
            return infos[0]
        size, *rest = infos[0].shape
        return replace(infos[0], shape=(size * len(infos), *rest))


def open_pretrained(folder: str | Path, reader: Reader | None = None) -> Reader:
    """Open a folder of transformers, of timm or of this package.

    Args:
        folder: holds `config.json` and the weights, in one file or in shards; `hf://someone/name` fetches one.
        reader: the folder, opened already; it is closed with what is given back.

    Returns:
        A reader by our names, whose metadata says the architecture and its config.

    Raises:
        CheckpointError: the folder is not whole, or no network of ours.
        ConfigError: a size in its config is out of range.
    """
    folder = fetch(folder)
    if not (folder / CONFIG).is_file():
        checkpoint = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
        fix = f"; likely fix: build the network, and einops_arch.checkpoints.load({str(folder)!r}, model)"
        raise CheckpointError(
            f"{folder}: expected a folder with {CONFIG}, as the hub has them{fix if checkpoint else ''}"
        )
    reader = reader or open_checkpoint(folder)
    try:
        config = describe(reader.metadata).config
        if config is not None:
            check_bounds(config, reader)
            return reader
        recognized = recognize(read_json(folder / CONFIG), reader.names())
        check_bounds(recognized.config, reader)
        return PretrainedReader(reader, recognized)
    except CheckpointError as error:
        reader.close()
        raise CheckpointError(*error.within(folder)) from error
    except BaseException:
        reader.close()
        raise


def read_pretrained(folder: str | Path) -> tuple[Config, Mapping[str, Any]]:
    """The config of a folder of public weights, and its weights by our names in PyTorch's layout.

    Args:
        folder: what `open_pretrained` takes.

    Raises:
        CheckpointError: the folder is not whole, or no network of ours.
        PortError: the folder was written by this package, and its weights do not fit its config.
    """
    with open_pretrained(folder) as reader:
        arrays = {name: reader.read(name) for name in reader.tensors}
        arrays |= {name: arrays[target] for name, target in reader.aliases.items()}
        read = Checkpoint.from_metadata(arrays, reader.metadata)
    if read.config is None:
        raise CheckpointError(f"{folder}: expected a config, received none")
    tensors = read.tensors if read.framework == "torch" else convert(read, "torch", read.config).tensors
    return read.config, tensors
