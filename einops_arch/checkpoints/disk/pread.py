"""Reading and writing at a place in a file, whole or with an error, and never through a memory map."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from einops_arch.checkpoints.tensors import Bits
from einops_arch.errors import CheckpointError

__all__ = ["open_file", "read_at", "read_bytes", "size_of"]

_MOST = 1 << 30
"""Linux reads at most 2 GiB at a time."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path) -> tuple[int, int]:
    """The descriptor and the size of a regular file; pipes, devices, sockets and folders are refused by name.

    Raises:
        CheckpointError: there is none, it is something else, or it cannot be read.
    """
    # Not to wait for the other end where the name becomes that of a pipe meanwhile.
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    file = -1
    try:
        # Opening a device may do something already.
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            file = os.open(path, flags)
            status = os.fstat(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path}: cannot be read: {reason or error}") from error
    if not stat.S_ISREG(status.st_mode):
        if file >= 0:
            os.close(file)
        raise _not_regular(path, status)
    return file, status.st_size


def size_of(path: Path) -> int:
    """The size of a regular file, without opening it.

    Raises:
        CheckpointError: there is none, or it is something else.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path}: cannot be read: {reason or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path, status)
    return status.st_size


def read_at(file: int, start: int, into: Bits) -> None:
    """Fill an array with the bytes that begin at a place.

    Raises:
        CheckpointError: the file ends before, or the disk fails.
    """
    view = into.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        try:
            count = os.preadv(file, [view[done : done + _MOST]], start + done)
        except OSError as error:
            raise CheckpointError(f"the file cannot be read: {error.strerror or error}") from error
        if count == 0:
            raise CheckpointError(f"the file ends {len(view) - done} bytes too early")
        done += count


def read_bytes(file: int, start: int, size: int) -> bytes:
    """That many bytes from a place.

    Raises:
        CheckpointError: the file ends before, or the disk fails.
    """
    parts, done = [], 0
    while done < size:
        try:
            part = os.pread(file, min(size - done, _MOST), start + done)
        except OSError as error:
            raise CheckpointError(f"the file cannot be read: {error.strerror or error}") from error
        if not part:
            raise CheckpointError(f"the file ends {size - done} bytes too early")
        parts.append(part)
        done += len(part)
    # One part, as nearly always, is not copied.
    return b"".join(parts)


def _not_regular(path: Path, status: os.stat_result) -> CheckpointError:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    return CheckpointError(f"{path}: cannot be read: not a regular file but {kind}")
