"""Entries of tuples, places along axes, complex numbers and paddings, at sizes that were not recorded."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn

from einops_arch.flax import load_state_dict
from einops_arch.parity import randomize
from einops_arch.translation import translate


class Entries(nn.Module):
    """Of several parts some are never used; an index counts for all heads; pairs of numbers are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(6, 18)
        self.table = nn.Parameter(torch.rand(32, 3, 2))
        self.words = nn.ModuleList([nn.Conv1d(6, 4, size, padding="same", dilation=2) for size in (2, 3)])

    def forward(self, x: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        batch, length, channels = x.shape
        qkv = self.project(x).view(batch, length, 3, 2, channels // 2).permute(2, 0, 3, 1, 4)
        first, second, _ = torch.split(x, [2, 3, 1], dim=-1)
        parts = x.chunk(3, dim=-1)
        turns = torch.view_as_complex(self.table)[:length]
        turned = torch.view_as_real(torch.view_as_complex(x.reshape(batch, length, 3, 2)) * turns).flatten(2)
        circle = torch.polar(x.abs(), x)
        return (
            qkv[0] @ qkv[1].transpose(-1, -2),
            torch.cat([first.flip(-1), second[..., ::2], parts[0] * parts[1]], -1),
            torch.take_along_dim(qkv[2], places[:, None, :, None], dim=2),
            turned,
            circle.real + circle.imag,
            torch.cat([word(x.transpose(1, 2)) for word in self.words], 1),
        )


def _inputs(batch: int, length: int, count: int) -> dict[str, Tensor]:
    return {"x": torch.randn(batch, length, 6), "places": torch.randint(0, length, (batch, count))}


def test_parts_places_and_complex_numbers_are_those_of_pytorch() -> None:
    torch.manual_seed(0)
    model = Entries()
    twin = translate(model, _inputs(2, 5, 3), axes={"x": "b t 6", "places": "b k"}, prove=False)
    assert not twin.fixed
    randomize(model)
    load_state_dict(twin.model, model.state_dict())
    inputs = _inputs(3, 9, 4)
    received = twin.model(**{name: jnp.asarray(value.numpy()) for name, value in inputs.items()})
    for n, expected in enumerate(model(**inputs)):
        value = np.asarray(received[n])
        value = value if value.shape == expected.shape else np.moveaxis(value, -1, 1)
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
