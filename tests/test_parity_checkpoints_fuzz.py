"""Thousands of broken files: every one is refused, or read as the library of its format reads it.

The session `fuzz` asks for more than the usual run. Each input has a number, from which it can be made again.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import flax.serialization
import numpy as np
import pytest
import torch
from checkpoint_fuzzer import FORMATS, REFERENCES, bits, read_safetensors, received
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.layouts.arrays import to_tensor

INPUTS = int(os.environ.get("EINOPS_ARCH_FUZZ", "100"))
"""Inputs of each format."""
SLOW = {"orbax": 0.1}
"""Formats of which the usual run reads fewer."""
FUZZER = Path(__file__).with_name("checkpoint_fuzzer.py")


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
    (folder / "flax.msgpack").write_bytes(
        flax.serialization.to_bytes({**arrays(), "layers": {"0": {"scale": np.ones(3)}}})
    )
    np.savez(folder / "x.npz", **arrays(), **{"layers/0/scale": np.arange(3, dtype=">i4")})
    state = {name: to_tensor(value) for name, value in arrays().items()}
    state["tied"] = state["layer.weight"]
    state["lazy"] = torch.tensor([1 + 2j, 3 - 4j]).conj()
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    return folder


def fuzz(name, seeds, count):
    """The outcomes of that many inputs; a process that dies in the library's reader is followed by another."""
    outcomes, first = collections.Counter(), 0
    while first < count:
        command = [sys.executable, "-W", "ignore", str(FUZZER), name, str(seeds), str(first), str(count)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        number, stage = first, "reader"
        for line in lines:
            number, stage = line.get("number", number), line.get("stage", stage)
            if "outcome" in line:
                outcomes[line["outcome"]] += 1
                assert line["outcome"] != "wrong", (name, number, line["problem"])
        if run.returncode == 0:
            break
        assert lines, (name, run.returncode)
        assert stage == "reference", (name, number, run.returncode)
        outcomes["the library died"] += 1
        first = number + 1
    return outcomes


@pytest.mark.parametrize("name", FORMATS)
def test_mutants(name, seeds):
    count = INPUTS if INPUTS > 1000 else int(INPUTS * SLOW.get(name, 1))
    outcomes = fuzz(name, seeds, count)
    assert outcomes.total() == count
    assert outcomes["refused"] >= count / 10
    # What is accepted was compared.
    assert name not in REFERENCES or outcomes["same"] > 0
    print(f"{name}: {dict(outcomes)}")  # noqa: T201 - `pytest -s` shows it


def test_the_process_says_what_it_died_of(seeds):
    code = (
        "import os, sys; import checkpoint_fuzzer as fuzzer\n"
        "def made(name, seeds, path, number):\n"
        "    path.write_bytes((seeds / name).read_bytes())\n"
        "def read(path):\n"
        "    os.abort() if path.parent != seeds else None\n"
        "from pathlib import Path\n"
        "seeds = Path(sys.argv[1])\n"
        "fuzzer.make, fuzzer.REFERENCES['one.safetensors'] = made, read\n"
        "fuzzer.main('one.safetensors', seeds, 3, 5)\n"
    )
    command = [sys.executable, "-c", code, str(seeds)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=FUZZER.parent)
    assert run.returncode == -signal.SIGABRT
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        {"stage": "reader", "number": 3},
        {"stage": "reference"},
    ]


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


MANY = settings(
    max_examples=max(30, INPUTS // 100), deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@MANY
@given(header=json_like(), data=st.binary(max_size=80), fill=st.booleans())
def test_headers_of_safetensors(header, data, fill, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    if fill and all(isinstance(entry, dict) for entry in header.values()):
        ends = [entry["data_offsets"][1] for entry in header.values()]
        numbers = [end for end in ends if isinstance(end, int) and 0 <= end < 2000]
        data = bytes(index % 2 for index in range(max(numbers, default=0)))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    tensors = received(path)
    if tensors is not None:
        assert bits(tensors) == bits(read_safetensors(path))


@MANY
@given(data=st.binary(max_size=300), name=st.sampled_from(["a.safetensors", "a.pt", "a.index.json"]))
def test_any_bytes(data, name, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    assert not received(path)


def test_the_watch_sees_what_it_is_for(seeds, monkeypatch):
    monkeypatch.setattr("checkpoint_fuzzer.open_checkpoint", lambda _: os.system("true"))
    with pytest.raises(AssertionError):
        received(seeds / "one.safetensors")
