"""Channels first, as PyTorch has them, and channels last, as Flax has them."""

from __future__ import annotations

from einops import rearrange

from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["to_channels_first", "to_channels_last"]


def to_channels_last(x: Array) -> Array:
    """`b c ... -> b ... c`: from PyTorch's axis order to Flax's.

    Args:
        x: an array of shape `b c ...`; any number of spatial axes.

    Returns:
        An array of shape `b ... c`.

    Raises:
        ShapeError: fewer than two axes.

    Source:
        The orders that `torch.nn.Conv2d` and `flax.nnx.Conv` take.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import to_channels_last
        >>> to_channels_last(np.zeros((2, 3, 5, 7))).shape
        (2, 5, 7, 3)
    """
    pattern = "b c ... -> b ... c"
    _checks.check_rank("to_channels_last", pattern, x.shape, 2)
    return rearrange(x, pattern)


def to_channels_first(x: Array) -> Array:
    """`b ... c -> b c ...`: from Flax's axis order to PyTorch's; undo `to_channels_last`.

    Args:
        x: an array of shape `b ... c`; any number of spatial axes.

    Returns:
        An array of shape `b c ...`.

    Raises:
        ShapeError: fewer than two axes.

    Source:
        The orders that `flax.nnx.Conv` and `torch.nn.Conv2d` take.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import to_channels_first
        >>> to_channels_first(np.zeros((2, 5, 7, 3))).shape
        (2, 3, 5, 7)
    """
    pattern = "b ... c -> b c ..."
    _checks.check_rank("to_channels_first", pattern, x.shape, 2)
    return rearrange(x, pattern)
