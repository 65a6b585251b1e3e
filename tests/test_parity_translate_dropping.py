"""Translate: what drops in training keeps its rate and its scaling, and the proof sees where it does not."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import Tensor, nn

from einops_arch.flax.layers import DropPath as FlaxDropPath
from einops_arch.translation import translate
from einops_arch.translation.inputs import arguments_of
from einops_arch.translation.prove import prove


class DropPath(nn.Module):
    def __init__(self, drop_prob: float, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return x * keep / (1 - self.drop_prob) if self.scale_by_keep else x * keep


class HeldDropPath(nn.Module):
    """The same, with its scaling in an object."""

    def __init__(self, drop_prob: float, scale: bool) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.options = {"scale": scale}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return x * keep / (1 - self.drop_prob) if self.options["scale"] else x * keep


class Two(nn.Module):
    def __init__(self, kind: type, *scaled: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.first, self.second = (kind(0.25, scale) for scale in scaled)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.fc(x + self.first(self.fc(x)))) + x


@pytest.mark.parametrize("kind", [DropPath, HeldDropPath])
@pytest.mark.parametrize("scaled", [(True, False), (False, True)])
def test_drop_paths_of_one_rate_are_scaled_each_as_the_original(kind, scaled):
    model = Two(kind, *scaled)
    twin = translate(model, torch.randn(2, 5, 6), axes="b t e", prove=False).model
    twin.train()
    for name in ("first", "second"):
        kept = float(getattr(model, name)(torch.ones(200, 2)).max())
        np.testing.assert_allclose(float(getattr(twin, name)(jnp.ones((200, 2))).max()), kept, rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "numbers"),
    [
        (FlaxDropPath(0.25, rngs=nnx.Rngs(0)), ("by 1 in", "1.33333")),
        (FlaxDropPath(0.5, scale_by_keep=False, rngs=nnx.Rngs(0)), ("0.25", "0.5")),
    ],
)
def test_proof_tells_a_drop_path_of_another_rate_or_scaling(layer, numbers):
    model, x = Two(DropPath, True, False), torch.randn(2, 5, 6)
    module = translate(model, x, axes="b t e", prove=False).module

    def wrong(rngs: nnx.Rngs):
        twin = module.Two(rngs=rngs)
        twin.second = layer
        return twin

    runs = {"b=2": arguments_of(x, "b t e")}
    assert prove(model, lambda rngs: module.Two(rngs=rngs), runs, {}, lambda text: None).verdict == "same function"
    proof = prove(model, wrong, runs, {}, lambda text: None)
    assert not proof.passed
    assert proof.verdict == "not proved"
    (problem,) = proof.problems
    assert problem.startswith("second: ")
    assert all(number in problem for number in numbers)
