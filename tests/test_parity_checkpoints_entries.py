"""Which part of a distributed folder is the weights: nested dictionaries as trainings save them, and their keys."""

from __future__ import annotations

import json
import pickle
import zipfile

import flax.serialization
import numpy as np
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


def parted():
    """As Megatron nests it."""
    words = {"word_embeddings": {"weight": torch.ones(7, 3)}, "position_embeddings": {"weight": torch.ones(5, 3)}}
    encoder = {"layers.0.norm.weight": torch.ones(3), "final.weight": torch.ones(3)}
    return {"language_model": {"embedding": words, "encoder": encoder, "scale": torch.ones(1)}}


def test_a_state_dict_in_parts_is_joined(tmp_path):
    torch.save({"model": parted(), "iteration": 3, "optimizer": {"optimizer": moments({})}}, tmp_path / "x.pt")
    names = [
        "embedding.word_embeddings.weight",
        "embedding.position_embeddings.weight",
        "encoder.layers.0.norm.weight",
        "encoder.final.weight",
        "scale",
    ]
    for key in (None, "model", "model.language_model"):
        with open_checkpoint(tmp_path / "x.pt", key=key) as reader:
            assert reader.names() == names
            assert reader.taken == "model.language_model"
            assert set(reader.left_out) == {"iteration", "optimizer"}
            assert reader.read(names[1]).shape == (5, 3)
    whole = parted()
    whole["language_model"]["encoder"]["attention._extra_state"] = None
    torch.save({"model": whole}, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match=r"_extra_state' is None, and no tensor.*--drop '\^attention"):
        open_checkpoint(tmp_path / "y.pt")
    with open_checkpoint(tmp_path / "y.pt", drop=["_extra_state"]) as reader:
        assert reader.names() == names


def test_parts_that_are_there_many_times_are_no_state_dict(tmp_path):
    node = {"a": torch.ones(1), "b": {"c": torch.ones(1)}}
    for _ in range(12):
        node = {"x": node, "y": node, "z": torch.ones(1)}
    torch.save({"model": node}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="expected"):
        open_checkpoint(tmp_path / "x.pt")


def test_of_two_the_larger_is_not_passed_over(tmp_path):
    """What would be the state dict but for one entry, beside a small one."""
    large = {**{f"layers.{n}.weight": torch.ones(2) for n in range(5)}, "version": 3}
    torch.save({"net_weights": large, "prior": {"mean": torch.ones(2)}, "epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"under net_weights, .*--drop '\^version\$'"):
        open_checkpoint(tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt", key="net_weights", drop=["version"]) as reader:
        assert len(reader.names()) == 5
    torch.save(moments({"w": torch.ones(3)}), tmp_path / "optimizer.bin")
    with pytest.raises(CheckpointError, match="expected weights, received the state of an optimizer"):
        open_checkpoint(tmp_path / "optimizer.bin")


TREE = {"layer": {"query": {"kernel": np.ones((6, 8))}, "norm": {"scale": np.ones(6)}}}
ADAM = {"0": {"count": np.ones((), "int32"), "mu": TREE, "nu": TREE}}
KEPT = {"step": np.ones((), "int32"), "param_states": {"layer": {"query": {"kernel": {"v_row": np.ones(8)}}}}}


@pytest.mark.parametrize(
    "tree",
    [
        {"optimizer": {"target": TREE, "state": KEPT}, "version": 1},
        {"optimizer": {"target": TREE, "state": KEPT}, "step": np.ones((), "int32")},
        {"target": TREE, "state": KEPT, "version": 1},
        {"state": {"params": TREE, "opt_state": ADAM, "step": np.ones((), "int32")}},
        {"train": {"state": {"model": TREE, "opt_state": ADAM}}},
        {"params": {"params": TREE}, "opt_state": ADAM},
    ],
)
def test_the_weights_in_trees_of_trainings(tree, tmp_path):
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    with open_checkpoint(tmp_path / "x.msgpack") as reader:
        assert reader.names() == ["layer.query.kernel", "layer.norm.scale"]
        assert reader.left_out


def test_a_wrapper_around_weights_alone_stays(tmp_path):
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes({"bert": TREE}))
    with open_checkpoint(tmp_path / "x.msgpack") as reader:
        assert reader.names() == ["bert.layer.query.kernel", "bert.layer.norm.scale"]


def test_a_file_of_deepspeed_is_whole_or_refused(convnet, tmp_path):
    shapes = [{name: value.shape for name, value in convnet.items()}]
    torch.save({"module": convnet, "param_shapes": shapes, "optimizer": None}, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt") as reader:
        assert set(reader.names()) == set(convnet)
    torch.save({"module": {name: torch.empty(0) for name in convnet}, "param_shapes": shapes}, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match=r"expected whole tensors, received 8 tensors without .*zero_to_fp32"):
        open_checkpoint(tmp_path / "y.pt")
    # A tensor without elements is no mistake where nothing says that it had some.
    torch.save({"module": {"w": torch.empty(0)}}, tmp_path / "z.pt")
    assert open_checkpoint(tmp_path / "z.pt").names() == ["w"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("diffusion_pytorch_model.safetensors", ""),
        ("diffusion_flax_model.msgpack", ""),
        ("my_model.safetensors", "expected a checkpoint, .*; it holds 'config.json', 'my_model.safetensors'$"),
    ],
)
def test_the_folder_of_a_diffusion_network(name, text, tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text('{"_class_name": "UNet2DConditionModel"}', encoding="utf-8")
    if name.endswith("msgpack"):
        (tmp_path / "unet" / name).write_bytes(
            flax.serialization.to_bytes({"conv_in": {"kernel": np.ones((3, 3, 2, 5))}})
        )
    else:
        safetensors.torch.save_file({"conv_in.weight": torch.ones(5, 2, 3, 3)}, tmp_path / "unet" / name)
    if text:
        with pytest.raises(CheckpointError, match=text):
            open_checkpoint(tmp_path / "unet")
        return
    output, code = run("port", tmp_path / "unet", tmp_path / "x.pt", "--to", "torch")
    assert code == 0, output
    shapes = {key: tuple(value.shape) for key, value in torch.load(tmp_path / "x.pt").items()}
    assert shapes == {"conv_in.weight": (5, 2, 3, 3)}


@pytest.mark.parametrize("fields", [{"model_type": "bert"}, {"architecture": "efficientnet_b0"}])
def test_a_folder_of_another_network_changes_its_format(fields, tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/config.json").write_text(json.dumps(fields), encoding="utf-8")
    safetensors.torch.save_file({"fc.weight": torch.ones(5, 2)}, tmp_path / "hub/model.safetensors")
    output, code = run("port", tmp_path / "hub", tmp_path / "x.pt", "--to", "torch")
    assert code == 0, output
    assert "names and shapes were not checked" in output
    output, code = run("port", tmp_path / "hub", tmp_path / "x.safetensors", "--to", "flax")
    assert (code, "is none of ours" in output) == (2, True)


def test_files_of_other_libraries_are_named(tmp_path):
    torch.export.save(torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),)), tmp_path / "x.pt2")
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "x")
    (tmp_path / "model.ckpt.index").write_bytes(b"x")
    kernel = {"conv.weight": torch.ones(5, 3, 3, 2)}
    safetensors.torch.save_file(kernel, tmp_path / "x.safetensors", metadata={"format": "mlx"})
    for name, text in (
        ("x.pt2", "received a program of torch.export"),
        ("x.keras", "received a model of Keras, with 'config.json'"),
        ("model.ckpt", "a checkpoint of TensorFlow"),
        ("x.safetensors", "expected the framework torch or flax, received 'mlx'"),
    ):
        output, code = run("port", tmp_path / name, tmp_path / "y.pt", "--to", "torch")
        assert (code, text in output) == (2, True), output
        assert not (tmp_path / "y.pt").exists()
