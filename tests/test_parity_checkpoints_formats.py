"""Every format holds every tensor bit for bit, and the library it belongs to reads the same."""

from __future__ import annotations

import collections
import json
import warnings

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from checkpoint_cases import ALL_DTYPES, assert_same, tensors

from einops_arch.checkpoints import Checkpoint, open_checkpoint, read_checkpoint, write_checkpoint, write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError
from einops_arch.layouts.arrays import same_bits, to_numpy, to_tensor

FACTS = {"framework": "torch", "format": "pt"}
PLACES = {"torch": ["one.safetensors", "shards.hf", "one.pt", "folder.dcp"], "flax": ["one.safetensors", "orbax"]}
# What the other side has no name for: torch's safetensors reader, and TensorStore.
NOT_SAFETENSORS = ("float8_e4m3fnuz", "float8_e5m2fnuz")
NOT_ORBAX = ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "complex64")


def write(tmp_path, place, arrays):
    path = tmp_path / place
    framework = "flax" if place == "orbax" else "torch"
    shard = 200 if place.endswith(".hf") else None
    write_tensors(path, MemoryReader(arrays, {**FACTS, "framework": framework}), max_shard_size=shard)
    return path


def cases(place):
    if place == "orbax":
        dtypes = [name for name in ALL_DTYPES if name not in NOT_ORBAX]
        # A slash is a folder for Orbax.
        return {name.replace("/", "-"): value for name, value in tensors(dtypes).items()}
    if place.endswith((".safetensors", ".hf")):
        return tensors([name for name in ALL_DTYPES if name not in NOT_SAFETENSORS])
    return tensors()


@pytest.mark.parametrize("place", ["one.safetensors", "shards.hf", "one.pt", "folder.dcp", "orbax"])
def test_our_reader_gives_back_what_was_written(place, tmp_path):
    expected = cases(place)
    path = write(tmp_path, place, expected)
    with open_checkpoint(path) as reader:
        assert_same({name: reader.read(name) for name in reader.names()}, expected)
        assert set(map(tuple, reader.aliases.items())) in (
            {("tied.second", "tied.first")},
            {("tied.first", "tied.second")},
        )
        for name, info in reader.tensors.items():
            data = b"".join(block.tobytes() for block in reader.blocks(name))
            assert data == np.ascontiguousarray(expected[name]).tobytes(), name
            assert (info.shape, info.dtype) == (expected[name].shape, expected[name].dtype.name)
    again = read_checkpoint(path)
    assert again.tensors["tied.first"] is again.tensors["tied.second"]


def test_safetensors_own_readers_read_ours(tmp_path):
    expected = cases("one.safetensors")
    path = write(tmp_path, "one.safetensors", expected)
    del expected["tied.second"]
    assert_same({name: to_numpy(value) for name, value in safetensors.torch.load_file(path).items()}, expected)
    with safetensors.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["aliases"]) == {"tied.second": "tied.first"}
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            if "float8" not in name:
                assert same_bits(file.get_tensor(name), expected[name]), name


def test_safetensors_own_reader_reads_our_shards(tmp_path):
    expected = cases("shards.hf")
    folder = write(tmp_path, "shards.hf", expected)
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == sum(v.nbytes for n, v in expected.items() if n != "tied.second")
    assert len(set(index["weight_map"].values())) > 3
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        inside = safetensors.torch.load_file(file)
        assert all(index["weight_map"][name] == file.name for name in inside)
        sizes = [tensor.nbytes for tensor in inside.values()]
        assert sum(sizes) <= 200 or len(sizes) == 1
        found |= {name: to_numpy(value) for name, value in inside.items()}
    del expected["tied.second"]
    assert_same(found, expected)


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_our_pt(mmap, tmp_path):
    expected = cases("one.pt")
    loaded = torch.load(write(tmp_path, "one.pt", expected), weights_only=True, mmap=mmap)
    assert_same({name: to_numpy(value) for name, value in loaded.items()}, expected)
    assert loaded["tied.first"].data_ptr() == loaded["tied.second"].data_ptr()


def test_torch_reads_our_dcp(tmp_path):
    expected = cases("folder.dcp")
    folder = write(tmp_path, "folder.dcp", expected)
    state = {name: torch.zeros_like(to_tensor(value)) for name, value in expected.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        dcp.load(state, storage_reader=dcp.FileSystemReader(folder), no_dist=True)
    assert_same({name: to_numpy(value) for name, value in state.items()}, expected)
    assert len(list(folder.glob("*.distcp"))) == 1


def test_orbax_reads_ours(tmp_path):
    import orbax.checkpoint as ocp

    expected = cases("orbax")
    folder = write(tmp_path, "orbax", expected)
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(folder)
    for name, value in expected.items():
        node = tree
        if not value.size or name == "tied.second":
            continue
        for part in name.split("."):
            node = node[part]
        assert same_bits(np.asarray(node), value), name


def saved(path, kind):
    """The same tensors as the library itself writes them."""
    if kind == "safetensors.numpy":
        arrays = {name: np.ascontiguousarray(value) for name, value in tensors(["float32", "int64"]).items()}
        del arrays["tied.second"]
        safetensors.numpy.save_file(arrays, path / "x.safetensors")
        return path / "x.safetensors", arrays
    arrays = tensors([name for name in ALL_DTYPES if "uint" not in name and "fnuz" not in name and "e8m0" not in name])
    if kind == "legacy":
        arrays = {name: value for name, value in arrays.items() if "float8" not in name}
    state = collections.OrderedDict((name, to_tensor(value)) for name, value in arrays.items())
    state["tied.second"] = state["tied.first"]
    state["view"] = state["tied.first"][1:3, ::2].transpose(0, 1)
    arrays["view"] = to_numpy(state["view"])
    if kind in {"zip", "legacy"}:
        torch.save(state, path / "x.pt", _use_new_zipfile_serialization=kind == "zip")
        return path / "x.pt", arrays
    if kind == "nested":
        training = {"epoch": 3, "lr": 0.1, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "best": None}
        torch.save({**training, "state_dict": {"module": state}}, path / "x.pth")
        return path / "x.pth", arrays
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        # PyTorch's own writer fails for arrays without elements of some kinds of views.
        dcp.save(dict(state), checkpoint_id=path / "x", no_dist=True)
    return path / "x", arrays


@pytest.mark.parametrize("kind", ["safetensors.numpy", "zip", "legacy", "nested", "dcp"])
def test_we_read_what_the_library_writes(kind, tmp_path):
    path, expected = saved(tmp_path, kind)
    with open_checkpoint(path) as reader:
        assert_same({name: reader.read(name) for name in reader.names()}, expected)
        if kind not in {"safetensors.numpy", "dcp"}:
            assert reader.aliases == {"tied.second": "tied.first"}


def test_we_read_the_state_of_nnx_that_orbax_writes(tmp_path):
    import orbax.checkpoint as ocp
    from flax import nnx

    model = nnx.Linear(3, 5, rngs=nnx.Rngs(0))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "x", nnx.state(model))
        checkpointer.wait_until_finished()
    with open_checkpoint(tmp_path / "x") as reader:
        assert sorted(reader.names()) == ["bias", "kernel"]
        assert same_bits(reader.read("kernel"), np.asarray(model.kernel[...]))


def test_a_bin_is_a_pt(tmp_path):
    torch.save({"weight": torch.arange(6.0).reshape(2, 3)}, tmp_path / "x.bin")
    assert read_checkpoint(tmp_path / "x.bin").tensors["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_orbax_folder_that_points_elsewhere(tmp_path):
    folder = write(tmp_path, "orbax", {"layer": np.ones(3, "float32")})
    path = folder / "_METADATA"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["use_ocdbt"] = False
    (entry,) = data["tree_metadata"].values()
    for name in ("../secret", "..", "/etc"):
        entry["key_metadata"][0]["key"] = name
        path.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(CheckpointError, match=f"not a whole Orbax checkpoint: '{name}' points outside of the"):
            open_checkpoint(folder)


@pytest.mark.parametrize("place", ["one.safetensors", "shards.hf", "one.pt", "folder.dcp", "orbax"])
def test_progress_is_told_of_every_byte(place, tmp_path):
    told = []
    arrays = {"a": np.ones((300, 300), "float64"), "b": np.zeros(7, "int8"), "c": np.float32(1).reshape(())}
    facts = {"framework": "flax" if place == "orbax" else "torch"}
    write_tensors(tmp_path / place, MemoryReader(arrays, facts), progress=told.append)
    assert sum(told) >= sum(value.nbytes for value in arrays.values())


@pytest.mark.parametrize("writes", ["safetensors", "bin"])
def test_a_folder_of_the_hub_without_an_index(writes, tmp_path):
    value = {"weight": torch.arange(6.0).reshape(2, 3)}
    (tmp_path / "config.json").write_text('{"model_type": "other"}', encoding="utf-8")
    if writes == "safetensors":
        safetensors.torch.save_file(value, tmp_path / "model.safetensors")
    else:
        torch.save(value, tmp_path / "pytorch_model.bin")
    read = read_checkpoint(tmp_path)
    assert (read.architecture, read.framework) == (None, "torch")
    assert same_bits(read.tensors["weight"], to_numpy(value["weight"]))


def test_what_a_format_does_not_hold_is_said(tmp_path):
    with pytest.raises(CheckpointError, match=r"^x: safetensors has no complex128$"):
        write_checkpoint(tmp_path / "a.safetensors", Checkpoint({"x": np.zeros(2, "complex128")}))
    with pytest.raises(CheckpointError, match=r"^dtype 'object' is not supported;"):
        write_checkpoint(tmp_path / "a.safetensors", Checkpoint({"x": np.array([None])}))
    with pytest.raises(CheckpointError, match=r"^a\.b: a is an array and cannot hold others, in an Orbax folder$"):
        write_checkpoint(tmp_path / "a", Checkpoint({"a": np.zeros(2), "a.b": np.zeros(2)}, "flax"))
    assert list(tmp_path.iterdir()) == []
