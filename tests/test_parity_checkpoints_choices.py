"""Which of several things is meant, and what a port says that it has checked: every choice and every claim is true."""

from __future__ import annotations

import json

import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from einops_arch.checkpoints import open_checkpoint
from einops_arch.cli.app import app
from einops_arch.errors import CheckpointError, DtypeError, PortError
from einops_arch.port import port_checkpoint

W = {"fc.weight": torch.arange(15.0).reshape(5, 3), "fc.bias": torch.arange(5.0)}
V = {name: value + 1 for name, value in W.items()}


class Stranger:
    """Of no class that a checkpoint may hold."""


@pytest.fixture(scope="module")
def adam():
    model = torch.nn.Linear(3, 5)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def command(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.fixture
def saved(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "x.pt")
        return tmp_path / "x.pt"

    return save


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (lambda adam: (W, adam), "0"),
        (lambda adam: [W, {"rate": 1}], "0"),
        (lambda adam: {"epoch": 3, "models": [W], "adam": adam}, "models.0"),
        (lambda adam: {3: W, "adam": adam}, "3"),
        # An optimizer has numbers in the place of names, whatever it is called.
        (lambda adam: {"gen": W, "adam": adam, "adams": [adam]}, "gen"),
        # Lists are looked at where there is nothing else: a history of losses is no state dict.
        (lambda adam: {"gen": W, "history": [{"loss": torch.ones(())}]}, "gen"),
    ],
)
def test_the_state_dict_of_a_list_or_a_number(content, taken, adam, saved):
    with open_checkpoint(saved(content(adam))) as reader:
        assert reader.taken == taken
        assert {name: reader.read(name).tolist() for name in reader.names()} == {k: v.tolist() for k, v in W.items()}


@pytest.mark.parametrize("content", [{"folds": [W, V]}, {"folds": {0: W, 1: V}}, {"folds": (W, V, "text")}])
def test_several_in_a_list_are_listed_and_chosen_by_number(content, saved):
    path = saved(content)
    for key in (None, "folds"):
        with pytest.raises(CheckpointError, match=r"several: '(folds\.)?0' \(2 tensors\), '(folds\.)?1' \(2 tensors\)"):
            open_checkpoint(path, key=key)
    with open_checkpoint(path, key="folds.1") as reader:
        assert reader.read("fc.bias").tolist() == [1, 2, 3, 4, 5]
        assert reader.left_out["folds.0"] == "a state dict of 2 tensors beside folds.1, which was taken"


def test_an_object_inside_of_a_state_dict_is_refused_by_its_name(saved):
    path = saved({"state_dict": {**W, "extra": Stranger()}, "best": Stranger()})
    with pytest.raises(CheckpointError, match=r"under state_dict, .* entry 'extra' is an object of .*Stranger.*--drop"):
        open_checkpoint(path)
    with open_checkpoint(path, drop=["^extra$"]) as reader:
        assert sorted(reader.names()) == ["fc.bias", "fc.weight"]


def test_the_entry_of_an_optimizer_is_all_of_it(tmp_path):
    tree = {
        "model": {"fc": {"kernel": {"value": np.ones((3, 5), "float32")}}},
        "opt_state": {"step": {"value": np.array(7)}, "opt_state": {"0": {"mu": {"fc": {"value": np.ones(2)}}}}},
    }
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        manager.save(7, args=ocp.args.StandardSave(tree))
    with open_checkpoint(tmp_path / "run", key="opt_state") as reader:
        assert sorted(reader.names()) == ["opt_state.0.mu.fc", "step"]
    with open_checkpoint(tmp_path / "run") as reader:
        assert sorted(reader.names()) == ["fc.kernel"]


def test_what_is_no_array_of_numbers_can_be_dropped_from_npz(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, objects=np.array([{}], dtype=object), void=np.zeros(2, "V2"), w=np.arange(3.0))
    with pytest.raises(CheckpointError, match="'objects' is no array of numbers but pickled objects"):
        open_checkpoint(path)
    with open_checkpoint(path, drop=["^objects$", "^void$"]) as reader:
        assert reader.names() == ["w"]
        assert reader.left_out["objects"] == "its name matches --drop ^objects$"


@pytest.mark.parametrize("ending", ["pt", "safetensors", "msgpack", "ckpt"])
@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer of Git LFS .* git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page in the place of the file"),
        (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it"),
    ],
)
def test_other_files_are_named_whatever_their_ending(start, text, ending, tmp_path):
    (tmp_path / f"x.{ending}").write_bytes(start + bytes(64))
    with pytest.raises(CheckpointError, match=text):
        open_checkpoint(tmp_path / f"x.{ending}")


@pytest.mark.parametrize("option", [("--only", "fc.", "head."), ("--key", "a", "b"), ("--merge-lora", "a", "b")])
def test_of_two_values_none_is_lost_unseen(option, saved, tmp_path):
    name, first, second = option
    port = ["port", saved(W), tmp_path / "y.pt", "--to", "torch"]
    code, output = command(*port, name, first, name, second)
    assert code == 2
    assert f"{name} takes one value, received several" in " ".join(output.replace("│", " ").split())
    assert not (tmp_path / "y.pt").exists()
    code, _ = command(*port, "--drop", "bias", "--drop", "nothing|weight_")
    assert code == 2
    code, _ = command(*port, "--rename", "^fc=a", "--rename", "^a=b")
    assert code == 0
    assert sorted(torch.load(tmp_path / "y.pt")) == ["b.bias", "b.weight"]


def adapter(folder, tensors, **config):
    folder.mkdir()
    safetensors.torch.save_file({name: value.clone() for name, value in tensors.items()}, folder / "a.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}), encoding="utf-8")
    return folder / "a.safetensors"


A, B = torch.ones(1, 3), torch.ones(5, 1)


def pair(layer, adapter_name=""):
    return {f"{layer}.lora_A{adapter_name}.weight": A, f"{layer}.lora_B{adapter_name}.weight": B}


def test_what_was_computed_is_not_called_the_source(saved, tmp_path):
    path = adapter(tmp_path / "a", pair("fc"), lora_alpha=2)
    port = ["port", saved(W), tmp_path / "y.safetensors", "--to", "torch", "--check", "--force"]
    code, output = command(*port)
    assert (code, "read again: 2 tensors are those of the source, by SHA-256" in output) == (0, True)
    code, output = command(*port, "--merge-lora", path)
    assert code == 0
    assert "read again: 1 tensor is that of the source and 1 as computed, by SHA-256" in output
    assert torch.equal(safetensors.torch.load_file(tmp_path / "y.safetensors")["fc.weight"], W["fc.weight"] + 2)
    code, output = command(*port, "--dtype", "bfloat16")
    assert (code, "read again: 2 tensors are as computed, by SHA-256" in output) == (0, True)


def test_what_was_held_against_a_file_is_not_called_unchecked(saved, tmp_path):
    safetensors.torch.save_file(V, tmp_path / "like.safetensors")
    port = ["port", saved(W), tmp_path / "y.pt", "--to", "torch", "--force"]
    _, output = command(*port)
    assert "names and shapes were not checked" in output
    code, output = command(*port, "--like", tmp_path / "like.safetensors")
    assert code == 0
    assert "names and shapes were held against" in output
    assert "not checked" not in output


def test_one_adapter_of_whatever_name_is_merged_and_several_are_refused(saved, tmp_path):
    path = adapter(tmp_path / "a", pair("fc", ".mine"), lora_alpha=2)
    port_checkpoint(saved(W), tmp_path / "y.safetensors", "torch", merge_lora=path)
    assert torch.equal(safetensors.torch.load_file(tmp_path / "y.safetensors")["fc.weight"], W["fc.weight"] + 2)
    path = adapter(tmp_path / "b", {**pair("fc", ".mine"), **pair("fc", ".other")}, lora_alpha=2)
    with pytest.raises(PortError, match="expected one adapter, received mine, other; likely fix"):
        port_checkpoint(saved(W), tmp_path / "z.safetensors", "torch", merge_lora=path)


def test_a_dot_in_a_pattern_of_alpha_is_any_character(saved, tmp_path):
    weights = {f"l.{n}.q.weight": torch.zeros(5, 3) for n in (0, 10)}
    path = adapter(tmp_path / "a", {**pair("l.0.q"), **pair("l.10.q")}, lora_alpha=2, alpha_pattern={"l.1..q": 7})
    port_checkpoint(saved(weights), tmp_path / "y.safetensors", "torch", merge_lora=path)
    merged = safetensors.torch.load_file(tmp_path / "y.safetensors")
    assert (merged["l.0.q.weight"][0, 0], merged["l.10.q.weight"][0, 0]) == (2, 7)


def test_an_adapter_that_is_broken_is_not_a_matter_of_dtypes(saved, tmp_path):
    path = adapter(tmp_path / "a", {name: value * torch.nan for name, value in pair("fc").items()}, lora_alpha=2)
    with pytest.raises(DtypeError, match=r"15 finite numbers .* whatever dtype; .* holds NaN") as caught:
        port_checkpoint(saved(W), tmp_path / "y.safetensors", "torch", merge_lora=path)
    assert "wider dtype" not in str(caught.value)
    assert not (tmp_path / "y.safetensors").exists()


def test_a_field_of_an_adapter_is_named_with_its_file(saved, tmp_path):
    path = adapter(tmp_path / "a", pair("fc"), lora_alpha=2, use_dora=True)
    with pytest.raises(
        CheckpointError, match=r"a/adapter_config\.json: a merge of LoRA has no field for use_dora=True"
    ):
        port_checkpoint(saved(W), tmp_path / "y.safetensors", "torch", merge_lora=path)


def test_many_tensors_of_one_pattern_are_one_line(saved, tmp_path):
    weights = {f"l.{n}.{part}.weight": torch.ones(2, 3) for n in range(12) for part in "qk"}
    pattern = "l.*.q.weight l.*.k.weight -> l.*.qk.weight: q i, k i -> (q + k) i"
    code, output = command("port", saved(weights), tmp_path / "y.pt", "--to", "torch", "--packing", pattern)
    assert code == 0
    assert f"12 tensors: packed by {pattern}: l.0.qk.weight and 11 more" in output
    back = "l.*.qk.weight -> l.*.q.weight l.*.k.weight: (q + k) i -> q i, k i"
    with pytest.raises(PortError, match=r"^[^\n]*1 problem[^\n]*\n  l\.0\.qk\.weight and 11 more: ") as caught:
        port_checkpoint(tmp_path / "y.pt", tmp_path / "z.pt", "torch", packing=[back])
    assert "the shapes do not say the size of q" in str(caught.value)
