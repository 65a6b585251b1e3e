"""Two calls of Linux that Python does not have; elsewhere there is another way for each."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["EXCHANGE", "NOREPLACE", "begin_writing", "rename"]

NOREPLACE, EXCHANGE = 1, 2
_HERE = -100
_WRITE = 2


def rename(source: Path, target: Path, flag: int) -> bool:
    """Rename without replacing, or exchange two names, at one moment.

    Returns:
        False where the system or the disk cannot.

    Raises:
        OSError: it can, and failed; `FileExistsError` if something must not be replaced.
    """
    function = _libc("renameat2")
    if function is None:
        return False
    if function(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}:
        return False
    raise OSError(code, os.strerror(code), str(target))


def begin_writing(file: int, start: int, size: int) -> None:
    """Have the disk begin with bytes of a file that are in memory only, without waiting for it."""
    function = _libc("sync_file_range")
    if function is None:
        os.fsync(file)
    else:
        function(file, ctypes.c_int64(start), ctypes.c_int64(size), ctypes.c_uint(_WRITE))


def _libc(name: str) -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
