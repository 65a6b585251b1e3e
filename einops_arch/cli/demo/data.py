"""Real images that come inside packages: handwritten digits and photographs. Nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from einops_arch.functional import upsample_nearest

__all__ = ["HELD_OUT", "TRAINED_ON", "Array", "Digits", "Photograph", "digits", "photographs", "resized", "to_colors"]

Array: TypeAlias = np.ndarray[Any, Any]

TRAINED_ON = ("astronaut", "camera", "chelsea", "rocket", "stereo_motorcycle")
"""Photographs of scikit-image that the network sees; of a pair, the first."""
HELD_OUT = "coffee"
"""The photograph that it is asked to enlarge."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Brightness of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Digits:
    """Handwritten digits `b c h w`, from 0 to 1, and what they are; a quarter is kept for the test."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array


@dataclass(frozen=True)
class Photograph:
    """A photograph and its reduced copy.

    Args:
        name: its name in scikit-image.
        bright: brightness `h w`, from 0 to 1.
        small: the brightness of the reduced copy.
        small_colors: the reduced copy `h w c`.
        colors: the photograph `h w c`.
    """

    name: str
    bright: Array
    small: Array
    colors: Array
    small_colors: Array


def digits() -> Digits:
    """Scikit-learn's 1,797 digits, enlarged from 8x8 to 16x16, split once and for all."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = upsample_nearest((bunch.images / 16).astype(np.float32)[:, None], 2)
    parts = train_test_split(images, bunch.target, test_size=0.25, random_state=0, stratify=bunch.target)
    train, test, train_labels, test_labels = parts
    return Digits(train, train_labels, test, test_labels)


def photographs(factor: int) -> tuple[list[Photograph], Photograph]:
    """The photographs to learn from, and the one that is held out, each with a copy `factor` times smaller."""
    return [_photograph(name, factor) for name in TRAINED_ON], _photograph(HELD_OUT, factor)


def resized(image: Array, height: int, width: int) -> Array:
    """An image `h w`, reduced or enlarged by bicubic interpolation (with anti-aliasing where it is reduced)."""
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def to_colors(bright: Array, small_colors: Array) -> Array:
    """An enlarged brightness with the colours of the small image, which are enlarged by bicubic interpolation.

    The eye sees fine detail in brightness only, so that is all the network is asked for.
    """
    small_bright = small_colors @ _LUMA
    red, blue = (bright + resized(small_colors[..., c] - small_bright, *bright.shape) for c in (0, 2))
    green = (bright - _LUMA[0] * red - _LUMA[2] * blue) / _LUMA[1]
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 1)


def _photograph(name: str, factor: int) -> Photograph:
    from skimage import data

    loaded = getattr(data, name)()
    pixels = loaded[0] if isinstance(loaded, tuple) else loaded
    image = np.asarray(pixels, np.float32) / 255
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    height, width = (side // factor * factor for side in image.shape[:2])
    image = image[:height, :width]
    small = np.stack([resized(image[..., c], height // factor, width // factor) for c in range(3)], axis=-1)
    return Photograph(name, image @ _LUMA, small @ _LUMA, image, small)
