"""What a network expects of an image, as data: its size, how it is made so, and how its values are scaled."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IMAGENET", "ImagePreprocessing"]


@dataclass(frozen=True)
class ImagePreprocessing:
    """How an image becomes the input that public weights were trained on.

    The shorter side is resized to `resize`, the middle square of `size` is cut out, values from 0 to 1 are centred
    and scaled channel by channel: `(value - mean) / std`.

    Args:
        mean: of each channel, red, green and blue, as a fraction of white.
        std: likewise, the standard deviation.
        size: height and width of the input.
        resize: the shorter side before the middle is cut out.
        interpolation: `"bilinear"` or `"bicubic"`, smoothed where the image shrinks (antialiasing).

    >>> IMAGENET.mean
    (0.485, 0.456, 0.406)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 224
    resize: int = 256
    interpolation: str = "bilinear"


IMAGENET = ImagePreprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What torchvision's first weights (`IMAGENET1K_V1`) of its classifiers expect."""
