"""Fractional maximum pooling: `torch.nn.FractionalMaxPool2d` and `3d`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax.functional._windows import PerAxis
from einops_arch.flax.functional.fractional import Ratio, check_fractional, fractional_max_pool

__all__ = ["FractionalMaxPool"]


class FractionalMaxPool(nnx.Module):
    """`b *s c -> b *o c`: maxima of windows at random steps: `torch.nn.FractionalMaxPool2d` and `3d`.

    Windows are drawn anew in each call, in training and evaluation alike, as in PyTorch. The random bits are not
    PyTorch's; with its samples as `random_samples` the windows are the same.

    Args:
        window: one size for each spatial axis, or one integer for all of them.
        output_size: likewise; instead of output_ratio.
        output_ratio: between 0 and 1, each output size by the size of the input.
        return_indices: whether to give the positions too.
        rngs: forks the stream `dropout`; without it, give `rngs=` or `random_samples=` in each call.

    Raises:
        ConfigError: a setting is out of range, or both or neither of output_size and output_ratio are there.
        ShapeError: when called with another rank, or an image that is smaller than all windows together.

    Source: Graham 2014, https://arxiv.org/abs/1412.6071

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> FractionalMaxPool(2, output_ratio=0.6, rngs=nnx.Rngs(0))(jnp.ones((1, 10, 15, 3))).shape
    (1, 6, 9, 3)
    """

    def __init__(
        self,
        window: PerAxis,
        output_size: PerAxis | None = None,
        output_ratio: Ratio | None = None,
        *,
        return_indices: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        check_fractional("FractionalMaxPool", window, output_size, output_ratio)
        self.window = _static(window)
        self.output_size, self.output_ratio = _static(output_size), _static(output_ratio)
        self.return_indices = return_indices
        self.rngs: Any = nnx.data(None if rngs is None else rngs["dropout"].fork())

    def __call__(
        self, x: jax.Array, *, random_samples: jax.Array | None = None, rngs: nnx.Rngs | None = None
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """`b *s c -> b *o c`; random_samples is as `einops_arch.flax.functional.fractional_max_pool` has it."""
        if random_samples is None:
            random_samples = self._samples(x, rngs)
        return fractional_max_pool(
            x,
            self.window,
            self.output_size,
            self.output_ratio,
            random_samples=random_samples,
            return_indices=self.return_indices,
            name="FractionalMaxPool",
        )

    def _samples(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        settings = (self.window, self.output_size, self.output_ratio)
        axes = next((len(value) for value in settings if isinstance(value, tuple)), x.ndim - 2)
        if axes not in (2, 3) or x.ndim not in (axes + 1, axes + 2):
            raise ShapeError(
                f"FractionalMaxPool: expected axes 'b h w c' or 'b d h w c', received {x.ndim} axes in shape {x.shape}"
            )
        stream = rngs["dropout"] if rngs is not None else self.rngs
        if stream is None:
            raise ConfigError("FractionalMaxPool: expected rngs= when it is built or called, or random_samples=")
        batch = x.shape[:1] if x.ndim == axes + 2 else ()
        return jax.random.uniform(stream(), (*batch, x.shape[-1], axes), jnp.promote_types(x.dtype, jnp.float32))


def _static(value: Any) -> Any:
    """Tuples, so that a module that holds them can be static in a program."""
    return tuple(value) if isinstance(value, (tuple, list)) else value
