"""The losses of style transfer: what an image shows, how it is painted, and how smooth it is.

They compare arrays of features, which `VGG16Features` gives in both frameworks, and are the same function there.
Integers and booleans become floating-point numbers before anything is subtracted; sums are made in the dtype of the
floating-point numbers, so float16 cannot hold one above 65504.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops import reduce

from einops_arch._settings import check_choice
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.functional import _checks
from einops_arch.functional.gram import gram_matrix

__all__ = ["content_loss", "style_loss", "total_variation"]

DISTANCES = ("mean", "frobenius")


def content_loss(features: Any, target_features: Any) -> Any:
    """`b c ... -> `: the mean squared difference of two arrays of features, the loss of what an image shows.

    Args:
        features: features of one layer, of shape `b c ...` in either data format.
        target_features: features of the photograph, of the same shape; nothing is broadcast.

    Returns:
        An array without axes.

    Raises:
        ShapeError: the shapes differ, or there is no element to take the mean over.
        DtypeError: complex numbers.

    Source:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", arXiv:1603.08155, equation 2,
        which they use with `relu2_2` of VGG-16.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import content_loss
        >>> float(content_loss(np.array([[[1.0, 2.0]]]), np.array([[[1.0, 5.0]]])))
        4.5
    """
    shape, target = tuple(features.shape), tuple(target_features.shape)
    if shape != target:
        raise ShapeError(
            f"content_loss: pattern 'b c ... -> ' needs two arrays of one shape, received {shape} and {target}"
        )
    if _checks.product(shape) == 0:
        raise _checks.shape_error("content_loss", "b c ... -> ", "at least one element", 0, shape)
    features = _checks.real_numbers("content_loss", features)
    target_features = _checks.real_numbers("content_loss", target_features)
    return reduce((features - target_features) ** 2, "... -> ", "mean")


def style_loss(
    features: Sequence[Any],
    target_grams: Sequence[Any],
    *,
    normalize: str = "spatial",
    distance: str = "mean",
    data_format: str = "channels_first",
) -> Any:
    """`b c1 c2 -> ` for each layer: how far gram matrices are from those of a painting, summed over layers.

    Args:
        features: features of each layer, of shape `b c ...`, or `b ... c` with channels last.
        target_grams: `gram_matrix` of the painting's features for each layer, with the same `normalize`; of shape
            `b c1 c2`, or `1 c1 c2` for one painting and many images.
        normalize: of `gram_matrix`: `"spatial"`, `"full"` (as Johnson et al. do) or `"none"`.
        distance: `"mean"` is the mean squared difference over c1 and c2, as in pytorch/examples, `"frobenius"` the
            sum, which is the squared Frobenius norm of the paper. Both are means over images.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array without axes.

    Raises:
        ShapeError: not one gram matrix for each layer, or one whose shape does not fit.
        ConfigError: an unknown `normalize`, `distance` or `data_format`; an array where one per layer is needed.
        DtypeError: complex numbers.

    Source:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", arXiv:1603.08155, equation 4,
        which they use with `relu1_2`, `relu2_2`, `relu3_3` and `relu4_3` of VGG-16.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import gram_matrix, style_loss
        >>> painting, image = np.full((1, 2, 3, 5), 1.0), np.full((4, 2, 3, 5), 2.0)
        >>> float(style_loss([image], [gram_matrix(painting)]))  # every entry of the gram matrices: 4 and 1
        9.0
    """
    check_choice("style_loss", "distance", distance, DISTANCES)
    for name, value in (("features", features), ("target_grams", target_grams)):
        if hasattr(value, "shape"):
            raise ConfigError(
                f"style_loss: {name} needs a sequence of arrays, one for each layer, received one array of shape "
                f"{tuple(value.shape)}; likely fix: [{name}]"
            )
    if not features or len(features) != len(target_grams):
        raise ShapeError(
            f"style_loss: needs one gram matrix for each of one or more layers, received {len(features)} arrays of "
            f"features and {len(target_grams)} gram matrices"
        )
    total: Any = 0.0
    for layer, (feature, target) in enumerate(zip(features, target_grams, strict=True)):
        gram = gram_matrix(feature, normalize=normalize, data_format=data_format)
        _check_target(layer, gram, target)
        squares = (gram - _checks.real_numbers("style_loss", target)) ** 2
        if distance == "frobenius":
            squares = reduce(squares, "b c1 c2 -> b", "sum")
        total = total + reduce(squares, "... -> ", "mean")
    return total


def _check_target(layer: int, gram: Any, target: Any) -> None:
    """Refuse shapes that would be broadcast in any other way than one painting to many images."""
    b, c, _ = gram.shape
    shape = tuple(target.shape)
    if b == 0:
        raise _checks.shape_error("style_loss", "b c1 c2 -> ", "at least one image", 0, gram.shape)
    if shape not in {(b, c, c), (1, c, c)}:
        raise ShapeError(
            f"style_loss: pattern 'b c1 c2 -> ' with b={b}, c1={c}, c2={c} in layer {layer} needs a gram matrix of "
            f"shape {(b, c, c)} or {(1, c, c)}, received {shape}"
        )


def total_variation(image: Any, *, data_format: str = "channels_first") -> Any:
    """`b c ... -> `: the squared differences of neighbouring pixels, summed over an image, the mean over images.

    Added to the other losses with a small weight it makes an image smooth. It has squares where other libraries
    have absolute values.

    Args:
        image: images of shape `b c h w`, or `b h w c` with channels last; one to three spatial axes.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array without axes.

    Raises:
        ShapeError: not three to five axes, or no image to take the mean over.
        ConfigError: an unknown `data_format`.
        DtypeError: complex numbers.

    Source:
        Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them", arXiv:1412.0035, with
        beta = 2, as Johnson et al. use it.

    Example:
        >>> import numpy as np
        >>> from einops_arch.functional import total_variation
        >>> float(total_variation(np.array([[[[1.0, 2.0], [4.0, 8.0]]]])))  # 1 and 16 along w, 9 and 36 along h
        62.0
    """
    _checks.check_data_format("total_variation", data_format)
    first = data_format == "channels_first"
    pattern = "b c ... -> " if first else "b ... c -> "
    space = _checks.spatial_axes("total_variation", pattern, image.shape)
    if image.shape[0] == 0:
        raise _checks.shape_error("total_variation", pattern, "at least one image", 0, image.shape)
    image = _checks.real_numbers("total_variation", image)
    total: Any = 0.0
    for axis in range(2 if first else 1, len(space) + (2 if first else 1)):
        before = (slice(None),) * axis
        differences = image[(*before, slice(1, None))] - image[(*before, slice(None, -1))]
        total = total + reduce(differences**2, "b ... -> b", "sum")
    return reduce(total, "b -> ", "mean")
