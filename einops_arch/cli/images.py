"""An image from a file, made into the input of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from einops_arch._frameworks import require
from einops_arch.architectures.images import ImagePreprocessing
from einops_arch.errors import ConfigError

__all__ = ["read_image"]


def read_image(path: Path, preprocessing: ImagePreprocessing) -> np.ndarray[Any, Any]:
    """An image `1 c h w` in float32, resized, cut and scaled.

    Pillow decodes and resizes, in bytes and with antialiasing, as it does for torchvision's transforms of an image
    file: the values are the same, bit for bit before the scaling. Transparency is dropped, grey becomes colour, and
    the orientation that a camera notes is not looked at, as in torchvision.

    Args:
        path: a file in any format that pillow reads.
        preprocessing: what the network expects.

    Raises:
        ConfigError: the file cannot be read as an image.
        MissingFrameworkError: pillow is not installed.
    """
    require("PIL", extra="demo", by="einops-arch classify")
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "no image that pillow knows"
        raise ConfigError(f"{path}: cannot be read as an image: {reason}") from error
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[preprocessing.interpolation]
    height, width = preprocessing.resized(picture.height, picture.width)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), method)
    top, left = preprocessing.cut(height, width)
    # Outside of the picture it is black.
    picture = picture.crop((left, top, left + preprocessing.size, top + preprocessing.size))
    pixels = np.asarray(picture, np.float32) / np.float32(255)
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    scaled = (pixels - mean) / std
    return rearrange(scaled, "h w c -> 1 c h w")
