"""States that lack what follows from the rest, or hold more than arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
from flax import nnx
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

import einops_arch.flax
import einops_arch.torch
from einops_arch.architectures import LanguageModelConfig, ResNetConfig
from einops_arch.checkpoints import load, save_pretrained
from einops_arch.checkpoints.checkpoint import Description
from einops_arch.checkpoints.files import write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import PortError
from einops_arch.flax import state_dict
from einops_arch.port import port_checkpoint, transfer
from einops_arch.port.transfer import model_state

SIDES = (einops_arch.torch, einops_arch.flax)


def both(config, name):
    return getattr(einops_arch.torch, name)(config), getattr(einops_arch.flax, name)(config, rngs=nnx.Rngs(0))


def test_a_state_older_than_the_counters_of_batches_is_taken_as_pytorch_takes_it(caplog):
    source, _ = both(ResNetConfig.tiny(), "ResNet")
    old = {name: value for name, value in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    oracle, twin = both(ResNetConfig.tiny(), "ResNet")
    oracle.load_state_dict(dict(old))
    model, _ = both(ResNetConfig.tiny(), "ResNet")
    transfer(old, model)
    transfer(old, twin)
    assert "bn1.num_batches_tracked" in caplog.text
    for name, value in oracle.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
        np.testing.assert_array_equal(state_dict(twin)[name], value.numpy())
    del old["bn1.running_mean"]
    for target in (model, twin):
        with pytest.raises(PortError, match=r"bn1\.num_batches_tracked: missing"):
            transfer(old, target)


def test_one_name_of_tied_weights_is_enough():
    source, _ = both(LanguageModelConfig.tiny_tied(), "LanguageModel")
    state = source.state_dict()
    del state["decoder.weight"]
    for target in both(LanguageModelConfig.tiny_tied(), "LanguageModel"):
        transfer(state, target)
        received = target.state_dict() if isinstance(target, torch.nn.Module) else state_dict(target)
        np.testing.assert_array_equal(np.asarray(received["decoder.weight"]), state["encoder.weight"].numpy())


class Scaled(torch.nn.Linear):
    def get_extra_state(self):
        return {"scale": 3}

    def set_extra_state(self, state):
        pass


def test_extra_state_is_a_named_problem():
    source = torch.nn.Sequential(Scaled(3, 5))
    for target in (
        torch.nn.Sequential(torch.nn.Linear(3, 5)),
        einops_arch.flax.Sequential(einops_arch.flax.Linear(3, 5, rngs=nnx.Rngs(0))),
    ):
        with pytest.raises(PortError, match=r"0\._extra_state: expected an array, received a dict.*leave it out"):
            transfer(source.state_dict(), target)


@pytest.fixture
def sharded(tmp_path):
    """A weight on a mesh of this one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        yield distribute_tensor(torch.ones(5, 3), init_device_mesh("cpu", (1,)), [Shard(0)])
    finally:
        dist.destroy_process_group()


def test_tensors_on_a_mesh_are_named_problems_on_either_side(sharded):
    holder = torch.nn.Linear(3, 5)
    holder.weight = torch.nn.Parameter(sharded)
    targets = torch.nn.Linear(3, 5), einops_arch.flax.Linear(3, 5, rngs=nnx.Rngs(0))
    for target in targets:
        for source in (holder, {"weight": sharded, "bias": torch.zeros(5)}):
            with pytest.raises(PortError, match=r"weight: .*received a DTensor on a mesh; likely fix: \.full_tensor"):
                transfer(source, target)
    for source in targets:
        with pytest.raises(PortError, match=r"weight: .* in the model, received a DTensor.*checkpoints\.load"):
            transfer(source, holder)
    assert (holder.weight.full_tensor() == 1).all()


INCOMPLETE = {
    "counters": (ResNetConfig.tiny(), "resnet", "ResNet", "num_batches_tracked"),
    "one of tied names": (LanguageModelConfig.tiny_tied(), "language_model", "LanguageModel", "decoder.weight"),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_what_a_file_lacks_follows_from_the_rest_whichever_way_it_takes(what, tmp_path, caplog):
    config, architecture, name, suffix = INCOMPLETE[what]
    source, _ = both(config, name)
    whole = {name: value.numpy() for name, value in source.state_dict().items()}
    old = {name: value for name, value in whole.items() if not name.endswith(suffix)}
    save_pretrained(source, tmp_path / "folder")
    reader = MemoryReader(old, Description("torch", architecture, config).metadata())
    write_tensors(tmp_path / "folder" / "model.safetensors", reader, force=True)
    write_tensors(tmp_path / "old.safetensors", reader)
    old_file, ported, again = (tmp_path / f"{name}.safetensors" for name in ("old", "ported", "again"))
    for target, to in ((ported, "flax"), (again, "torch")):
        remarks = port_checkpoint(old_file, target, to, check=True)
        assert ("bn1.num_batches_tracked: not in the source; written as 0" in remarks) == (what == "counters")
    loaded = both(config, name)
    for model in loaded:
        load(old_file, model)
    from_torch, from_flax = both(config, name)
    load(again, from_torch)
    load(ported, from_flax)
    models = [*loaded, from_torch, from_flax, *(side.from_pretrained(tmp_path / "folder") for side in SIDES)]
    said = [record for record in caplog.records if record.name == "einops_arch"]
    assert len(said) == (6 if what == "counters" else 0)
    for model in models:
        state = model_state(model)
        assert list(state) == list(whole)
        for key, value in whole.items():
            is_zero = key not in old and key.endswith("num_batches_tracked")
            np.testing.assert_array_equal(state[key], np.zeros_like(value) if is_zero else value)
    spoiled = {key: value for key, value in old.items() if key not in ("bn1.running_mean", "encoder.weight")}
    write_tensors(tmp_path / "spoiled.safetensors", MemoryReader(spoiled, reader.metadata))
    for model in loaded:
        with pytest.raises(PortError, match=r"(bn1\.num_batches_tracked|decoder\.weight): missing"):
            load(tmp_path / "spoiled.safetensors", model)
