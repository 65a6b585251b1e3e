"""Checkpoints: every format there and back bit for bit, read by the formats' own readers, and never half-written."""

from __future__ import annotations

import errno
import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors
import torch
from flax import nnx

import einops_arch
from einops_arch.architectures import ConvNetConfig
from einops_arch.checkpoints import Checkpoint, format_of, read_checkpoint, write_checkpoint
from einops_arch.checkpoints.disk.destination import replacing
from einops_arch.errors import CheckpointError, ConfigError, DestinationError, UnknownArchitectureError
from einops_arch.flax.convnet import ConvNet
from einops_arch.flax.state import from_leaves, state_dict, to_leaves
from einops_arch.layouts.arrays import same_bits

FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
DTYPES = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "bool")
PLACES = [("a.safetensors", "torch"), ("a.safetensors", "flax"), ("a.pt", "torch"), ("a", "flax")]


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, name))


def array_of(name, shape=(3, 5), seed=0):
    """Every bit pattern is as likely as any other: NaNs with payloads, infinities, denormals."""
    dtype = dtype_of(name)
    raw = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    if name == "bool":
        raw &= 1
    return raw.view(dtype).reshape(shape)


def assert_same(received, expected):
    assert set(received) == set(expected)
    for name, array in expected.items():
        assert same_bits(np.asarray(received[name]), np.asarray(array)), name


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("place", "framework"), PLACES)
def test_every_dtype_keeps_every_bit(place, framework, tmp_path):
    tensors = {f"layer.{name}": array_of(name) for name in DTYPES}
    write_checkpoint(tmp_path / place, Checkpoint(tensors, framework))
    found = read_checkpoint(tmp_path / place)
    assert found.framework == framework
    assert_same(found.tensors, tensors)
    assert names_in(tmp_path) == [place]


@pytest.mark.parametrize(("place", "framework"), PLACES)
def test_every_shape(place, framework, tmp_path):
    tensors = {
        "scalar": np.array(2.5, np.float32),
        "count": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "one": np.ones((1, 1, 1), np.float16),
        "deep": array_of("float32", (2, 1, 3, 2, 1, 2)),
    }
    write_checkpoint(tmp_path / place, Checkpoint(tensors, framework))
    assert_same(read_checkpoint(tmp_path / place).tensors, tensors)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("place", "framework"), PLACES)
def test_the_order_in_memory_does_not_matter(place, framework, dtype, tmp_path):
    base = array_of(dtype, (4, 6, 5))
    views = {
        "transposed": base.T,
        "fortran": np.asfortranarray(base),
        "strided": base[::2, 1::3],
        "reversed": base[:, ::-1],
        "broadcast": np.broadcast_to(base[:1], base.shape),
        "read_only": base[0],
    }
    views["read_only"].flags.writeable = False
    copies = {name: np.array(view, order="C") for name, view in views.items()}
    write_checkpoint(tmp_path / place, Checkpoint(views, framework))
    assert_same(read_checkpoint(tmp_path / place).tensors, copies)
    assert_same(views, copies)


def test_big_endian_numbers_are_the_same_numbers(tmp_path):
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    for place in ("a.safetensors", "a.pt"):
        write_checkpoint(tmp_path / place, Checkpoint({"w": numbers.astype(">f4")}))
        assert np.array_equal(read_checkpoint(tmp_path / place).tensors["w"].astype(np.float32), numbers)


def test_safetensors_own_readers_agree(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {f"x.{name}": array_of(name).T for name in DTYPES}
    write_checkpoint(path, Checkpoint(tensors, "torch", "convnet", ConvNetConfig.tiny()))
    with safetensors.safe_open(path, "pt") as file:
        facts = file.metadata()
        for name, array in tensors.items():
            tensor = file.get_tensor(name)
            assert str(tensor.dtype) == f"torch.{array.dtype.name}"
            assert tuple(tensor.shape) == array.shape
            assert tensor.contiguous().view(torch.uint8).numpy().tobytes() == np.ascontiguousarray(array).tobytes()
    assert facts["format"] == "pt"
    assert (facts["framework"], facts["architecture"]) == ("torch", "convnet")
    assert facts["einops_arch_version"] == einops_arch.__version__
    assert json.loads(facts["config"])["hidden"] == 7


def test_files_of_safetensors_own_writer(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    numbers = torch.arange(6.0).reshape(2, 3)
    save_file({"w": numbers, "b": numbers.bfloat16(), "n": torch.tensor(3)}, path)
    found = read_checkpoint(path)
    assert (found.framework, found.architecture, found.config) == ("torch", None, None)
    assert np.array_equal(found.tensors["w"], numbers.numpy())
    assert np.array_equal(found.tensors["b"].astype(np.float32), numbers.numpy())
    assert (found.tensors["n"].dtype, found.tensors["n"].shape, int(found.tensors["n"])) == (np.int64, (), 3)


def test_torch_own_reader_agrees(tmp_path):
    path = tmp_path / "a.pt"
    tensors = {f"x.{name}": array_of(name).T for name in DTYPES}
    write_checkpoint(path, Checkpoint(tensors))
    found = torch.load(path, weights_only=True)
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert str(found[name].dtype) == f"torch.{array.dtype.name}"
        raw = found[name].contiguous().view(torch.uint8).numpy()
        assert raw.tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["", "state_dict", "model_state_dict", "model"])
def test_files_of_torch_own_writer(key, zipped, tmp_path):
    path = tmp_path / "a.pth"
    base = torch.arange(24.0).reshape(4, 6)
    state = {"w": base, "view": base.T[1:3], "part": base[1:, ::2], "b": base.bfloat16(), "n": torch.tensor(3)}
    torch.save({key: state, "epoch": 3} if key else state, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path).tensors
    assert set(found) == set(state)
    for name, value in state.items():
        assert np.array_equal(found[name].astype(np.float32), value.float().numpy()), name
        assert found[name].dtype.name == str(value.dtype).removeprefix("torch.")


def test_a_parameter_is_a_tensor(tmp_path):
    path = tmp_path / "a.pt"
    model = torch.nn.Linear(3, 2)
    torch.save(model.state_dict(keep_vars=True), path)
    assert np.array_equal(read_checkpoint(path).tensors["weight"], model.weight.detach().numpy())


def test_orbax_own_reader_agrees(tmp_path):
    import orbax.checkpoint as ocp

    path = tmp_path / "a"
    model = ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))
    leaves = to_leaves(model, state_dict(model))
    write_checkpoint(path, Checkpoint(leaves, "flax", "convnet", model.config))
    target = jax.tree.map(jax.numpy.zeros_like, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(path.resolve(), target)
    assert same_bits(np.asarray(restored["conv1"]["kernel"]), np.asarray(model.conv1.kernel[...]))
    assert jax.tree.structure(restored) == jax.tree.structure(target)


@pytest.mark.parametrize("pure", [True, False])
def test_folders_of_orbax_own_writer(pure, tmp_path):
    import orbax.checkpoint as ocp

    path = tmp_path / "a"
    model = ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.resolve(), nnx.to_pure_dict(state) if pure else state)
    found = read_checkpoint(path)
    assert found.framework == "flax"
    assert_same(from_leaves(model, found.tensors), state_dict(model))


def test_the_config_comes_back(tmp_path):
    for place, framework in PLACES:
        if place != "a.pt":
            one = Checkpoint({"w": np.ones(2, np.float32)}, framework, "convnet", ConvNetConfig.tiny())
            write_checkpoint(tmp_path / place, one, force=True)
            found = read_checkpoint(tmp_path / place)
            assert (found.framework, found.architecture, found.config) == (framework, "convnet", ConvNetConfig.tiny())


def test_metadata_that_does_not_fit(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    tensors = {"w": np.ones(2, np.float32)}
    save_file(tensors, path, {"architecture": "convnt", "config": "{}"})
    with pytest.raises(UnknownArchitectureError, match="'convnt': did you mean 'convnet'"):
        read_checkpoint(path)
    save_file(tensors, path, {"architecture": "convnet", "config": '{"hidden": 0}'})
    with pytest.raises(ConfigError, match="hidden needs a whole number of at least 1, received 0"):
        read_checkpoint(path)


@pytest.mark.parametrize(("place", "framework"), PLACES)
def test_force_replaces_and_nothing_is_left(place, framework, tmp_path):
    path = tmp_path / place
    for number in (1, 2):
        tensors = {f"x{number}": np.full(3, number, np.float32)}
        write_checkpoint(path, Checkpoint(tensors, framework), force=number == 2)
    assert_same(read_checkpoint(path).tensors, tensors)
    with pytest.raises(DestinationError) as caught:
        write_checkpoint(path, Checkpoint({}, framework))
    assert str(caught.value) == f"{path} exists already; replace it with --force (force=True)"
    assert_same(read_checkpoint(path).tensors, tensors)
    assert names_in(tmp_path) == [place]


def test_a_dangling_link_counts_as_there(tmp_path):
    path = tmp_path / "a.safetensors"
    path.symlink_to(tmp_path / "absent")
    with pytest.raises(DestinationError, match="exists already"):
        write_checkpoint(path, Checkpoint({"w": np.ones(2, np.float32)}))
    write_checkpoint(path, Checkpoint({"w": np.ones(2, np.float32)}), force=True)
    assert read_checkpoint(path).tensors["w"].tolist() == [1, 1]


@pytest.mark.parametrize("old", ["nothing", "file", "folder"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_breaks_off_leaves_nothing(old, error, tmp_path):
    path = tmp_path / "a"
    if old == "file":
        path.write_text("dear")
    elif old == "folder":
        path.mkdir()
        (path / "_CHECKPOINT_METADATA").write_text("dear")

    def write():
        with replacing(path, force=True) as temporary:
            temporary.write_bytes(b"half")
            raise error

    expected = DestinationError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write()
    if expected is DestinationError:
        assert str(caught.value) == f"{path} cannot be written: No space left on device"
    assert names_in(tmp_path) == ([] if old == "nothing" else ["a"])
    if old != "nothing":
        assert (path if old == "file" else path / "_CHECKPOINT_METADATA").read_text() == "dear"


@pytest.mark.parametrize("old", ["file", "folder"])
def test_a_rename_that_fails_gives_back_what_was_there(old, tmp_path):
    path = tmp_path / "a"
    if old == "file":
        path.write_text("dear")
    else:
        path.mkdir()
        (path / "_CHECKPOINT_METADATA").write_text("dear")
    with pytest.raises(DestinationError, match="cannot be written: No such file"), replacing(path, force=True):
        # Nothing is written, so the rename at the end finds nothing.
        pass
    assert names_in(tmp_path) == ["a"]
    assert (path if old == "file" else path / "_CHECKPOINT_METADATA").read_text() == "dear"


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_orbax_folder_with_a_piece_missing(tmp_path):
    import shutil

    path = tmp_path / "a"
    write_checkpoint(path, Checkpoint({"w": array_of("float32")}, "flax"))
    for one in path.iterdir():
        if one.name not in ("_CHECKPOINT_METADATA", "_METADATA", "einops_arch.json"):
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: not a whole Orbax checkpoint: ")


def test_endings_in_capitals():
    assert format_of("A.SafeTensors") == "safetensors"
    assert format_of("A.PT") == "torch"
