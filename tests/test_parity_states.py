"""States that lack what follows from the rest, or hold more than arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flax import nnx

import einops_arch.flax
import einops_arch.torch
from einops_arch.architectures import LanguageModelConfig, ResNetConfig
from einops_arch.errors import PortError
from einops_arch.flax import state_dict
from einops_arch.port import transfer


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
