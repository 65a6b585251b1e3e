"""Linear and the plainest activations that mean what PyTorch's mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch._settings import check_flag
from einops_arch.flax._checks import check_features, check_sizes
from einops_arch.flax.functional._dtypes import as_floating, check_axis, check_floating, widened
from einops_arch.flax.layers.init import Initializer, uniform_fan_in

__all__ = [
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
        check_floating("Linear", inputs)
        return super().__call__(inputs)


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
        check_flag("GELU", "approximate", approximate)
        self.approximate = approximate

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        check_floating("GELU", x)
        return jax.nn.gelu(x, approximate=self.approximate)


class Tanh(nnx.Module):
    """`... -> ...`: tanh(x): `torch.nn.Tanh`.

    >>> import jax.numpy as jnp
    >>> Tanh()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jnp.tanh(as_floating(x))


class Sigmoid(nnx.Module):
    """`... -> ...`: 1 / (1 + exp(-x)): `torch.nn.Sigmoid`.

    >>> import jax.numpy as jnp
    >>> Sigmoid()(jnp.zeros(2)).tolist()
    [0.5, 0.5]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return jax.nn.sigmoid(as_floating(x))


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
        check_floating("LogSoftmax", x)
        check_axis("LogSoftmax", x, self.axis)
        # A scalar is one value along an axis, as in PyTorch.
        return jax.nn.log_softmax(jnp.atleast_1d(widened(x)), axis=self.axis).reshape(x.shape).astype(x.dtype)


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
