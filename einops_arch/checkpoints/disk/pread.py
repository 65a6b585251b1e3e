"""Reading and writing at a place in a file, whole or with an error, and never through a memory map."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from einops_arch.checkpoints.tensors import Bits
from einops_arch.errors import CheckpointError

__all__ = ["open_file", "read_at", "read_bytes"]

_MOST = 1 << 30
"""Linux reads at most 2 GiB at a time."""


def open_file(path: Path) -> tuple[int, int]:
    """The descriptor and the size of a file.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    # Not to wait for the other end where the name is that of a pipe.
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(path, flags)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        os.close(file)
        raise CheckpointError(f"{path}: cannot be read: it is no file")
    return file, facts.st_size


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
    into = np.empty(size, np.uint8)
    read_at(file, start, into)
    return into.tobytes()
