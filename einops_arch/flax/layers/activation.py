"""Activations that mean what PyTorch's mean: wrappers around `einops_arch.flax.functional`.

They differ from the functions of `nnx` and `jax.nn` in settings that those lack, in the gradient where there is a kink,
and in that half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ConfigError
from einops_arch.flax import functional as f
from einops_arch.flax._checks import check_sizes
from einops_arch.flax.functional._dtypes import check_floating

__all__ = [
    "CELU",
    "ELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "QuickGELU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanhshrink",
    "Threshold",
]


class SiLU(nnx.Module):
    """`... -> ...`: x sigmoid(x): `torch.nn.SiLU`, also known as Swish.

    >>> import jax.numpy as jnp
    >>> SiLU()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.silu(x)


class Hardswish(nnx.Module):
    """`... -> ...`: x times its hard sigmoid: `torch.nn.Hardswish`, of MobileNetV3 (arXiv:1905.02244).

    >>> import jax.numpy as jnp
    >>> Hardswish()(jnp.asarray([0.0, 3.0])).tolist()
    [0.0, 3.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.hardswish(x)


class Hardsigmoid(nnx.Module):
    """`... -> ...`: x / 6 + 1 / 2 between 0 and 1: `torch.nn.Hardsigmoid`.

    >>> import jax.numpy as jnp
    >>> Hardsigmoid()(jnp.asarray([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.hardsigmoid(x)


class Hardtanh(nnx.Module):
    """`... -> ...`: x between two bounds: `torch.nn.Hardtanh`; the gradient is 0 at both bounds.

    Args:
        min_val: the lower bound.
        max_val: the upper bound.

    Raises:
        ConfigError: min_val is not below max_val.

    >>> import jax.numpy as jnp
    >>> Hardtanh()(jnp.asarray([-2.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        if not min_val < max_val:
            raise ConfigError(f"Hardtanh: expected min_val below max_val, received {min_val!r} and {max_val!r}")
        self.min_val = min_val
        self.max_val = max_val

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.hardtanh(x, self.min_val, self.max_val)


class ReLU6(nnx.Module):
    """`... -> ...`: x between 0 and 6: `torch.nn.ReLU6`; the gradient is 0 at both bounds.

    >>> import jax.numpy as jnp
    >>> ReLU6()(jnp.asarray([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.relu6(x)


class LeakyReLU(nnx.Module):
    """`... -> ...`: x where it is positive, negative_slope x elsewhere: `torch.nn.LeakyReLU`.

    Args:
        negative_slope: the slope where x is negative, and at 0.

    >>> import jax.numpy as jnp
    >>> LeakyReLU(0.5)(jnp.asarray([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.leaky_relu(x, self.negative_slope)


class ELU(nnx.Module):
    """`... -> ...`: x where it is positive, alpha (exp(x) - 1) elsewhere: `torch.nn.ELU`.

    Args:
        alpha: minus the value far below 0.

    >>> import jax.numpy as jnp
    >>> ELU()(jnp.asarray([-1000.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.elu(x, self.alpha)


class SELU(nnx.Module):
    """`... -> ...`: an ELU, scaled so that means and variances keep: `torch.nn.SELU` (arXiv:1706.02515).

    >>> import jax.numpy as jnp
    >>> SELU()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.selu(x)


class CELU(nnx.Module):
    """`... -> ...`: x where it is positive, alpha (exp(x / alpha) - 1) elsewhere: `torch.nn.CELU`.

    Args:
        alpha: minus the value far below 0.

    Raises:
        ConfigError: alpha is 0.

    >>> import jax.numpy as jnp
    >>> CELU(0.5)(jnp.asarray([-1000.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        if alpha == 0:
            raise ConfigError("CELU: expected alpha other than 0, received 0")
        self.alpha = alpha

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.celu(x, self.alpha)


class Mish(nnx.Module):
    """`... -> ...`: x tanh(softplus(x)): `torch.nn.Mish` (arXiv:1908.08681).

    >>> import jax.numpy as jnp
    >>> Mish()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.mish(x)


class Softplus(nnx.Module):
    """`... -> ...`: log(1 + exp(beta x)) / beta, and x where beta x > threshold: `torch.nn.Softplus`.

    Args:
        beta: how sharp the bend is.
        threshold: where beta x is above it the result is x itself; `nnx.softplus` has none.

    >>> import jax.numpy as jnp
    >>> Softplus()(jnp.asarray([30.0])).tolist()
    [30.0]
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.softplus(x, self.beta, self.threshold)


class Softsign(nnx.Module):
    """`... -> ...`: x / (1 + |x|): `torch.nn.Softsign`.

    >>> import jax.numpy as jnp
    >>> Softsign()(jnp.asarray([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.softsign(x)


class LogSigmoid(nnx.Module):
    """`... -> ...`: log(sigmoid(x)): `torch.nn.LogSigmoid`.

    >>> import jax.numpy as jnp
    >>> LogSigmoid()(jnp.asarray([1000.0])).tolist()
    [-0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.logsigmoid(x)


class Softshrink(nnx.Module):
    """`... -> ...`: x moved towards 0 by lambd, and 0 between: `torch.nn.Softshrink`.

    Args:
        lambd: how far; PyTorch's spelling.

    Raises:
        ConfigError: lambd is negative.

    >>> import jax.numpy as jnp
    >>> Softshrink()(jnp.asarray([0.25, 2.0])).tolist()
    [0.0, 1.5]
    """

    def __init__(self, lambd: float = 0.5) -> None:
        if lambd < 0:
            raise ConfigError(f"Softshrink: expected lambd of at least 0, received {lambd!r}")
        self.lambd = lambd

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.softshrink(x, self.lambd)


class Hardshrink(nnx.Module):
    """`... -> ...`: 0 from -lambd to lambd, x elsewhere: `torch.nn.Hardshrink`.

    Args:
        lambd: the bound; PyTorch's spelling.

    >>> import jax.numpy as jnp
    >>> Hardshrink()(jnp.asarray([0.25, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.hardshrink(x, self.lambd)


class Tanhshrink(nnx.Module):
    """`... -> ...`: x - tanh(x): `torch.nn.Tanhshrink`.

    >>> import jax.numpy as jnp
    >>> Tanhshrink()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.tanhshrink(x)


class Threshold(nnx.Module):
    """`... -> ...`: x where it is above the threshold, a value elsewhere: `torch.nn.Threshold`.

    Args:
        threshold: the bound.
        value: what stands at the bound and below.

    >>> import jax.numpy as jnp
    >>> Threshold(0.5, 7.0)(jnp.asarray([0.25, 2.0])).tolist()
    [7.0, 2.0]
    """

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold = threshold
        self.value = value

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.threshold(x, self.threshold, self.value)


class QuickGELU(nnx.Module):
    """`... -> ...`: x sigmoid(1.702 x), an approximation of GELU that is up to 0.02 away from it.

    CLIP's, and that of the public models after it; `torch.nn` has none.

    >>> import jax.numpy as jnp
    >>> QuickGELU()(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... -> ...`."""
        return f.quick_gelu(x)


class PReLU(nnx.PReLU):
    """`... c -> ... c`: a leaky ReLU with learned slopes, one for all or one for each channel: `torch.nn.PReLU`.

    Differs from `nnx.PReLU`: slopes for each channel, a start of 0.25 (NNX 0.01), and an axis even where there is one
    slope only, as PyTorch has it. One leaf: `negative_slope` (c).

    Args:
        num_parameters: 1, or the number of channels.
        negative_slope_init: where the slopes start; PyTorch's `init`.

    Raises:
        ConfigError: num_parameters is no positive integer.
        ShapeError: when called with another number of channels.

    Source: https://arxiv.org/abs/1502.01852

    >>> import jax.numpy as jnp
    >>> PReLU(2)(jnp.asarray([[-1.0, 3.0]])).tolist()
    [[-0.25, 3.0]]
    """

    def __init__(self, num_parameters: int = 1, *, negative_slope_init: float = 0.25) -> None:
        check_sizes("PReLU", num_parameters=num_parameters)
        super().__init__(negative_slope_init)
        self.num_parameters = num_parameters
        self.negative_slope = nnx.Param(jnp.full((num_parameters,), negative_slope_init, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """`... c -> ... c`, channels last."""
        check_floating("PReLU", x)
        x, slopes = nnx.nn.dtypes.promote_dtype((x, self.negative_slope[...]))
        return f.prelu(x, slopes)
