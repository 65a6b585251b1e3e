"""Functions of vectors: norms, distances, one-hot codes, draws of classes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from einops_arch.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax.functional._dtypes import check_floating, widened

__all__ = ["cdist", "gumbel_softmax", "norm", "normalize", "one_hot", "std"]


def normalize(x: jax.Array, p: float = 2.0, axis: int | tuple[int, ...] = -1, epsilon: float = 1e-12) -> jax.Array:
    """`... c -> ... c`: vectors divided by their p-norm, or by epsilon if that is larger.

    `torch.nn.functional.normalize`, whose axis is 1 where channels are first. The gradient of a zero vector is finite.

    Args:
        x: floating point.
        p: of the norm; infinity for the largest absolute value.
        axis: along which the vectors lie.
        epsilon: the least that is divided by.

    Raises:
        DtypeError: x has integers.

    >>> normalize(jnp.asarray([0.0, 4.0])).tolist()
    [0.0, 1.0]
    """
    check_floating("normalize", x)
    wide = widened(x)
    norm = _norm(wide, p, axis)
    # Written out: where the norm is epsilon its gradient counts, as in PyTorch.
    return (wide / jnp.where(norm < epsilon, jnp.asarray(epsilon, wide.dtype), norm)).astype(x.dtype)


def norm(
    x: jax.Array, p: float = 2.0, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
) -> jax.Array:
    """`... c -> ...`: the p-norm of vectors: `torch.linalg.vector_norm`, whose gradient at a zero vector is 0.

    Args:
        x: floating point.
        p: of the norm, from 0 (how many entries differ from 0) to infinity; minus infinity is the smallest.
        axis: along which the vectors lie; all if left out.
        keepdims: whether axes of one stay.

    Raises:
        ConfigError: p is negative and finite.
        DtypeError: x has integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html

    >>> norm(jnp.asarray([[3.0, 4.0], [0.0, 0.0]]), axis=-1).tolist()
    [5.0, 0.0]
    """
    check_floating("norm", x)
    if p < 0 and not math.isinf(p):
        raise ConfigError(f"norm: expected p of at least 0, or an infinity, received {p!r}")
    axes = tuple(range(x.ndim)) if axis is None else axis
    result = _norm(widened(x), p, axes).astype(x.dtype)
    return result if keepdims else jnp.squeeze(result, axes)


def std(x: jax.Array, axis: int | tuple[int, ...] | None = None, *, ddof: int = 0, keepdims: bool = False) -> jax.Array:
    """`... c -> ...`: the standard deviation: `torch.std`, whose gradient is 0 where all values are the same.

    Args:
        x: floating point.
        axis: along which; all if left out.
        ddof: PyTorch's `correction`, which is 1 there if left out.
        keepdims: whether axes of one stay.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.std.html

    >>> std(jnp.asarray([[1.0, 3.0], [2.0, 2.0]]), axis=-1).tolist()
    [1.0, 0.0]
    """
    variance = jnp.var(x, axis, ddof=ddof, keepdims=keepdims)
    same = variance == 0
    return jnp.where(same, jnp.zeros((), x.dtype), jnp.sqrt(jnp.where(same, 1.0, variance)).astype(x.dtype))


def cdist(x: jax.Array, y: jax.Array, p: float = 2.0) -> jax.Array:
    """`b n k, b m k -> b n m`: the p-distance of each vector to each: `torch.cdist`, whose gradient is 0 at distance 0.

    Args:
        x: any number of batch axes, broadcast against those of y.
        y: as many features as x.
        p: of the norm, from 0 (how many entries differ) to infinity.

    Raises:
        ConfigError: p is negative.
        ShapeError: other numbers of features, or fewer than 2 axes.

    >>> cdist(jnp.asarray([[0.0, 0.0]]), jnp.asarray([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[5.0, 0.0]]
    """
    if not p >= 0:
        raise ConfigError(f"cdist: expected p of at least 0, received {p!r}")
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"cdist: expected '... n k' and '... m k', received shapes {x.shape} and {y.shape}")
    difference = x[..., :, None, :] - y[..., None, :, :]
    wide = widened(difference)
    if x.shape[-1] == 0:
        return jnp.zeros(wide.shape[:-1], difference.dtype)
    if p == 0:
        return (wide != 0).sum(-1).astype(difference.dtype)
    return _norm(wide, p, -1)[..., 0].astype(difference.dtype)


def one_hot(indices: jax.Array, num_classes: int = -1) -> jax.Array:
    """`... -> ... c`: a 1 at the index and zeros elsewhere, as integers: `torch.nn.functional.one_hot`.

    Differs from `jax.nn.one_hot`: integers, and an index outside of the classes is an error where its value is known;
    inside of `jax.jit` it gives a row of zeros.

    Args:
        indices: integers from 0.
        num_classes: how many classes; -1 is one more than the largest index, which must be known then.

    Raises:
        DtypeError: indices are no integers.
        ConfigError: num_classes is out of range, or cannot be known.
        IndexRangeError: an index is outside of the classes.

    >>> one_hot(jnp.asarray([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise DtypeError(f"one_hot: expected indices of an integer dtype, received {indices.dtype}")
    known = is_concrete(indices)
    if num_classes == -1:
        if not known or not indices.size:
            raise ConfigError("one_hot: expected num_classes where the indices are not known or none, received -1")
        num_classes = int(np.asarray(indices).max()) + 1
    if num_classes < 1:
        raise ConfigError(f"one_hot: expected num_classes of at least 1, or -1, received {num_classes}")
    if known and indices.size:
        values = np.asarray(indices)
        if values.min() < 0 or values.max() >= num_classes:
            raise IndexRangeError(
                f"one_hot: expected indices from 0 to {num_classes - 1}, received from {values.min()} to {values.max()}"
            )
    return jax.nn.one_hot(indices, num_classes, dtype=jax.dtypes.canonicalize_dtype(np.int64))


def gumbel_softmax(
    logits: jax.Array, key: jax.Array, tau: float = 1.0, *, hard: bool = False, axis: int = -1
) -> jax.Array:
    """`... c -> ... c`: a random class for each row, as a softmax that can be differentiated (arXiv:1611.01144).

    `torch.nn.functional.gumbel_softmax`; the random bits are not PyTorch's, and come from a key as everywhere in JAX.

    Args:
        logits: floating point.
        key: of `jax.random`, such as `rngs()` gives.
        tau: the temperature; the lower, the closer to one-hot.
        hard: whether the result is one-hot, with the gradient of the softmax.
        axis: of the classes.

    Raises:
        DtypeError: logits are integers.

    >>> float(gumbel_softmax(jnp.zeros(5), jax.random.key(0), hard=True).sum())
    1.0
    """
    check_floating("gumbel_softmax", logits)
    wide = widened(logits)
    soft = jax.nn.softmax((wide + jax.random.gumbel(key, wide.shape, wide.dtype)) / tau, axis=axis)
    if hard:
        code = jax.nn.one_hot(jnp.argmax(soft, axis), soft.shape[axis], axis=axis, dtype=soft.dtype)
        soft = code - jax.lax.stop_gradient(soft) + soft
    return soft.astype(logits.dtype)


def _norm(x: jax.Array, p: float, axis: int | tuple[int, ...]) -> jax.Array:
    """The p-norm with the axis kept; where it is zero its gradient is zero, as PyTorch has it, and not NaN."""
    if p == 0:
        return (x != 0).sum(axis, keepdims=True).astype(x.dtype)
    # The sign of zero is zero here; the derivative of `jnp.abs` is 1 there.
    size = x * jax.lax.stop_gradient(jnp.sign(x))
    if p == 1:
        return size.sum(axis, keepdims=True)
    if math.isinf(p):
        return size.max(axis, keepdims=True) if p > 0 else size.min(axis, keepdims=True)
    nothing = x == 0
    some = jnp.where(nothing, 1.0, size)
    total = jnp.where(nothing, 0.0, some * some if p == 2 else jnp.power(some, p)).sum(axis, keepdims=True)
    empty = total == 0
    whole = jnp.where(empty, 1.0, total)
    return jnp.where(empty, 0.0, jnp.sqrt(whole) if p == 2 else jnp.power(whole, 1.0 / p))
