"""Small files that would take for ever or fill the memory: work and memory are bounded by the bytes of the file."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from checkpoint_sandbox import SECONDS as PROCESS_SECONDS
from checkpoint_sandbox import run
from test_core_checkpoints_hostile import archive, safetensors_file, tensor_pickle

from benchmarks import checkpoints as benchmark
from einops_arch.checkpoints import limits, open_checkpoint
from einops_arch.checkpoints.disk.bounded_json import parse_json, read_json
from einops_arch.errors import CheckpointError, EinopsArchError

MEMORY, FREE = 40, 32 << 20
"""Bytes of memory for each byte of a file, and for any file."""
SECONDS = 6e-6
"""Seconds of CPU for each byte of a file, and one for any file."""

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
DOUBLING = b")" + b"q\x00h\x00\x86" * 60
"""A tuple that holds a tuple twice that holds a tuple twice: 2 ** 60 elements to those who look."""


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def long(value, size=None):
    data = value.to_bytes(size or value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(data)) + data if len(data) > 255 else b"\x8a" + bytes([len(data)]) + data


def rows(count, key):
    return b"\x80\x02}(" + b"".join(key(number) + b"N" for number in range(count)) + b"u."


ORDERED = b"ccollections\nOrderedDict\n"
PICKLES = {
    "doubling tuple": b"\x80\x02" + DOUBLING + b".",
    "doubling tuple as a key": b"\x80\x02}" + DOUBLING + b"K\x01s.",
    "doubling tuple as a module": b"\x80\x04" + DOUBLING + b"\x8c\x01x\x93.",
    "doubling tuple as a class": b"\x80\x04\x8c\x05torch" + DOUBLING + b"\x93.",
    "doubling tuple as a call": b"\x80\x02" + DOUBLING + b")R.",
    "doubling tuple as a storage": b"\x80\x02" + DOUBLING + b"Q.",
    "doubling tuple as arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + DOUBLING + b"R.",
    "doubling tuple as items": b"\x80\x02" + ORDERED + DOUBLING + b"\x85R.",
    "doubling tuple as a state": b"\x80\x02}" + DOUBLING + b"b.",
    "doubling tuple in a state dict": b"\x80\x02}" + text(b"a") + DOUBLING + b"s.",
    "doubling tuple as a shape": tensor_pickle().replace(b"(\x8a\x01\x04t", DOUBLING),
    "doubling tuple as hooks": tensor_pickle().replace(b"\x89" + ORDERED + b")R", b"\x89" + DOUBLING),
    "doubling tuple as an attribute": tensor_pickle().replace(
        b"tRs.", b"tR" + DOUBLING + b"bs."
    ),
    "long integer as a key": rows(200_000, lambda n: long(7 << 8_000_000) + b"q\x00" if n == 0 else b"h\x00"),
    "integers of one hash": rows(50_000, lambda n: long((n + 1) * (2**61 - 1) << 60)),
    "long name as a key": rows(200_000, lambda n: text(b"x" * 1_000_000) + b"q\x00" if n == 0 else b"h\x00"),
    "two equal names as keys": rows(
        200_000,
        lambda n: text(b"x" * 500_000) + b"q" + bytes([n]) if n < 2 else b"h" + bytes([n % 2]),
    ),
    "two equal names of the longest": rows(
        400_000, lambda n: text(b"x" * limits.NAME_LENGTH) + b"q" + bytes([n]) if n < 2 else b"h" + bytes([n % 2])
    ),
    "long class": b"\x80\x04\x8c\x05torchq\x00" + text(b"x" * 500_000) + b"q\x010" + b"h\x00h\x01\x93" * 100_000 + b".",
    "a list of a million items": b"\x80\x02" + ORDERED + b"q\x00("
    + b"".join(long(n, 4) + b"N\x86" for n in range(50_000)) + b"lq\x010" + b"h\x00h\x01\x85R0" * 100_000 + b".",
    "items of a dictionary again and again": b"\x80\x02" + ORDERED + b"q\x00](" + b"".join(
        long(n, 4) + b"N\x86" for n in range(50_000)
    ) + b"eq\x01" + b"h\x00h\x01\x85R" * 100_000 + b".",
    "memory of memos": b"\x80\x04N" + b"\x94" * 3_000_000 + b".",
    "empty lists": b"\x80\x02" + b"]" * 3_000_000 + b".",
    "empty dictionaries": b"\x80\x02" + b"}" * 3_000_000 + b".",
    "calls": b"\x80\x02" + ORDERED + b"q\x00" + b"h\x00)R" * 500_000 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "deep dictionaries": b"\x80\x02" + b"}" + text(b"model")[:0] + b"".join(
        b"}" + text(b"model") for _ in range(20_000)
    ) + b"N" + b"s" * 20_000 + b".",
    "the same dictionary under every key": b"\x80\x02}q\x00" + b"".join(
        b"}(" + b"".join(text(key) + (b"h\x00" if level == 0 else b"h" + bytes([level])) for key in
                        (b"model", b"net", b"module", b"weights", b"params")) + b"uq" + bytes([level + 1])
        for level in range(30)
    ) + b".",
    "one dictionary as every entry of another": b"\x80\x02}q\x00(" + b"".join(
        text(b"a%d" % n) + b"K\x01" for n in range(8_000)
    ) + b"u0}(" + b"".join(text(b"b%d" % n) + b"h\x00" for n in range(8_000)) + b"u.",
    "the same arguments of many calls": b"\x80\x02cfoo\nbar\nq\x00(" + b"K\x01" * 20_000 + b"tq\x0100"
    + b"h\x00h\x01R0" * 20_000 + tensor_pickle()[2:],
    "a wide shape": b"\x80\x02}(" + b"".join(
        (text(b"%d" % n) + tensor_pickle()[9:-2].replace(b"(\x8a\x01\x04t", b"(" + b"K\x01" * 100_000 + b"tq\x07"))
        if n == 0 else
        (text(b"%d" % n) + tensor_pickle()[9:-2].replace(b"(\x8a\x01\x04t", b"h\x07"))
        for n in range(2_000)
    ) + b"u.",
}  # fmt: skip


def read(path):
    """What is read, as `None`, or the name of an error of this package's own and its message."""
    try:
        with open_checkpoint(path) as reader:
            for name in reader.names():
                reader.read(name)
    except EinopsArchError as error:
        return f"{type(error).__name__}: {error}"
    return None


def assert_bounded(path, *, refused=True):
    size = sum(file.stat().st_size for file in [path, *path.parent.iterdir()] if file.is_file())
    outcome = run(read, path)
    assert outcome.signal == 0
    if refused:
        assert outcome.value is not None
        assert outcome.value.startswith("CheckpointError: "), outcome.value
        assert len(outcome.value) < 2000
    assert outcome.memory < MEMORY * size + FREE, (outcome.memory, size)
    assert outcome.seconds < SECONDS * size + 1, (outcome.seconds, size)


@pytest.mark.parametrize("case", PICKLES)
def test_pickles(case, tmp_path):
    path = archive(tmp_path / "x.pt", PICKLES[case], [("archive/data/0", bytes(16))])
    assert_bounded(path, refused=case != "the same arguments of many calls")


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_the_pickles_of_the_older_form(place, tmp_path):
    system = b"\x80\x02}" + text(b"little_endian") + b"\x88s."
    parts = [MAGIC, b"\x80\x02" + long(1001) + b".", system, b"\x80\x02}.", b"\x80\x02]."]
    for bomb in (DOUBLING, b"(" + DOUBLING + b"e", long(1 << 8_000_000), b")" + b"\x85" * 100_000):
        path = tmp_path / "x.pt"
        path.write_bytes(b"".join(b"\x80\x02" + bomb + b"." if at == place else part for at, part in enumerate(parts)))
        assert_bounded(path)


HEADERS = {
    "objects": b'{"":{}' + b',"":{}' * 2_000_000 + b"}",
    "lists": b'{"":[]' + b',"":[]' * 2_000_000 + b"}",
    "lists in a list": b'{"a":[' + b"[]," * 3_000_000 + b"[]]}",
    "numbers": b'{"a":[' + b"1," * 3_000_000 + b"1]}",
    "the last name twice": json.dumps(
        {f"k{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)}
    ).encode()[:-1] + b',"k59999":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    "metadata": b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(200_000)) + b"}",
    "metadata twice": b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(150_000)) + b',"149999":""}}',
    "deep": b'{"a":' + b"[" * 2_000_000,
    "deep objects": b'{"a":' * 300_000,
    "digits": b'{"a":{"dtype":"U8","shape":[' + b"9" * 2_000_000 + b'],"data_offsets":[0,1]}}',
    "wide characters": b'{"a":{"x":"' + b"a" * 4_000_000 + '\U0001f600"}}'.encode(),
    "escapes": b'{"' + b"\\ud83d\\ude00" * 500_000 + b'":1}',
    "quotes without an end": b'{"a":{"b":"' + b'\\"' * 2_000_000,
    "space": b"{" + b" " * 4_000_000 + b'"a"',
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_headers_of_safetensors(case, tmp_path):
    assert_bounded(safetensors_file(tmp_path / "x.safetensors", HEADERS[case]))


@pytest.mark.parametrize("case", HEADERS)
def test_an_index(case, tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(HEADERS[case])
    assert_bounded(path)


def test_a_large_good_header_is_read(tmp_path):
    names = {f"layer.{n}.weight": {"dtype": "U8", "shape": [1, 2], "data_offsets": [2 * n, 2 * n + 2]}
             for n in range(30_000)}  # fmt: skip
    metadata = {"note": "x" * (34 << 20)}
    path = safetensors_file(tmp_path / "x.safetensors", {"__metadata__": metadata, **names}, bytes(range(10)) * 6000)
    assert_bounded(path, refused=False)
    with open_checkpoint(path) as reader:
        assert reader.read("layer.7.weight").tolist() == [[4, 5]]
        assert reader.metadata == metadata


def test_json(tmp_path):
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    digits = "1" * (limits.JSON_DIGITS + 1)
    deep = "[" * (limits.JSON_DEPTH + 1) + "]" * (limits.JSON_DEPTH + 1)
    wide = "[" + "[]," * limits.JSON_CONTAINERS + "[]]"
    for bad in (digits, f"-{digits}", deep, wide, '{"a": 1, "a": 2}', "", "{", '"' + "\\", '["' + '\\"' * 1000):
        with pytest.raises(CheckpointError):
            parse_json(bad)
    # Brackets in a text are no lists.
    brackets = json.dumps({"a": "[" * 1000, "b": '"{[\\'})
    assert parse_json(brackets) == json.loads(brackets)
    (tmp_path / "x.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.safetensors.index.json", "config.json"])
def test_what_is_not_a_regular_file_is_refused_by_name(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path("f") / name
    place.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    if name == "config.json":
        safetensors_file(tmp_path / "f" / "model.safetensors", {})
    elif kind == "folder":
        return
    outcome = run(read, Path("f") if name == "config.json" else place, seconds=5)
    assert outcome.value == f"CheckpointError: {place}: cannot be read: not a regular file but a {kind}"


def test_the_sandbox_sees_what_it_is_for():
    def forever():
        while True:
            pass

    def memory():
        return len(bytearray(1 << 30))

    assert run(forever, seconds=1).signal != 0
    assert "MemoryError" in run(memory, memory=1 << 29).value
    assert run(memory).memory > 1 << 29
    assert run(sys.exit, 3).value == "SystemExit: 3"


def test_the_guide_says_the_limits():
    text = (Path(__file__).parents[1] / "docs/guides/port-a-checkpoint.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", text, flags=re.MULTILINE))

    def mib(size):
        assert size % (1 << 20) == 0
        return f"{size >> 20} MiB"

    assert rows["header of safetensors"].startswith(f"{limits.SAFETENSORS_HEADER:,} bytes")
    assert rows["JSON: index, config"] == (
        f"{mib(limits.JSON_BYTES)}; {limits.JSON_VALUES:,} values, {limits.JSON_CONTAINERS:,} lists and objects, "
        f"{limits.JSON_DEPTH} inside each other, integers of {limits.JSON_DIGITS} digits"
    )
    assert rows["pickle"] == (
        f"{mib(limits.PICKLE_BYTES)}; {limits.PICKLE_STEPS:,} steps; {limits.PICKLE_WORK} bytes made, hashed or copied "
        f"for each of its bytes, and {limits.PICKLE_WORK_FREE >> 20} MiB"
    )
    assert rows["directory of an archive"] == mib(limits.ARCHIVE_DIRECTORY)
    assert limits.TENSOR_BYTES == 2
    assert rows["tensors of a `.pt` file"] == f"twice its bytes, and {mib(limits.TENSOR_BYTES_FREE)}"
    assert rows["tree of arrays: Orbax, `.npz`"] == f"{limits.TREE_DEPTH} inside each other"
    assert rows["memory to open one, tensors aside"] == f"{MEMORY} bytes for each of its bytes, and {mib(FREE)}"
    assert f"with {PROCESS_SECONDS} seconds of CPU" in text


def test_the_guide_says_the_memory_of_every_way_of_writing_and_its_bound():
    text = (Path(__file__).parents[1] / "docs/guides/port-a-checkpoint.md").read_text(encoding="utf-8")
    (largest,), (_, _, *rows) = table(text, r"memory of writing, largest tensor (\d+) MiB")
    bounds = {way: benchmark.TENSORS * int(largest) + benchmark.BOUNDS.get(way, benchmark.ROOM) // benchmark.MIB
              for way in ("orbax-save", "port")}  # fmt: skip
    for way, measured, bound in rows:
        assert bound == f"{bounds['orbax-save' if 'Orbax' in way else 'port']} MiB", way
        assert int(measured.removesuffix(" MiB")) <= int(bound.removesuffix(" MiB")), way
    ways = " ".join(way for way, *_ in rows)
    assert all(word in ways for word in ("distributed", ".pt", "shards", "safetensors, to Flax", "way back", "Orbax"))
    assert "The bound is three times the largest tensor and 400 MiB, or 1 GiB where Orbax takes part" in text
    assert (benchmark.TENSORS, benchmark.ROOM, benchmark.BOUNDS["orbax-save"]) == (3, 400 << 20, 1 << 30)


def table(text, heading):
    """What the first cell of a table's head says, and all of its rows."""
    lines = text[(match := re.search(heading, text)).start() :].split("\n\n")[0].splitlines()
    return match.groups(), [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def named(count, value):
    """A msgpack map of that many values, with names of four bytes."""
    return b"\xdf" + struct.pack(">I", count) + b"".join(b"\xa4%04x" % number + value for number in range(count))


ARRAY = b"\xc7\x0a\x01\x93\x91\x00\xa4bool\xc4\x00"
MSGPACKS = {
    "a million numbers": named(1 << 16, b"\x01") + b"\x01" * 1_000_000,
    "many numbers": named((1 << 16) - 1, b"\x01"),
    "many arrays": named((1 << 16) - 10, ARRAY),
    "a list of a million": b"\x81\xa1a\xdd" + struct.pack(">I", 1_000_000) + b"\x01" * 1_000_000,
    "maps inside each other": b"\x81\xa1a" * 100_000,
    "a map of four billion": b"\xdf\xff\xff\xff\xff\xa1a\x01",
    "a name of four billion": b"\x81\xdb\xff\xff\xff\xff",
    "an array of 2 ** 60 bytes": b"\x81\xa1a"
    b"\xc7\x1a\x01\x93\x91\xcf" + (1 << 60).to_bytes(8, "big") + b"\xa4bool\xc4\x00",
    "an array of 2 ** 63 axes": b"\x81\xa1a\xc7\x0a\x01\x93\xdd\xff\xff\xff\xff\x00",
}


@pytest.mark.parametrize("case", MSGPACKS)
def test_msgpacks(case, tmp_path):
    path = tmp_path / "x.msgpack"
    path.write_bytes(MSGPACKS[case])
    assert_bounded(path, refused=case != "many arrays")


def npz(header, data=b"", count=1, packed=zipfile.ZIP_STORED, inside=""):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for number in range(count):
            array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data
            archive.writestr(f"{number}.npy" if number + 1 < count else f"{inside}{number}.npy", array)
    return stream.getvalue()


def described(shape):
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()


NPZS = {
    "an array of 2 ** 60 numbers": npz(described(f"({1 << 60},)")),
    "parentheses inside each other": npz(described("(" * 4000)),
    "a size of 9,000 digits": npz(described("9" * 9000)),
    "4,000 arrays": npz(described("(0,)"), count=4000),
    "entries inside each other": npz(described("(0,)"), count=300, inside="params/" * 900),
    "zeros, packed": npz(described(f"({1 << 24},)"), bytes(4 << 24), packed=zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("case", NPZS)
def test_npzs(case, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(NPZS[case])
    if case == "zeros, packed":
        # As much as deflate makes of its bytes, which are read as they are.
        outcome = run(read, path)
        assert (outcome.value, outcome.signal) == (None, 0)
        assert outcome.memory < 1100 * len(NPZS[case]) + FREE
        return
    assert_bounded(path, refused=case != "4,000 arrays")
