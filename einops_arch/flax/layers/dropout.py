"""Dropout of values, channels and samples, as PyTorch's layers and those of its public models have it."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch._settings import check_choice
from einops_arch.errors import ShapeError
from einops_arch.flax._checks import check_fraction

__all__ = [
    "AlphaDropout",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "StochasticDepth",
]

# The value that SELU has far below 0.
_SATURATED = -1.7580993408473766


class Dropout(nnx.Dropout):
    """`... -> ...`: single values set to zero in training and the rest scaled by 1 / (1 - rate): `torch.nn.Dropout`.

    `model.train()` and `model.eval()` switch it. The random bits are not PyTorch's.

    Args:
        rate: the probability of a zero.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.

    Source: https://arxiv.org/abs/1207.0580

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> sorted(set(Dropout(0.5, rngs=nnx.Rngs(0))(jnp.ones(100)).tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, *, rngs: nnx.Rngs | None = None) -> None:
        check_fraction(type(self).__name__, "rate", rate)
        super().__init__(float(rate), rngs=rngs)

    def _off(self, deterministic: bool | None) -> bool:
        return self.rate == 0 or bool(self.deterministic if deterministic is None else deterministic)


class Dropout2d(Dropout):
    """`b ... c -> b ... c`: whole channels of a sample set to zero: `torch.nn.Dropout1d`, `2d` and `3d`.

    Args:
        rate: the probability of a zero.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.
        ShapeError: when called with no spatial axis.

    Source: https://arxiv.org/abs/1411.4280

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = Dropout2d(0.5, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 4, 8)))
    >>> bool((y == y[:, :1, :1]).all())
    True
    """

    _spatial: ClassVar[int | None] = None  # any number of spatial axes, with a batch

    def __call__(self, inputs: jax.Array, *, deterministic: bool | None = None, rngs: Any = None) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        shape = _channels_shape(type(self).__name__, inputs, self._spatial)
        if self._off(deterministic):
            return inputs
        return inputs * super().__call__(jnp.ones(shape, inputs.dtype), deterministic=False, rngs=rngs)


class Dropout1d(Dropout2d):
    """`b t c -> b t c`: whole channels of a sample set to zero: `torch.nn.Dropout1d`; the batch may be left out.

    Args:
        rate: the probability of a zero.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.
        ShapeError: when called with another number of axes.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = Dropout1d(0.5, rngs=nnx.Rngs(0))(jnp.ones((5, 8)))
    >>> bool((y == y[:1]).all())
    True
    """

    _spatial = 1


class Dropout3d(Dropout2d):
    """`b d h w c -> b d h w c`: whole channels of a sample set to zero: `torch.nn.Dropout3d`; with or without a batch.

    Args:
        rate: the probability of a zero.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.
        ShapeError: when called with another number of axes.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = Dropout3d(0.5, rngs=nnx.Rngs(0))(jnp.ones((2, 3, 5, 4, 8)))
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """

    _spatial = 3


class AlphaDropout(Dropout):
    """`... -> ...`: values set to where SELU saturates, and all scaled so that mean and variance keep.

    `torch.nn.AlphaDropout`; stock NNX has none.

    Args:
        rate: the probability that a value is dropped.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.

    Source: https://arxiv.org/abs/1706.02515

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = AlphaDropout(0.5, rngs=nnx.Rngs(0))(jnp.ones(100))
    >>> len(set(y.tolist()))
    2
    """

    def __call__(self, inputs: jax.Array, *, deterministic: bool | None = None, rngs: Any = None) -> jax.Array:
        """`... -> ...`."""
        if self._off(deterministic):
            return inputs
        return self._dropped(inputs, inputs.shape, rngs)

    def _dropped(self, inputs: jax.Array, shape: tuple[int, ...], rngs: Any) -> jax.Array:
        if self.rate == 1:
            return inputs * 0  # as PyTorch, which has no scale for it
        # Ones are kept, scaled by 1 / (1 - rate), which is taken back.
        kept = nnx.Dropout.__call__(self, jnp.ones(shape, inputs.dtype), deterministic=False, rngs=rngs) > 0
        scale = ((_SATURATED**2 * self.rate + 1) * (1 - self.rate)) ** -0.5
        shift = -_SATURATED * scale * self.rate
        dropped = jnp.asarray(_SATURATED * scale + shift, inputs.dtype)
        return jnp.where(kept, inputs * scale + shift, dropped)


class FeatureAlphaDropout(AlphaDropout):
    """`b ... c -> b ... c`: as `AlphaDropout`, for whole channels of a sample: `torch.nn.FeatureAlphaDropout`.

    Args:
        rate: the probability that a channel is dropped.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.
        ShapeError: when called with no spatial axis.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = FeatureAlphaDropout(0.5, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 4, 8)))
    >>> bool((y == y[:, :1, :1]).all())
    True
    """

    def __call__(self, inputs: jax.Array, *, deterministic: bool | None = None, rngs: Any = None) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        shape = _channels_shape("FeatureAlphaDropout", inputs, None)
        return inputs if self._off(deterministic) else self._dropped(inputs, shape, rngs)


class StochasticDepth(Dropout):
    """`b ... -> b ...`: whole samples, or the whole batch, set to zero: `torchvision.ops.StochasticDepth`.

    What is kept is scaled by 1 / (1 - rate). Stock NNX has none.

    Args:
        rate: the probability of a zero; torchvision's `p`.
        mode: `"row"` draws for each sample, `"batch"` once.
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1, or mode is another.

    Source: https://arxiv.org/abs/1603.09382

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = StochasticDepth(0.5, "row", rngs=nnx.Rngs(0))(jnp.ones((100, 2)))
    >>> sorted(set(y[:, 0].tolist())), bool((y[:, 0] == y[:, 1]).all())
    ([0.0, 2.0], True)
    """

    def __init__(self, rate: float, mode: str, *, rngs: nnx.Rngs | None = None) -> None:
        check_choice(type(self).__name__, "mode", mode, ("row", "batch"))
        super().__init__(rate, rngs=rngs)
        self.mode = mode

    def __call__(self, inputs: jax.Array, *, deterministic: bool | None = None, rngs: Any = None) -> jax.Array:
        """`b ... -> b ...`."""
        if self._off(deterministic):
            return inputs
        rows = inputs.shape[0] if self.mode == "row" and inputs.ndim else 1
        shape = (rows,) + (1,) * (inputs.ndim - 1) if inputs.ndim else ()
        return inputs * self._factors(shape, inputs.dtype, rngs)

    def _factors(self, shape: tuple[int, ...], dtype: Any, rngs: Any) -> jax.Array:
        factors: jax.Array = super().__call__(jnp.ones(shape, dtype), deterministic=False, rngs=rngs)
        return factors


class DropPath(StochasticDepth):
    """`b ... -> b ...`: whole samples set to zero: timm's `DropPath`, and that of Hugging Face's models.

    Args:
        rate: the probability of a zero; timm's `drop_prob`.
        scale_by_keep: whether what is kept is scaled by 1 / (1 - rate).
        rngs: forks the stream `dropout`; without it, give `rngs=` in each call.

    Raises:
        ConfigError: rate is not between 0 and 1.

    Source: https://arxiv.org/abs/1603.09382

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> y = DropPath(0.5, scale_by_keep=False, rngs=nnx.Rngs(0))(jnp.ones((100, 2)))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 1.0]
    """

    def __init__(self, rate: float = 0.0, *, scale_by_keep: bool = True, rngs: nnx.Rngs | None = None) -> None:
        super().__init__(rate, "row", rngs=rngs)
        self.scale_by_keep = scale_by_keep

    def _factors(self, shape: tuple[int, ...], dtype: Any, rngs: Any) -> jax.Array:
        factors = super()._factors(shape, dtype, rngs)
        return factors if self.scale_by_keep else (factors > 0).astype(dtype)


def _channels_shape(layer: str, inputs: jax.Array, spatial: int | None) -> tuple[int, ...]:
    """One entry for each sample and channel of `b ... c`."""
    if spatial is None and inputs.ndim < 3:
        raise ShapeError(
            f"{layer}: expected axes 'b ... c' with a spatial axis, received {inputs.ndim} axes in shape {inputs.shape}"
        )
    if spatial is not None and inputs.ndim not in (spatial + 1, spatial + 2):
        raise ShapeError(
            f"{layer}: expected {spatial + 2} axes 'b ... c' (the batch may be left out), received {inputs.ndim} axes "
            f"in shape {inputs.shape}"
        )
    batched = spatial is None or inputs.ndim == spatial + 2
    ones = (1,) * (inputs.ndim - (2 if batched else 1))
    return (inputs.shape[0], *ones, inputs.shape[-1]) if batched else (*ones, inputs.shape[-1])
