"""Checkpoints go onto a mesh of four processes: DTensor and FSDP2, each process reads its slices and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from einops_arch.architectures import ConvNetConfig
from einops_arch.checkpoints import load
from einops_arch.errors import CheckpointError, PortError
from einops_arch.layouts.axes import torch_axes
from einops_arch.torch import ConvNet

SCRIPT = Path(__file__).with_name("mesh_torch.py")
MESSAGES = {
    "FSDP: another dtype": (
        "conv1.weight: expected float32, as the shards have, received float16; likely fix: dtype='float32', or load "
        "before a value is there (torch.device('meta'))"
    ),
    "FSDP: a mesh twice": (
        "ConfigError: load: the model is on a mesh already; likely fix: leave out mesh= and shardings="
    ),
    "a disk that fails in one process": "CheckpointError: process 2: x.safetensors: the disk fails",
    "a file that one process has not": "CheckpointError: process 1: /nowhere.pt: no such file or folder",
    "an axis that the mesh has not": (
        "ConfigError: shardings: 'o' goes to 'modle', which the mesh has not: did you mean 'model'?"
    ),
    "an axis that no layout has": (
        "ConfigError: shardings: no layout of the model has an axis 'q': expected one of c, i, kh, kw, o"
    ),
    "two axes of one tensor": "fc.weight: two of its axes are on model",
    "no mesh": "ConfigError: load: shardings need a mesh; likely fix: mesh=",
    "no names": "ConfigError: load: expected a mesh whose axes have names; likely fix: mesh_dim_names=",
    "wrong shapes": (
        "PortError: load into ResNet: 1 problem, nothing was changed\n"
        "  conv1.weight: expected shape (8, 6, 7, 7), received (8, 8, 7, 7)"
    ),
    "sizes": (
        "PortError: load into ResNet: 1 problem, nothing was changed\n"
        "  conv1.weight: expected axis i to be divisible by model=4, received 6"
    ),
}


def test_four_processes(tmp_path):
    root = str(SCRIPT.parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(4)]
    for rank, facts in enumerate(found):
        assert len(facts) == len(found[0]) > 40
        for name, fact in facts.items():
            own = name == "a file that one process has not" and rank == 1
            expected = MESSAGES.get(name, True)
            assert fact == (expected.replace("process 1: ", "") if own else expected), (rank, name)


def test_without_a_mesh_it_is_load_state_dict_that_keeps_dtypes(tmp_path):
    source = ConvNet(ConvNetConfig.tiny()).bfloat16()
    torch.save(source.state_dict(), tmp_path / "x.pt")
    model = ConvNet(ConvNetConfig.tiny())
    memory = model.conv1.weight.data_ptr()
    load(tmp_path / "x.pt", model)
    assert all(torch.equal(one, two) for one, two in zip(source.parameters(), model.parameters(), strict=True))
    load(tmp_path / "x.pt", model, dtype="float32")
    assert torch.equal(model.conv1.weight, source.conv1.weight.float())
    assert model.conv1.weight.requires_grad
    memory = model.conv1.weight.data_ptr()
    load(tmp_path / "x.pt", model, dtype="float32")
    assert model.conv1.weight.data_ptr() == memory


def test_nothing_is_half_loaded(tmp_path):
    state = ConvNet(ConvNetConfig.tiny()).state_dict()
    model = ConvNet(ConvNetConfig.tiny())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state["fc3.bias"] = state.pop("fc2.bias")
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(PortError) as caught:
        load(tmp_path / "x.pt", model)
    assert str(caught.value) == (
        "load into ConvNet: 2 problems, nothing was changed\n"
        "  fc2.bias: missing, expected shape (4,)\n"
        "  fc3.bias: not in the model; did you mean fc2.bias?"
    )
    load_again = [("fc3", "fc2")]
    data = bytearray((tmp_path / "x.pt").read_bytes())
    place = data.find(state["fc3.bias"].numpy().tobytes())
    data[place] ^= 1
    (tmp_path / "damaged.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged: its checksum is not that of the archive$"):
        load(tmp_path / "damaged.pt", model, rename=load_again)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    load(tmp_path / "x.pt", model, rename=load_again)
    assert torch.equal(model.fc2.bias, state["fc3.bias"])


def test_what_no_checkpoint_has(tmp_path):
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(2, 3))
        model[0].register_buffer("mask", torch.zeros(3), persistent=False)
    torch.save(model.to_empty(device="cpu").state_dict(), tmp_path / "x.pt")
    with pytest.raises(PortError, match=r"0\.mask: it has no value, and no checkpoint has one; likely fix: build the"):
        load(tmp_path / "x.pt", model.to("meta"))


def test_the_names_of_the_axes_of_layers():
    layers = torch.nn.ModuleDict(
        {
            "conv": torch.nn.Conv3d(2, 3, 1),
            "turned": torch.nn.ConvTranspose1d(2, 3, 1),
            "lstm": torch.nn.LSTM(2, 3),
            "norm": torch.nn.LayerNorm((2, 3)),
            "attention": torch.nn.MultiheadAttention(4, 2),
            "embedding": torch.nn.Embedding(5, 2),
        }
    )
    found = torch_axes(layers)
    assert {name: " ".join(" ".join(group) or "-" for group in found[name]) for name in found} == {
        "conv.weight": "o i kd kh kw",
        "conv.bias": "o",
        "turned.weight": "i o kw",
        "turned.bias": "o",
        "lstm.weight_ih_l0": "o i",
        "lstm.weight_hh_l0": "o i",
        "lstm.bias_ih_l0": "o",
        "lstm.bias_hh_l0": "o",
        "norm.weight": "c_0 c_1",
        "norm.bias": "c_0 c_1",
        "attention.in_proj_weight": "n heads k e",
        "attention.in_proj_bias": "n heads k",
        "attention.out_proj.weight": "e heads k",
        "attention.out_proj.bias": "e",
        "embedding.weight": "token e",
    }
    assert found["attention.in_proj_weight"] == (("n", "heads", "k"), ("e",))
