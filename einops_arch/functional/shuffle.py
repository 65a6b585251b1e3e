"""The channel shuffle of ShuffleNet and its inverse."""

from __future__ import annotations

from einops import rearrange

from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["channel_shuffle", "channel_unshuffle"]

_SHUFFLE = {
    "channels_first": "b (g k) ... -> b (k g) ...",
    "channels_last": "b ... (g k) -> b ... (k g)",
}
_UNSHUFFLE = {
    "channels_first": "b (k g) ... -> b (g k) ...",
    "channels_last": "b ... (k g) -> b ... (g k)",
}


def channel_shuffle(x: Array, groups: int, *, data_format: str = "channels_first") -> Array:
    """`b (g k) ... -> b (k g) ...`: let every group of channels meet every other.

    A grouped convolution after a grouped convolution sees its own group only. Between the two, the shuffle
    deals the channels out like cards, so that each new group holds some of every old one.

    Args:
        x: an array of shape `b c ...`, or `b ... c` with channels last; any number of spatial axes.
        groups: the number of groups `g`; it divides the channels.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of the shape of `x`, its channels in the new order.

    Raises:
        ShapeError: fewer than two axes, or channels that `groups` does not divide.
        ConfigError: `groups` is no whole number of at least 1, or an unknown `data_format`.

    Source:
        Zhang et al., "ShuffleNet", arXiv:1707.01083, figure 1. Equal to
        `torch.nn.functional.channel_shuffle`.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import channel_shuffle
        >>> channel_shuffle(np.array([[0, 1, 2, 3, 4, 5]]), 2).tolist()  # groups 0 1 2 and 3 4 5
        [[0, 3, 1, 4, 2, 5]]
    """
    return _shuffled("channel_shuffle", _SHUFFLE, x, groups, data_format)


def channel_unshuffle(x: Array, groups: int, *, data_format: str = "channels_first") -> Array:
    """`b (k g) ... -> b (g k) ...`: undo `channel_shuffle` with the same number of groups.

    Args:
        x: an array of shape `b c ...`, or `b ... c` with channels last; any number of spatial axes.
        groups: the number of groups `g` of the shuffle to undo; it divides the channels.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of the shape of `x`, its channels in the order they had before the shuffle.

    Raises:
        ShapeError: fewer than two axes, or channels that `groups` does not divide.
        ConfigError: `groups` is no whole number of at least 1, or an unknown `data_format`.

    Source:
        The inverse of `channel_shuffle`: the same pattern read from right to left.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import channel_unshuffle
        >>> channel_unshuffle(np.array([[0, 3, 1, 4, 2, 5]]), 2).tolist()
        [[0, 1, 2, 3, 4, 5]]
    """
    return _shuffled("channel_unshuffle", _UNSHUFFLE, x, groups, data_format)


def _shuffled(core: str, patterns: dict[str, str], x: Array, groups: int, data_format: str) -> Array:
    _checks.check_data_format(core, data_format)
    pattern, shape = patterns[data_format], x.shape
    _checks.check_whole(core, "groups", groups)
    _checks.check_rank(core, pattern, shape, 2)
    _checks.check_channels(core, pattern, shape, data_format, groups, {"g": groups})
    return rearrange(x, pattern, g=groups)
