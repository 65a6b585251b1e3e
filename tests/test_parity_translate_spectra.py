"""Networks that work on spectra, with complex weights and windows, and positions that are shifted by a view."""

from __future__ import annotations

import copy
import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from einops_arch.parity import compare
from einops_arch.translation import Translation, translate


def held_against(model: nn.Module, twin: Translation, x: Tensor, *, channels_last: bool = False) -> float:
    """How far the twin is off in float32, relative to the result's size, at a size that was not recorded."""
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(x).numpy()
    twin.model.eval()
    flax_input = np.moveaxis(x.numpy(), 1, -1) if channels_last else x.numpy()
    actual = np.asarray(twin.model(jnp.asarray(flax_input)))
    actual = np.moveaxis(actual, -1, 1) if twin.outputs[0] == "b h w c" else actual
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


class SpectralConv(nn.Module):
    """The convolution of Li et al. 2021, https://arxiv.org/abs/2010.08895: low frequencies times complex weights."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(width, width, modes, modes, dtype=torch.cfloat) / width)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        out = torch.zeros(*x.shape[:-1], x.shape[-1] // 2 + 1, dtype=torch.cfloat)
        low = spectrum[:, :, : self.modes, : self.modes]
        out[:, :, : self.modes, : self.modes] = torch.einsum("bixy,ioxy->boxy", low, self.weight)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class FourierOperator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Conv2d(1, 4, 1)
        self.spectral = SpectralConv(4, 3)
        self.skip = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        return torch.tanh(self.spectral(x) + self.skip(x))


def test_complex_weights_and_spectra_that_name_their_dtype_are_proved() -> None:
    torch.manual_seed(0)
    model = FourierOperator()
    twin = translate(model, torch.randn(2, 1, 12, 14), axes="b c h w")
    assert twin.passed, str(twin.report)
    assert held_against(model, twin, torch.randn(3, 1, 9, 16), channels_last=True) < 1e-5


class Magnitude(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(self.fc(x)).to(self.dtype).abs()


def test_a_cast_of_complex_numbers_is_seen() -> None:
    torch.manual_seed(0)
    wide, narrow = Magnitude(torch.complex128).double(), Magnitude(torch.complex64).double()
    narrow.load_state_dict(wide.state_dict())
    x = torch.randn(2, 8, dtype=torch.float64)
    twin = translate(wide, x, axes="b 8")
    assert twin.passed, str(twin.report)
    report = compare(narrow, twin.model, x, axes="b n")
    assert not report.passed
    assert "complex64" in str(report)


class Relative(nn.Module):
    """Scores by distance, shifted by reading them at another width, as Transformer-XL does."""

    def __init__(self) -> None:
        super().__init__()
        self.distance = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        steps = torch.arange(t - 1, -t, -1.0, dtype=x.dtype)
        table = torch.stack([steps.sin(), steps.cos(), (steps / 10).sin(), (steps / 10).cos()], dim=1)
        scores = x @ self.distance(table).T
        padded = torch.cat([scores.new_zeros(b, t, 1), scores], dim=-1)
        shifted = padded.view(b, 2 * t, t)[:, 1:].view_as(scores)[..., :t]
        return shifted.softmax(-1) @ x


def test_a_view_as_another_tensor_that_is_no_pattern_is_a_reshape() -> None:
    torch.manual_seed(0)
    model = Relative()
    twin = translate(model, torch.randn(2, 7, 4), axes="b t 4")
    assert twin.passed, str(twin.report)
    assert held_against(model, twin, torch.randn(3, 11, 4)) < 1e-5


class MelSpectrogram(nn.Module):
    """A window that is not saved, and a filter bank that is and has to stay positive."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32), persistent=False)
        self.register_buffer("bank", torch.rand(17, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, wave: Tensor) -> Tensor:
        power = torch.stft(wave, 32, 8, window=self.window, return_complex=True).abs() ** 2
        mel = torch.log(power.transpose(1, 2) @ self.bank + 1e-5)
        mel = (mel - mel.mean(1, keepdim=True)) / (mel.std(1, keepdim=True) + 1e-5)
        return torch.tanh(self.head(mel))


def test_a_window_is_written_as_one_and_a_filter_bank_stays_positive() -> None:
    torch.manual_seed(0)
    model = MelSpectrogram()
    twin = translate(model, torch.randn(2, 200), axes="b t")
    assert 'functional.window("hann", 32, dtype=' in twin.source
    assert twin.passed, str(twin.report)
    assert held_against(model, twin, torch.randn(3, 311)) < 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_the_twin_is_in_the_mode_of_the_original(*, training: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train(training)
    twin = translate(model, torch.randn(2, 4), axes="b 4", prove=False)
    x = torch.randn(64, 4)
    same = np.allclose(np.asarray(twin.model(jnp.asarray(x.numpy()))), model[0](x).detach().numpy(), atol=1e-5)
    assert same is not training
    assert math.isfinite(float(np.asarray(twin.model(jnp.asarray(x.numpy()))).sum()))
