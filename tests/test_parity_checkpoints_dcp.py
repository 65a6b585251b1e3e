"""Folders of torch.distributed.checkpoint: what their pickle claims is held against the bytes of their files."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from checkpoint_sandbox import run
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from einops_arch.checkpoints import open_checkpoint
from einops_arch.errors import CheckpointError


def folder_of(path, pieces, shape, *, length=100, **properties):
    """A folder whose metadata says that a tensor is made of pieces (offsets, sizes) in a file of a few bytes."""
    path.mkdir()
    (path / "__0_0.distcp").write_bytes(b"x" * length)
    chunks = [ChunkStorageMetadata(torch.Size(at), torch.Size(size)) for at, size in pieces]
    known = TensorStorageMetadata(TensorProperties(torch.float32, **properties), torch.Size(shape), chunks)
    places = {MetadataIndex("w", torch.Size(at)): _StorageInfo("__0_0.distcp", 0, length) for at, _ in pieces}
    with (path / ".metadata").open("wb") as file:
        pickle.dump(Metadata({"w": known}, storage_data=places), file)
    return path


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (26,)])
def test_a_piece_larger_than_its_file_takes_no_memory(shape, tmp_path):
    folder = folder_of(tmp_path / "x", [((0,) * len(shape), shape)], shape)
    with pytest.raises(CheckpointError, match=r"w: expected \d+ bytes or more for a piece of shape .* received 100 in"):
        open_checkpoint(folder)


@pytest.mark.parametrize("start", [1, 1 << 62])
def test_a_piece_that_ends_after_its_file(start, tmp_path):
    folder = folder_of(tmp_path / "x", [((0,), (3,))], (3,))
    with (folder / ".metadata").open("rb") as file:
        metadata = pickle.load(file)  # written above
    for place in metadata.storage_data.values():
        place.offset = start
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match=rf"w: the file __0_0.distcp ends {start} bytes too early"):
        open_checkpoint(folder)


def test_a_file_that_is_a_pipe_is_named(tmp_path):
    folder = folder_of(tmp_path / "x", [((0,), (3,))], (3,))
    (folder / "__0_0.distcp").unlink()
    os.mkfifo(folder / "__0_0.distcp")
    with pytest.raises(CheckpointError, match=r"__0_0\.distcp: cannot be read: not a regular file"):
        open_checkpoint(folder)


def test_a_folder_of_more_files_than_a_process_may_open(tmp_path):
    count = 150
    folder = folder_of(tmp_path / "x", [((number,), (1,)) for number in range(count)], (count,))
    with (folder / ".metadata").open("rb") as file:
        metadata = pickle.load(file)  # written above
    for number, place in enumerate(metadata.storage_data.values()):
        place.relative_path = f"__{number}_0.distcp"
        torch.save(torch.tensor([float(number)]), folder / place.relative_path)
        place.length = (folder / place.relative_path).stat().st_size
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))

    def read():
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 80,) * 2)
        with open_checkpoint(folder) as reader:
            return reader.read("w").tolist(), reader.read("w").tolist()

    assert run(read).value == (list(map(float, range(count))),) * 2


def test_weights_beside_a_folder_of_another_kind_are_told(tmp_path):
    folder = folder_of(tmp_path / "x", [((0,), (3,))], (3,), length=2000)
    (folder / "model.safetensors").write_bytes(b"")
    with open_checkpoint(folder) as reader:
        assert reader.left_out == {"model.safetensors": "weights beside .metadata, which was taken"}


BOMB = b")" + b"q\x00h\x00\x86" * 60
"""A tuple of tuples of tuples: 2^60 elements."""


@pytest.mark.parametrize("value", [BOMB, b"]", b"}", b"K\x05", b"N"])
def test_the_name_of_a_piece_is_a_string_before_it_is_hashed_or_shown(value, tmp_path):
    folder = folder_of(tmp_path / "x", [((0,), (3,))], (3,))
    data = (folder / ".metadata").read_bytes()
    at = data.find(b"\x8c\x03fqn")
    assert at > 0
    stop = data.index(b"h", at)
    changed = data[: at + 5] + b"\x94" + value + data[stop + 2 :]
    # Frames would have to be made anew, and are optional.
    changed = changed[:2] + changed[11:]
    (folder / ".metadata").write_bytes(changed)
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"\.metadata: ") as error:
        open_checkpoint(folder)
    assert time.perf_counter() - began < 5
    assert "expected the name of a tensor" in str(error.value), error.value


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([((0, 0), (2, 3)), ((1, 0), (2, 3))], "expected pieces of 9 elements, received 12"),
        ([((0, 0), (2, 3)), ((1, 1), (1, 2)), ((2, 0), (1, 1))], "two pieces overlap"),
        ([((0, 0), (3, 2)), ((0, 1), (3, 1))], "two pieces overlap"),
        ([((0, 0), (3, 2)), ((0, 2), (3, 2))], "a piece lies outside of the tensor"),
    ],
)
def test_pieces_that_are_no_tiling(pieces, text, tmp_path):
    with pytest.raises(CheckpointError, match=f"w: {text}"):
        open_checkpoint(folder_of(tmp_path / "x", pieces, (3, 3)))


@pytest.mark.parametrize("axis", [0, 1])
def test_thousands_of_pieces_along_any_axis_are_checked_in_a_moment(axis, tmp_path):
    count = 4000
    shape = (count, 1) if axis == 0 else (1, count)
    pieces = [((number, 0) if axis == 0 else (0, number), (1, 1)) for number in range(count)]
    began = time.process_time()
    with open_checkpoint(folder_of(tmp_path / "x", pieces, shape)) as reader:
        assert reader.info("w").shape == shape
    assert time.process_time() - began < 10


def test_what_torch_transformed_or_keeps_sparse_is_refused(tmp_path):
    folder = folder_of(tmp_path / "x", [((0,), (3,))], (3,), layout=torch.sparse_coo)
    with pytest.raises(CheckpointError, match="w: expected a dense tensor"):
        open_checkpoint(folder)
    folder = folder_of(tmp_path / "y", [((0,), (3,))], (3,))
    with (folder / ".metadata").open("rb") as file:
        metadata = pickle.load(file)  # written above
    for place in metadata.storage_data.values():
        place.transform_descriptors = ["zstd"]
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match="w: its bytes were transformed when written"):
        open_checkpoint(folder)


WRITE = """
import resource, sys
import numpy as np
import torch.distributed.checkpoint
from einops_arch.checkpoints import Reader, TensorInfo, write_tensors

class Same(Reader):
    def __init__(self, count, rows):
        self.tensors = {f"x{n}": TensorInfo((rows, 1 << 18), "float32") for n in range(count)}
        self.aliases, self.metadata = {}, {"framework": "torch"}
    def bits(self, name):
        return np.ones(self.tensors[name].shape, "float32").view("uint32")

write_tensors(sys.argv[1] + "/warm.dcp", Same(1, 1))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_tensors(sys.argv[1] + "/x.dcp", Same(24, 16))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


def test_writing_a_folder_takes_the_memory_of_a_few_tensors_and_not_of_all(tmp_path):
    # 24 tensors of 16 MiB; PyTorch's own writer keeps all 384 MiB.
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    kib = int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert kib < (3 * 16 + 40) * 1024, f"{kib / 1024:.0f} MiB"
    state = {"x23": torch.zeros(16, 1 << 18)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        dcp.load(state, checkpoint_id=tmp_path / "x.dcp", no_dist=True)
    assert np.all(state["x23"].numpy() == 1)
