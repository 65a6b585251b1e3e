"""Networks as folders of the Hugging Face hub: saved by either framework, read by both, pushed and fetched."""

from __future__ import annotations

import json

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import nnx

import einops_arch.flax
import einops_arch.torch
from einops_arch import architectures
from einops_arch.checkpoints import open_checkpoint, push_to_hub, save_pretrained
from einops_arch.errors import CheckpointError, DestinationError, PortError
from einops_arch.port import to_flax
from einops_arch.port.transfer import model_state


@pytest.fixture
def model():
    architecture = architectures.get("language_model")
    torch.manual_seed(0)
    return architecture.torch_class()(architecture.config.preset("tiny_tied")).eval()


def same(one, other):
    one, other = model_state(one), model_state(other)
    assert sorted(one) == sorted(other)
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("saved_by", ["torch", "flax"])
def test_saved_by_either_and_read_by_both(saved_by, model, tmp_path):
    folder = tmp_path / "saved"
    save_pretrained(model if saved_by == "torch" else to_flax(model), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["einops_arch"] == "language_model"
    # The layout is PyTorch's, whoever saved it, and what is tied is there once.
    inside = safetensors.torch.load_file(folder / "model.safetensors")
    assert torch.equal(
        inside["encoder.weight" if "encoder.weight" in inside else "decoder.weight"], model.encoder.weight
    )
    assert len(inside) == len(model.state_dict()) - 1
    assert same(einops_arch.torch.from_pretrained(folder), model)
    assert same(einops_arch.flax.from_pretrained(folder), model)


@pytest.mark.parametrize("name", architectures.names())
def test_every_network_has_the_methods(name, tmp_path):
    architecture = architectures.get(name)
    kinds = {"torch": architecture.torch_class(), "flax": architecture.flax_class()}
    torch.manual_seed(0)
    first = kinds["torch"](architecture.config.tiny()).eval()
    attributes = set(vars(first))
    first.save_pretrained(tmp_path / "saved")
    second = kinds["flax"].from_pretrained(tmp_path / "saved")
    second.save_pretrained(tmp_path / "saved", force=True)
    third = kinds["torch"].from_pretrained(tmp_path / "saved")
    assert (type(second), type(third)) == (kinds["flax"], kinds["torch"])
    assert second.config == third.config == first.config
    assert same(first, second)
    assert same(first, third)
    assert set(vars(first)) == attributes


@pytest.mark.parametrize("framework", ["torch", "flax"])
def test_a_folder_of_another_network(framework, model, tmp_path):
    model.save_pretrained(tmp_path / "saved", max_shard_size=1000)
    other = getattr(einops_arch, framework).ConvNet
    with pytest.raises(CheckpointError) as caught:
        other.from_pretrained(tmp_path / "saved")
    assert str(caught.value) == (
        f"{tmp_path / 'saved'}: expected a ConvNet, received a LanguageModel; likely fix: LanguageModel.from_pretrained"
    )


def test_shards(model, tmp_path):
    save_pretrained(model, tmp_path / "saved", max_shard_size=1000)
    assert (tmp_path / "saved" / "model.safetensors.index.json").is_file()
    assert same(einops_arch.torch.from_pretrained(tmp_path / "saved"), model)
    with pytest.raises(DestinationError, match="exists already"):
        save_pretrained(model, tmp_path / "saved")
    save_pretrained(model, tmp_path / "saved", force=True)
    assert not (tmp_path / "saved" / "model.safetensors.index.json").exists()


def test_only_networks_that_have_a_config():
    with pytest.raises(PortError, match=r"^expected a network of a registered architecture, received Linear$"):
        save_pretrained(torch.nn.Linear(2, 3), "nowhere")
    with pytest.raises(PortError, match=r"^expected a network of a registered architecture, received Linear$"):
        save_pretrained(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), "nowhere")


def test_pushed_and_fetched_by_the_library(model, tmp_path, monkeypatch):
    """The hub is a folder here; what is called is what the library has."""
    hub = tmp_path / "hub"
    made = []

    def create_repo(self, repo_id, *, private=None, exist_ok=False):
        made.append((self.token, repo_id, private, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, commit_message=None, revision=None):
        (hub / repo_id).parent.mkdir(parents=True, exist_ok=True)
        folder_path.rename(hub / repo_id)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None):
        assert revision in {None, "main"}
        assert "*.safetensors" in allow_patterns
        if not (hub / repo_id).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError("no network")
        return str(hub / repo_id)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert push_to_hub(model, "me/net", private=True, token="secret") == "https://hub/me/net/commit/1"
    assert made == [("secret", "me/net", True, True)]
    fetched = einops_arch.flax.LanguageModel.from_pretrained("hf://me/net")
    assert same(fetched, model)
    assert fetched.push_to_hub("me/again") == "https://hub/me/again/commit/1"
    assert same(einops_arch.torch.LanguageModel.from_pretrained("hf://me/again"), model)
    assert made[1:] == [(None, "me/again", None, True)]
    with open_checkpoint("hf://me/net@main") as reader:
        assert reader.metadata["architecture"] == "language_model"
    with pytest.raises(
        CheckpointError, match=r"^hf://me/other: the hub does not give it: LocalEntryNotFoundError: no net"
    ):
        open_checkpoint("hf://me/other")
    with pytest.raises(CheckpointError, match=r"^expected an address such as hf://someone/name"):
        open_checkpoint("hf://other")
