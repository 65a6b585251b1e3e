"""Thousands of broken files: every one is refused, or read as the library of its format reads it.

The session `fuzz` asks for more than the usual run. Each input has a number, from which it can be made again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import resource
import shutil
import sys
import time
import warnings

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from einops_arch.checkpoints import open_checkpoint, write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import CheckpointError, EinopsArchError
from einops_arch.layouts.arrays import to_numpy, to_tensor
from einops_arch.layouts.boxes import slices

INPUTS = int(os.environ.get("EINOPS_ARCH_FUZZ", "600"))
SHARES = {"one.safetensors": 0.3, "zip.pt": 0.25, "legacy.pt": 0.2, "shards.hf": 0.1, "x.dcp": 0.1, "orbax": 0.01}
SECONDS, BYTES = 20.0, 1 << 30
# What a file that runs code would do sooner or later.
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "exec", "socket.connect")

watched: list[str] | None = None


def watch(event, arguments):
    if watched is None or not event.startswith(FORBIDDEN):
        return
    # Python executes a module of its own when it is imported for the first time.
    if event != "exec" or not getattr(arguments[0], "co_filename", "").endswith(".py"):
        watched.append(event)


sys.addaudithook(watch)


def arrays():
    rng = np.random.default_rng(0)
    first = rng.standard_normal((3, 4)).astype("float32")
    return {
        "layer.weight": first,
        "layer.bias": rng.integers(0, 9, 5),
        "flag": np.array(True),
        "none": np.zeros((0, 2), "float16"),
        "tied": first,
    }


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A valid checkpoint of every format."""
    folder = tmp_path_factory.mktemp("seeds")
    for name in ("one.safetensors", "shards.hf", "x.dcp", "orbax"):
        facts = {"framework": "flax" if name == "orbax" else "torch"}
        shard = 60 if name.endswith(".hf") else None
        write_tensors(folder / name, MemoryReader(arrays(), facts), max_shard_size=shard)
    state = {name: to_tensor(value) for name, value in arrays().items()}
    state["tied"] = state["layer.weight"]
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    return folder


@contextlib.contextmanager
def bounded():
    """No code runs, nothing hangs, and memory stays where it is."""
    global watched  # noqa: PLW0603 - an audit hook cannot be taken off again
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    watched = []
    try:
        yield
    finally:
        events, watched = watched, None
    assert events == []
    assert time.perf_counter() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES


def ours(path):
    """What is read, or None if it is refused with an error of our own."""
    with bounded():
        try:
            with open_checkpoint(path) as reader:
                found = {name: reader.read(name) for name in reader.names()}
                for name in reader.tensors:
                    half = tuple((0, size - size // 2) for size in found[name].shape)
                    part = reader.part(name, half)
                    # As bits: a broken file may have bytes in a bool that numpy makes 1 of.
                    assert part.tobytes() == found[name].view(part.dtype)[(..., *slices(half))].tobytes(), name
                return found
        except EinopsArchError:
            return None


def safetensors_own(path):
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: to_numpy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, KeyError):
        return None


def torch_own(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, weights_only=True, map_location="cpu")
        return {name: to_numpy(value) for name, value in loaded.items()}
    except Exception:  # noqa: BLE001 - whatever PyTorch says to a broken file
        return None


def same(one, other):
    return {n: (a.shape, a.dtype, a.tobytes()) for n, a in one.items()} == {
        n: (a.shape, a.dtype, a.tobytes()) for n, a in other.items()
    }


def mutate(data, rng):
    """A few changes of the kinds that break files: bits, bytes, pieces, lengths, numbers."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        if not data:
            return bytes(data)
        at = rng.randrange(len(data))
        size = rng.choice([1, 2, 4, 8, 30, 200])
        kind = rng.randrange(8)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + size]
        elif kind == 4:
            data[at:at] = data[rng.randrange(len(data)) :][:size]
        elif kind == 5:
            data[at : at + 8] = rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]).to_bytes(8, "little")
        elif kind == 6:
            data[at : at + size] = rng.randbytes(size)
        else:
            digits = [index for index, byte in enumerate(data[:4000]) if 48 <= byte <= 57]
            if digits:
                data[rng.choice(digits)] = rng.choice(b"0123456789-.e")
    return bytes(data)


@pytest.mark.parametrize("name", SHARES)
def test_mutants(name, seeds, tmp_path):
    source, original = seeds / name, ours(seeds / name)
    assert original is not None
    path = tmp_path / name
    refusals = 0
    count = max(8, int(INPUTS * SHARES[name]))
    for number in range(count):
        rng = random.Random(f"{name} {number}")
        if source.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(source, path)
            target = rng.choice(sorted(file for file in path.rglob("*") if file.is_file()))
        else:
            target = path
        target.write_bytes(mutate((seeds / target.relative_to(tmp_path)).read_bytes(), rng))
        found = ours(path)
        if found is None:
            refusals += 1
        elif name == "one.safetensors":
            # Names of aliases are ours alone.
            own = safetensors_own(path)
            assert own is not None, number
            assert same({key: found[key] for key in own}, own), number
        elif name == "zip.pt":
            assert same(found, original), number
        elif name == "legacy.pt":
            own = torch_own(path)
            assert own is None or same(found, own), number
    assert refusals > count / 10


def json_like():
    numbers = st.one_of(st.integers(-3, 40), st.sampled_from([2**31, 2**63, 2**64, 2**70, 1.5, True, None, "8"]))
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "I64", "BOOL", "F16", "U8", "BF16", "F99", 3]),
            "shape": st.lists(numbers, max_size=3),
            "data_offsets": st.lists(numbers, min_size=2, max_size=2),
        }
    )
    return st.dictionaries(
        st.text(max_size=4), st.one_of(entry, st.recursive(numbers, st.lists, max_leaves=4)), max_size=3
    )


def right_header():
    """Headers that are right, or nearly: tensors in a row, one of which may be moved."""
    sizes = {"F32": 4, "I64": 8, "BOOL": 1, "F16": 2}

    def build(rows, shift):
        at, header = 0, {}
        for index, (dtype, shape) in enumerate(rows):
            end = at + sizes[dtype] * int(np.prod(shape, dtype=object))
            header[f"t{index}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end + shift * (index == 1)]}
            at = end
        return header

    row = st.tuples(st.sampled_from(sorted(sizes)), st.lists(st.integers(0, 4), max_size=3))
    return st.builds(build, st.lists(row, max_size=4), st.sampled_from([0, 0, 0, 1, -1, 4]))


MANY = settings(
    max_examples=max(30, INPUTS // 20), deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@MANY
@given(header=st.one_of(json_like(), right_header()), data=st.binary(max_size=80), fill=st.booleans())
def test_headers_of_safetensors(header, data, fill, tmp_path_factory):
    import json

    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    if fill and all(isinstance(entry, dict) for entry in header.values()):
        ends = [entry["data_offsets"][1] for entry in header.values()]
        numbers = [end for end in ends if isinstance(end, int) and 0 <= end < 2000]
        data = bytes(index % 2 for index in range(max(numbers, default=0)))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    found = ours(path)
    if found is not None:
        own = safetensors_own(path)
        assert own is not None
        assert same(found, own)


OPCODES = [getattr(pickle, name) for name in dir(pickle) if name.isupper() and isinstance(getattr(pickle, name), bytes)]
PIECES = [
    *[code for code in OPCODES if len(code) == 1],
    b"X\x01\x00\x00\x00a",
    b"K\x05",
    b"q\x00",
    b"h\x00",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"cos\nsystem\n",
    b"X\x07\x00\x00\x00storage",
]


@MANY
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=60), tail=st.binary(max_size=8))
def test_pickles(pieces, tail, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pt"
    path.write_bytes(b"\x80\x02" + b"".join(pieces) + tail + b".")
    assert ours(path) is None


@MANY
@given(data=st.binary(max_size=300), name=st.sampled_from(["a.safetensors", "a.pt", "a.index.json"]))
def test_any_bytes(data, name, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    assert not ours(path)


def test_the_watch_sees_what_it_is_for(tmp_path):
    with pytest.raises(AssertionError), bounded():
        os.system("true")
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path)
