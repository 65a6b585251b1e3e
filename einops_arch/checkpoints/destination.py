"""A destination that is whole or untouched."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from einops_arch.errors import DestinationError

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary name in a folder beside `path`, renamed to `path` when the block ends without an error.

    Args:
        path: the destination, a file or a folder.
        force: replace what is there.

    Raises:
        DestinationError: the destination exists already, or its folder cannot be written.
    """
    if path.exists() and not force:
        raise DestinationError(f"{path} exists already; replace it with --force (force=True)")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        temporary = folder / path.name
        yield temporary
        if path.is_dir() and not path.is_symlink():
            # A folder cannot be renamed over a folder that holds something.
            path.rename(folder / "old")
        temporary.replace(path)
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
