"""Models that draw random numbers: the twin draws too, and in the proof both get the same numbers."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import Tensor, nn
from torch.nn import functional as F

from einops_arch.parity import capture, compare, compare_captures, compare_training, read_capture
from einops_arch.parity.runs.draws import flax_draws
from einops_arch.parity.runs.randomness import without_dropout
from einops_arch.port.optimizer import specs as optimizers
from einops_arch.translation import TranslationError, translate


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten())
        self.mean, self.log_variance = nn.Linear(64, 5), nn.Linear(64, 5)
        self.decoder = nn.Linear(5, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        return torch.sigmoid(self.decoder(self.reparameterize(mean, log_variance))), mean, log_variance

    def reparameterize(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        std = torch.exp(0.5 * log_variance)
        return mean + torch.randn_like(std) * std


class TrainingVAE(VAE):
    """As in old code; the mean alone in evaluation."""

    def reparameterize(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        if not self.training:
            return mean
        std = torch.exp(0.5 * log_variance)
        return std.data.new(std.size()).normal_().mul(std).add_(mean)


class NoisyImages(nn.Module):
    """Noise of three forms, channels last in the twin."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
        self.strength = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + self.strength[None, :, None, None] * torch.randn(h.shape[0], 1, h.shape[2], h.shape[3])
        h = h + 0.1 * torch.randn_like(h)
        return self.last(torch.relu(h)) + torch.empty_like(x).uniform_(-1, 1)


class MaskedTokens(nn.Module):
    """Half of the tokens, by the order of random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        b, t, c = x.shape
        ids = torch.argsort(torch.rand(b, t), dim=1)[:, : t // 2]
        return torch.gather(x, 1, ids[..., None].expand(-1, -1, c))


class DiffusionLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.cumprod(1 - torch.linspace(1e-3, 0.2, 20), 0))
        self.net = nn.Sequential(nn.Linear(5, 16), nn.SiLU(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        step = torch.randint(0, 20, (x.shape[0],))
        noise = torch.randn_like(x)
        kept = self.kept[step][:, None]
        noisy = kept.sqrt() * x + (1 - kept).sqrt() * noise
        return F.mse_loss(self.net(torch.cat([noisy, step[:, None].to(x.dtype) / 20], 1)), noise)


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, scale = self.fc(x).chunk(2, -1)
        scale = F.softplus(scale) + 1e-3
        action = torch.distributions.Normal(mean, scale).rsample()
        return action, torch.normal(mean, scale) + mean, torch.normal(1.0, 2.0, size=(x.shape[0], 3)) * scale


CASES = {
    "VAE": (VAE, (3, 1, 8, 8), "b c h w"),
    "VAE that draws in training": (TrainingVAE, (3, 1, 8, 8), "b c h w"),
    "noise on images": (NoisyImages, (2, 3, 6, 7), "b c h w"),
    "masked tokens": (MaskedTokens, (2, 8, 6), "b t 6"),
    "diffusion": (DiffusionLoss, (6, 4), "b 4"),
    "distributions": (Policy, (5, 4), "b 4"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_that_draws_is_proved(name: str) -> None:
    torch.manual_seed(0)
    make, shape, axes = CASES[name]
    twin = translate(make(), torch.randn(*shape), axes=axes)
    assert twin.passed, str(twin.report)
    assert twin.source.count("Noise(rngs=rngs)") == 1
    drawn = [line for line in str(next(iter(twin.report.reports.values()))).splitlines() if "random numbers" in line]
    assert bool(drawn) == (name != "VAE that draws in training")


def test_what_the_twin_draws_has_pytorchs_distribution() -> None:
    class Draws(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (
                x + torch.randn_like(x),
                x + torch.rand_like(x),
                x + torch.randint(2, 7, (x.shape[0], 1000)),
                x + torch.empty_like(x).normal_(3, 0.5),
                x + torch.empty_like(x).normal_(std=2.0),
            )

    x = torch.zeros(64, 1000)
    twin = translate(Draws(), x[:4], axes="b 1000")
    first, second = (twin.model(jnp.asarray(x.numpy())) for _ in range(2))
    for flax_draw, later_draw, torch_draw in zip(first, second, Draws()(x), strict=True):
        assert not np.array_equal(flax_draw, later_draw)
        assert abs(float(flax_draw.mean()) - float(torch_draw.mean())) < 0.05
        assert abs(float(flax_draw.std()) - float(torch_draw.std())) < 0.05
        assert abs(float(flax_draw.max()) - float(torch_draw.max())) < 1


class FlaxNoise(nnx.Module):
    """A twin by hand, of `x + randn_like(x) * rand_like(x)`, and wrong ones of it."""

    def __init__(self, kind: str) -> None:
        self.kind, self.rngs, self.scale = kind, nnx.Rngs(0), nnx.Param(jnp.ones((), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        normal = jax.random.normal(self.rngs(), x.shape, x.dtype)
        factor = jax.random.normal(self.rngs(), x.shape, x.dtype)
        if self.kind == "one draw for both":
            factor = normal
        if self.kind == "none":
            normal = factor = jnp.zeros_like(x)
        if self.kind == "another distribution":
            factor = jax.random.uniform(self.rngs(), x.shape, x.dtype)
        return x * self.scale + normal * factor


class TorchNoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + torch.randn_like(x) * torch.randn_like(x)


@pytest.mark.parametrize("kind", ["right", "one draw for both", "none", "another distribution"])
def test_pairs_that_draw_are_compared(kind: str) -> None:
    report = compare(TorchNoise(), FlaxNoise(kind), torch.randn(3, 5), axes="b n")
    assert report.passed == (kind == "right"), str(report)
    assert ("not seen: how random numbers are drawn: both sides got the same ones" in str(report)) or not report.passed


def test_a_capture_keeps_that_a_model_draws(tmp_path: Path) -> None:
    x = torch.randn(3, 5)
    capture(TorchNoise(), x, tmp_path / "torch", axes="b n")
    capture(FlaxNoise("right"), x, tmp_path / "flax", axes="b n")
    report = compare_captures(read_capture(tmp_path / "torch"), read_capture(tmp_path / "flax"))
    assert report.passed, str(report)
    assert "both sides got the same ones (PyTorch by randn_like)" in str(report)


def test_numbers_of_a_generator_of_its_own_are_no_draws() -> None:
    with without_dropout(torch.float32):
        first, second = (torch.randn(4, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, torch.randn(4, generator=torch.Generator().manual_seed(0)))


def test_training_that_draws_is_compared() -> None:
    torch.manual_seed(0)
    model = VAE()
    twin = translate(model, torch.randn(3, 1, 8, 8), axes="b c h w", prove=False).model
    report = compare_training(model, twin, torch.randn(3, 1, 8, 8), optimizers.SGD(lr=0.1), axes="b c h w", steps=3)
    assert report.passed, str(report)


def test_both_sides_get_the_same_numbers_whatever_the_order_of_axes() -> None:
    with without_dropout(torch.float32):
        torch_numbers = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.rand(3, 2)]
    with flax_draws():
        key = jax.random.key(0)
        flax_numbers = [jax.random.normal(key, (2, 4, 5, 3)) for _ in range(2)] + [jax.random.uniform(key, (2, 3))]
    for flax_draw, torch_draw in zip(flax_numbers[:2], torch_numbers[:2], strict=True):
        assert np.array_equal(np.moveaxis(np.asarray(flax_draw), -1, 1), torch_draw.numpy())
    assert np.array_equal(np.asarray(flax_numbers[2]).T, torch_numbers[2].numpy())
    assert not np.array_equal(flax_numbers[0], flax_numbers[1])
    many = np.concatenate([np.asarray(numbers).ravel() for numbers in flax_numbers[:2]])
    assert abs(many.mean()) < 0.3
    assert 0.7 < many.std() < 1.3
    assert not np.array_equal(jax.random.normal(key, (2, 4, 5, 3)), flax_numbers[0])


def test_draws_that_have_no_row_are_refused() -> None:
    class Picks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, torch.randperm(5)]

    with pytest.raises(TranslationError, match="draws random numbers"):
        translate(Picks(), torch.randn(2, 5), axes="b 5")


def test_a_single_number_and_none_at_all_are_drawn() -> None:
    with without_dropout(torch.float32):
        torch_numbers = [torch.randn(()), torch.rand(0, 3)]
    with flax_draws():
        flax_numbers = [jax.random.normal(jax.random.key(0), ()), jax.random.uniform(jax.random.key(0), (0, 3))]
    assert float(torch_numbers[0]) == float(flax_numbers[0])
    assert torch_numbers[1].shape == flax_numbers[1].shape == (0, 3)
