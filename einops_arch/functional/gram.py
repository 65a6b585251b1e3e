"""The gram matrix of style transfer."""

from __future__ import annotations

from einops import rearrange

from einops_arch._settings import check_choice
from einops_arch.functional import _checks
from einops_arch.functional._array import Array

__all__ = ["gram_matrix"]

_PATTERNS = {"channels_first": "b c ... -> b c (...)", "channels_last": "b ... c -> b (...) c"}
NORMALIZE = ("spatial", "full", "none")


def gram_matrix(x: Array, *, normalize: str = "spatial", data_format: str = "channels_first") -> Array:
    """`b c ... -> b c1 c2`: the products of every two channels, summed over space.

    It says which features occur together in an image and forgets where, which is what style transfer calls
    style. Sums are made in the dtype of `x`, as `@` makes them: float16 cannot hold a sum above 65504, so widen
    that first. Integers and booleans become floating-point numbers first, of the framework's default dtype. numpy makes
    float32 of ml_dtypes' bfloat16.

    Args:
        x: features of shape `b c ...`, or `b ... c` with channels last; at least one spatial axis.
        normalize: `"spatial"` divides by the number of positions (the definition), `"full"` by the number of
            positions times channels (as Johnson et al. do), `"none"` leaves the sums.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        The gram matrices, of shape `b c1 c2` in both formats.

    Raises:
        ShapeError: fewer than three axes, or no position at all to take the mean over.
        ConfigError: an unknown `normalize` or `data_format`.
        DtypeError: complex numbers.

    Source:
        Gatys, Ecker and Bethge, "A Neural Algorithm of Artistic Style", arXiv:1508.06576; `"full"` is that of
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", arXiv:1603.08155.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import gram_matrix
        >>> x = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # b=1 c=2 h=1 w=2
        >>> gram_matrix(x, normalize="none").tolist()
        [[[5.0, 11.0], [11.0, 25.0]]]
        >>> gram_matrix(x).tolist()
        [[[2.5, 5.5], [5.5, 12.5]]]
    """
    _checks.check_data_format("gram_matrix", data_format)
    check_choice("gram_matrix", "normalize", normalize, NORMALIZE)
    pattern, shape = _PATTERNS[data_format], x.shape
    _checks.check_rank("gram_matrix", pattern, shape, 3)
    first = data_format == "channels_first"
    space, channels = (shape[2:], shape[1]) if first else (shape[1:-1], shape[-1])
    if normalize != "none" and _checks.product(space) == 0:
        raise _checks.shape_error("gram_matrix", pattern, "at least one position", 0, shape)

    features = rearrange(_checks.real_numbers("gram_matrix", x), pattern)
    gram: Array
    if first:
        gram = features @ rearrange(features, "b c n -> b n c")
    else:
        gram = rearrange(features, "b n c -> b c n") @ features

    # One axis at a time: the number of positions of a large image is beyond float16, its sides are not.
    if normalize != "none":
        for size in space:
            gram = gram / size
    if normalize == "full":
        gram = gram / channels
    return gram
