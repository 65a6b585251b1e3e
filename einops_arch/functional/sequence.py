"""Time and batch as one axis, and apart again."""

from __future__ import annotations

from einops import rearrange

from einops_arch.errors import ConfigError
from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["flatten_sequence", "unflatten_sequence"]


def flatten_sequence(x: Array, *, batch_first: bool = False) -> Array:
    """`t b ... -> (t b) ...`: make one axis of time and batch.

    What looks at each position by itself, such as a decoder or a loss, needs no sequence.

    Args:
        x: a sequence of shape `t b ...`, or `b t ...` with `batch_first`.
        batch_first: whether the batch comes before the time.

    Returns:
        An array of shape `(t b) ...`, or `(b t) ...` with `batch_first`.

    Raises:
        ShapeError: fewer than two axes.

    Source:
        The decoder of pytorch/examples' word language model, which writes it with `view` and sizes.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import flatten_sequence
        >>> flatten_sequence(np.zeros((5, 2, 3))).shape
        (10, 3)
    """
    pattern = "b t ... -> (b t) ..." if batch_first else "t b ... -> (t b) ..."
    _checks.check_rank("flatten_sequence", pattern, x.shape, 2)
    return rearrange(x, pattern)


def unflatten_sequence(x: Array, *, t: int | None = None, b: int | None = None, batch_first: bool = False) -> Array:
    """`(t b) ... -> t b ...`: undo `flatten_sequence`.

    One of `t` and `b` is enough; a length that does not fit is an error and never becomes another sequence.

    Args:
        x: an array of shape `(t b) ...`, or `(b t) ...` with `batch_first`.
        t: the length of the sequences.
        b: the number of sequences.
        batch_first: whether the batch comes before the time.

    Returns:
        A sequence of shape `t b ...`, or `b t ...` with `batch_first`.

    Raises:
        ShapeError: no axis at all, or a first axis that does not fit `t` and `b`.
        ConfigError: neither `t` nor `b` is given, one of them is no whole number of at least 0, or the only
            one given is 0, which leaves the other unknown.

    Source:
        The inverse of `flatten_sequence`: the same pattern read from right to left.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import unflatten_sequence
        >>> unflatten_sequence(np.zeros((10, 3)), b=2).shape
        (5, 2, 3)
    """
    core = "unflatten_sequence"
    pattern = "(b t) ... -> b t ..." if batch_first else "(t b) ... -> t b ..."
    shape = x.shape
    _checks.check_rank(core, pattern, shape, 1)
    sizes = {name: size for name, size in (("t", t), ("b", b)) if size is not None}
    for name, size in sizes.items():
        _checks.check_whole(core, name, size, least=0)
    if not sizes:
        raise ConfigError(f"{core}: pattern '{pattern}' needs t or b, received neither; likely fix: t=...")
    needed = _checks.product(list(sizes.values()))
    if len(sizes) == 2:
        _checks.check_size(core, pattern, shape, 0, needed, "rows", sizes)
    elif needed == 0:
        raise ConfigError(
            f"{core}: pattern '{pattern}' needs t and b where one of them is 0, "
            f"received only {next(iter(sizes))}=0; likely fix: give both"
        )
    else:
        _checks.check_divisible(core, pattern, shape, 0, needed, "rows", sizes)
    return rearrange(x, pattern, **sizes)
