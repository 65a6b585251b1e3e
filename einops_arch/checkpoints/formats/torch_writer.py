"""Write `.pt` files that `torch.load(weights_only=True)` reads, one tensor at a time and without PyTorch."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from einops_arch.checkpoints.disk.blocks import BLOCK
from einops_arch.checkpoints.disk.pread import read_bytes
from einops_arch.checkpoints.disk.sink import Progress, Sink
from einops_arch.checkpoints.formats.torch_pickle import STORAGES
from einops_arch.checkpoints.formats.torch_zip import ArchiveWriter
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import TensorInfo

__all__ = ["write_tensor", "write_torch"]

_TYPES = {dtype: path for path, dtype in STORAGES.items()}


def write_torch(path: Path, source: Reader, *, progress: Progress | None = None) -> None:
    """Write one file with everything that a reader reads; aliases share their storage, as tied parameters do."""
    keys = {name: str(index) for index, name in enumerate(source.tensors)}
    names = [*source.tensors, *source.aliases]
    entries = [(name, keys[source.aliases.get(name, name)], source.info(name)) for name in names]
    with Sink(path, progress) as sink:
        _write_archive(sink, _pickle(entries), source, keys)


def write_tensor(sink: Sink, source: Reader, name: str) -> None:
    """Add the archive that `torch.save` writes of one tensor, to a file that may hold others."""
    data = b"".join([b"\x80\x02", _tensor("0", source.tensors[name]), b"."])
    _write_archive(sink, data, source, {name: "0"})


def _write_archive(sink: Sink, pickled: bytes, source: Reader, keys: Mapping[str, str]) -> None:
    with ArchiveWriter(sink) as archive:
        for record, data in {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}.items():
            with archive.record(record, len(data)) as stream:
                stream.write(data)
        for name, key in keys.items():
            with archive.record(f"data/{key}", source.tensors[name].nbytes) as stream:
                span = source.span(name)
                if span is None:
                    for block in source.blocks(name):
                        stream.write(block)
                else:
                    # Through memory, because the archive wants a checksum.
                    for at in range(0, span.size, BLOCK):
                        stream.write(read_bytes(span.file, span.start + at, min(BLOCK, span.size - at)))


def _pickle(entries: list[tuple[str, str, TensorInfo]]) -> bytes:
    """The pickle of an ordered dict of tensors, in the words of PyTorch's own."""
    ordered = b"ccollections\nOrderedDict\n)R"
    parts = [b"\x80\x02", ordered, b"("]
    for name, key, info in entries:
        parts += [_text(name), _tensor(key, info)]
    return b"".join([*parts, b"u."])


def _tensor(key: str, info: TensorInfo) -> bytes:
    step = 1
    strides: list[int] = []
    for size in reversed(info.shape):
        strides.insert(0, step)
        step *= max(size, 1)
    known = info.dtype in _TYPES
    module, _, kind = (_TYPES[info.dtype] if known else "torch.storage.UntypedStorage").rpartition(".")
    size = info.size if known else info.nbytes
    storage = [b"(", _text("storage"), _global(module, kind), _text(key), _text("cpu"), _int(size), b"tQ"]
    rebuild = _global("torch._utils", "_rebuild_tensor_v2" if known else "_rebuild_tensor_v3")
    rest = [b"\x89ccollections\nOrderedDict\n)R"] + ([] if known else [_global("torch", info.dtype)])
    return b"".join([rebuild, b"(", *storage, _int(0), _tuple(info.shape), _tuple(strides), *rest, b"tR"])


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _tuple(numbers: list[int] | tuple[int, ...]) -> bytes:
    return b"".join([b"(", *map(_int, numbers), b"t"])


def _int(number: int) -> bytes:
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    data = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(data)]) + data
