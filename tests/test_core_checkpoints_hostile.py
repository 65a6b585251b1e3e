"""Files that were made to harm: refused with the reason, and nothing in them is run or believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from einops_arch.checkpoints import open_checkpoint, write_tensors
from einops_arch.checkpoints.formats import pickles
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError

FACTS = {"framework": "torch", "format": "pt"}


def refused(path):
    """The message, without the name of the file; the file is looked at wholly."""
    with pytest.raises(CheckpointError) as caught:
        look(path)
    return str(caught.value).replace(f"{path}: ", "").replace(f"{path.parent}: ", "")


def look(path):
    with open_checkpoint(path) as reader:
        for name in reader.names():
            reader.read(name)


def safetensors_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(start=0, end=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


FIELDS = b'"dtype":"F32","shape":[1],"data_offsets":[0,4]'
NOT_WHOLE = "not a whole safetensors file: "
HEADERS = {
    "overlap": (
        {"a": entry(0, 8), "b": entry(4, 12)},
        12,
        "'b' overlaps another tensor: expected its bytes to begin at 8, received 4",
    ),
    "same bytes": (
        {"a": entry(), "b": entry()},
        8,
        "'b' overlaps another tensor: expected its bytes to begin at 8, received 0",
    ),
    "gap": (
        {"a": entry(0, 8), "b": entry(12, 20)},
        20,
        "'b' leaves a gap before it: expected its bytes to begin at 8, received 12",
    ),
    "after the end": (
        {"a": entry(0, 8)},
        4,
        "expected 8 bytes of tensors after the header, received 4: the file is truncated or its header is wrong",
    ),
    "rest": ({"a": entry(0, 8)}, 12, "expected 8 bytes of tensors after the header, received 12: bytes are left over"),
    "negative": ({"a": entry(-8, 0)}, 8, "'a': expected a shape and two offsets, received [2], [-8, 0]"),
    "backwards": ({"a": entry(8, 0)}, 8, "'a': 2 elements of 4 bytes do not fit the offsets 8 to 0"),
    "huge": ({"a": entry(0, 2**70, (2**68,))}, 8, f"'a': no memory holds shape ({2**68},) of float32"),
    "product overflow": (
        {"a": entry(0, 0, (2**32, 2**32))},
        0,
        "'a': no memory holds shape (4294967296, 4294967296) of float32",
    ),
    "overflow beside a zero": (
        {"a": entry(0, 0, (2**62, 2**62, 0))},
        0,
        "'a': no memory holds shape (4611686018427387904, 4611686018427387904, 0) of float32",
    ),
    "axes": ({"a": entry(0, 4, (1,) * 65)}, 4, "'a': expected at most 64 axes, received 65"),
    "shape and bytes": ({"a": entry(0, 8, (3,))}, 8, "'a': 3 elements of 4 bytes do not fit the offsets 0 to 8"),
    "true is no number": (
        {"a": entry(0, 4, (True,))},
        4,
        "'a': expected a shape and two offsets, received [True], [0, 4]",
    ),
    "no number": ({"a": entry(0, 4, (1.0,))}, 4, "'a': expected a shape and two offsets, received [1.0], [0, 4]"),
    "text": ({"a": entry("0", "4", (1,))}, 4, "'a': expected a shape and two offsets, received [1], ['0', '4']"),
    "three offsets": (
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}},
        4,
        "'a': expected a shape and two offsets, received [1], [0, 2, 4]",
    ),
    "missing key": ({"a": {"dtype": "F32", "shape": [1]}}, 4, "'a': expected dtype, shape and data_offsets"),
    "another key": ({"a": {**entry(), "code": "x"}}, 8, "'a': expected dtype, shape and data_offsets"),
    "no dictionary": ({"a": [1]}, 4, "'a': expected dtype, shape and data_offsets"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, 0, "__metadata__: expected strings by name"),
    "metadata is a list": ({"__metadata__": []}, 0, "__metadata__: expected strings by name"),
    "a list": (b"[]", 0, "the header is not a JSON object"),
    "twice": (b'{"a":{%s},"a":{%s}}' % (FIELDS, FIELDS), 8, "the header is not JSON: 'a' is there twice"),
    "twice inside": (b'{"a":{%s,"shape":[2]}}' % FIELDS, 4, "the header is not JSON: 'shape' is there twice"),
    "no utf-8": (
        b'{"\xff":1}',
        0,
        "the header is not JSON: 'utf-8' codec can't decode byte 0xff in position 2: invalid start byte",
    ),
    "aliases of nothing": (
        {"__metadata__": {"aliases": '{"b": "a"}'}},
        0,
        "its aliases: 'b' is not another name of a tensor, received 'a'",
    ),
    "aliases are no names": ({"__metadata__": {"aliases": "[]"}}, 0, "its aliases: expected names by name"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers(case, tmp_path):
    header, room, message = HEADERS[case]
    assert refused(safetensors_file(tmp_path / "x.safetensors", header, bytes(room))) == NOT_WHOLE + message


def test_headers_that_are_too_long(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"")
    assert refused(path) == NOT_WHOLE + "expected at least 8 bytes, received 0"
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    assert refused(path) == NOT_WHOLE + f"expected a header of at most 2 bytes, received {2**63}"
    # A file with holes takes no disk, whatever its size.
    with path.open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little"))
        file.truncate(2 << 30)
    assert refused(path) == NOT_WHOLE + f"expected a header of at most 100000000 bytes, received {1 << 30}"
    assert refused(safetensors_file(path, b"[" * 100_000)) == NOT_WHOLE + "the header is not a JSON object"
    assert refused(safetensors_file(path, b"9" * 100_000)) == NOT_WHOLE + "the header is not a JSON object"


def test_no_file(tmp_path):
    assert refused(tmp_path / "x.safetensors") == "no such file or folder"
    (tmp_path / "x.safetensors").mkdir()
    assert "the folder has none of model.safetensors.index.json" in refused(tmp_path / "x.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert refused(tmp_path / "pipe.safetensors") == "cannot be read: not a regular file but a pipe"


class Attack:
    """Runs a command when it is unpickled, and again when it is loaded by those who do so."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def archive(path, data, records=(), compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/byteorder", "little", zipfile.ZIP_STORED)
        for name, content in records:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_pickles_that_would_run_code(form, protocol, tmp_path):
    marker = tmp_path / "ran"
    data = pickle.dumps({"state_dict": Attack(os.system, f"touch {marker}")}, protocol)
    path = tmp_path / "x.pt"
    if form == "zip":
        archive(path, data)
    else:
        path.write_bytes(data)
    assert refused(path) == "refused, it is not plain weights: the pickle asks for posix.system"
    assert not marker.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R.", "the pickle asks for builtins.eval"),
        (b"\x80\x02ctorch._utils\n__builtins__.eval\n.", "the pickle asks for torch._utils.__builtins__.eval"),
        (b"\x80\x02ctorch.serialization\nload\n.", "the pickle asks for torch.serialization.load"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the pickle asks for os.system"),
        (b"(S'1'\nios\nsystem\n.", "the pickle uses STRING"),
        (b"\x80\x02\x82\x01.", "the pickle uses EXT1"),
        (b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\n)Rs.", "the pickle asks for os.system"),
    ],
)
def test_the_machine_of_pickles(data, reason, tmp_path):
    assert refused(archive(tmp_path / "x.pt", data)) == f"refused, it is not plain weights: {reason}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02t.",
        b"\x80\x02h\x05.",
        b"\x80\x02}K\x01R.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01R.",
        b"\x80\x02}K\x01a.",
        b"\x80\x02K\x01K\x02b.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b".",
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        b"\x80\x02(K\x01Q.",
    ],
)
def test_pickles_that_are_not_whole(data, tmp_path):
    message = refused(archive(tmp_path / "x.pt", data))
    assert message.startswith(("not a whole PyTorch file: ", "expected a st"))


def tensor_pickle(size=4, offset=0, shape=(4,), strides=(1,), key="0", kind="FloatStorage"):
    def number(value):
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def row(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(size) + b"tQ"
    ordered = b"ccollections\nOrderedDict\n)R"
    view = number(offset) + row(shape) + row(strides)
    one = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"\x89" + ordered + b"tR"
    return b"\x80\x02}" + text("x") + one + b"s."


def test_the_tensors_of_a_pickle(tmp_path):
    path, data = tmp_path / "x.pt", ("archive/data/0", bytes(16))
    with open_checkpoint(archive(path, tensor_pickle(), [data])) as reader:
        assert reader.read("x").tolist() == [0, 0, 0, 0]
    whole = "not a whole PyTorch file: "
    outside = "lies outside its storage of 16 bytes"
    cases = {
        f"x: shape (4,) {outside}": {"offset": 1},
        f"x: shape (2, 3) {outside}": {"shape": (2, 3), "strides": (2, 1)},
        f"x: shape (4, 1) {outside}": {"shape": (4, 1)},
        f"x: shape (2,) {outside}": {"shape": (2,), "strides": (2**62,)},
        "x: expected numbers of at least 0, received a tuple": {"strides": (-1,)},
        f"x: no memory holds shape ({2**63},) of float32": {"shape": (2**63,), "strides": (0,)},
        "a file of 344 bytes stands for tensors of 4398046511104 bytes; it is refused as a bomb": {
            "shape": (2**40,),
            "strides": (0,),
        },
        "record data/1 is missing": {"key": "1"},
        "storage 0 has not the 20 bytes that its tensors expect": {"size": 5},
    }
    for message, change in cases.items():
        found = refused(archive(path, tensor_pickle(**change), [data]))
        assert found.replace(f"of {path.stat().st_size} bytes stands", "of 344 bytes stands") == whole + message
    assert refused(archive(path, tensor_pickle(kind="QUInt8Storage"), [data])) == (
        "x: a quantized tensor, which is not supported"
    )


def test_what_a_known_call_is_given_beyond_its_numbers_is_applied_or_refused(tmp_path):
    path, data = tmp_path / "x.pt", ("archive/data/0", bytes(16))
    plain, ordered = tensor_pickle(), b"ccollections\nOrderedDict\n)R"

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value

    def changed(old, new):
        assert plain.count(old) == 1
        return archive(path, plain.replace(old, new), [data])

    whole = b"}" + text(b"conj") + b"\x89s" + text(b"neg") + b"\x89s"
    with open_checkpoint(changed(ordered + b"tR", ordered + whole + b"tR")) as reader:
        assert reader.read("x").tolist() == [0, 0, 0, 0]
    cases = {
        "x: a flag 'fancy', which is not known": (ordered + b"tR", ordered + b"}" + text(b"fancy") + b"\x88stR"),
        "x: float32 cannot be conjugated or negated": (ordered + b"tR", ordered + b"}" + text(b"conj") + b"\x88stR"),
        "x: expected flags of a tensor, received a list of 0": (ordered + b"tR", ordered + b"]tR"),
        "x: expected a tensor of 6 to 7 arguments, received 8": (ordered + b"tR", ordered + b"}NtR"),
        "x: expected a tensor": (ordered + b"tR", ordered + b"tR}" + text(b"data") + b"K\x01sb"),
        "x: expected whether it has a gradient, and no hooks, received False, a dict of 1": (
            ordered + b"tR", b"}K\x01K\x02stR",
        ),
        "x: expected whether it has a gradient, and no hooks, received 5, a dict of 0": (
            b"\x89" + ordered, b"K\x05" + ordered,
        ),
    }  # fmt: skip
    for message, change in cases.items():
        assert refused(changed(*change)).removeprefix("not a whole PyTorch file: ") == message


def test_bombs(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    packed = [("archive/data/0", bytes(16))]
    assert "record data.pkl is compressed, which PyTorch does not do; it is refused as a bomb" in refused(
        archive(path, tensor_pickle() + bytes(10_000), packed, zipfile.ZIP_DEFLATED)
    )
    monkeypatch.setattr(pickles, "_MAX_STEPS", 60_000)
    assert "the pickle has more than 60000 steps" in refused(archive(path, b"\x80\x02" + b"N" * 61_000 + b"."))
    # Each tuple holds the last one twice: 2 ** 60 elements to those who look, hash or print.
    deep = b"\x80\x02)" + b"q\x00h\x00\x86" * 60
    assert refused(archive(path, deep + b".")).startswith("expected a state dict")
    text = refused(archive(path, b"\x80\x02}" + deep[2:] + b"K\x01s."))
    assert text.endswith("received a dict whose entry a tuple is no name; it holds a tuple")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", tensor_pickle())
        file.writestr("archive/data/0", bytes(16))
        file.filelist[1].header_offset = 10
    assert "overlaps another; it is refused as a bomb" in refused(path)


def test_what_is_in_the_archive(tmp_path):
    path = tmp_path / "x.pt"
    whole, data = "not a whole PyTorch file: ", ("archive/data/0", bytes(16))
    assert refused(archive(path, tensor_pickle(), [("archive/constants.pkl", b"")])).startswith(
        "refused, it is not plain weights: TorchScript holds code; likely fix: "
    )
    assert refused(archive(path, tensor_pickle(), [("b/data.pkl", b"")])) == "expected one data.pkl, received 2"
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, tensor_pickle(), [data, data])
    assert refused(path) == f"{whole}a record is there twice"
    archive(path, tensor_pickle(), [data])
    changed = bytearray(path.read_bytes())
    changed[changed.index(bytes(16)) + 3] ^= 1
    path.write_bytes(changed)
    assert refused(path) == "storage 0 is damaged: its checksum is not that of the archive"
    # torch.load gives memory that nobody has written to, where a record says that it is a folder.
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", tensor_pickle())
        file.writestr("archive/data/0", bytes(16))
        file.filelist[1].external_attr |= 0x10
    assert refused(path) == f"{whole}record data/0 is marked as a folder"


def index(folder, where, metadata=None):
    folder.mkdir(exist_ok=True)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": metadata or {}, "weight_map": where}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "file",
    ["../secret.safetensors", "/etc/secret.safetensors", "a/b.safetensors", "..", "", "a\\b.safetensors", "a\0b"],
)
def test_an_index_that_points_elsewhere(file, tmp_path):
    safetensors_file(tmp_path / "secret.safetensors", {"a": entry()}, bytes(8))
    path = index(tmp_path / "x", {"a": file})
    assert refused(path) == f"the index names {file!r:.80}, which is not in its folder"


def test_an_index_and_shards_that_do_not_agree(tmp_path):
    folder = tmp_path / "x"
    path = index(folder, {"a": "one.safetensors", "b": "two.safetensors"})
    safetensors_file(folder / "one.safetensors", {"a": entry()}, bytes(8))
    assert "two.safetensors: cannot be read: No such file or directory" in refused(path)
    safetensors_file(folder / "two.safetensors", {"c": entry()}, bytes(8))
    assert refused(path) == "the index and the shards do not agree: 'b' is not in two.safetensors"
    safetensors_file(folder / "two.safetensors", {"b": entry(), "a": entry(8, 16)}, bytes(16))
    assert refused(path) == "a tensor is in two shards"
    safetensors_file(folder / "two.safetensors", {"b": entry(), "c": entry(8, 16)}, bytes(16))
    assert refused(path) == "the index and the shards do not agree: 'c' is not in the index"
    for text in ("[]", "{", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 100_000):
        path.write_text(text, encoding="utf-8")
        assert refused(path)
    assert refused(index(folder, {"a": "one.gguf"})).startswith("expected shards that end with .safetensors, .bin")


FLAX = {"framework": "flax", "format": "flax"}


def shards(folder, first, second, of_index=None):
    """Two shards with metadata of their own, and an index with some."""
    path = index(folder, {"a": "one.safetensors", "b": "two.safetensors"}, of_index)
    safetensors_file(folder / "one.safetensors", {"__metadata__": first, "a": entry()}, bytes(8))
    safetensors_file(folder / "two.safetensors", {"__metadata__": second, "b": entry()}, bytes(8))
    return path


def test_what_only_the_shards_say_is_used_and_contradictions_are_refused(tmp_path):
    with open_checkpoint(shards(tmp_path / "a", FLAX, FLAX)) as reader:
        assert reader.metadata["framework"] == "flax"
    with open_checkpoint(shards(tmp_path / "b", {"format": "flax"}, {}, {"total_size": 16})) as reader:
        assert reader.metadata["framework"] == "flax"
    for case in ((FLAX, {"framework": "torch"}), ({"architecture": "a"}, {"architecture": "b"}), (FLAX, {}, FACTS)):
        message = refused(shards(tmp_path / "c", *case))
        assert message.startswith(("expected one framework, received", "expected one architecture, received"))


def test_a_config_that_says_something_else_than_the_tensors_beside_it(tmp_path):
    fields = {"layers": 2}
    facts = {"framework": "flax", "architecture": "convnet", "config": json.dumps(fields)}
    folder = tmp_path / "x"
    folder.mkdir()
    safetensors_file(folder / "model.safetensors", {"__metadata__": facts, "a": entry()}, bytes(8))

    def told(**values):
        (folder / "config.json").write_text(json.dumps({"einops_arch": "convnet", "config": fields} | values))
        with open_checkpoint(folder) as reader:
            return reader.metadata, dict(reader.left_out)

    assert told() == (facts, {})
    assert told(framework="flax") == (facts, {})
    metadata, left_out = told(config={"layers": 3})
    assert metadata == facts | {"config": json.dumps({"layers": 3})}
    assert left_out == {"the config in model.safetensors": "another config beside that of config.json, which was taken"}
    for values in ({"einops_arch": "vit"}, {"framework": "torch"}):
        (folder / "config.json").write_text(json.dumps({"einops_arch": "convnet", "config": fields} | values))
        assert "expected one " in refused(folder)
    # What was saved again without metadata is still what its config says.
    safetensors_file(folder / "model.safetensors", {"a": entry()}, bytes(8))
    assert told(framework="flax")[0] == facts


def test_other_weights_in_a_folder_are_told(tmp_path):
    folder = tmp_path / "x"
    for name, value in (("model.safetensors", 1.0), ("pytorch_model.bin", 2.0)):
        folder.mkdir(exist_ok=True)
        write_tensors(folder / name, MemoryReader({"a": np.full(2, value)}, FACTS))
    with open_checkpoint(folder) as reader:
        assert reader.read("a").tolist() == [1, 1]
        assert reader.left_out == {"pytorch_model.bin": "weights beside model.safetensors, which was taken"}
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index(folder, {"a": "part.safetensors"})
    with open_checkpoint(folder) as reader:
        assert dict(reader.left_out) == {
            "pytorch_model.bin": "weights beside model.safetensors.index.json, which was taken"
        }
    # A shard may have a name that alone would be taken.
    (folder / "part.safetensors").rename(folder / "model.safetensors")
    index(folder, {"a": "model.safetensors"})
    (folder / "pytorch_model.bin").unlink()
    with open_checkpoint(folder) as reader:
        assert dict(reader.left_out) == {}


def test_a_metadata_of_dcp_that_would_run_code(tmp_path):
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Attack(os.system, "touch ran")))
    with pytest.raises(CheckpointError, match=r"refused, it is not plain weights: the pickle asks for posix\.system$"):
        open_checkpoint(tmp_path)
    (tmp_path / ".metadata").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"\.metadata: expected a Metadata$"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_every_cut_is_noticed(name, tmp_path):
    path = tmp_path / name
    write_tensors(path, MemoryReader({"a": np.arange(6.0), "b": np.ones((2, 3), "int8")}, FACTS))
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert refused(path)


def test_the_bytes_of_a_pt_are_checked(tmp_path):
    path = tmp_path / "x.pt"
    write_tensors(path, MemoryReader({"a": np.arange(6.0), "b": np.ones((2, 3), "int8")}, FACTS))
    whole = path.read_bytes()
    with open_checkpoint(path) as reader:
        expected = {name: reader.read(name).tobytes() for name in reader.names()}
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            with open_checkpoint(path) as reader:
                found = {name: reader.read(name).tobytes() for name in reader.names()}
        except CheckpointError:
            continue
        # What is left are bits that nothing depends on: times, paddings, attributes.
        assert found == expected, at


def test_a_zip_in_memory_is_what_the_tests_think():
    # The attacks above are real: Python's own reader runs them.
    data = pickle.dumps(Attack(divmod, 7, 3))
    assert pickle.load(io.BytesIO(data)) == (2, 1)
