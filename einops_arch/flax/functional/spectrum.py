"""Short Fourier transforms of signals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from einops_arch._settings import check_choice
from einops_arch.errors import ShapeError

__all__ = ["stft", "window"]

_PADS = {"reflect": "reflect", "replicate": "edge", "constant": "constant", "circular": "wrap"}


def stft(
    x: jax.Array,
    n_fft: int,
    hop_length: int,
    *,
    window: jax.Array | None = None,
    win_length: int | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool = True,
) -> jax.Array:
    """`... t -> ... c n`: Fourier transforms of parts that overlap, `torch.stft` with `return_complex=True`.

    Frequencies come before the parts, as in PyTorch.

    Args:
        x: the signal, `... t`.
        n_fft: the length of each part.
        hop_length: from the beginning of one part to that of the next.
        window: what each part is multiplied with, `win_length` long; ones if left out.
        win_length: the window stands in the middle of zeros if that is less than n_fft, which it is if left out.
        center: whether the first part has its middle, and not its beginning, at the first entry.
        pad_mode: what stands before and after the signal then: "reflect", "replicate", "constant" or "circular".
        normalized: whether the result is divided by the root of n_fft.
        onesided: whether the frequencies that only mirror others are left out.

    Raises:
        ConfigError: pad_mode is none of these.
        ShapeError: the signal is shorter than one part, or the window of another length.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.stft.html

    >>> stft(jnp.ones((2, 20)), 8, 4).shape
    (2, 5, 6)
    """
    check_choice("stft", "pad_mode", pad_mode, tuple(_PADS))
    length = n_fft if win_length is None else win_length
    window = jnp.ones(length, x.dtype) if window is None else window
    if window.shape != (length,):
        raise ShapeError(f"stft: expected a window of {length} entries, received one of shape {window.shape}")
    before = (n_fft - length) // 2
    window = jnp.pad(window, (before, n_fft - length - before))
    if center:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(n_fft // 2, n_fft // 2)], mode=_PADS[pad_mode])
    if x.shape[-1] < n_fft:
        raise ShapeError(f"stft: expected a signal of at least n_fft={n_fft} entries, received {x.shape[-1]}")
    starts = jnp.arange((x.shape[-1] - n_fft) // hop_length + 1) * hop_length
    parts = x[..., starts[:, None] + jnp.arange(n_fft)] * window
    spectrum = jnp.fft.rfft(parts) if onesided else jnp.fft.fft(parts)
    return jnp.swapaxes(spectrum, -1, -2) * (n_fft**-0.5 if normalized else 1)


_COSINES = {"blackman": (0.42, 0.5, 0.08), "hamming": (0.54, 0.46, 0.0)}
_WINDOWS = ("bartlett", "blackman", "hamming", "hann")


def window(name: str, length: int, *, periodic: bool = True, dtype: Any = jnp.float32) -> jax.Array:
    """`-> t`: the weights of a part of a signal, such as `torch.hann_window` gives them.

    Args:
        name: `"bartlett"`, `"blackman"`, `"hamming"` or `"hann"`.
        length: how many there are.
        periodic: whether the window goes on in front of its first entry, as Fourier transforms want it; else it is
            symmetric.
        dtype: of the result.

    Raises:
        ValueError: another name.

    >>> window("hann", 4).round(2).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    check_choice("window", "name", name, _WINDOWS)
    if length == 1:
        return jnp.ones(1, dtype)
    place = jnp.arange(length, dtype=dtype) / (length if periodic else length - 1)
    if name == "bartlett":
        return 1 - jnp.abs(2 * place - 1)
    if name == "hann":
        # The difference of 1 and a cosine is far off where it is small.
        return jnp.sin(jnp.pi * place) ** 2
    mean, first, second = _COSINES[name]
    return mean - first * jnp.cos(2 * jnp.pi * place) + second * jnp.cos(4 * jnp.pi * place)
