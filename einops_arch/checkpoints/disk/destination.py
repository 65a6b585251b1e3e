"""A destination that is whole or untouched, whatever happens to the process.

Everything is written in a folder beside the destination, whose name tells what it is, and comes to its place by one
rename. While it is written the folder is locked; a folder that is not is a leftover of a port that was killed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import read_json
from einops_arch.checkpoints.disk.linux_calls import EXCHANGE, NOREPLACE, rename
from einops_arch.checkpoints.disk.sink import sync
from einops_arch.errors import CheckpointError, DestinationError

if sys.platform != "win32":
    import fcntl

__all__ = ["check", "check_distinct", "replacing", "work_folder"]

_OWN = re.compile(
    r"\.metadata|__\d+_\d+\.distcp|einops_arch\.json|config\.json"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
)
_MARKS = (".metadata", "config.json", "model.safetensors.index.json", "model.safetensors")
_ORBAX = re.compile(
    r"_CHECKPOINT_METADATA|_METADATA|_sharding|_strings\.json|array_metadatas|commit_success\.txt|checkpoint|descriptor"
    r"|d|manifest\.ocdbt|ocdbt\.process_\d+|einops_arch\.json"
)
_ORBAX_MARKS = ("_CHECKPOINT_METADATA", "_METADATA")
_ENDING = ".einops-arch"
_LONGEST = 255
_REPLACEABLE = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_OLD, _MOVED = "old", "moved"
"""What was at the destination, while it is neither there nor replaced; and the mark that says it was copied wholly."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_NO_RENAME = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}


def check(path: Path, *, force: bool = False) -> None:
    """Raise what `replacing` would raise at once, without touching the disk.

    Raises:
        DestinationError: the destination exists already, is a folder of other things, which no force replaces, or
            lies in a folder that does not exist.
    """
    if os.path.lexists(path) and not force:
        raise DestinationError(f"{path} exists already; replace it with --force (force=True)")
    if os.path.lexists(path) and stat.S_IFMT(path.lstat().st_mode) not in _REPLACEABLE:
        raise DestinationError(f"{path} is neither a regular file nor a folder; it is not replaced")
    other = _beside(path) if path.is_dir() and not path.is_symlink() else None
    if other is not None:
        raise DestinationError(
            f"{path} is a folder that holds other things than a checkpoint, such as {brief(other)}; it is not replaced"
        )
    try:
        if not path.parent.is_dir():
            path.parent.stat()
            raise DestinationError(f"{path} cannot be written: {path.parent} is not a folder")
    except FileNotFoundError:
        raise DestinationError(f"{path} cannot be written: {path.parent} does not exist") from None
    except OSError as error:
        if isinstance(error, DestinationError):
            raise
        raise DestinationError(f"{path} cannot be written: {path.parent}: {error.strerror or error}") from error


def check_distinct(path: Path, read: Iterable[Path]) -> None:
    """Refuse a destination that would take the place of what is read.

    Raises:
        DestinationError: it is one of these files or folders, by whatever name, or holds one of them.
    """
    for source in read:
        # `Path.resolve` raises where links go in a circle.
        real, there = Path(os.path.realpath(source)), Path(os.path.realpath(path))
        same = os.path.lexists(path) and source.exists() and path.exists() and path.samefile(source)
        if same or there in {real, *real.parents}:
            raise DestinationError(f"{path} cannot be written: it is, or holds, the source {source}")


@contextlib.contextmanager
def replacing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary name in a folder beside `path`, renamed to `path` when the block ends without an error.

    Args:
        path: the destination, a file or a folder.
        force: replace what is there.

    Raises:
        DestinationError: the destination exists already, its folder cannot be written, or another process is
            writing it.
    """
    check(path, force=force)
    try:
        with _locked(path) as folder:
            # What was there when the lock was got may be the work of another port.
            check(path, force=force)
            temporary = folder / path.name
            yield temporary
            _keep_mode(temporary, path)
            _sync_all(temporary)
            _put(temporary, path, folder / _OLD, force=force)
            sync(path.parent)
    except OSError as error:
        if not isinstance(error, DestinationError):
            raise DestinationError(f"{path} cannot be written: {error.strerror or error}") from error
        if str(path) in str(error):
            raise
        # A file knows its own name, and not where it will be.
        place = path.parent if str(error).startswith(path.name) else path
        raise DestinationError(f"{place}{os.sep}{error}") from error


def work_folder(path: Path) -> Path:
    """The folder in which a destination is written, which is always the same."""
    name = f".{path.name}{_ENDING}"
    if len(os.fsencode(name)) > _LONGEST:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{_ENDING}"
    return path.parent / name


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The folder for the work, empty, and nobody else's; it is gone at the end."""
    folder = work_folder(path)
    lock = _lock(path, folder)
    try:
        _clean(folder, path)
        try:
            yield folder
        finally:
            if not _is_needed(folder, path):
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        if lock is not None:
            os.close(lock)


def _lock(path: Path, folder: Path) -> int | None:
    """Make the folder and lock it; where the disk has no locks, the making of it is the lock."""
    while True:
        made = False
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            made = True
        lock = -1
        try:
            if sys.platform == "win32":
                raise OSError(errno.ENOSYS, "no locks")
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.fstat(lock).st_uid != os.geteuid():
                raise DestinationError(f"{path} cannot be written: {folder} belongs to somebody else")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The folder may have been removed by its owner before the lock was got.
            if os.path.samestat(os.fstat(lock), folder.lstat()):
                return lock
        except FileNotFoundError:
            pass
        except BlockingIOError:
            _close(lock)
            raise DestinationError(f"{path} cannot be written: another process is writing it") from None
        except OSError as error:
            _close(lock)
            if error.errno in _NO_LOCKS and made:
                return None
            if error.errno in _NO_LOCKS:
                raise DestinationError(
                    f"{path} cannot be written: another process is writing it, or was killed; then remove {folder}"
                ) from None
            if made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        _close(lock)


def _close(file: int) -> None:
    if file >= 0:
        os.close(file)


def _clean(folder: Path, path: Path) -> None:
    """Remove what a killed port left.

    Raises:
        DestinationError: no port has put there what is in it, or it is all that there is of an earlier checkpoint,
            which the user may want back. It is not brought back: anybody can put a folder of this name beside a
            checkpoint.
    """
    if _is_needed(folder, path):
        raise DestinationError(
            f"{path} cannot be written: a port was killed while it replaced what was there, which is "
            f"{folder / _OLD} now; likely fix: move it back, or remove {folder}"
        )
    entries = list(folder.iterdir())
    for entry in entries:
        # Another library adds an ending to the name while it writes.
        if not entry.name.startswith(path.name) and entry.name not in {_OLD, _MOVED}:
            raise DestinationError(
                f"{path} cannot be written: {folder} holds {brief(entry.name)}, which no port has put there; likely "
                "fix: move it elsewhere"
            )
    for entry in entries:
        _remove(entry)


def _is_needed(folder: Path, path: Path) -> bool:
    return os.path.lexists(folder / _OLD) and (not os.path.lexists(path) or os.path.lexists(folder / _MOVED))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _keep_mode(temporary: Path, path: Path) -> None:
    """Give what replaces a file or a folder the permissions of the old one."""
    if os.path.lexists(path) and not path.is_symlink():
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) & 0o777)


def _put(temporary: Path, path: Path, old: Path, *, force: bool) -> None:
    """Rename; there is no moment at which neither the old nor the new is there."""
    if not force:
        try:
            if not rename(temporary, path, NOREPLACE):
                if os.path.lexists(path):
                    raise FileExistsError
                temporary.rename(path)
        except FileExistsError:
            raise DestinationError(f"{path} was written by another process meanwhile; nothing was replaced") from None
        return
    folders = temporary.is_dir() or (path.is_dir() and not path.is_symlink())
    if not folders or not os.path.lexists(path):
        temporary.replace(path)
    elif not _exchange(temporary, path):
        _replace_folder(temporary, path, old)


def _exchange(temporary: Path, path: Path) -> bool:
    try:
        return rename(temporary, path, EXCHANGE)
    except OSError as error:
        # A folder of the lower layer of an overlayfs cannot be renamed at all.
        if error.errno in _NO_RENAME:
            return False
        raise


def _replace_folder(temporary: Path, path: Path, old: Path) -> None:
    """Where names cannot be exchanged: for a moment the old is in the folder of the work only, whole all the time."""
    try:
        path.rename(old)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        shutil.copytree(path, old, symlinks=True)
        _sync_all(old)
        # From here on what is at the destination may be half removed.
        (old.parent / _MOVED).touch()
        sync(old.parent)
        shutil.rmtree(path)
    try:
        temporary.rename(path)
    except BaseException:
        old.rename(path)
        raise
    finally:
        (old.parent / _MOVED).unlink(missing_ok=True)


def _sync_all(path: Path) -> None:
    if path.is_dir():
        for entry in path.iterdir():
            _sync_all(entry)
    sync(path)


def _beside(folder: Path) -> str | None:
    """What a folder holds that no writer of a checkpoint has put there; None if it is a checkpoint, or empty."""
    names = sorted(entry.name for entry in folder.iterdir())
    if any(mark in names for mark in _ORBAX_MARKS):
        arrays = _array_folders(folder)
        return next((name for name in names if not _ORBAX.fullmatch(name) and name not in arrays), None)
    if not any(mark in names for mark in _MARKS):
        return next(iter(names), None)
    return next((name for name in names if not _OWN.fullmatch(name) or (folder / name).is_dir()), None)


def _array_folders(folder: Path) -> set[str]:
    """The folders that Orbax makes for the arrays of a folder, where it makes one for each."""
    try:
        entries = read_json(folder / "_METADATA")["tree_metadata"].values()
        names = (".".join(str(part["key"]) for part in entry["key_metadata"]) for entry in entries)
        return {name.partition("/")[0] for name in names}
    except (CheckpointError, KeyError, TypeError, AttributeError):
        return set()
