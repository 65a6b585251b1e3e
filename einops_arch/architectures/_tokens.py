"""Checks of token indices and of sentence lengths, on arrays of any framework."""

from __future__ import annotations

from typing import Any

import numpy as np

from einops_arch.architectures.axes import Axes
from einops_arch.errors import IndexRangeError

__all__ = ["check_lengths", "check_tokens", "check_values"]


def check_tokens(axes: Axes, tokens: Any, *, values: bool) -> None:
    """Raise one clear error if token indices `t b` are not what a network of `axes.high` words takes.

    Args:
        axes: the axes of the tokens; `high` is the size of the vocabulary.
        tokens: indices of words `t b`.
        values: whether to look at the values as well, which a traced array does not have and which makes an
            accelerator wait.

    Raises:
        ShapeError: the rank differs, or there is no time step.
        DtypeError: the array does not hold integers.
        IndexRangeError: a token is negative or not in the vocabulary.

    >>> import numpy as np
    >>> check_tokens(Axes("tokens", "t b", dtype="int64", high=5), np.array([[0, 3], [4, 5]]), values=True)
    Traceback (most recent call last):
    einops_arch.errors.IndexRangeError: tokens: expected integers from 0 to 4, received 5 at t=1, b=1; likely
    fix: give the unknown words an index of the vocabulary
    """
    axes.check(tokens)
    if values:
        check_values(axes, tokens)


def check_lengths(lengths: Any, tokens: Any, *, values: bool) -> None:
    """Raise one clear error if lengths `b` are not those of the padded sentences `t b`.

    Args:
        lengths: number of words of each sentence `b`.
        tokens: indices of words `t b`, padded.
        values: whether to look at the values as well.

    Raises:
        ShapeError: not one length for each sentence.
        DtypeError: the lengths are not integers.
        IndexRangeError: a length is less than 1 or more than `t`.

    >>> import numpy as np
    >>> check_lengths(np.array([3, 0]), np.zeros((3, 2), int), values=True)
    Traceback (most recent call last):
    einops_arch.errors.IndexRangeError: lengths: expected integers from 1 to 3, received 0 at b=1; likely
    fix: leave out sentences without words, or pad the tokens to the longest sentence
    """
    t, b = tokens.shape
    axes = Axes("lengths", "b", {"b": b}, dtype="int64", high=t + 1)
    axes.check(lengths)
    if values:
        fix = "leave out sentences without words, or pad the tokens to the longest sentence"
        check_values(axes, lengths, lowest=1, fix=fix)


def check_values(
    axes: Axes, indices: Any, *, lowest: int = 0, fix: str = "give the unknown words an index of the vocabulary"
) -> None:
    """Raise one clear error if an index is out of range, which names it and its place.

    Args:
        axes: the axes of the indices; `high` is one more than the largest, None for arrays that hold no indices.
        indices: an array whose values can be read.
        lowest: the smallest index.
        fix: the likely fix.

    Raises:
        IndexRangeError: an index is less than the lowest, or not below `axes.high`.
    """
    if axes.high is None or 0 in indices.shape:
        return
    # In numpy, because inside of a jax trace even a concrete array's own methods are traced.
    indices = np.asarray(indices)
    if int(indices.min()) < lowest:
        value, position = int(indices.min()), int(indices.argmin())
    elif int(indices.max()) >= axes.high:
        value, position = int(indices.max()), int(indices.argmax())
    else:
        return
    raise IndexRangeError(
        f"{axes.name}: expected integers from {lowest} to {axes.high - 1}, received {value} at "
        f"{_place(axes.axes, indices.shape, position)}; likely fix: {fix}"
    )


def _place(axes: str, shape: Any, position: int) -> str:
    """A position in the flattened array, axis by axis."""
    places = []
    for name, size in zip(reversed(axes.split()), reversed(tuple(shape)), strict=True):
        position, index = divmod(position, size)
        places.append(f"{name}={index}")
    return ", ".join(reversed(places))
