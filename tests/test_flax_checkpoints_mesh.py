"""Checkpoints go onto a mesh of eight virtual devices: each shard is read from its slice and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from einops_arch.architectures import ConvNetConfig
from einops_arch.checkpoints import Checkpoint, load, write_checkpoint
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import PortError
from einops_arch.flax import ConvNet, state_dict, without_values

SCRIPT = Path(__file__).with_name("mesh_flax.py")
MESSAGES = {
    "a disk that fails": "CheckpointError: x.safetensors: the disk fails",
    "an axis that the mesh has not": (
        "ConfigError: shardings: 'o' goes to 'modle', which the mesh has not: did you mean 'model'?"
    ),
    "an axis that no layout has": (
        "ConfigError: shardings: no layout of the model has an axis 'q': expected one of i, kh, kw, o"
    ),
    "two axes of one tensor": "fc2.kernel: two of its axes are on model",
    "no mesh": "ConfigError: load: shardings need a mesh; likely fix: mesh=",
    "wrong shapes": (
        "PortError: state of ConvNet: 2 problems, nothing was changed\n"
        "  fc2.weight: expected shape (12, 32), received (8, 32)\n"
        "  fc2.bias: expected shape (12,), received (8,)"
    ),
    "sizes": (
        "PortError: load into ConvNet: 2 problems, nothing was changed\n"
        "  fc2.kernel: expected axis o to be divisible by model=8, received 12\n"
        "  fc2.bias: expected axis o to be divisible by model=8, received 12"
    ),
    "random streams": (
        "conv2_drop.rngs.count: it has no value, and no checkpoint has one; likely fix: a model of "
        "einops_arch.flax.without_values, whose random streams are there"
    ),
    "float64 without x64": (
        "conv1.kernel: float64 would become float32 in silence; likely fix: jax.config.update('jax_enable_x64', True) "
        "before the first array"
    ),
}


def test_eight_devices(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent), "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    facts = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert len(facts) > 40
    for name, fact in facts.items():
        assert fact == MESSAGES.get(name, True), name


def test_without_a_mesh_it_is_load_state_dict(tmp_path):
    source = ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))
    state = state_dict(source)
    write_checkpoint(tmp_path / "x.pt", Checkpoint(state))
    model = without_values(ConvNetConfig.tiny())
    load(tmp_path / "x.pt", model, dtype="bfloat16")
    assert model.fc1.kernel[...].dtype == "bfloat16"
    load(tmp_path / "x.pt", model)
    assert all(np.array_equal(value, state[name]) for name, value in state_dict(model).items())


def test_what_is_loaded_is_the_models_own():
    state = {name: np.array(value) for name, value in state_dict(ConvNet(rngs=nnx.Rngs(0))).items()}
    model = without_values(ConvNetConfig())
    load(MemoryReader(state, {"framework": "torch"}), model)
    before = np.array(model.conv1.bias[...])
    for value in state.values():
        value[...] = 7
    assert np.array_equal(model.conv1.bias[...], before)


def test_nothing_is_half_loaded(tmp_path):
    state = state_dict(ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0)))
    state["fc3.bias"] = state.pop("fc2.bias")
    write_checkpoint(tmp_path / "x.pt", Checkpoint(state))
    model = without_values(ConvNetConfig.tiny())
    with pytest.raises(PortError) as caught:
        load(tmp_path / "x.pt", model)
    assert str(caught.value) == (
        "state of ConvNet: 2 problems, nothing was changed\n"
        "  fc2.bias: missing, expected shape (4,)\n"
        "  fc3.bias: not in the model; did you mean fc2.bias?"
    )
    assert isinstance(model.fc1.bias.get_value(), jax.ShapeDtypeStruct)
    load(tmp_path / "x.pt", model, rename=[("fc3", "fc2")])
    assert np.array_equal(model.fc2.bias[...], state["fc3.bias"])
