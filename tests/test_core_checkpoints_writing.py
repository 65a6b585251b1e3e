"""A destination is whole or untouched: killed processes, two at once, disks that fail, names that lead elsewhere."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from einops_arch.checkpoints import open_checkpoint, write_tensors
from einops_arch.checkpoints.disk.destination import work_folder
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError, DestinationError

FACTS = {"framework": "torch", "format": "pt"}
KILLS = int(os.environ.get("EINOPS_ARCH_KILLS", "3"))
"""How often a writer is killed, for each format; the session `fuzz` asks for more."""

WRITER = """
import sys
import numpy as np
from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.reader import MemoryReader

facts = {"framework": "torch", "format": "pt"}
print("ready", flush=True)
value = 0
while True:
    value = 3 - value if value else 1
    arrays = {f"x{n}": np.full((64, 1024), value, "float32") for n in range(40)}
    write_tensors(sys.argv[1], MemoryReader(arrays, facts), force=True, max_shard_size=eval(sys.argv[2]))
"""


def arrays(value, count=3):
    return {f"x{n}": np.full((4, 5), value, "float32") for n in range(count)}


def write(path, value, **options):
    write_tensors(path, MemoryReader(arrays(value), FACTS), **options)


def value_of(path):
    """The one number that the whole checkpoint holds."""
    with open_checkpoint(path) as reader:
        found = {float(number) for name in reader.names() for number in np.unique(reader.read(name))}
    (value,) = found
    return value


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("name", "shard"), [("x.safetensors", None), ("x.pt", None), ("x.hf", 1 << 20)])
def test_a_killed_writer_leaves_the_old_or_the_new(name, shard, tmp_path):
    path = tmp_path / name
    rng = random.Random(name)
    write(path, 2.0)
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(path), repr(shard)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
        assert value_of(path) in {1.0, 2.0}
        assert set(entries(tmp_path)) <= {name, work_folder(path).name}
    # A leftover is in nobody's way, and gone after the next port.
    work_folder(path).mkdir(exist_ok=True)
    half = work_folder(path) / f"{name}-half"
    half.mkdir(exist_ok=True)
    (half / "file").write_bytes(b"rest")
    write(path, 7.0, force=True)
    assert value_of(path) == 7.0
    assert entries(tmp_path) == [name]


def test_of_two_at_once_one_wins_and_the_other_says_so(tmp_path):
    path = tmp_path / "x.safetensors"

    class Slow(MemoryReader):
        """While it is read, somebody else writes."""

        def blocks(self, name):
            with pytest.raises(DestinationError, match=r"another process is writing it$"):
                write(path, 2.0)
            yield from super().blocks(name)

    write_tensors(path, Slow(arrays(1.0), FACTS))
    assert value_of(path) == 1.0
    assert entries(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("name", ["x.safetensors", "x.hf"])
def test_what_appears_meanwhile_is_not_replaced(name, tmp_path):
    path = tmp_path / name

    class Beside(MemoryReader):
        def blocks(self, name):
            if not path.exists():
                path.write_bytes(b"of another program")
            yield from super().blocks(name)

    with pytest.raises(DestinationError, match=r"was written by another process meanwhile; nothing was replaced$"):
        write_tensors(path, Beside(arrays(1.0), FACTS))
    assert path.read_bytes() == b"of another program"
    assert entries(tmp_path) == [name]


def test_an_error_while_reading_leaves_the_old(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, 1.0)

    class Broken(MemoryReader):
        def blocks(self, name):
            if name == "x2":
                raise CheckpointError("the disk fails")
            yield from super().blocks(name)

    for name in ("x.safetensors", "x.pt", "x.hf"):
        with pytest.raises(CheckpointError, match=r"^the disk fails$"):
            write_tensors(tmp_path / name, Broken(arrays(2.0), FACTS), force=True)
    assert entries(tmp_path) == ["x.safetensors"]
    assert value_of(path) == 1.0


def test_a_source_that_shrinks_while_it_is_read(tmp_path):
    source = tmp_path / "s.safetensors"
    write(source, 1.0)
    with open_checkpoint(source) as reader:
        os.truncate(source, source.stat().st_size - 4)
        with pytest.raises(CheckpointError, match=r"4 bytes too early$"):
            write_tensors(tmp_path / "x.safetensors", reader)
    assert entries(tmp_path) == ["s.safetensors"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk(tmp_path, monkeypatch):
    real = os.open

    def full(path, flags, *rest, **options):
        new = flags & os.O_CREAT
        return real("/dev/full" if new else path, flags & ~(os.O_CREAT | os.O_EXCL), *rest, **options)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DestinationError, match=r"cannot be written: No space left on device$"):
        write(tmp_path / "x.safetensors", 1.0)
    assert entries(tmp_path) == []


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    # Root may write everywhere, so the system is made to say no.
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DestinationError, match=r"x\.safetensors cannot be written: Permission denied$"):
        write(tmp_path / "x.safetensors", 1.0)


def test_the_destination_is_the_source(tmp_path):
    source = tmp_path / "s.safetensors"
    write(source, 1.0)
    link, hard, folder = tmp_path / "link.safetensors", tmp_path / "hard.safetensors", tmp_path / "f.hf"
    link.symlink_to(source)
    hard.hardlink_to(source)
    write(folder, 1.0)
    for read, path in ((source, source), (source, link), (source, hard), (link, source), (folder, folder)):
        with open_checkpoint(read) as reader, pytest.raises(DestinationError, match="it is, or holds, the source"):
            write_tensors(path, reader, force=True)
    with (
        open_checkpoint(folder / "model.safetensors") as reader,
        pytest.raises(DestinationError, match="or holds, the"),
    ):
        write_tensors(folder, reader, force=True)
    assert value_of(source) == value_of(folder) == 1.0


def test_the_destination_is_the_file_of_a_folder_that_is_the_source(tmp_path):
    write(tmp_path / "x.hf", 1.0)
    with open_checkpoint(tmp_path / "x.hf") as reader:
        with pytest.raises(DestinationError, match="it is, or holds, the source"):
            write_tensors(tmp_path / "x.hf" / "model.safetensors", reader, force=True)
        write_tensors(tmp_path / "x.hf" / "other.safetensors", reader)
    assert value_of(tmp_path / "x.hf") == value_of(tmp_path / "x.hf" / "other.safetensors") == 1.0


def test_a_destination_that_is_a_link_in_a_circle_is_replaced(tmp_path):
    path = tmp_path / "x.safetensors"
    path.symlink_to(path)
    write(tmp_path / "source.safetensors", 2.0)
    with open_checkpoint(tmp_path / "source.safetensors") as reader:
        write_tensors(path, reader, force=True)
    assert value_of(path) == 2.0


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"a: cannot be read: Too many levels of symbolic links$"):
        open_checkpoint(tmp_path / "a")
    with pytest.raises(DestinationError, match=r"Too many levels of symbolic links$"):
        write(tmp_path / "a" / "x.safetensors", 1.0)
    (tmp_path / "x.safetensors").symlink_to(tmp_path / "x.safetensors")
    write(tmp_path / "x.safetensors", 2.0, force=True)
    assert value_of(tmp_path / "x.safetensors") == 2.0


def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path):
    write(tmp_path / "old.safetensors", 1.0)
    (tmp_path / "x.safetensors").symlink_to("old.safetensors")
    write(tmp_path / "x.safetensors", 2.0, force=True)
    assert value_of(tmp_path / "old.safetensors") == 1.0
    assert value_of(tmp_path / "x.safetensors") == 2.0


def test_a_folder_replaces_a_folder_but_never_other_things(tmp_path):
    path = tmp_path / "x.hf"
    write(path, 1.0)
    write(path, 2.0, force=True, max_shard_size=80)
    assert value_of(path) == 2.0
    assert "model.safetensors" not in entries(path)
    (path / "thesis.txt").write_text("no copy", encoding="utf-8")
    with pytest.raises(DestinationError, match="is a folder that holds other things than a checkpoint"):
        write(path, 3.0, force=True)
    assert value_of(path) == 2.0


TREE = {"tree_metadata": {"('a', 'w')": {"key_metadata": [{"key": "a"}, {"key": "w/x"}]}}}


@pytest.mark.parametrize(
    ("names", "other"),
    [
        (["_METADATA", "_CHECKPOINT_METADATA", "d/0", "manifest.ocdbt", "thesis.txt"], "thesis.txt"),
        (["_METADATA", "a.w/x/.zarray", "b.w/.zarray"], "b.w"),
        (["_CHECKPOINT_METADATA", "default/_METADATA", "metrics/metrics"], "default"),
        (["config.json", "model.safetensors/thesis"], "model.safetensors"),
        ([".metadata", "__0_0.distcp", ".git/HEAD"], ".git"),
        (["_METADATA", "_CHECKPOINT_METADATA", "a.w/x/.zarray", "array_metadatas/process_0"], None),
    ],
)
def test_a_folder_with_anything_else_in_it_is_not_replaced(names, other, tmp_path):
    path = tmp_path / "x.hf"
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(TREE), encoding="utf-8")
    if other is None:
        write(path, 1.0, force=True)
        assert value_of(path) == 1.0
        return
    with pytest.raises(DestinationError, match=rf"other things than a checkpoint, such as '{re.escape(other)}'"):
        write(path, 1.0, force=True)
    assert all((path / name).exists() for name in names)


def test_a_leftover_with_anything_else_in_it_is_not_removed(tmp_path):
    path = tmp_path / "x.pt"
    work_folder(path).mkdir()
    (work_folder(path) / "thesis.txt").write_text("no copy", encoding="utf-8")
    for force in (False, True):
        with pytest.raises(DestinationError, match=r"holds 'thesis\.txt', which no port has put there"):
            write(path, 1.0, force=force)
    assert (work_folder(path) / "thesis.txt").exists()


def test_a_name_that_leaves_no_room_for_another(tmp_path):
    path = tmp_path / ("x" * 243 + ".safetensors")
    write(path, 1.0)
    assert value_of(path) == 1.0
    assert entries(tmp_path) == [path.name]


def test_what_is_there_is_only_replaced_when_asked(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, 1.0)
    with pytest.raises(DestinationError, match=r"exists already; replace it with --force \(force=True\)$"):
        write(path, 2.0)
    with pytest.raises(DestinationError, match=r"cannot be written: .*nowhere does not exist$"):
        write(tmp_path / "nowhere" / "x.safetensors", 1.0)
    with pytest.raises(DestinationError, match=r"x\.safetensors is not a folder$"):
        write(path / "x.safetensors", 1.0)
    assert value_of(path) == 1.0
