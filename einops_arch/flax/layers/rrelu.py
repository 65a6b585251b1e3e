"""ReLU with a random slope below 0: `torch.nn.RReLU`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ConfigError
from einops_arch.flax import functional as f

__all__ = ["RReLU"]


class RReLU(nnx.Module):
    """`... -> ...`: x where it is positive, x times a random slope elsewhere: `torch.nn.RReLU`.

    In training a slope is drawn for each value, in evaluation it is the middle of both bounds; `model.train()` and
    `model.eval()` switch it. The random bits are not PyTorch's. Stock NNX has none.

    Args:
        lower: the least slope.
        upper: the largest slope.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: lower is above upper, or there is no random stream in training.

    Source: Xu et al. 2015, https://arxiv.org/abs/1505.00853

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = RReLU(0.25, 0.75, rngs=nnx.Rngs(0))
    >>> bool((abs(layer(jnp.full(100, -1.0)) + 0.5) <= 0.25).all())
    True
    >>> layer.eval()
    >>> layer(jnp.asarray([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, rngs: nnx.Rngs | None = None) -> None:
        if not lower <= upper:
            raise ConfigError(f"RReLU: expected lower of at most upper, received {lower!r} and {upper!r}")
        self.lower, self.upper = lower, upper
        self.deterministic = False
        self.rngs: Any = nnx.data(None if rngs is None else rngs["dropout"].fork())

    def __call__(self, x: jax.Array, *, deterministic: bool | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`... -> ...`."""
        if self.deterministic if deterministic is None else deterministic:
            return f.leaky_relu(x, (self.lower + self.upper) / 2)
        stream = rngs["dropout"] if rngs is not None else self.rngs
        if stream is None:
            raise ConfigError("RReLU: expected rngs= in training, when it is built or called; likely fix: model.eval()")
        slope = jax.random.uniform(stream(), x.shape, x.dtype, self.lower, self.upper)
        return jnp.where(x <= 0, x * slope, x)
