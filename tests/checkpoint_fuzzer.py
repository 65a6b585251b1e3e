"""A process that reads broken checkpoints, each within limits, and holds what is accepted against the library's reader.

`python checkpoint_fuzzer.py FORMAT SEEDS FIRST LAST` prints a JSON line before and after each input. Whoever started it
sees by the last line which input a process died of, and whether in our reader or in the library's.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from checkpoint_sandbox import MEMORY, SECONDS

from einops_arch.checkpoints import open_checkpoint
from einops_arch.checkpoints.formats.trees import weights_of
from einops_arch.errors import EinopsArchError
from einops_arch.layouts.arrays import to_numpy
from einops_arch.layouts.boxes import slices

FORMATS = ("one.safetensors", "zip.pt", "legacy.pt", "flax.msgpack", "x.npz", "shards.hf", "x.dcp", "orbax")
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


def received(path, left_out=None):
    """What is read, or None if it is refused with an error of the package; nothing in the file is run.

    Args:
        path: the input.
        left_out: takes the names of what is there beside it, with the reasons.
    """
    global watched  # noqa: PLW0603 - an audit hook cannot be taken off again
    watched = []
    try:
        with open_checkpoint(path) as reader:
            tensors = {name: reader.read(name) for name in reader.names()}
            (left_out if left_out is not None else {}).update(reader.left_out)
            for name in reader.tensors:
                half = tuple((0, size - size // 2) for size in tensors[name].shape)
                part = reader.part(name, half)
                # As bits: a broken file may have bytes in a bool that numpy makes 1 of.
                whole = tensors[name].view(part.dtype)[(..., *slices(half))]
                assert part.tobytes() == whole.tobytes(), name
            return tensors
    except EinopsArchError as error:
        message = str(error)
        assert len(message) < 3000, len(message)
        return None
    finally:
        events, watched = watched, None
        assert events == []


def read_safetensors(path):
    import safetensors

    with safetensors.safe_open(path, "pt") as file:
        return {name: to_numpy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118


def read_shards(path):
    index = json.loads((path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    tensors = {}
    for file in set(index["weight_map"].values()):
        tensors |= read_safetensors(path / file)
    return tensors


def read_torch(path):
    import torch

    loaded = torch.load(path, weights_only=True, map_location="cpu")
    return {name: to_numpy(value.detach().resolve_conj().resolve_neg()) for name, value in loaded.items()}


def read_dcp(path):
    import torch
    import torch.distributed.checkpoint as dcp

    entries = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
    state = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in entries.items()}
    dcp.load(state, checkpoint_id=path)
    return {name: to_numpy(value) for name, value in state.items()}


def read_orbax(path):
    import jax
    import orbax.checkpoint as ocp

    tree = ocp.PyTreeCheckpointer().restore(path.resolve())
    return {
        jax.tree_util.keystr(keys, simple=True, separator="."): np.asarray(value)
        for keys, value in jax.tree_util.tree_leaves_with_path(tree)
    }


def read_msgpack(path):
    import flax.serialization
    import jax

    tree = flax.serialization.msgpack_restore(path.read_bytes())
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {
        tuple(str(key.key) for key in keys): leaf for keys, leaf in leaves if isinstance(leaf, np.ndarray | np.generic)
    }
    # Names are not what is compared here: what is left out of a training is not the library's.
    return {name: np.asarray(arrays[keys]) for keys, name in weights_of(arrays)[0].items()}


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = {tuple(part for part in name.split("/") if part) or ("",): file[name] for name in file.files}
    names = weights_of(arrays)[0]
    return {name: arrays[keys].astype(arrays[keys].dtype.newbyteorder("=")) for keys, name in names.items()}


REFERENCES = {
    "flax.msgpack": read_msgpack,
    "x.npz": read_npz,
    "one.safetensors": read_safetensors,
    "zip.pt": read_torch,
    "legacy.pt": read_torch,
    "shards.hf": read_shards,
    "x.dcp": read_dcp,
    "orbax": read_orbax,
}
"""How the library of a format reads it; `dcp.load` runs a pickle, and is given only what our reader takes."""
STRICT = {"one.safetensors", "shards.hf", "flax.msgpack", "x.npz"}
"""Formats of which nothing is accepted that the library refuses."""


def bits(tensors):
    return {name: (array.shape, array.dtype.name, array.tobytes()) for name, array in tensors.items()}


def judge(name, path, original):
    """What became of an input, in one word; an `AssertionError` says what is wrong."""
    left_out = {}
    tensors = received(path, left_out)
    if tensors is None:
        return "refused"
    say(stage="reference")
    expected, refusal = None, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = bits(REFERENCES[name](path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - that of torch.distributed.checkpoint is no `Exception`
        refusal = f"the library refuses it: {error}"
    if expected is None:
        # A record that nothing depends on may be broken, such as the version of the archive.
        assert name not in STRICT, refusal
        # So may be the word for the kind of an entry, which is left out and told then.
        told = {key: array for key, array in original.items() if key not in left_out}
        assert name == "legacy.pt" or bits(tensors) == bits(told), refusal
        return "read, and refused by the library"
    # Names of aliases are the package's own.
    shown = bits(tensors)
    assert {key: shown.get(key) for key in expected} == expected
    return "same"


def mutate(data, rng):
    """A few changes of the kinds that break files: bits, bytes, pieces, lengths, numbers."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        if not data:
            return bytes(data)
        at = rng.randrange(len(data))
        size = rng.choice([1, 2, 4, 8, 30, 200])
        kind = rng.randrange(9)
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
        elif kind == 7:
            # A name that is a key of the format, where another stands.
            data[at : at + 1] = rng.choice(
                [b"conj", b"neg", b'"":[],', b"__metadata__", b"\x94", b")", b"%2F", b"\x1b["]
            )
        else:
            digits = [index for index, byte in enumerate(data[:4000]) if 48 <= byte <= 57]
            if digits:
                data[rng.choice(digits)] = rng.choice(b"0123456789-.e")
    return bytes(data)


def random_header(rng):
    """A header of safetensors that is right or nearly, and its bytes."""
    sizes = {"F32": 4, "I64": 8, "BOOL": 1, "F16": 2, "BF16": 2, "U8": 1}
    at, header = 0, {}
    for index in range(rng.randrange(5)):
        dtype, shape = rng.choice(sorted(sizes)), [rng.randrange(5) for _ in range(rng.randrange(4))]
        end = at + sizes[dtype] * int(np.prod(shape, dtype=object))
        wrong = rng.choice([0] * 12 + [1, -1, 4, 2**63, 2**70])
        entry = {"dtype": dtype, "shape": shape, "data_offsets": [at, end + wrong]}
        if rng.random() < 0.1:
            entry[rng.choice([*entry, "more"])] = rng.choice(
                [None, True, 1.5, "F32", [], {}, [True], [-1], ["1"], 2**70]
            )
        header[rng.choice([f"t{index}", f"t{index}", "t0", "", "__metadata__", "\ud83d\ude00", "\x1b"])] = entry
        at = end
    if rng.random() < 0.3:
        header["__metadata__"] = rng.choice([{}, {"a": "b"}, {"a": 1}, None, [], {"aliases": '{"x": "t0"}'}])
    indent = rng.choice([None, None, 1])
    text = json.dumps(header, indent=indent).encode() + rng.choice([b"", b"", b"   ", b"\n", b"x"])
    return len(text).to_bytes(8, "little") + text + bytes(index % 2 for index in range(at))


PIECES = [
    *(value for name, value in vars(pickle).items() if name.isupper() and isinstance(value, bytes) and len(value) == 1),
    *(b"X\x01\x00\x00\x00a", b"K\x05", b"q\x00", b"h\x00", b"\x8a\x01\x07", b"X\x07\x00\x00\x00storage"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"),
    *(b"cos\nsystem\n", b"ctorch\nSize\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nTensor\n"),
]


def random_pickle(rng):
    pieces = b"".join(rng.choice(PIECES) for _ in range(rng.randrange(60)))
    return b"\x80\x02" + pieces + rng.randbytes(rng.randrange(8)) + b"."


def make(name, seeds, path, number):
    """The input of a number: a checkpoint with one broken file, or a file made of the format's own pieces."""
    rng = random.Random(f"{name} {number}")
    source = seeds / name
    if source.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source, path)
        target = rng.choice(sorted(file for file in path.rglob("*") if file.is_file()))
        target.write_bytes(mutate(target.read_bytes(), rng))
    elif name == "one.safetensors" and number % 3 == 0:
        path.write_bytes(random_header(rng))
    elif name == "legacy.pt" and number % 5 == 0:
        path.write_bytes(random_pickle(rng))
    else:
        path.write_bytes(mutate(source.read_bytes(), rng))


def say(**values):
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main(name, seeds, first, last):
    seeds = Path(seeds)
    with open_checkpoint(seeds / name) as reader:  # imports what reads it, which compiles code of its own
        for tensor in reader.names():
            reader.read(tensor)
    original = received(seeds / name)
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        for number in range(int(first), int(last)):
            say(stage="reader", number=number)
            used = int(sum(os.times()[:2])) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, resource.RLIM_INFINITY))
            make(name, seeds, path, number)
            try:
                say(outcome=judge(name, path, original))
            except Exception as error:  # noqa: BLE001 - told to whoever started this
                say(outcome="wrong", problem=f"{type(error).__name__}: {error}"[:2000])


if __name__ == "__main__":
    main(*sys.argv[1:])
