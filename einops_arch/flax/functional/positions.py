"""Tables of positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from einops_arch._settings import check_whole
from einops_arch.errors import ConfigError

__all__ = ["sinusoidal_positions"]


def sinusoidal_positions(length: int, size: int, *, base: float = 10000.0, interleaved: bool = True) -> jax.Array:
    """The table of "Attention is all you need" (arXiv:1706.03762): sines and cosines at falling rates, `n c`.

    Args:
        length: how many positions.
        size: how many features, an even number.
        base: of the rates, which are `base ** (-c / size)` for even `c`.
        interleaved: sines and cosines in turn, as the paper has them; else all sines first.

    Returns:
        The table in float32.

    Raises:
        ConfigError: an odd size, or numbers that are not whole.

    >>> [round(float(x), 4) for x in sinusoidal_positions(3, 4)[2]]
    [0.9093, -0.4161, 0.02, 0.9998]
    >>> [round(float(x), 4) for x in sinusoidal_positions(3, 4, interleaved=False)[2]]
    [0.9093, 0.02, -0.4161, 0.9998]
    """
    check_whole("sinusoidal_positions", "length", length, 0)
    check_whole("sinusoidal_positions", "size", size)
    if size % 2:
        raise ConfigError(f"sinusoidal_positions: expected an even size, a sine and a cosine each, received {size}")
    rates = base ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * rates
    parts = [jnp.sin(angles), jnp.cos(angles)]
    return (jnp.stack(parts, axis=-1) if interleaved else jnp.concatenate(parts, axis=-1)).reshape(length, size)
