"""The zip archive of a `.pt` file, read by its places and written from the front to the back."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any, Self

from einops_arch._text import brief
from einops_arch.checkpoints.disk.pread import read_at, read_bytes
from einops_arch.checkpoints.disk.sink import Sink
from einops_arch.checkpoints.formats.pickles import MAX_PICKLE
from einops_arch.checkpoints.limits import ARCHIVE_DIRECTORY
from einops_arch.checkpoints.tensors import Bits
from einops_arch.errors import CheckpointError

__all__ = ["Archive", "ArchiveWriter", "Window"]

_HEADER = 30
_ALIGN = 64
_PAD = 0x4246
"""PyTorch's own mark for an extra field that only fills."""
_LARGE = 2 << 30
_FOLDER = 0x10
"""The attribute of MS-DOS by which an archive says that a record is a folder."""
_SHOWN = 6
_KINDS = {
    "/archive_format": "a program of torch.export, with ",
    "model.weights.h5": "a model of Keras, with ",
    "[Content_Types].xml": "a document, with ",
}
"""Other archives, by the end of a name in them."""


class Archive:
    """The records of an archive that lies in a file, or in a part of one.

    Raises:
        CheckpointError: it is no archive, or not one of PyTorch's.
    """

    def __init__(self, file: int, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size
        try:
            with zipfile.ZipFile(io.BufferedReader(Window(file, start, size))) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, OSError) as error:
            raise CheckpointError(f"not a zip archive: {error!s:.100}") from None
        self.entries = {entry.filename: entry for entry in entries}
        # PyTorch writes 0 for all of them with `torch.serialization.set_crc32_options(False)`.
        self.checksums = any(entry.CRC for entry in entries)
        if len(self.entries) != len(entries):
            raise CheckpointError("a record is there twice")
        folders = [name.removesuffix("data.pkl") for name in self.entries if name.rpartition("/")[2] == "data.pkl"]
        if not folders:
            held = ", ".join(map(brief, list(self.entries)[:_SHOWN]))
            kind = next((kind for name, kind in _KINDS.items() if any(e.endswith(name) for e in self.entries)), "")
            raise CheckpointError(
                f"expected a data.pkl in the archive, as torch.save writes it, received {kind}{held or 'nothing'}"
            )
        if len(folders) != 1:
            raise CheckpointError(f"expected one data.pkl, received {len(folders)}")
        self.folder = folders[0]
        if f"{self.folder}constants.pkl" in self.entries:
            raise CheckpointError(
                "refused, it is not plain weights: TorchScript holds code; likely fix: "
                "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
            )
        order = f"{self.folder}byteorder"
        if order in self.entries and self.read("byteorder", 16) != b"little":
            raise CheckpointError("expected little-endian numbers")
        self._check_overlaps()

    def place(self, name: str) -> tuple[int, int, int | None]:
        """Where a record begins in the file, its bytes, and their checksum where the archive has checksums.

        Raises:
            CheckpointError: there is none of that name, or it is compressed, which PyTorch's never are.
        """
        entry = self.entries.get(self.folder + name)
        if entry is None:
            raise CheckpointError(f"record {name:.60} is missing")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise CheckpointError(
                f"record {name:.60} is compressed, which PyTorch does not do; it is refused as a bomb"
            )
        if entry.external_attr & _FOLDER:
            # PyTorch's own reader leaves the memory as it is then, whatever is in it.
            raise CheckpointError(f"record {name:.60} is marked as a folder")
        if entry.header_offset < 0 or entry.header_offset + _HEADER > self.size:
            raise CheckpointError(f"record {name:.60} lies outside the archive")
        header = read_bytes(self.file, self.start + entry.header_offset, _HEADER)
        if header[:4] != b"PK\3\4":
            raise CheckpointError(f"record {name:.60} has no header")
        begin = entry.header_offset + _HEADER + sum(struct.unpack("<HH", header[26:]))
        if begin + entry.file_size > self.size:
            raise CheckpointError(f"record {name:.60} ends after the archive")
        return self.start + begin, entry.file_size, entry.CRC if self.checksums else None

    def read(self, name: str, most: int) -> bytes:
        """A small record.

        Raises:
            CheckpointError: it is missing, not small, or damaged.
        """
        start, size, crc = self.place(name)
        if size > most:
            raise CheckpointError(f"record {name:.60}: expected at most {most} bytes, received {size}")
        data = read_bytes(self.file, start, size)
        if crc is not None and zlib.crc32(data) != crc:
            raise CheckpointError(f"record {name:.60} is damaged: its checksum is not that of the archive")
        return data

    def pickle(self) -> io.BytesIO:
        """The pickle that says what the tensors are."""
        return io.BytesIO(self.read("data.pkl", MAX_PICKLE))

    def _check_overlaps(self) -> None:
        at = 0
        for entry in sorted(self.entries.values(), key=lambda record: record.header_offset):
            if entry.header_offset < at:
                raise CheckpointError(f"record {entry.filename:.60} overlaps another; it is refused as a bomb")
            at = entry.header_offset + _HEADER + entry.compress_size


class ArchiveWriter:
    """An archive that goes to a sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        stream: Any = _Stream(sink)
        self.archive = zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED)

    def record(self, name: str, size: int) -> Any:
        """A new record to write to and to close; its bytes begin at a multiple of 64."""
        entry = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
        entry.file_size = size
        large = size >= _LARGE
        begin = self.sink.position + _HEADER + len(entry.filename.encode()) + (20 if large else 0) + 4
        pad = -begin % _ALIGN
        entry.extra = struct.pack("<HH", _PAD, pad) + b"Z" * pad
        return self.archive.open(entry, "w", force_zip64=large)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.archive.close()
        # Otherwise `ZipFile` would try to write the end of the archive when it is collected.
        self.archive.fp = None


class _Stream:
    """What `zipfile` takes for a file in which it cannot go back."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def write(self, data: Bits | bytes) -> int:
        self.sink.write(data)
        return len(data)

    def flush(self) -> None:
        pass


class Window(io.RawIOBase):
    """A part of a file, for `zipfile`."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self.descriptor, self.start, self.size, self.at = file, start, size, 0
        self.room = ARCHIVE_DIRECTORY

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence])
        return self.at

    def readinto(self, buffer: Any) -> int:
        import numpy as np

        size = max(0, min(len(buffer), self.size - self.at))
        self.room -= size
        if self.room < 0:
            raise CheckpointError(f"its directory is larger than {ARCHIVE_DIRECTORY} bytes")
        read_at(self.descriptor, self.start + self.at, np.frombuffer(buffer, np.uint8)[:size])
        self.at += size
        return size
