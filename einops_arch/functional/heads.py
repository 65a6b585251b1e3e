"""Axes that networks keep folded: attention heads, and the directions of recurrent states."""

from __future__ import annotations

from einops import rearrange

from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["merge_directions", "merge_heads", "split_directions", "split_heads"]


def split_heads(x: Array, heads: int) -> Array:
    """`b n (heads k) -> b heads n k`: give each attention head its own features.

    Args:
        x: queries, keys or values of shape `b n (heads k)`.
        heads: the number of attention heads; it divides the last axis.

    Returns:
        An array of shape `b heads n k`.

    Raises:
        ShapeError: not three axes, or features that `heads` does not divide.
        ConfigError: `heads` is no whole number of at least 1.

    Source:
        Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, section 3.2.2.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import split_heads
        >>> split_heads(np.arange(8).reshape(1, 2, 4), 2).tolist()
        [[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]]
    """
    core, pattern, shape = "split_heads", "b n (heads k) -> b heads n k", x.shape
    _checks.check_whole(core, "heads", heads)
    _checks.check_rank(core, pattern, shape, 3, 3)
    _checks.check_divisible(core, pattern, shape, 2, heads, "features", {"heads": heads})
    return rearrange(x, pattern, heads=heads)


def merge_heads(x: Array) -> Array:
    """`b heads n k -> b n (heads k)`: put the outputs of all heads side by side; undo `split_heads`.

    Args:
        x: the outputs of the heads, of shape `b heads n k`.

    Returns:
        An array of shape `b n (heads k)`.

    Raises:
        ShapeError: not four axes.

    Source:
        Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, section 3.2.2.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import merge_heads
        >>> merge_heads(np.array([[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]])).tolist()
        [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    """
    pattern = "b heads n k -> b n (heads k)"
    _checks.check_rank("merge_heads", pattern, x.shape, 4, 4)
    return rearrange(x, pattern)


def split_directions(x: Array, directions: int = 2) -> Array:
    """`(layer direction) b h -> layer direction b h`: unfold the state of a recurrent network.

    PyTorch stacks the states of all layers and directions in one axis. Unfolded, the last layer is `[-1]` and
    its two directions are `[-1, 0]` and `[-1, 1]`, with no index arithmetic.

    Args:
        x: a state of shape `(layer direction) b h`.
        directions: 2 for a bidirectional network, else 1; it divides the first axis.

    Returns:
        A state of shape `layer direction b h`.

    Raises:
        ShapeError: not three axes, or a first axis that `directions` does not divide.
        ConfigError: `directions` is no whole number of at least 1.

    Source:
        The documentation of `torch.nn.LSTM`, on `h_n`.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import split_directions
        >>> split_directions(np.array([[[0]], [[1]], [[2]], [[3]]])).tolist()  # two layers
        [[[[0]], [[1]]], [[[2]], [[3]]]]
    """
    core, pattern, shape = "split_directions", "(layer direction) b h -> layer direction b h", x.shape
    _checks.check_whole(core, "directions", directions)
    _checks.check_rank(core, pattern, shape, 3, 3)
    _checks.check_divisible(core, pattern, shape, 0, directions, "states", {"direction": directions})
    return rearrange(x, pattern, direction=directions)


def merge_directions(x: Array) -> Array:
    """`layer direction b h -> (layer direction) b h`: fold a recurrent state; undo `split_directions`.

    Args:
        x: a state of shape `layer direction b h`.

    Returns:
        A state of shape `(layer direction) b h`, as `torch.nn.LSTM` takes it.

    Raises:
        ShapeError: not four axes.

    Source:
        The documentation of `torch.nn.LSTM`, on `h_0`.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import merge_directions
        >>> merge_directions(np.zeros((3, 2, 5, 7))).shape
        (6, 5, 7)
    """
    pattern = "layer direction b h -> (layer direction) b h"
    _checks.check_rank("merge_directions", pattern, x.shape, 4, 4)
    return rearrange(x, pattern)
