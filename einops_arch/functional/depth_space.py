"""Channels into resolution and back: the pixel shuffle of super-resolution."""

from __future__ import annotations

from einops import rearrange

from einops_arch._settings import check_choice
from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["depth_to_space", "space_to_depth"]

ORDERS = ("CRD", "DCR")
# By number of spatial axes: the coarse grid, the factors, the fine grid.
_GRIDS = {
    1: ("w", "r1", "(w r1)"),
    2: ("h w", "r1 r2", "(h r1) (w r2)"),
    3: ("d h w", "r1 r2 r3", "(d r1) (h r2) (w r3)"),
}


def _sides(axes: int, order: str, data_format: str, channel: str = "c") -> tuple[str, str]:
    """The deep and the fine side of the pattern; `channel` is empty where that axis is dropped."""
    coarse, factors, fine = _GRIDS[axes]
    deep = (f"{channel} {factors}" if order == "CRD" else f"{factors} {channel}").strip()
    if not channel:
        channels_first = channels_last = f"b {fine}"
    else:
        channels_first, channels_last = f"b {channel} {fine}", f"b {fine} {channel}"
    if data_format == "channels_first":
        return f"b ({deep}) {coarse}", channels_first
    return f"b {coarse} ({deep})", channels_last


def depth_to_space(
    x: Array,
    factor: int | tuple[int, ...],
    *,
    order: str = "CRD",
    drop_channel: bool = False,
    data_format: str = "channels_first",
) -> Array:
    """`b (c r1 r2) h w -> b c (h r1) (w r2)`: turn channels into resolution.

    A network computes all the pixels of a fine cell as channels of one coarse position, which is cheaper than
    convolving at the fine resolution; this puts them in their places. Works with one, two and three spatial
    axes.

    Args:
        x: an array of shape `b c h w`, or `b h w c` with channels last; one to three spatial axes.
        factor: how many times finer, one number or one per spatial axis; their product divides the channels.
        order: which axis of the channels is outermost: `"CRD"` is `(c r1 r2)` (PyTorch's), `"DCR"` is
            `(r1 r2 c)` (TensorFlow's); the terms are ONNX's.
        drop_channel: return the image without a channel axis; then the channels must be exactly the factors.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of shape `b c (h r1) (w r2)`, or `b (h r1) (w r2) c` with channels last; without `c` if
        dropped.

    Raises:
        ShapeError: not three to five axes, channels that the product of the factors does not divide, or more
            than one channel left to drop.
        ConfigError: a factor that is no whole number of at least 1, or not one per axis; an unknown `order`
            or `data_format`.

    Source:
        Shi et al., "Real-Time Single Image and Video Super-Resolution", arXiv:1609.05158, equation 4. `"CRD"`
        is equal to `torch.nn.functional.pixel_shuffle`, `"DCR"` to `tf.nn.depth_to_space` and ONNX's default.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import depth_to_space
        >>> x = np.array([0, 1, 2, 3]).reshape(1, 4, 1, 1)
        >>> depth_to_space(x, 2).tolist()
        [[[[0, 1], [2, 3]]]]
        >>> depth_to_space(x, 2, drop_channel=True).tolist()
        [[[0, 1], [2, 3]]]
    """
    core = "depth_to_space"
    _checks.check_data_format(core, data_format)
    check_choice(core, "order", order, ORDERS)
    shape = x.shape
    axes = _checks.spatial_axes(core, " -> ".join(_sides(2, order, data_format)), shape)
    deep, fine = _sides(len(axes), order, data_format, "" if drop_channel else "c")
    pattern = f"{deep} -> {fine}"
    factors = _checks.per_axis(core, "factor", factor, axes)
    sizes = {f"r{i}": number for i, number in enumerate(factors, 1)}
    cell = _checks.product(factors)
    _checks.check_channels(core, pattern, shape, data_format, cell, sizes)
    if drop_channel:
        channels = shape[1] if data_format == "channels_first" else shape[-1]
        if channels != cell:
            needs = f"exactly {cell} channels"
            raise _checks.shape_error(core, pattern, needs, channels, shape, sizes=sizes, fix="drop_channel=False")
    return rearrange(x, pattern, **sizes)


def space_to_depth(
    x: Array, factor: int | tuple[int, ...], *, order: str = "CRD", data_format: str = "channels_first"
) -> Array:
    """`b c (h r1) (w r2) -> b (c r1 r2) h w`: turn resolution into channels; undo `depth_to_space`.

    A lossless way to a smaller grid: every pixel of a fine cell becomes a channel of one coarse position.

    Args:
        x: an array of shape `b c (h r1) (w r2)`, or `b (h r1) (w r2) c` with channels last; one to three
            spatial axes.
        factor: how many times coarser, one number or one per spatial axis; each divides its axis.
        order: which axis of the new channels is outermost: `"CRD"` is `(c r1 r2)` (PyTorch's), `"DCR"` is
            `(r1 r2 c)` (TensorFlow's).
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of shape `b (c r1 r2) h w`, or `b h w (c r1 r2)` with channels last.

    Raises:
        ShapeError: not three to five axes, or a spatial axis that its factor does not divide.
        ConfigError: a factor that is no whole number of at least 1, or not one per axis; an unknown `order`
            or `data_format`.

    Source:
        Equal to `torch.nn.functional.pixel_unshuffle` with `"CRD"`, to `tf.nn.space_to_depth` and ONNX's
        SpaceToDepth with `"DCR"`.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import space_to_depth
        >>> space_to_depth(np.array([[[[0, 1], [2, 3]]]]), 2).tolist()
        [[[[0]], [[1]], [[2]], [[3]]]]
    """
    core = "space_to_depth"
    _checks.check_data_format(core, data_format)
    check_choice(core, "order", order, ORDERS)
    shape = x.shape
    axes = _checks.spatial_axes(core, " -> ".join(_sides(2, order, data_format)[::-1]), shape)
    deep, fine = _sides(len(axes), order, data_format)
    pattern = f"{fine} -> {deep}"
    factors = _checks.per_axis(core, "factor", factor, axes)
    sizes = {f"r{i}": number for i, number in enumerate(factors, 1)}
    _checks.check_spatial(core, pattern, shape, data_format, axes, sizes)
    return rearrange(x, pattern, **sizes)
