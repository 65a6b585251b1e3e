"""Which part of a distributed folder is the weights: nested dictionaries as trainings save them, and their keys."""

from __future__ import annotations

import pickle

import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from typer.testing import CliRunner

from einops_arch.architectures import ConvNetConfig
from einops_arch.checkpoints import open_checkpoint
from einops_arch.checkpoints.files import write_tensors
from einops_arch.checkpoints.formats.torch_state import TRAINING
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.cli.app import app
from einops_arch.errors import CheckpointError
from einops_arch.torch import ConvNet

RUNNER = CliRunner()


def run(*arguments):
    """What the command prints on one line, and its exit code."""
    result = RUNNER.invoke(app, [*map(str, arguments)])
    return " ".join(result.output.split()), result.exit_code


@pytest.fixture(scope="module")
def convnet():
    torch.manual_seed(0)
    return ConvNet(ConvNetConfig.tiny()).state_dict()


def saved_by_dcp(folder, state):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        dcp.save(state, checkpoint_id=str(folder))
    return folder


def moments(state):
    kept = {name: {"exp_avg": value + 1, "step": torch.tensor(3.0)} for name, value in state.items()}
    return {"state": kept, "param_groups": [{"lr": 0.1, "params": list(state)}]}


@pytest.mark.parametrize(
    ("taken", "make"),
    [
        ("model", lambda state: {"model": state, "optim": moments(state), "epoch": 3}),
        ("net", lambda state: {"net": state, "opt": moments(state)}),
        ("app.model", lambda state: {"app": {"model": state, "optim": moments(state)}}),
        ("model", lambda state: {"model": state, "model_ema": dict.fromkeys(state, torch.ones(1)), "epoch": 3}),
        ("model", lambda state: {"model": {**state, "fc._extra_state": b"x"}}),
        ("", lambda state: {**state, "optimizer": moments(state), "train_state": {"step": torch.tensor(3)}}),
        ("", dict),
    ],
)
def test_the_weights_in_a_distributed_folder_are_chosen(taken, make, convnet, tmp_path):
    folder = saved_by_dcp(tmp_path / "d", make(dict(convnet)))
    with open_checkpoint(folder) as reader:
        assert reader.taken == taken
        assert set(reader.names()) == set(convnet)
        assert all(reader.read(name).tobytes() == value.numpy().tobytes() for name, value in convnet.items())
        # A line for each entry beside it, and none for each of the optimizer's arrays.
        assert len(reader.left_out) <= 2
    output, code = run("port", folder, tmp_path / "x.safetensors", "--to", "torch")
    assert code == 0, output
    received = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert {name: value.shape for name, value in received.items()} == {n: v.shape for n, v in convnet.items()}


def test_a_part_of_a_distributed_folder_is_named_and_taken(convnet, tmp_path):
    averages = {name: value + 1 for name, value in convnet.items()}
    folder = saved_by_dcp(tmp_path / "d", {"g": dict(convnet), "d": averages, "optim": moments(averages)})
    for command in (["port", folder, tmp_path / "x.safetensors", "--to", "torch"], ["inspect", folder]):
        output, code = run(*command)
        assert code == 2
        assert "received several: 'g' (8 tensors), 'd' (8 tensors); likely fix: --key g" in output
    for part, name in ((["--key", "d"], "e"), (["--only", "d."], "f")):
        output, code = run("port", folder, tmp_path / f"{name}.safetensors", "--to", "flax", *part)
        assert code == 0, output
        received = safetensors.torch.load_file(tmp_path / f"{name}.safetensors")
        assert torch.equal(received["conv1.kernel"], averages["conv1.weight"].permute(2, 3, 1, 0))
    for key, text in (("model", "'model', received 'g', 'd', 'optim'"), ("optim", "expected a state dict under optim")):
        with pytest.raises(CheckpointError, match=text):
            open_checkpoint(folder, key=key)


def test_a_distributed_folder_that_does_not_say_its_keys(convnet, tmp_path):
    write_tensors(tmp_path / "x.dcp", MemoryReader({f"g.{n}": v.numpy() for n, v in convnet.items()}, {}))
    with open_checkpoint(tmp_path / "x.dcp", key="g") as reader:
        assert set(reader.names()) == set(convnet)
    with pytest.raises(CheckpointError, match="expected an entry 'h', received 'g'"):
        open_checkpoint(tmp_path / "x.dcp", key="h")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"a.w": ("a", "w")}, "b.w'?: expected 1 to 64 keys"),
        ({"a.w": ("a", "w"), "b.w": ("b",) * 65}, "b.w'?: expected 1 to 64 keys"),
        ({"a.w": ("a", "w"), "b.w": ("b", 1.5)}, "b.w'?: expected 1 to 64 keys"),
        ({"a.w": ("a", "w"), "b.w": ("a", "w")}, "a.w'?: two names have these keys"),
        ({"a.w": ("a",), "b.w": ("a", "w")}, "a.w'?: its keys lead through a tensor"),
        ([], "expected the keys of each name"),
    ],
)
def test_keys_that_are_none(keys, text, tmp_path):
    folder = saved_by_dcp(tmp_path / "d", {"a": {"w": torch.ones(3)}, "b": {"w": torch.ones(4)}})
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.planner_data = keys
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match=text):
        open_checkpoint(folder)


def test_a_part_of_a_network_is_no_part_of_a_training():
    assert not any(map(TRAINING.search, ("upscaler", "Downscaler", "generator", "backbone")))
    assert all(map(TRAINING.search, ("GradScaler", "scaler", "loss_scaler", "rng_state", "lr_schedulers")))


@pytest.mark.parametrize(
    ("prefix", "options", "text"),
    [
        ("model.", ["--preset", "tiny"], "are those of ConvNet; likely fix: --only model."),
        ("model.net.", ["--preset", "tiny"], "are those of ConvNet; likely fix: --only model."),
        ("model.", ["--preset", "mnist"], "likely fix: --only model. --arch convnet --preset tiny"),
        ("model.", [], "are those of convnet --preset tiny; likely fix: --only model."),
    ],
)
def test_the_part_that_fits_the_named_network_is_told(prefix, options, text, convnet, tmp_path):
    whole = {f"{prefix}{name}": value for name, value in convnet.items()} | {"loss.scale": torch.ones(3)}
    torch.save({"state_dict": whole}, tmp_path / "x.ckpt")
    start = ["port", tmp_path / "x.ckpt", tmp_path / "x.safetensors", "--to", "flax"]
    result = RUNNER.invoke(app, [*map(str, start), "--arch", "convnet", *options])
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("  the names that begin with 'model.' are those of ")
    assert text in lines[1]
    output, code = run(*start, *text.partition("fix: ")[2].split())
    assert code == 0, output
    received = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert torch.equal(received["conv1.kernel"], convnet["conv1.weight"].permute(2, 3, 1, 0))
    assert "loss.scale: left out" in output
