"""PyTorch's losses, with its reductions; classes are the last axis, as channels are last in Flax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from einops_arch._settings import check_choice, check_fraction
from einops_arch.errors import ConfigError, IndexRangeError, ShapeError
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax.functional._dtypes import check_floating

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]

_REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(
    logits: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> jax.Array:
    """`b ... c, b ... -> ` or `b ... c, b ... c -> `: `torch.nn.functional.cross_entropy`.

    PyTorch has the classes on axis 1, here they are last. The mean over class indices is weighted: it divides by the
    sum of the weights of the targets that count; the mean over probabilities divides by their number.

    Args:
        logits: unnormalised scores, `b ... c`.
        target: class indices `b ...`, or probabilities `b ... c`.
        weight: of each class, `c`.
        ignore_index: an index that counts for nothing, gradients included.
        reduction: "mean", "sum" or "none".
        label_smoothing: this share of each target is spread over all classes.

    Raises:
        ConfigError: reduction or label_smoothing is out of range.
        DtypeError: scores of integers.
        IndexRangeError: a target is no class; NaN inside of `jax.jit`, where there are no values to check.
        ShapeError: the target is neither `b ...` nor `b ... c`, or the weight not `c`.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html

    >>> import jax.numpy as jnp
    >>> float(cross_entropy(jnp.zeros((3, 4)), jnp.asarray([0, 2, -100])).round(4))
    1.3863
    """
    check_fraction("cross_entropy", "label_smoothing", label_smoothing)
    check_floating("cross_entropy", logits)
    _check_weight("cross_entropy", logits, weight)
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    if jnp.issubdtype(target.dtype, jnp.integer):
        return _cross_entropy_of_indices(
            log_probabilities, target, weight, ignore_index, reduction, label_smoothing, "cross_entropy"
        )
    if target.shape != logits.shape:
        raise ShapeError(f"cross_entropy: expected probabilities of shape {logits.shape}, received {target.shape}")
    target = target * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    terms = target * log_probabilities if weight is None else target * log_probabilities * weight
    return _reduce("cross_entropy", -jnp.sum(terms, axis=-1), reduction)


def nll_loss(
    log_probabilities: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> jax.Array:
    """`b ... c, b ... -> `: minus the log-probability of the target: `torch.nn.functional.nll_loss`.

    Args:
        log_probabilities: `b ... c`; PyTorch has the classes on axis 1.
        target: class indices, `b ...`.
        weight: of each class, `c`.
        ignore_index: an index that counts for nothing.
        reduction: "mean" (weighted), "sum" or "none".

    Raises:
        ConfigError: the reduction is none of these.
        DtypeError: log-probabilities of integers.
        IndexRangeError: a target is no class; NaN inside of `jax.jit`.
        ShapeError: the target is not `b ...`, or the weight not `c`.

    >>> import jax.numpy as jnp
    >>> float(nll_loss(jnp.log(jnp.asarray([[0.25, 0.75]])), jnp.asarray([1])).round(4))
    0.2877
    """
    check_floating("nll_loss", log_probabilities)
    _check_weight("nll_loss", log_probabilities, weight)
    return _cross_entropy_of_indices(log_probabilities, target, weight, ignore_index, reduction, 0.0, "nll_loss")


def binary_cross_entropy_with_logits(
    logits: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: jax.Array | None = None,
) -> jax.Array:
    """`..., ... -> `: `torch.nn.functional.binary_cross_entropy_with_logits`.

    Args:
        logits: scores of any shape.
        target: probabilities of the same shape.
        weight: of each term, broadcast.
        reduction: "mean", "sum" or "none".
        pos_weight: of the positive terms, broadcast.

    Raises:
        ConfigError: the reduction is none of these.
        ShapeError: the shapes differ.

    >>> import jax.numpy as jnp
    >>> float(binary_cross_entropy_with_logits(jnp.zeros(3), jnp.ones(3)).round(4))
    0.6931
    """
    _check_same("binary_cross_entropy_with_logits", logits, target)
    # log(1 + exp(-x)) that does not overflow for a large negative x.
    negative = jax.nn.softplus(-logits)
    positive = negative if pos_weight is None else negative * (1 + (pos_weight - 1) * target)
    loss = (1 - target) * logits + positive
    return _reduce("binary_cross_entropy_with_logits", loss if weight is None else loss * weight, reduction)


def binary_cross_entropy(
    probabilities: jax.Array, target: jax.Array, weight: jax.Array | None = None, *, reduction: str = "mean"
) -> jax.Array:
    """`..., ... -> `: `torch.nn.functional.binary_cross_entropy`, whose logarithms end at -100.

    Args:
        probabilities: between 0 and 1.
        target: probabilities of the same shape.
        weight: of each term, broadcast.
        reduction: "mean", "sum" or "none".

    Raises:
        ConfigError: the reduction is none of these.
        ShapeError: the shapes differ.

    >>> import jax.numpy as jnp
    >>> float(binary_cross_entropy(jnp.asarray([0.0]), jnp.asarray([1.0])))
    100.0
    """
    _check_same("binary_cross_entropy", probabilities, target)
    if is_concrete(probabilities):  # not inside of `jax.jit`, as above
        values = np.asarray(probabilities)
        if not ((values >= 0) & (values <= 1)).all():
            raise ConfigError("binary_cross_entropy: expected probabilities from 0 to 1, received others")
    loss = -(target * _bounded_log(probabilities) + (1 - target) * _bounded_log(1 - probabilities))
    return _reduce("binary_cross_entropy", loss if weight is None else loss * weight, reduction)


def mse_loss(prediction: jax.Array, target: jax.Array, *, reduction: str = "mean") -> jax.Array:
    """`..., ... -> `: the squared difference: `torch.nn.functional.mse_loss`.

    >>> import jax.numpy as jnp
    >>> float(mse_loss(jnp.asarray([1.0, 2.0]), jnp.asarray([1.0, 4.0])))
    2.0
    """
    return _reduce("mse_loss", (prediction - target) ** 2, reduction)


def l1_loss(prediction: jax.Array, target: jax.Array, *, reduction: str = "mean") -> jax.Array:
    """`..., ... -> `: the absolute difference, with gradient 0 at 0: `torch.nn.functional.l1_loss`.

    >>> import jax.numpy as jnp
    >>> float(l1_loss(jnp.asarray([1.0, 2.0]), jnp.asarray([1.0, 4.0])))
    1.0
    """
    return _reduce("l1_loss", _distance(prediction, target), reduction)


def smooth_l1_loss(
    prediction: jax.Array, target: jax.Array, *, reduction: str = "mean", beta: float = 1.0
) -> jax.Array:
    """`..., ... -> `: squared below `beta` (divided by 2 beta), absolute above: `torch.nn.functional.smooth_l1_loss`.

    >>> import jax.numpy as jnp
    >>> smooth_l1_loss(jnp.asarray([0.5, 3.0]), jnp.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    if beta < 0:
        raise ConfigError(f"smooth_l1_loss: expected beta of at least 0, received {beta!r}")
    if beta == 0:
        return l1_loss(prediction, target, reduction=reduction)
    distance = _distance(prediction, target)
    loss = jnp.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
    return _reduce("smooth_l1_loss", loss, reduction)


def huber_loss(prediction: jax.Array, target: jax.Array, *, reduction: str = "mean", delta: float = 1.0) -> jax.Array:
    """`..., ... -> `: half the square up to `delta`, linear beyond: `torch.nn.functional.huber_loss`.

    >>> import jax.numpy as jnp
    >>> huber_loss(jnp.asarray([1.0, 3.0]), jnp.zeros(2), delta=2.0, reduction="none").tolist()
    [0.5, 4.0]
    """
    if delta <= 0:
        raise ConfigError(f"huber_loss: expected delta above 0, received {delta!r}")
    distance = _distance(prediction, target)
    loss = jnp.where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta))
    return _reduce("huber_loss", loss, reduction)


def kl_div(
    log_probabilities: jax.Array, target: jax.Array, *, reduction: str = "mean", log_target: bool = False
) -> jax.Array:
    """`..., ... -> `: target (log target - input): `torch.nn.functional.kl_div`.

    Args:
        log_probabilities: of the model.
        target: probabilities, or their logarithms with log_target.
        reduction: "batchmean" (the sum by the first axis: the divergence), "mean", "sum" or "none".
        log_target: the target is logarithms.

    Raises:
        ConfigError: the reduction is none of these.

    >>> import jax.numpy as jnp
    >>> float(kl_div(jnp.log(jnp.asarray([[0.5, 0.5]])), jnp.asarray([[1.0, 0.0]]), reduction="batchmean").round(4))
    0.6931
    """
    if log_target:
        loss = jnp.exp(target) * (target - log_probabilities)
    else:
        # 0 log 0 is 0, with a gradient that is no NaN.
        positive = target > 0
        logarithm = jnp.where(positive, jnp.log(jnp.where(positive, target, 1)), 0)
        loss = target * logarithm - target * log_probabilities
    if reduction == "batchmean":
        return jnp.sum(loss) / loss.shape[0]
    return _reduce("kl_div", loss, reduction, ("batchmean", *_REDUCTIONS))


def ctc_loss(
    log_probabilities: jax.Array,
    targets: jax.Array,
    input_lengths: jax.Array,
    target_lengths: jax.Array,
    *,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> jax.Array:
    """`t b c, b s, b, b -> `: `torch.nn.functional.ctc_loss`, computed by `optax.ctc_loss`.

    Args:
        log_probabilities: `t b c`, time first as in PyTorch.
        targets: padded class indices, `b s`.
        input_lengths: how many steps of each sample count, `b`.
        target_lengths: how many targets of each sample count, `b`.
        blank: the class that stands for none.
        reduction: "mean" divides each loss by the length of its target first; "sum" or "none".
        zero_infinity: a target that does not fit into its input costs nothing, instead of infinitely much.

    Raises:
        ConfigError: the reduction is none of these.
        ShapeError: the arrays have other axes.

    Source: Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf

    >>> import jax.numpy as jnp
    >>> log_probabilities = jnp.full((5, 2, 3), -jnp.log(3.0))
    >>> ctc_loss(log_probabilities, jnp.ones((2, 2), int), jnp.asarray([5, 4]), jnp.asarray([1, 1])).shape
    ()
    """
    import optax  # noqa: PLC0415 - it takes half a second to import

    if log_probabilities.ndim != 3 or targets.ndim != 2:
        raise ShapeError(
            f"ctc_loss: expected 't b c' and 'b s', received shapes {log_probabilities.shape} and {targets.shape}"
        )
    steps, places = log_probabilities.shape[0], targets.shape[1]
    late = jnp.arange(steps) >= rearrange(input_lengths, "b -> b 1")
    beyond = jnp.arange(places) >= rearrange(target_lengths, "b -> b 1")
    # Two equal targets need a blank between them.
    repeated = (targets[:, 1:] == targets[:, :-1]) & ~beyond[:, 1:]
    impossible = input_lengths < target_lengths + jnp.sum(repeated, axis=1)
    logits = rearrange(log_probabilities, "t b c -> b t c")
    kind = logits.dtype
    losses = optax.ctc_loss(logits, late.astype(kind), targets, beyond.astype(kind), blank_id=blank)
    losses = jnp.where(impossible, 0.0 if zero_infinity else jnp.inf, losses)
    if reduction == "mean":
        losses = losses / jnp.maximum(target_lengths, 1).astype(kind)
    return _reduce("ctc_loss", losses, reduction)


def _cross_entropy_of_indices(
    log_probabilities: jax.Array,
    target: jax.Array,
    weight: jax.Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    name: str,
) -> jax.Array:
    if target.shape != log_probabilities.shape[:-1]:
        raise ShapeError(
            f"{name}: expected class indices 'b ...' of shape {log_probabilities.shape[:-1]} for scores 'b ... c', "
            f"received {target.shape}"
        )
    classes = log_probabilities.shape[-1]
    target = _signed(target)
    counted = target != ignore_index
    if is_concrete(target):  # inside of `jax.jit` there are no values to check; there the loss is NaN
        outside = np.asarray(target)[np.asarray(counted & ((target < 0) | (target >= classes)))]
        if outside.size:
            raise IndexRangeError(f"{name}: expected targets from 0 to {classes - 1}, received {outside.flat[0]}")
    # A negative index would count from the end; beyond the classes it is NaN.
    index = jnp.where(counted, jnp.where(target < 0, classes, target), 0)
    picked = jnp.take_along_axis(log_probabilities, index[..., None], axis=-1, mode="fill")[..., 0]
    class_weight = jnp.ones(classes, log_probabilities.dtype) if weight is None else weight
    weights = jnp.where(counted, class_weight[index], 0)
    losses = jnp.where(counted, -picked * class_weight[index], 0)
    if label_smoothing:
        spread = -jnp.sum(log_probabilities * class_weight, axis=-1) / classes
        losses = (1 - label_smoothing) * losses + label_smoothing * jnp.where(counted, spread, 0)
    if reduction == "mean":
        return jnp.sum(losses) / jnp.sum(weights)
    return _reduce(name, losses, reduction)


def _signed(target: jax.Array) -> jax.Array:
    """Whole numbers in a dtype that has every class, one more, and what is ignored: -100 in unsigned ones, too."""
    kind = jnp.iinfo(target.dtype)
    if kind.min == 0 and kind.bits >= 32:
        # No class is so large.
        target = jnp.minimum(target, jnp.asarray(jnp.iinfo(jnp.int32).max, target.dtype))
    return target if kind.min < 0 and kind.bits >= 32 else target.astype(jnp.int32)


def _check_weight(name: str, scores: jax.Array, weight: jax.Array | None) -> None:
    if weight is not None and weight.shape != scores.shape[-1:]:
        raise ShapeError(
            f"{name}: expected a weight for each of the {scores.shape[-1]} classes, received shape {weight.shape}"
        )


def _distance(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """The absolute difference, with PyTorch's gradient of 0 where both are equal; that of `jnp.abs` is 1 there."""
    difference = prediction - target
    return difference * jax.lax.stop_gradient(jnp.sign(difference))


def _bounded_log(x: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.log(x), -100.0)


def _check_same(name: str, first: jax.Array, target: jax.Array) -> None:
    if first.shape != target.shape:
        raise ShapeError(f"{name}: expected a target of shape {first.shape}, received {target.shape}")


def _reduce(name: str, losses: jax.Array, reduction: str, allowed: tuple[str, ...] = _REDUCTIONS) -> jax.Array:
    check_choice(name, "reduction", reduction, allowed)
    if reduction == "none":
        return losses
    return jnp.mean(losses) if reduction == "mean" else jnp.sum(losses)
