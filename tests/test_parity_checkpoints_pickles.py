"""What PyTorch writes beside plain numbers is applied, harmless, or refused; `torch.load` is the judge."""

from __future__ import annotations

import collections
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from einops_arch.checkpoints import open_checkpoint, write_tensors
from einops_arch.checkpoints.formats.torch_pickle import _CHANGING
from einops_arch.errors import CheckpointError
from einops_arch.layouts.arrays import to_numpy

ZIP = [True, False]


def lazy():
    complex_numbers = torch.tensor([[1 + 2j, 3 - 4j, 0.5j], [-2 - 0j, 7 + 1j, 2 - 9j]], dtype=torch.complex64)
    return {
        "plain": complex_numbers,
        "conj": complex_numbers.conj(),
        "conj of a part": complex_numbers[1:, ::2].conj(),
        "neg": complex_numbers.clone().conj().imag,
        "conj and neg": torch._neg_view(complex_numbers.conj()),
        "twice": complex_numbers.conj().conj(),
        "double": complex_numbers.to(torch.complex128).conj(),
        "negated integers": torch._neg_view(torch.tensor([3, -(2**40)])),
    }


def load(path):
    return torch.load(path, weights_only=True)


def assert_as_torch(path, key=None):
    """Read by both, and the same in every bit, as wholes, in blocks and in parts."""
    expected = load(path)
    expected = expected if key is None else expected[key]
    with open_checkpoint(path) as reader:
        assert set(reader.names()) == set(expected)
        for name, value in expected.items():
            array = to_numpy(value.detach().resolve_conj().resolve_neg())
            received = reader.read(name)
            assert received.dtype == array.dtype
            assert received.shape == array.shape
            assert received.tobytes() == array.tobytes(), name
            target = reader.aliases.get(name, name)
            assert b"".join(block.tobytes() for block in reader.blocks(target)) == array.tobytes()
            box = tuple((0, size - size // 2) for size in array.shape)
            part = array[tuple(slice(*row) for row in box)]
            assert reader.part(target, box).tobytes() == part.tobytes()


@pytest.mark.parametrize("zipped", ZIP)
def test_lazily_conjugated_and_negated_tensors(zipped, tmp_path):
    state = lazy()
    assert state["conj"].is_conj()
    assert state["neg"].is_neg()
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_as_torch(tmp_path / "x.pt")
    # What is written from them is plain.
    with open_checkpoint(tmp_path / "x.pt") as reader:
        write_tensors(tmp_path / "y.pt", reader)
    for name, value in load(tmp_path / "y.pt").items():
        assert not value.is_conj()
        assert not value.is_neg()
        assert torch.equal(value, state[name].resolve_conj().resolve_neg())


@pytest.mark.parametrize("target", ["y.safetensors", "y.pt", "y.dcp", "y.hf", "y.orbax"])
def test_every_writer_writes_the_numbers_of_lazy_tensors(target, tmp_path):
    torch.save(lazy(), tmp_path / "x.pt")
    expected = {name: to_numpy(value) for name, value in lazy().items()}
    drop = ()
    if target in {"y.safetensors", "y.hf"}:  # safetensors has no complex128
        drop = ("^double$",)
        del expected["double"]
    with open_checkpoint(tmp_path / "x.pt", drop=drop) as reader:
        if target.endswith("orbax"):
            reader.metadata["framework"] = "flax"
        write_tensors(tmp_path / target, reader)
    with open_checkpoint(tmp_path / target) as reader:
        received = {name: reader.read(name) for name in reader.names()}
    assert {name: (value.dtype, value.tolist()) for name, value in received.items()} == {
        name: (value.dtype, value.tolist()) for name, value in expected.items()
    }


def test_lazy_tensors_of_a_distributed_folder(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.save(lazy(), checkpoint_id=tmp_path / "x.dcp", no_dist=True)
        loaded = {name: torch.zeros_like(value.resolve_conj().resolve_neg()) for name, value in lazy().items()}
        dcp.load(loaded, checkpoint_id=tmp_path / "x.dcp", no_dist=True)
    assert all(torch.equal(value, lazy()[name]) for name, value in loaded.items())
    with open_checkpoint(tmp_path / "x.dcp") as reader:
        for name, value in loaded.items():
            array = to_numpy(value)
            assert reader.read(name).tobytes() == array.tobytes(), name
            box = tuple((0, size - size // 2) for size in array.shape)
            assert reader.part(name, box).tobytes() == array[tuple(slice(*row) for row in box)].tobytes(), name


@pytest.mark.parametrize("zipped", ZIP)
def test_tensors_with_python_attributes(zipped, tmp_path):
    tensor, parameter = torch.arange(5.0), torch.nn.Parameter(torch.arange(6.0).reshape(2, 3), requires_grad=False)
    tensor.note, parameter.tag = {"by": "hand"}, [1, 2]
    state = {"tensor": tensor, "parameter": parameter, "plain": torch.nn.Parameter(torch.ones(3))}
    state["buffer"] = torch.nn.Buffer(torch.full((2,), 7.0))
    state["grad"] = torch.full((4,), 2.5, requires_grad=True)
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_as_torch(tmp_path / "x.pt")


def fix_checksum(path):
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, path.read_bytes(), entry) for entry in archive.infolist()]
        start = entries[0][2].header_offset
        name, extra = struct.unpack("<HH", entries[0][1][start + 26 : start + 30])
        begin = start + 30 + name + extra
        record = entries[0][1][begin : begin + entries[0][2].file_size]
        old, new = struct.pack("<I", entries[0][2].CRC), struct.pack("<I", zlib.crc32(record))
    path.write_bytes(path.read_bytes().replace(old, new))


@pytest.mark.parametrize("name", sorted(_CHANGING))
def test_attributes_that_change_the_numbers_are_refused(name, tmp_path):
    # PyTorch sets them: what it reads is not what the storage holds.
    tensor = torch.ones(2, dtype=torch.complex64)
    tensor.note = torch.full((2,), 5.0, dtype=torch.complex64 if name == "data" else torch.float32)
    torch.save({"w": tensor}, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data.replace(b"X\x04\x00\x00\x00note", b"X\x04\x00\x00\x00" + name.encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not torch.equal(load(tmp_path / "x.pt")["w"], torch.ones(2, dtype=torch.complex64))
    fix_checksum(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"w: an attribute '{name}', which would change the tensor$"):
        open_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", ZIP)
def test_the_training_state_may_hold_what_torch_takes(zipped, tmp_path):
    state = {"w": torch.arange(4.0)}
    training = {
        "model": state,
        "seen": {1, 2},
        "phase": 1 + 2j,
        "words": collections.Counter("aab"),
        "bytes": b"xy\xff",
        "array": bytearray(b"z"),
        "order": collections.OrderedDict(a=1),
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "large": 2**500,
        "sparse": torch.eye(3).to_sparse(),
        "none": None,
        3: [(), {}, "text", 0.5, True],
    }
    torch.save(training, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert set(load(tmp_path / "x.pt")) == set(training)
    assert_as_torch(tmp_path / "x.pt", "model")
    with open_checkpoint(tmp_path / "x.pt") as reader:
        assert set(reader.left_out) == {str(name) for name in training} - {"model"}


def test_tensors_that_are_not_plain_are_refused_by_their_name(tmp_path):
    kinds = {
        "a sparse tensor": torch.eye(3).to_sparse(),
        "meta device": torch.ones(2, device="meta"),
    }
    for message, tensor in kinds.items():
        torch.save({"layer.weight": tensor}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=rf"layer\.weight: .*{message}"):
            open_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", ZIP)
def test_quantized_tensors_are_refused_by_their_name_and_do_no_harm_beside_the_weights(zipped, tmp_path):
    numbers, scales = torch.arange(12.0).reshape(3, 4), torch.tensor([0.1, 0.2, 0.3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = {
            str(dtype): torch.quantize_per_tensor(numbers, 0.1, 0, dtype)
            for dtype in (torch.qint8, torch.quint8, torch.qint32)
        }
        tensors["rows"] = torch.quantize_per_channel(numbers, scales, torch.tensor([0, 1, 2]), 0, torch.qint8)
        tensors["halves"] = torch.quantize_per_channel(numbers, scales, torch.zeros(3), 0, torch.quint4x2)
        for name, tensor in tensors.items():
            torch.save({"w": torch.ones(2), name: tensor}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
            with pytest.raises(CheckpointError, match=rf"x\.pt: {name}: a quantized tensor, which is not supported$"):
                open_checkpoint(tmp_path / "x.pt")
        state = {"activations": tensors, "model": {"w": torch.arange(4.0)}}
        torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        assert_as_torch(tmp_path / "x.pt", "model")


def test_files_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(5.0), "v": torch.arange(9)[2:5]}, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_as_torch(tmp_path / "x.pt")


def test_an_entry_that_is_no_tensor_is_named(tmp_path):
    torch.save({"a": torch.ones(2), "step": 3, "b": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(
        CheckpointError, match=r"'step' is 3, and no tensor; it holds 'a', 'step', 'b'; likely fix: --drop '\^step\$'$"
    ):
        open_checkpoint(tmp_path / "x.pt")
    torch.save({"step": 3, "my": {"rate": 1.0}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"it holds 'step', 'my'$"):
        open_checkpoint(tmp_path / "x.pt")


def test_a_choice_among_state_dicts_is_told_and_can_be_made(tmp_path):
    first, second = {"w": torch.arange(3.0)}, {"w": torch.arange(3.0) + 10, "v": torch.ones(1)}
    torch.save({"model": first, "model_ema": second, "epoch": 7}, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt") as reader:
        assert reader.read("w").tolist() == [0, 1, 2]
        assert reader.left_out == {
            "model_ema": "a state dict of 2 tensors beside model, which was taken",
            "epoch": "7 beside model, which was taken",
        }
    with open_checkpoint(tmp_path / "x.pt", key="model_ema") as reader:
        assert reader.read("w").tolist() == [10, 11, 12]
        assert set(reader.left_out) == {"model", "epoch"}
    for key in ("nothing", "epoch", "model.w"):
        with pytest.raises(CheckpointError, match="expected"):
            open_checkpoint(tmp_path / "x.pt", key=key)
    # The only state dict is taken whatever its name; of two nobody can know.
    torch.save({"step": 3, "model_state": first}, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt") as reader:
        assert reader.read("w").tolist() == [0, 1, 2]
        assert set(reader.left_out) == {"step"}
    torch.save({"student": first, "teacher": second}, tmp_path / "x.pt")
    with pytest.raises(
        CheckpointError, match=r"several: 'student' \(1 tensor\), 'teacher' \(2 tensors\); likely fix: --key student"
    ):
        open_checkpoint(tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt", key="teacher") as reader:
        assert reader.names() == ["w", "v"]
    torch.save({"run": {"a.b": second, "c": 1}}, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt", key="run.a.b") as reader:
        assert reader.names() == ["w", "v"]
        assert set(reader.left_out) == {"run.c"}


def test_strides_of_axes_of_size_1_are_of_no_account(tmp_path):
    base = torch.arange(12.0)
    state = {
        "wide": torch.as_strided(base, (1, 3), (2**62, 2)),
        "empty": torch.as_strided(base, (0, 3), (2**61, 1)),
        "one": torch.as_strided(base, (1, 1, 1), (2**62, 2**62, 2**62), 11),
    }
    torch.save(state, tmp_path / "x.pt")
    assert_as_torch(tmp_path / "x.pt")
    assert np.isfinite(torch.load(tmp_path / "x.pt")["one"].item())
