"""Images as sequences of patches, and back."""

from __future__ import annotations

from einops import rearrange

from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["patchify", "unpatchify"]

# By number of spatial axes: the image, the grid of patches, the sizes of a patch.
_GRIDS = {
    1: ("(w p1)", "(w)", "p1"),
    2: ("(h p1) (w p2)", "(h w)", "p1 p2"),
    3: ("(d p1) (h p2) (w p3)", "(d h w)", "p1 p2 p3"),
}


def _sides(axes: int, data_format: str) -> tuple[str, str]:
    """The image side and the token side of the pattern."""
    image, grid, patch = _GRIDS[axes]
    pixels = f"b c {image}" if data_format == "channels_first" else f"b {image} c"
    return pixels, f"b {grid} (c {patch})"


def patchify(x: Array, patch: int | tuple[int, ...], *, data_format: str = "channels_first") -> Array:
    """`b c (h p1) (w p2) -> b (h w) (c p1 p2)`: cut an image into a sequence of patches.

    The first step of a vision transformer. Tokens run row by row, features channels first in both data
    formats, so a linear layer after it has the weights of the convolution it stands for, flattened.

    Args:
        x: an image of shape `b c (h p1) (w p2)`, or `b (h p1) (w p2) c` with channels last; one to three
            spatial axes.
        patch: the size of a patch, one number or one per spatial axis; each divides its axis.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        Tokens of shape `b (h w) (c p1 p2)` in both formats.

    Raises:
        ShapeError: not three to five axes, or a spatial axis that its patch size does not divide.
        ConfigError: a patch size that is no whole number of at least 1, or not one per axis; an unknown
            `data_format`.

    Source:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv:2010.11929, section 3.1. Equal to
        `torch.nn.functional.unfold(x, patch, stride=patch)` with its last two axes swapped.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import patchify
        >>> patchify(np.array([[[[0, 1, 2, 3]]]]), (1, 2)).tolist()
        [[[0, 1], [2, 3]]]
    """
    core = "patchify"
    _checks.check_data_format(core, data_format)
    shape = x.shape
    axes = _checks.spatial_axes(core, " -> ".join(_sides(2, data_format)), shape)
    pattern = " -> ".join(_sides(len(axes), data_format))
    patches = _checks.per_axis(core, "patch", patch, axes)
    sizes = {f"p{i}": number for i, number in enumerate(patches, 1)}
    _checks.check_spatial(core, pattern, shape, data_format, axes, sizes)
    return rearrange(x, pattern, **sizes)


def unpatchify(
    x: Array,
    patch: int | tuple[int, ...],
    grid: tuple[int, ...],
    *,
    data_format: str = "channels_first",
) -> Array:
    """`b (h w) (c p1 p2) -> b c (h p1) (w p2)`: put the patches of an image together; undo `patchify`.

    Args:
        x: tokens of shape `b (h w) (c p1 p2)`.
        patch: the size of a patch, one number or one per spatial axis.
        grid: how many patches there are along each spatial axis: `(w,)`, `(h, w)` or `(d, h, w)`.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An image of shape `b c (h p1) (w p2)`, or `b (h p1) (w p2) c` with channels last.

    Raises:
        ShapeError: not three axes, another number of tokens than the grid has, or features that the product
            of the patch sizes does not divide.
        ConfigError: sizes that are no whole numbers in range, a grid of not one to three axes, patch sizes
            that are not one per axis, or an unknown `data_format`.

    Source:
        The inverse of `patchify`: the same pattern read from right to left.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import unpatchify
        >>> unpatchify(np.array([[[0, 1], [2, 3]]]), (1, 2), grid=(1, 2)).tolist()
        [[[[0, 1, 2, 3]]]]
    """
    core = "unpatchify"
    _checks.check_data_format(core, data_format)
    cells = _checks.named_sizes(core, "grid", grid, fewest=1)
    pattern, shape = " -> ".join(_sides(len(cells), data_format)[::-1]), x.shape
    patches = _checks.per_axis(core, "patch", patch, tuple(cells))
    sizes = {f"p{i}": number for i, number in enumerate(patches, 1)}
    _checks.check_rank(core, pattern, shape, 3, 3)
    _checks.check_size(core, pattern, shape, 1, _checks.product(list(cells.values())), "tokens", cells)
    _checks.check_divisible(core, pattern, shape, 2, _checks.product(patches), "features", sizes)
    return rearrange(x, pattern, **cells, **sizes)
