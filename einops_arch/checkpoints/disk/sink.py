"""A file that is written by one thread while another makes the bytes, and is on the disk when it is closed."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from einops_arch.checkpoints.disk.linux_calls import begin_writing
from einops_arch.checkpoints.reader import Reader, Span
from einops_arch.checkpoints.tensors import Bits
from einops_arch.errors import CheckpointError, DestinationError

__all__ = ["Progress", "Sink", "sync"]

Progress: TypeAlias = Callable[[int], None]
"""Called with a number of bytes whenever so many more are written."""

_AHEAD = 6
"""Blocks that wait to be written: enough not to stop the other thread, few enough to stay small."""
_FLUSH = 32 << 20
"""Bytes after which the disk is told to begin, so that little is left to wait for at the end."""
_PIECE = 16 << 20
_WRITE = 1 << 20
"""Bytes of one call. For more, Linux looks for large pages in memory that was not used lately, which took two to four
times as long on a virtual machine."""


_NO_SENDFILE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


class Sink:
    """A new file.

    Args:
        path: its name; it must not exist.
        progress: told of every block.

    Raises:
        DestinationError: the file cannot be written.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.path, self.progress = path, progress
        self.position = self._written = 0
        self._error: BaseException | None = None
        self._queue: queue.Queue[Bits | bytes | Span | None] = queue.Queue(_AHEAD)
        self._flush = threading.Event()
        self._stop = False
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise _failed(path, error) from error
        self._threads = [threading.Thread(target=self._write_all), threading.Thread(target=self._flush_all)]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def write(self, data: Bits | bytes) -> None:
        """Add bytes, soon."""
        self._put(data, len(data))

    def tensor(self, source: Reader, name: str) -> None:
        """Add a tensor; one that lies in a file as it is goes from file to file.

        Raises:
            CheckpointError: the source gave another number of bytes than it said.
        """
        size, start = source.tensors[name].nbytes, self.position
        span = source.span(name)
        if span is not None:
            for at in range(0, span.size, _PIECE):
                piece = min(_PIECE, span.size - at)
                self._put(Span(span.file, span.start + at, piece), piece)
        else:
            for block in source.blocks(name):
                self._put(block, block.size)
        if self.position - start != size:
            raise CheckpointError(f"{name}: expected {size} bytes, received {self.position - start}")

    def close(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            DestinationError: the disk is full, or fails.
            CheckpointError: what was to be copied could not be read.
        """
        self._join()
        try:
            if self._error is not None:
                raise self._error
            os.fsync(self.file)
        except OSError as error:
            if isinstance(error, DestinationError):
                raise
            raise _failed(self.path, error) from error
        finally:
            os.close(self.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._error = self._error or error
            self._join()
            os.close(self.file)

    def _put(self, item: Bits | bytes | Span, size: int) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(item)
        self.position += size

    def _join(self) -> None:
        self._queue.put(None)
        self._threads[0].join()
        self._stop = True
        self._flush.set()
        self._threads[1].join()

    def _write_all(self) -> None:
        """After an error the queue is emptied all the same, so that nobody waits for a place in it."""
        while True:
            item = self._queue.get()
            if item is None:
                return
            if self._error is not None:
                continue
            try:
                size = _copy(item, self.file) if isinstance(item, Span) else _write(self.file, item)
                if (self._written + size) // _FLUSH > self._written // _FLUSH:
                    self._flush.set()
                self._written += size
                if self.progress is not None:
                    self.progress(size)
            except OSError as error:
                self._error = error if isinstance(error, CheckpointError) else _failed(self.path, error)
            except BaseException as error:  # noqa: BLE001 - raised again by the other thread
                self._error = error
            # Not to hold the array of a block while the next one is made.
            del item

    def _flush_all(self) -> None:
        # What goes wrong here goes wrong again in the fsync of `close`.
        begun = 0
        with contextlib.suppress(OSError):
            while self._flush.wait() and not self._stop:
                self._flush.clear()
                written = self._written
                begin_writing(self.file, begun, written - begun)
                begun = written


def sync(path: Path) -> None:
    """Have the disk know a folder's new names, or a file's bytes."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        # Some file systems flush files and know no flushing of folders.
        if error.errno not in _NO_FLUSH or not path.is_dir():
            raise
    finally:
        os.close(file)


def _write(file: int, data: Any) -> int:
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.write(file, view[done : done + _WRITE])
    return done


def _copy(span: Span, file: int) -> int:
    """From file to file, inside the kernel where it can."""
    done = 0
    inside = sys.platform == "linux"
    while done < span.size:
        if inside:
            try:
                count = os.sendfile(file, span.file, span.start + done, span.size - done)
            except OSError as error:
                # Network file systems and those in user space may have no sendfile.
                if error.errno not in _NO_SENDFILE:
                    raise
                inside = False
                continue
        else:
            count = _write(file, _read(span, done))
        if count == 0:
            raise CheckpointError(f"the source ends {span.size - done} bytes too early")
        done += count
    return done


def _read(span: Span, done: int) -> bytes:
    try:
        return os.pread(span.file, min(_WRITE, span.size - done), span.start + done)
    except OSError as error:
        raise CheckpointError(f"the source cannot be read: {error.strerror or error}") from error


def _failed(path: Path, error: OSError) -> DestinationError:
    return DestinationError(f"{path.name} cannot be written: {error.strerror or error}")
