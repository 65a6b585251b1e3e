"""A destination that is whole or untouched."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from einops_arch.errors import DestinationError

__all__ = ["check", "replacing"]


def check(path: Path, *, force: bool = False) -> None:
    """Raise what `replacing` would raise at once, without touching the disk.

    Raises:
        DestinationError: the destination exists already, is a folder of other things, which no force replaces, or
            lies in a folder that does not exist.
    """
    if os.path.lexists(path) and not force:
        raise DestinationError(f"{path} exists already; replace it with --force (force=True)")
    if path.is_dir() and not path.is_symlink() and not _is_checkpoint(path):
        raise DestinationError(f"{path} is a folder that holds other things than a checkpoint; it is not replaced")
    if not path.parent.is_dir():
        reason = "is not a folder" if path.parent.exists() else "does not exist"
        raise DestinationError(f"{path} cannot be written: {path.parent} {reason}")


@contextlib.contextmanager
def replacing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary name in a folder beside `path`, renamed to `path` when the block ends without an error.

    Args:
        path: the destination, a file or a folder.
        force: replace what is there.

    Raises:
        DestinationError: the destination exists already, or its folder cannot be written.
    """
    check(path, force=force)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        temporary = folder / path.name
        yield temporary
        _put(temporary, path, folder / "old")
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(temporary: Path, path: Path, old: Path) -> None:
    """Rename; what was there comes back if that fails."""
    # A folder cannot be renamed over a folder that holds something, nor a file over a folder.
    aside = (path.is_dir() and not path.is_symlink()) or (temporary.is_dir() and os.path.lexists(path))
    if aside:
        path.rename(old)
    try:
        temporary.replace(path)
    except BaseException:
        if aside:
            old.rename(path)
        raise


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "_CHECKPOINT_METADATA").is_file() or not any(folder.iterdir())
