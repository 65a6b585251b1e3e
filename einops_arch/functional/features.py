"""Feature maps as vectors, and back: the border between convolutions and linear layers."""

from __future__ import annotations

from einops import rearrange

from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["flatten_features", "unflatten_features"]

# By data format and number of spatial axes.
_UNFLATTEN = {
    "channels_first": {
        0: "b c -> b c",
        1: "b (c w) -> b c w",
        2: "b (c h w) -> b c h w",
        3: "b (c d h w) -> b c d h w",
    },
    "channels_last": {
        0: "b c -> b c",
        1: "b (c w) -> b w c",
        2: "b (c h w) -> b h w c",
        3: "b (c d h w) -> b d h w c",
    },
}


def flatten_features(x: Array, *, data_format: str = "channels_first") -> Array:
    """`b c ... -> b (c ...)`: make one vector of each image.

    Both data formats give the same order, channels outermost, so a linear layer after it has the same weights
    in PyTorch and in Flax. The batch stays the batch: where a later layer expects another size, that layer
    fails, unlike `view(-1, 320)`, which mixes images until the size fits.

    Args:
        x: feature maps of shape `b c ...`, or `b ... c` with channels last; any number of spatial axes.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        Vectors of shape `b (c ...)` in both formats.

    Raises:
        ShapeError: fewer than two axes.
        ConfigError: an unknown `data_format`.

    Source:
        Equal to `torch.nn.Flatten()` with channels first.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import flatten_features
        >>> x = np.array([[[0, 1], [2, 3]]])  # b=1 c=2 w=2
        >>> flatten_features(x).tolist()
        [[0, 1, 2, 3]]
        >>> flatten_features(np.array([[[0, 2], [1, 3]]]), data_format="channels_last").tolist()
        [[0, 1, 2, 3]]
    """
    _checks.check_data_format("flatten_features", data_format)
    pattern = "b c ... -> b (c ...)" if data_format == "channels_first" else "b ... c -> b (c ...)"
    _checks.check_rank("flatten_features", pattern, x.shape, 2)
    return rearrange(x, pattern)


def unflatten_features(
    x: Array, channels: int, spatial: tuple[int, ...], *, data_format: str = "channels_first"
) -> Array:
    """`b (c h w) -> b c h w`: undo `flatten_features`.

    Decoders and generators use it to turn a vector into a small feature map. All sizes are given and checked,
    so a vector that is no such feature map is an error.

    Args:
        x: vectors of shape `b (c h w)`, channels outermost in both formats.
        channels: the number of channels `c`.
        spatial: the sizes of the spatial axes, none to three: `(w,)`, `(h, w)` or `(d, h, w)`.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        Feature maps of shape `b c h w`, or `b h w c` with channels last.

    Raises:
        ShapeError: not two axes, or vectors of another size than `c h w`.
        ConfigError: sizes that are no whole numbers of at least 0, more than three spatial sizes, or an
            unknown `data_format`.

    Source:
        Equal to `torch.nn.Unflatten(1, (channels, *spatial))` with channels first.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import unflatten_features
        >>> unflatten_features(np.zeros((16, 320)), 20, (4, 4)).shape
        (16, 20, 4, 4)
        >>> unflatten_features(np.zeros((16, 320)), 20, (4, 4), data_format="channels_last").shape
        (16, 4, 4, 20)
    """
    core = "unflatten_features"
    _checks.check_data_format(core, data_format)
    _checks.check_whole(core, "channels", channels, least=0)
    axes = _checks.named_sizes(core, "spatial", spatial, fewest=0)
    pattern, shape = _UNFLATTEN[data_format][len(axes)], x.shape
    sizes = {"c": channels, **axes}
    _checks.check_rank(core, pattern, shape, 2, 2)
    _checks.check_size(core, pattern, shape, 1, _checks.product(list(sizes.values())), "features", sizes)
    return rearrange(x, pattern, **sizes)
