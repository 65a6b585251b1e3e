"""Activations with PyTorch's values, and PyTorch's choice of gradient where there is a kink.

`jax.nn` has most of them with the same values; what differs is the gradient at a kink, and the dtype in which half
precision is computed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from einops_arch.errors import ShapeError
from einops_arch.flax.functional._dtypes import as_floating, check_axis, check_floating, in_float32, widened

__all__ = [
    "celu",
    "elu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "quick_gelu",
    "relu6",
    "selu",
    "silu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]

# PyTorch's slope of a hard sigmoid is a sixth in float32, whatever the dtype; 5e-9 away from one.
_SIXTH = float(np.float32(1 / 6))
# Klambauer et al. 2017, arXiv:1706.02515; the digits are PyTorch's.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def hardtanh(x: jax.Array, min_val: float = -1.0, max_val: float = 1.0) -> jax.Array:
    """`... -> ...`: x between two bounds: `torch.nn.functional.hardtanh`; the gradient is 0 at both bounds.

    >>> hardtanh(jnp.asarray([-2.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    low, high = jnp.asarray(min_val, x.dtype), jnp.asarray(max_val, x.dtype)
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))


def relu6(x: jax.Array) -> jax.Array:
    """`... -> ...`: x between 0 and 6: `torch.nn.functional.relu6`; the gradient is 0 at both bounds.

    >>> relu6(jnp.asarray([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    return hardtanh(jnp.asarray(x), 0.0, 6.0)


@in_float32
def hardsigmoid(x: jax.Array) -> jax.Array:
    """`... -> ...`: x / 6 + 1 / 2 between 0 and 1: `torch.nn.functional.hardsigmoid`.

    >>> hardsigmoid(jnp.asarray([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return _hardsigmoid(x)


@jax.custom_jvp
def _hardsigmoid(x: jax.Array) -> jax.Array:
    return hardtanh(x + 3.0, 0.0, 6.0) / 6.0


@_hardsigmoid.defjvp
def _hardsigmoid_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    inside = (x > -3.0) & (x < 3.0)
    return _hardsigmoid(x), jnp.where(inside, dx * jnp.asarray(_SIXTH, dx.dtype), jnp.zeros((), dx.dtype))


@in_float32
def hardswish(x: jax.Array) -> jax.Array:
    """`... -> ...`: x hardsigmoid(x): `torch.nn.functional.hardswish`, of MobileNetV3 (arXiv:1905.02244).

    >>> hardswish(jnp.asarray([-4.0, 3.0])).tolist()
    [-0.0, 3.0]
    """
    return x * hardtanh(x + 3.0, 0.0, 6.0) / 6.0


@in_float32
def silu(x: jax.Array) -> jax.Array:
    """`... -> ...`: x sigmoid(x): `torch.nn.functional.silu`, also known as Swish.

    >>> silu(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return x * jax.nn.sigmoid(x)


@in_float32
def quick_gelu(x: jax.Array) -> jax.Array:
    """`... -> ...`: x sigmoid(1.702 x): CLIP's approximation of GELU, up to 0.02 away from it.

    >>> quick_gelu(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return x * jax.nn.sigmoid(1.702 * x)


@in_float32
def mish(x: jax.Array) -> jax.Array:
    """`... -> ...`: x tanh(softplus(x)): `torch.nn.functional.mish` (arXiv:1908.08681).

    >>> mish(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return x * jnp.tanh(jax.nn.softplus(x))


@in_float32
def logsigmoid(x: jax.Array) -> jax.Array:
    """`... -> ...`: log(sigmoid(x)): `torch.nn.functional.logsigmoid`.

    >>> logsigmoid(jnp.zeros(1)).round(4).tolist()
    [-0.693...]
    """
    return -jax.nn.softplus(-x)


@in_float32
def softplus(x: jax.Array, beta: float = 1.0, threshold: float = 20.0) -> jax.Array:
    """`... -> ...`: log(1 + exp(beta x)) / beta, and x itself where beta x > threshold: `torch.nn.functional.softplus`.

    `jax.nn.softplus` has neither; above the threshold of 20 it differs by up to 2e-9.

    >>> softplus(jnp.asarray([0.0, 30.0])).round(4).tolist()
    [0.693..., 30.0]
    """
    linear = x * beta > threshold
    curved = jnp.where(linear, 0.0, x)  # so that what is not taken has a finite gradient
    return jnp.where(linear, x, jnp.log1p(jnp.exp(curved * beta)) / beta)


def softsign(x: jax.Array) -> jax.Array:
    """`... -> ...`: x / (1 + |x|): `torch.nn.functional.softsign`.

    >>> softsign(jnp.asarray([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """
    x = as_floating(x)
    wide = widened(x)
    return (wide / (1.0 + jnp.abs(wide))).astype(x.dtype)


def leaky_relu(x: jax.Array, negative_slope: float = 0.01) -> jax.Array:
    """`... -> ...`: x where it is positive, and negative_slope x elsewhere: `torch.nn.functional.leaky_relu`.

    >>> leaky_relu(jnp.asarray([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    check_floating("leaky_relu", x)
    return jnp.where(x > 0, x, x * jnp.asarray(negative_slope, x.dtype))


def prelu(x: jax.Array, weight: jax.Array) -> jax.Array:
    """`... c -> ... c`: a leaky ReLU whose slopes are learned, one for all or one for each channel.

    Args:
        x: channels last, where PyTorch has them on axis 1.
        weight: c, or 1.

    Raises:
        ShapeError: the number of slopes is neither 1 nor that of the channels.

    >>> prelu(jnp.asarray([[-1.0, -1.0]]), jnp.asarray([0.5, 0.25])).tolist()
    [[-0.5, -0.25]]
    """
    check_floating("prelu", x)
    if weight.size != 1 and (x.ndim < 2 or weight.shape != x.shape[-1:]):
        raise ShapeError(
            f"prelu: expected 1 slope, or one for each channel on the last axis, received weight of shape "
            f"{weight.shape} for x of shape {x.shape}"
        )
    return jnp.where(x > 0, x, weight.reshape(-1 if x.ndim else ()) * x)


@in_float32
def elu(x: jax.Array, alpha: float = 1.0) -> jax.Array:
    """`... -> ...`: x where it is positive, alpha (exp(x) - 1) elsewhere: `torch.nn.functional.elu`.

    >>> elu(jnp.asarray([-1000.0, 2.0])).tolist()
    [-1.0, 2.0]
    """
    return _elu(x, alpha)


@in_float32
def celu(x: jax.Array, alpha: float = 1.0) -> jax.Array:
    """`... -> ...`: x where it is positive, alpha (exp(x / alpha) - 1) elsewhere: `torch.nn.functional.celu`.

    >>> celu(jnp.asarray([-1000.0, 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return _elu(x, alpha, 1.0 / alpha)


@in_float32
def selu(x: jax.Array) -> jax.Array:
    """`... -> ...`: an ELU, scaled so that means and variances keep: `torch.nn.functional.selu` (arXiv:1706.02515).

    >>> selu(jnp.asarray([-1000.0, 1.0])).round(4).tolist()
    [-1.758..., 1.050...]
    """
    return _SELU_SCALE * _elu(x, _SELU_ALPHA)


def glu(x: jax.Array, axis: int = -1) -> jax.Array:
    """`... (n c) -> ... c` with n = 2: the first half times the sigmoid of the second: `torch.nn.functional.glu`.

    Args:
        x: an even number of values along the axis.
        axis: PyTorch's `dim`.

    Raises:
        ShapeError: the number along the axis is odd.

    >>> glu(jnp.asarray([[2.0, 4.0, 0.0, 0.0]])).tolist()
    [[1.0, 2.0]]
    """
    check_floating("glu", x)
    check_axis("glu", x, axis)
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ShapeError(f"glu: expected an even size along axis {axis}, received shape {x.shape}")
    values, gate = jnp.split(widened(x), 2, axis=axis)
    return (values * jax.nn.sigmoid(gate)).astype(x.dtype)


@in_float32
def softmin(x: jax.Array, axis: int = -1) -> jax.Array:
    """`... -> ...`: softmax(-x) along an axis: `torch.nn.functional.softmin`.

    >>> softmin(jnp.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    check_axis("softmin", x, axis)
    # A scalar is one value along an axis, as in PyTorch.
    return jax.nn.softmax(jnp.atleast_1d(-x), axis=axis).reshape(x.shape)


def hardshrink(x: jax.Array, lambd: float = 0.5) -> jax.Array:
    """`... -> ...`: 0 from -lambd to lambd, x elsewhere: `torch.nn.functional.hardshrink`.

    >>> hardshrink(jnp.asarray([0.25, 2.0])).tolist()
    [0.0, 2.0]
    """
    check_floating("hardshrink", x)
    return jnp.where((x >= -lambd) & (x <= lambd), jnp.zeros((), x.dtype), x)


def softshrink(x: jax.Array, lambd: float = 0.5) -> jax.Array:
    """`... -> ...`: x moved towards 0 by lambd, and 0 between: `torch.nn.functional.softshrink`.

    >>> softshrink(jnp.asarray([0.25, 2.0])).tolist()
    [0.0, 1.5]
    """
    check_floating("softshrink", x)
    step = jnp.asarray(lambd, x.dtype)
    return jnp.where(x > step, x - step, jnp.where(x < -step, x + step, x * 0))


def tanhshrink(x: jax.Array) -> jax.Array:
    """`... -> ...`: x - tanh(x): `torch.nn.functional.tanhshrink`.

    >>> tanhshrink(jnp.zeros(1)).tolist()
    [0.0]
    """
    x = as_floating(x)
    wide = widened(x)
    return (wide - jnp.tanh(wide)).astype(x.dtype)


def threshold(x: jax.Array, threshold: float, value: float) -> jax.Array:
    """`... -> ...`: x where it is above the threshold, a value elsewhere: `torch.nn.functional.threshold`.

    >>> threshold(jnp.asarray([0.25, 2.0]), 0.5, 7.0).tolist()
    [7.0, 2.0]
    """
    return jnp.where(x <= threshold, jnp.asarray(value, x.dtype), x)


def _elu(x: jax.Array, alpha: float, input_scale: float = 1.0) -> jax.Array:
    negative = jnp.where(x > 0, 0.0, x)  # so that what is not taken has a finite gradient
    return jnp.where(x > 0, x, alpha * jnp.expm1(negative * input_scale))
