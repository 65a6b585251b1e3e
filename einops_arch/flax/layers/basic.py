"""Linear, dropout and activations that mean what PyTorch's mean."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax.layers.checks import check_features, check_fraction, check_sizes
from einops_arch.flax.layers.init import Initializer, uniform_fan_in

__all__ = [
    "Dropout",
    "Dropout2d",
    "GELU",
    "Identity",
    "Linear",
    "LogSoftmax",
    "ReLU",
    "Sigmoid",
    "Tanh",
]


class Linear(nnx.Linear):
    """`... i -> ... o`: PyTorch's `torch.nn.Linear`.

    Differs from `nnx.Linear` in the initial distribution, for the bias too. Leaves: `kernel` (i o), `bias` (o).

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        use_bias: whether a bias is added.
        kernel_init: another initial distribution, as NNX has them; PyTorch's if left out. The same for bias_init.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a size is no positive integer.
        ShapeError: when the last axis has another size.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> Linear(3, 5, rngs=nnx.Rngs(0))(jnp.ones((2, 4, 3))).shape
    (2, 4, 5)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        default = uniform_fan_in(in_features)
        super().__init__(
            in_features,
            out_features,
            use_bias=use_bias,
            kernel_init=kernel_init or default,
            bias_init=bias_init or default,
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`... i -> ... o`."""
        check_features("Linear", inputs.shape, self.in_features)
        return super().__call__(inputs)


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

    def __call__(self, inputs: jax.Array, *, deterministic: bool | None = None, rngs: Any = None) -> jax.Array:
        """`b ... c -> b ... c`, channels last."""
        if inputs.ndim < 3:
            raise ShapeError(
                f"Dropout2d: expected axes 'b ... c' with a spatial axis, received {inputs.ndim} axes "
                f"in shape {inputs.shape}"
            )
        if self.rate == 0 or (self.deterministic if deterministic is None else deterministic):
            return inputs
        one_each = jnp.ones((inputs.shape[0], *(1,) * (inputs.ndim - 2), inputs.shape[-1]), inputs.dtype)
        return inputs * super().__call__(one_each, deterministic=False, rngs=rngs)


class ReLU(nnx.Module):
    """`... -> ...`: max(x, 0) with gradient 0 at 0: `torch.nn.ReLU`.

    >>> import jax.numpy as jnp
    >>> ReLU()(jnp.asarray([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jax.nn.relu(x)


class GELU(nnx.Module):
    """`... -> ...`: x * Phi(x): `torch.nn.GELU`, exact by default where `nnx.gelu` takes the tanh form.

    Args:
        approximate: whether to use the tanh form, PyTorch's `approximate="tanh"`; up to 5e-4 away.

    Source: https://arxiv.org/abs/1606.08415

    >>> import jax.numpy as jnp
    >>> x = jnp.asarray(2.7)
    >>> round(float(GELU(approximate=True)(x) - GELU()(x)), 6)
    0.000473
    """

    def __init__(self, approximate: bool = False) -> None:
        if not isinstance(approximate, bool):
            raise ConfigError(f"GELU: expected approximate as True or False, received {approximate!r}")
        self.approximate = approximate

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jax.nn.gelu(x, approximate=self.approximate)


class Tanh(nnx.Module):
    """`... -> ...`: tanh(x): `torch.nn.Tanh`.

    >>> import jax.numpy as jnp
    >>> Tanh()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jnp.tanh(x)


class Sigmoid(nnx.Module):
    """`... -> ...`: 1 / (1 + exp(-x)): `torch.nn.Sigmoid`.

    >>> import jax.numpy as jnp
    >>> Sigmoid()(jnp.zeros(2)).tolist()
    [0.5, 0.5]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jax.nn.sigmoid(x)


class LogSoftmax(nnx.Module):
    """`... -> ...`: log(exp(x) / sum(exp(x))) along one axis: `torch.nn.LogSoftmax`.

    Args:
        axis: the axis of the classes, the last one by default, as channels are last.

    >>> import jax.numpy as jnp
    >>> LogSoftmax()(jnp.zeros((1, 4))).round(4).tolist()
    [[-1.386..., -1.386..., -1.386..., -1.386...]]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jax.nn.log_softmax(x, axis=self.axis)


class Identity(nnx.Module):
    """`... -> ...`: the input itself: `torch.nn.Identity`.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones(3)
    >>> Identity()(x) is x
    True
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return x
