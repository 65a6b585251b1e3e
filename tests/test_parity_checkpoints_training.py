"""Whole training checkpoints: the weights come out, what lies beside them is listed, and nothing of it is imported."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import importlib
import json
import os
import pathlib
import sys
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from einops_arch.checkpoints import open_checkpoint
from einops_arch.cli.app import app
from einops_arch.errors import CheckpointError, PortError
from einops_arch.port.convert import port_checkpoint

CLASSES = '''
import dataclasses, enum

class Config(dict):
    """As OmegaConf's: a dictionary with attributes."""

class Numbers(list):
    pass

class Stage(enum.Enum):
    LATE = 2

@dataclasses.dataclass
class Options:
    rate: float
    of: object = None

class Named:
    def __new__(cls, *, size):
        self = super().__new__(cls)
        self.size = size
        return self
    def __getnewargs_ex__(self):
        return (), {"size": self.size}

class Trained(dict):
    """A state dict of a class of its own."""

def schedule(step):
    return step
'''


@pytest.fixture
def classes(tmp_path, monkeypatch):
    """A module that is there while a checkpoint is written; who imports it later runs into an error."""
    source = tmp_path / "their_training.py"
    source.write_text(CLASSES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("their_training")
    sys.modules.pop("their_training", None)


def forget(tmp_path):
    del sys.modules["their_training"]
    importlib.invalidate_caches()
    (tmp_path / "their_training.py").write_text("raise SystemExit('it was imported')", encoding="utf-8")


def training(classes, state):
    config = classes.Config(rate=0.1)
    config.owner = classes.Options(0.5, config)
    return {
        "state_dict": state,
        "epoch": 3,
        "hyper_parameters": config,
        "numbers": classes.Numbers([1, config]),
        "stage": classes.Stage.LATE,
        "named": classes.Named(size=3),
        "best": np.float64(0.9),
        "array": np.arange(5),
        "path": pathlib.PurePosixPath("a/b"),
        "time": dt.datetime(2024, 5, 17, tzinfo=dt.UTC),
        "partial": functools.partial(classes.schedule, 3),
        "kind": classes.Options,
        "default": collections.defaultdict(list, a=[1]),
        "pairs": {(0, 1): 2, (0, 2): classes.Stage.LATE, torch.float32: 1, frozenset({1, 2}): 4},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}],
        "generator": np.random.default_rng(0),
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["x.ckpt", "last.tar", "weights"])
def test_foreign_objects_stay_opaque_beside_the_weights(name, zipped, protocol, classes, tmp_path):
    state = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.nn.Parameter(torch.ones(2))}
    whole = training(classes, state)
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    torch.save(whole, tmp_path / name, **options)
    torch.save(classes.Trained(state), tmp_path / "own.ckpt", **options)
    torch.save(state | {"odd": classes.Options(1.0)}, tmp_path / "odd.ckpt", **options)
    forget(tmp_path)
    with open_checkpoint(tmp_path / name) as reader:
        assert reader.names() == list(state)
        assert reader.read("layer.weight").tolist() == state["layer.weight"].tolist()
        assert set(reader.left_out) == set(whole) - {"state_dict"}
        assert "their_training.Config" in reader.left_out["hyper_parameters"]
        assert "3 beside" in reader.left_out["epoch"]
    # The only thing in the file is foreign: nobody knows what would be in it.
    with pytest.raises(CheckpointError, match=r"refused.* asks for their_training\.Trained; likely fix"):
        open_checkpoint(tmp_path / "own.ckpt")
    with pytest.raises(CheckpointError, match=r"entry 'odd' is an object of their_training\.Options.*--drop '\^odd\$'"):
        open_checkpoint(tmp_path / "odd.ckpt")
    with open_checkpoint(tmp_path / "odd.ckpt", drop=["^odd$"]) as reader:
        assert reader.names() == list(state)
        assert set(reader.left_out) == {"odd"}
    assert "their_training" not in sys.modules


class Change:
    """Something that changes the weights when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["state", "tensor", "inside"])
def test_a_call_that_gets_the_weights_could_change_them(place, tmp_path):
    import operator

    state = {"w": torch.zeros(3)}
    change = Change(operator.setitem, state, "w", torch.ones(3))
    if place == "tensor":
        change = Change(torch.Tensor.fill_, state["w"], 1.0)
    if place == "inside":
        change = Change(torch._foreach_add_, [state["w"]], 1.0)
    torch.save({"model": state, "more": change}, tmp_path / "x.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(tmp_path / "x.pt", weights_only=False)
    assert loaded["model"]["w"].tolist() == [1, 1, 1]
    with pytest.raises(CheckpointError, match=r"is handed to .*, which could change it"):
        open_checkpoint(tmp_path / "x.pt")


def test_the_weights_are_found_wherever_they_lie(tmp_path):
    first, second = {"w": torch.arange(3.0)}, {"w": torch.arange(3.0) + 10, "v": torch.ones(1)}
    moments = {"w": {"exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}}
    cases = {
        "alone": ({"run": {"inner": {"net_g": first}}, "optimizer": {"state": moments}}, [0, 1, 2]),
        "resemblyzer": ({"step": 1, "model_state": first, "optimizer_state": {"state": {0: first}}}, [0, 1, 2]),
        "ema": ({"params_ema": second}, [10, 11, 12]),
        "both": ({"params": first, "params_ema": second}, [0, 1, 2]),
    }
    for name, (saved, expected) in cases.items():
        torch.save(saved, tmp_path / "x.pt")
        with open_checkpoint(tmp_path / "x.pt") as reader:
            assert reader.read("w").tolist() == expected, name
    torch.save({"g_ema": second, "d": {"deep": first}, "optimizer": {"state": moments}}, tmp_path / "x.pt")
    with pytest.raises(
        CheckpointError, match=r"several: 'g_ema' \(2 tensors\), 'd\.deep' \(1 tensor\); .* --key g_ema"
    ):
        open_checkpoint(tmp_path / "x.pt")
    for key in ("d", "d.deep"):
        with open_checkpoint(tmp_path / "x.pt", key=key) as reader:
            assert reader.read("w").tolist() == [0, 1, 2]
            assert set(reader.left_out) == {"g_ema", "optimizer"}
    with pytest.raises(CheckpointError, match=r"state dicts are 'g_ema' \(2 tensors\), 'd\.deep' \(1 tensor\)"):
        open_checkpoint(tmp_path / "x.pt", key="generator")


def test_a_part_of_a_checkpoint(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    state = {"net.a.weight": shared, "net.b": torch.ones(2), "head.weight": shared, "position_ids": torch.arange(4)}
    torch.save(state, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt", only="net.", drop=[r"\.b$"]) as reader:
        assert reader.names() == ["net.a.weight"]
        assert reader.left_out == {
            "net.b": r"its name matches --drop \.b$",
            "head.weight": "its name does not begin with net.",
            "position_ids": "its name does not begin with net.",
        }
    # The bytes of a tied tensor stay under its other name.
    with open_checkpoint(tmp_path / "x.pt", drop=["^net", "_ids"]) as reader:
        assert reader.read("head.weight").tolist() == shared.tolist()
        assert reader.aliases == {}
    with open_checkpoint(tmp_path / "x.pt", drop=["_ids"]) as reader:
        assert reader.aliases == {"head.weight": "net.a.weight"}
    for options, text in (
        ({"drop": ["nothing"]}, "--drop nothing: matches none of the 4 names"),
        ({"only": "none."}, "nothing is left of 4 tensors"),
        ({"drop": ["["]}, r"--drop \[: not a regular expression"),
    ):
        with pytest.raises(PortError, match=text):
            open_checkpoint(tmp_path / "x.pt", **options)


def test_files_are_known_by_what_is_in_them(tmp_path):
    state = {"w": torch.arange(3.0)}
    safetensors.torch.save_file(state, tmp_path / "weights.of.mine")
    safetensors.torch.save_file(state, tmp_path / "pytorch_model.bin")
    torch.save(state, tmp_path / "x.safetensors")
    for name in ("weights.of.mine", "pytorch_model.bin", "x.safetensors"):
        with open_checkpoint(tmp_path / name) as reader:
            assert reader.read("w").tolist() == [0, 1, 2]
    for start, text in (
        (b"\x89HDF\r\n\x1a\n", "received HDF5"),
        (b"\x1f\x8b\x08", "packed by gzip"),
        (b"?", "none of"),
    ):
        (tmp_path / "odd.weights").write_bytes(start + bytes(40))
        with pytest.raises(CheckpointError, match=rf"odd\.weights: expected .* {text}"):
            open_checkpoint(tmp_path / "odd.weights")
    os.mkfifo(tmp_path / "x")
    with pytest.raises(CheckpointError, match="x: cannot be read: not a regular file but a pipe"):
        open_checkpoint(tmp_path / "x")
    reading, writing = os.pipe()
    with pytest.raises(CheckpointError, match="not a regular file but a pipe"):
        open_checkpoint(f"/dev/fd/{reading}")
    os.close(reading), os.close(writing)


def test_the_command_line_and_the_function_take_a_part(tmp_path):
    state = {"w": torch.arange(3.0), "position_ids": torch.arange(4), "step": 3}
    torch.save({"model_ema": state, "model": {"w": torch.ones(3)}}, tmp_path / "x.ckpt")
    part = ["--key", "model_ema", "--drop", "step", "--drop", "_ids$"]
    command = ["port", str(tmp_path / "x.ckpt"), str(tmp_path / "y.safetensors"), "--to", "torch", *part]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "step: left out: its name matches --drop step" in result.output
    assert "position_ids: left out: its name matches --drop _ids$" in result.output
    assert safetensors.torch.load_file(tmp_path / "y.safetensors")["w"].tolist() == [0, 1, 2]
    shown = json.loads(CliRunner().invoke(app, ["inspect", str(tmp_path / "x.ckpt"), *part, "--json"]).stdout)
    assert set(shown["left_out"]) == {"step", "position_ids", "model"}
    remarks = port_checkpoint(
        tmp_path / "x.ckpt", tmp_path / "z.pt", "torch", key="model_ema", only="w", drop=["step", "_ids"]
    )
    assert torch.load(tmp_path / "z.pt")["w"].tolist() == [0, 1, 2]
    assert {line.partition(":")[0] for line in remarks} >= {"step", "position_ids", "model"}
