"""Disks that lack a call of Linux, places that are no file, modes, and leftovers that somebody else put there."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest
from test_core_checkpoints_writing import FACTS, arrays, entries, value_of, write

from einops_arch.checkpoints import open_checkpoint, write_tensors
from einops_arch.checkpoints.disk import destination, linux_calls, sink
from einops_arch.checkpoints.disk.destination import work_folder
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError, DestinationError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls are those of Linux")


def fail(code):
    def call(*_, **__):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV])
@pytest.mark.parametrize("after", [0, 1])
def test_a_disk_without_sendfile(code, after, tmp_path, monkeypatch):
    source, path = tmp_path / "s.safetensors", tmp_path / "x.safetensors"
    write(source, 2.0)
    whole, calls = os.sendfile, []

    def sendfile(out, file, start, count):
        calls.append(start)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))
        return whole(out, file, start, min(count, 7))

    monkeypatch.setattr(os, "sendfile", sendfile)
    with open_checkpoint(source) as reader:
        write_tensors(path, reader)
    assert calls
    assert path.read_bytes() == source.read_bytes()


def test_a_disk_that_fails_while_it_is_read_or_written(tmp_path, monkeypatch):
    source = tmp_path / "s.safetensors"
    write(source, 2.0)
    with open_checkpoint(source) as reader:
        monkeypatch.setattr(os, "sendfile", fail(errno.EIO))
        with pytest.raises(DestinationError, match=r"x\.safetensors cannot be written: Input/output error$"):
            write_tensors(tmp_path / "x.safetensors", reader)
        monkeypatch.setattr(os, "sendfile", fail(errno.EINVAL))
        monkeypatch.setattr(sink.os, "pread", fail(errno.EIO))
        with pytest.raises(CheckpointError, match=r"the source cannot be read: Input/output error$"):
            write_tensors(tmp_path / "x.safetensors", reader)
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    for name in ("x.safetensors", "x.pt", "x.hf"):
        with pytest.raises(DestinationError, match=r"cannot be written: Input/output error$"):
            write(tmp_path / name, 1.0)
    assert entries(tmp_path) == ["s.safetensors"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_disk_without_locks(code, tmp_path, monkeypatch):
    monkeypatch.setattr(destination.fcntl, "flock", fail(code))
    path = tmp_path / "x.safetensors"

    class Slow(MemoryReader):
        def blocks(self, name):
            with pytest.raises(DestinationError, match=r"another process is writing it, or was killed; then remove .*"):
                write(path, 2.0)
            yield from super().blocks(name)

    write_tensors(path, Slow(arrays(1.0), FACTS))
    assert value_of(path) == 1.0
    assert entries(tmp_path) == ["x.safetensors"]


def test_a_lock_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(destination.fcntl, "flock", fail(errno.EIO))
    with pytest.raises(DestinationError, match=r"cannot be written: Input/output error$"):
        write(tmp_path / "x.safetensors", 1.0)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS])
def test_a_folder_that_cannot_be_exchanged(code, tmp_path, monkeypatch):
    path = tmp_path / "x.hf"
    write(path, 1.0)
    real = Path.rename

    def rename(self, target):
        # The lower layer of an overlayfs: what was there when it was mounted cannot be renamed.
        if self == path and code == errno.EXDEV:
            raise OSError(code, os.strerror(code))
        return real(self, target)

    def exchange(first, second, flag):
        if flag != linux_calls.EXCHANGE:
            return linux_calls.rename(first, second, flag)
        if code == errno.EXDEV:
            raise OSError(code, os.strerror(code))
        return False

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(destination, "rename", exchange)
    write(path, 2.0, force=True, max_shard_size=80)
    assert value_of(path) == 2.0
    assert "model.safetensors" not in entries(path)
    assert entries(tmp_path) == ["x.hf"]

    # Where the new cannot take its place, the old comes back.
    def broken(self, target):
        if target == path and self.name == path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(DestinationError, match=r"Input/output error$"):
        write(path, 3.0, force=True)
    assert value_of(path) == 2.0
    assert entries(tmp_path) == ["x.hf"]


@pytest.mark.parametrize("moment", ["copied", "removed", "moved"])
def test_a_port_that_is_killed_while_it_replaces_a_folder_it_cannot_exchange(moment, tmp_path, monkeypatch):
    path, folder = tmp_path / "x.hf", work_folder(tmp_path / "x.hf")
    write(path, 1.0)

    class Killed(BaseException):
        """Nothing is tidied up after it."""

    def kill(*_, **__):
        if moment == "removed":
            (path / "model.safetensors").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(destination, "rename", lambda *_: False)
        patch.setattr(destination.shutil, "rmtree", lambda *_, **__: None if moment == "moved" else kill())
        if moment == "moved":
            patch.setattr(destination, "_replace_folder", lambda _, there, old: (there.rename(old), kill()))
        else:
            real = Path.rename
            patch.setattr(Path, "rename", lambda a, b: fail(errno.EXDEV)() if a == path else real(a, b))
        with pytest.raises(Killed):
            write(path, 2.0, force=True)
    # The old is whole, and the next port says where.
    with pytest.raises(DestinationError, match=r"a port was killed .* likely fix: move it back, or remove"):
        write(path, 3.0, force=True)
    assert value_of(folder / "old") == 1.0


def test_a_planted_leftover_never_becomes_the_destination(tmp_path):
    path = tmp_path / "z.pt"
    folder = work_folder(path)
    folder.mkdir()
    (folder / "old").write_bytes(b"planted")

    class Broken(MemoryReader):
        def blocks(self, name):
            raise CheckpointError("the source fails")

    for reader in (Broken(arrays(1.0), FACTS), MemoryReader(arrays(1.0), FACTS)):
        with pytest.raises(DestinationError, match=r"likely fix: move it back, or remove"):
            write_tensors(path, reader)
        assert not path.exists()
        assert (folder / "old").read_bytes() == b"planted"
    (folder / "old").unlink()
    write(path, 1.0)
    assert entries(tmp_path) == ["z.pt"]


def test_the_folder_of_somebody_else_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "z.pt"
    work_folder(path).mkdir()
    (work_folder(path) / "file").write_bytes(b"of somebody")
    monkeypatch.setattr(os, "geteuid", lambda: work_folder(path).stat().st_uid + 1)
    with pytest.raises(DestinationError, match="belongs to somebody else"):
        write(path, 1.0)
    assert (work_folder(path) / "file").read_bytes() == b"of somebody"


def test_a_work_folder_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_bytes(b"no copy")
    path = tmp_path / "z.pt"
    work_folder(path).symlink_to(tmp_path / "mine")
    with pytest.raises(DestinationError):
        write(path, 1.0)
    assert entries(tmp_path / "mine") == ["thesis"]


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.hf"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_force_keeps_the_mode(name, mode, tmp_path):
    path = tmp_path / name
    write(path, 1.0)
    mode |= 0o700 if path.is_dir() else 0
    path.chmod(mode)
    write(path, 2.0, force=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert value_of(path) == 2.0


def test_what_is_being_written_is_nobody_elses(tmp_path):
    path = tmp_path / "x.safetensors"

    class Looking(MemoryReader):
        def blocks(self, name):
            assert stat.S_IMODE(work_folder(path).stat().st_mode) == 0o700
            yield from super().blocks(name)

    write_tensors(path, Looking(arrays(1.0), FACTS))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_force_replaces_files_and_folders_only(kind, tmp_path):
    path = tmp_path / "x.pt"
    if kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    else:
        os.mknod(path, 0o600 | (stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK))
    for force in (False, True):
        with pytest.raises(DestinationError):
            write(path, 1.0, force=force)
    with pytest.raises(DestinationError, match="neither a regular file nor a folder"):
        write(path, 1.0, force=True)
    assert not path.is_file()


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    (tmp_path / "run" / "100").mkdir(parents=True)
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: fail(errno.EACCES)() if path.name == "100" else real(path))
    with pytest.raises(CheckpointError, match=r"run: cannot be read: Permission denied$"):
        open_checkpoint(tmp_path / "run")
