"""Orbax folders that lost something, say too much, or have a name that is no URL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import orbax.checkpoint as ocp
import pytest

from einops_arch.checkpoints import open_checkpoint, write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError, DestinationError, DtypeError
from einops_arch.layouts.arrays import same_bits

FLAX = {"framework": "flax"}


def saved(path, *, ocdbt, zarr3=False, **arrays):
    """A folder by Orbax itself."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_zarr3=zarr3)) as checkpointer:
        checkpointer.save(path, arrays)
    return path


def edited(path, change):
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize("zarr3", [False, True])
def test_a_lost_chunk_is_an_error_and_not_zeros(zarr3, tmp_path):
    weight = np.arange(1.0, 13.0, dtype="float32").reshape(3, 4)
    folder = saved(tmp_path / "o", ocdbt=False, zarr3=zarr3, w=weight, other=np.ones(5))
    with open_checkpoint(folder) as reader:
        assert same_bits(reader.read("w"), weight)
    (folder / "w" / ("c/0/0" if zarr3 else "0.0")).unlink()
    with pytest.raises(CheckpointError, match=r"'w': expected 1 chunks, received 0"):
        open_checkpoint(folder)


@pytest.mark.parametrize("ocdbt", [False, True])
def test_earlier_versions_do_not_say_how_arrays_are_stored(ocdbt, tmp_path):
    folder = saved(tmp_path / "o", ocdbt=ocdbt, w=np.arange(12.0).reshape(3, 4))
    edited(folder / "_METADATA", lambda data: data.pop("use_ocdbt"))
    with open_checkpoint(folder) as reader:
        assert same_bits(reader.read("w"), np.arange(12.0).reshape(3, 4))


@pytest.mark.parametrize("zarr3", [False, True])
def test_an_array_that_the_folder_does_not_speak_of_is_told(zarr3, tmp_path):
    arrays = {"w": np.ones((3, 4), "float32"), "other": {"part": np.arange(3), "/odd": np.ones(2)}}
    folder = saved(tmp_path / "o", ocdbt=False, zarr3=zarr3, **arrays, text="words", nothing=None)
    with open_checkpoint(folder) as reader:
        assert reader.left_out == {"text": "it is no array but 'string'"}
    edited(folder / "_METADATA", lambda data: data["tree_metadata"].pop("('other', 'part')"))
    with open_checkpoint(folder) as reader:
        assert set(reader.names()) == {"w", "other.odd"}
        assert reader.left_out["other.part"] == "an array in the folder, and not in its _METADATA"


def test_a_chunk_that_is_lost_while_the_folder_is_open(tmp_path):
    folder = saved(tmp_path / "o", ocdbt=False, w=np.ones((3, 4), "float32"))
    with open_checkpoint(folder) as reader:
        (folder / "w" / "0.0").unlink()
        with pytest.raises(CheckpointError, match=r"w: not a whole Orbax checkpoint: .*NOT_FOUND.* is missing"):
            reader.read("w")


@pytest.mark.parametrize("zarr3", [False, True])
@pytest.mark.parametrize("shape", [[6, 4], [3, 9], [1 << 30, 1 << 30]])
def test_a_shape_that_grew_has_no_bytes_in_the_folder(shape, zarr3, tmp_path):
    folder = saved(tmp_path / "o", ocdbt=False, zarr3=zarr3, w=np.ones((3, 4), "float32"))
    edited(folder / "w" / ("zarr.json" if zarr3 else ".zarray"), lambda data: data.update(shape=shape))
    with pytest.raises(CheckpointError, match=r"expected \d+ chunks, received 1|more than the \d+ bytes of the folder"):
        open_checkpoint(folder)


@pytest.mark.parametrize("shape", [[1 << 30, 1 << 30], [3, 4]])
@pytest.mark.parametrize("chunk", [[1 << 30, 1 << 30], [1 << 40, 1], [1 << 20, 1 << 12]])
@pytest.mark.parametrize("zarr3", [False, True])
def test_chunks_larger_than_the_folder_take_no_memory(shape, chunk, zarr3, tmp_path):
    folder = saved(tmp_path / "o", ocdbt=False, zarr3=zarr3, w=np.ones((3, 4), "float32"))

    def change(data):
        data["shape"] = shape
        if zarr3:
            data["chunk_grid"]["configuration"]["chunk_shape"] = chunk
            data["codecs"][0]["configuration"]["chunk_shape"] = chunk
        else:
            data["chunks"] = chunk

    edited(folder / "w" / ("zarr.json" if zarr3 else ".zarray"), change)
    with pytest.raises(CheckpointError, match=r"chunks have \d+ bytes, more than the \d+ bytes of the folder can hold"):
        open_checkpoint(folder)


def test_zeros_may_be_thirty_thousand_times_larger_than_their_bytes(tmp_path):
    zeros = np.zeros((64 << 20) // 8, "float64")
    folder = saved(tmp_path / "o", ocdbt=True, w=zeros)
    with open_checkpoint(folder) as reader:
        assert same_bits(reader.read("w"), zeros)


@pytest.mark.parametrize("ocdbt", [True, False])
def test_the_names_of_folders_are_no_urls(ocdbt, tmp_path):
    names = ["run 1", "run%201", "run%2F1", "what?", "what", "a#b", "a", "größe", "x\ty", "%", "&=+"]
    for number, name in enumerate(names):
        saved(tmp_path / name, ocdbt=ocdbt, w=np.full(3, number))
        write_tensors(tmp_path / f"ours {name}", MemoryReader({"w": np.full(3, -number)}, FLAX), kind="orbax")
    for number, name in enumerate(names):
        with open_checkpoint(tmp_path / name) as theirs, open_checkpoint(tmp_path / f"ours {name}") as ours:
            assert theirs.read("w").tolist() == [number] * 3, name
            assert ours.read("w").tolist() == [-number] * 3, name


def test_the_names_of_tensors_come_back_as_they_were_written(tmp_path):
    names = ["a b", "%41", "A", "a%2Fb", "a/c", "/a", "..", "a?b", "a#b", "ü.é", "a..b", ".x", '"', "'", "\\", "0"]
    names += ["\n", "日本", "x" * 300, "deep.value"]
    arrays = {name: np.arange(number, number + 3.0) for number, name in enumerate(names)}
    write_tensors(tmp_path / "o", MemoryReader(arrays, FLAX))
    with open_checkpoint(tmp_path / "o") as reader:
        assert set(reader.names()) == set(names)
        for name, value in arrays.items():
            assert same_bits(reader.read(name), value), name


def test_names_that_all_end_with_value_keep_it(tmp_path):
    arrays = {"a.value": np.ones(2), "b.value": np.zeros(3)}
    write_tensors(tmp_path / "o", MemoryReader(arrays, FLAX))
    with open_checkpoint(tmp_path / "o") as reader:
        assert set(reader.names()) == set(arrays)


@pytest.mark.parametrize("name", ["a/", "\udc80"])
def test_names_that_tensorstore_cannot_keep_are_refused_before_a_byte_is_written(name, tmp_path):
    with pytest.raises(CheckpointError, match="an Orbax folder"):
        write_tensors(tmp_path / "o", MemoryReader({name: np.ones(2)}, FLAX))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["_METADATA", "w/.zarray", "w/0.0", "einops_arch.json", "w/more"])
def test_a_pipe_in_the_folder_is_named_and_not_waited_for(place, tmp_path):
    folder = saved(tmp_path / "o", ocdbt=False, w=np.ones((3, 4), "float32"))
    (folder / place).unlink(missing_ok=True)
    os.mkfifo(folder / place)
    received = []

    def read():
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(folder)
        received.append(str(error.value))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert received, "it waits"
    assert place in received[0]
    assert "not a regular file" in received[0]


def test_a_folder_inside_that_is_a_link_is_refused(tmp_path):
    folder = saved(tmp_path / "o", ocdbt=False, w=np.ones((3, 4), "float32"))
    shutil.move(folder / "w", tmp_path / "secret")
    (folder / "w").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="'w': not a regular file"):
        open_checkpoint(folder)


class Failing(MemoryReader):
    """A source whose second tensor cannot be read."""

    error: BaseException

    def bits(self, name):
        if name == "b":
            raise self.error
        return super().bits(name)


@pytest.mark.parametrize("place", ["o", "x.dcp"])
@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (CheckpointError("b: it is damaged"), CheckpointError, "^b: it is damaged$"),
        (DtypeError("b: 3 numbers do not fit"), DtypeError, "^b: 3 numbers do not fit$"),
        (OSError(28, "No space left on device"), DestinationError, "cannot be written: No space left on device"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (MemoryError("no room"), DestinationError, "failed: MemoryError: no room"),
    ],
)
def test_what_goes_wrong_in_another_librarys_writer_is_one_of_our_errors(place, error, expected, text, tmp_path):
    framework = {"framework": "torch" if place.endswith("dcp") else "flax"}
    source = Failing({"a": np.ones(3), "b": np.ones(4), "c": np.ones(5)}, framework)
    source.error = error
    with pytest.raises(expected, match=text):
        write_tensors(tmp_path / place, source)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_another_librarys_writer_runs_is_an_interruption(tmp_path):
    # In the background of a shell, interrupts are ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Interrupting(MemoryReader):
        def bits(self, name):
            signal.raise_signal(signal.SIGINT)
            return super().bits(name)

    for place, framework in (("o", "flax"), ("x.dcp", "torch")):
        with pytest.raises(KeyboardInterrupt):
            write_tensors(tmp_path / place, Interrupting({"a": np.ones(3)}, {"framework": framework}))
    signal.signal(signal.SIGINT, before)
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, signal, sys
import numpy as np
from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.reader import MemoryReader
import orbax.checkpoint, torch.distributed.checkpoint

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
numbers = np.random.default_rng(0).random(50_000)
for path, framework in zip(sys.argv[1:], ("flax", "torch")):
    try:
        write_tensors(path, MemoryReader({"a": numbers}, {"framework": framework}))
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_what_the_disk_says_comes_through_tensorstore_and_torch(tmp_path):
    places = [str(tmp_path / "o"), str(tmp_path / "x.dcp")]
    output = subprocess.run(
        [sys.executable, "-c", FULL, *places], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    assert output == [
        f"DestinationError {places[0]} cannot be written: File too large",
        f"DestinationError {places[1]}/__0_0.distcp cannot be written: File too large",
    ]
    assert list(tmp_path.iterdir()) == []
