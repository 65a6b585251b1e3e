"""Nearest-neighbour upsampling."""

from __future__ import annotations

from einops import repeat

from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["upsample_nearest"]

# By data format and number of spatial axes.
_PATTERNS = {
    "channels_first": {
        1: "b c w -> b c (w r1)",
        2: "b c h w -> b c (h r1) (w r2)",
        3: "b c d h w -> b c (d r1) (h r2) (w r3)",
    },
    "channels_last": {
        1: "b w c -> b (w r1) c",
        2: "b h w c -> b (h r1) (w r2) c",
        3: "b d h w c -> b (d r1) (h r2) (w r3) c",
    },
}


def upsample_nearest(x: Array, factor: int | tuple[int, ...], *, data_format: str = "channels_first") -> Array:
    """`b c h w -> b c (h r1) (w r2)`: repeat every position along each spatial axis.

    Followed by a convolution it enlarges without the checkerboard that transposed convolutions leave.

    Args:
        x: an array of shape `b c h w`, or `b h w c` with channels last; one to three spatial axes.
        factor: how many times larger, one number or one per spatial axis.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of shape `b c (h r1) (w r2)`, or `b (h r1) (w r2) c` with channels last.

    Raises:
        ShapeError: not three to five axes.
        ConfigError: a factor that is no whole number of at least 1, or not one per axis; an unknown
            `data_format`.

    Source:
        Equal to `torch.nn.functional.interpolate(x, scale_factor=factor, mode="nearest")`. Odena, Dumoulin
        and Olah, "Deconvolution and Checkerboard Artifacts", https://distill.pub/2016/deconv-checkerboard/.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import upsample_nearest
        >>> upsample_nearest(np.array([[[1, 2]]]), 3).tolist()
        [[[1, 1, 1, 2, 2, 2]]]
    """
    core = "upsample_nearest"
    _checks.check_data_format(core, data_format)
    patterns = _PATTERNS[data_format]
    axes = _checks.spatial_axes(core, patterns[2], x.shape)
    factors = _checks.per_axis(core, "factor", factor, axes)
    return repeat(x, patterns[len(axes)], **{f"r{i}": number for i, number in enumerate(factors, 1)})
