"""What a network expects of an image, as data: its size, how it is made so, and how its values are scaled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from einops_arch._settings import is_plain, is_plain_number
from einops_arch._text import brief
from einops_arch.errors import CheckpointError

__all__ = ["IMAGENET", "ImagePreprocessing"]

_RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""The numbers that pillow has for them, and with it the files of transformers."""


@dataclass(frozen=True)
class ImagePreprocessing:
    """How an image becomes the input that public weights were trained on.

    The shorter side is resized to `resize`, the middle square of `size` is cut out, and values from 0 to 1 are centred
    and scaled channel by channel: `(value - mean) / std`.

    Args:
        mean: of each channel, red, green and blue, as a fraction of white.
        std: likewise, the standard deviation.
        size: height and width of the input.
        resize: the shorter side before the middle is cut out; None resizes both sides to `size`, whatever the image's
            shape, and cuts nothing.
        interpolation: `"bilinear"` or `"bicubic"`, smoothed where the image shrinks (antialiasing).

    >>> IMAGENET.resized(480, 640), IMAGENET.cut(256, 341)
    ((256, 341), (16, 58))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 224
    resize: int | None = 256
    interpolation: str = "bilinear"

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resizing; the longer side is rounded down, as torchvision does."""
        if self.resize is None:
            return self.size, self.size
        if height <= width:
            return self.resize, self.resize * width // height
        return self.resize * height // width, self.resize

    def cut(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the middle square; negative where the image is smaller and black goes around it."""
        return self._start(height), self._start(width)

    def _start(self, side: int) -> int:
        more = side - self.size
        return round(more / 2) if more >= 0 else -(-more // 2)

    def at(self, size: int) -> Self:
        """The same for another size, in proportion."""
        resize = None if self.resize is None else self.resize * size // self.size
        return dataclasses.replace(self, size=size, resize=resize)

    @classmethod
    def of_timm(cls, fields: Mapping[str, Any]) -> Self:
        """What the `pretrained_cfg` in a `config.json` of timm says.

        Raises:
            CheckpointError: a field is there in a form that is not known.

        >>> ImagePreprocessing.of_timm({"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}).resize
        248
        """
        sizes = fields.get("input_size", (3, 224, 224))
        whole = isinstance(sizes, list | tuple) and len(sizes) == 3 and all(map(is_plain, sizes))
        _, height, width = sizes if whole else (0, 0, 0)
        mode, part = fields.get("crop_mode", "center"), fields.get("crop_pct", 0.875)
        if not is_plain_number(part) or not 0 < part <= 1:
            raise CheckpointError(f"config.json: expected crop_pct to be a number in (0, 1], received {brief(part)}")
        if height < 1 or height != width or not (mode == "center" or (mode == "squash" and part == 1)):
            raise CheckpointError(
                "config.json: expected a square input_size, and crop_mode 'center', or 'squash' with crop_pct 1, "
                f"received {fields.get('input_size')!r:.100}, {mode!r:.100} and {part}"
            )
        resize = None if mode == "squash" else int(height / part)
        return cls(
            mean=_numbers("mean", fields.get("mean", IMAGENET.mean)),
            std=_numbers("std", fields.get("std", IMAGENET.std)),
            size=height,
            resize=resize,
            interpolation=_interpolation(fields.get("interpolation", "bilinear")),
        )

    @classmethod
    def of_transformers(cls, fields: Mapping[str, Any]) -> Self:
        """What a `preprocessor_config.json` of transformers says, of a network that resizes without cutting (ViT).

        Raises:
            CheckpointError: a field is there in a form that is not known.

        >>> ImagePreprocessing.of_transformers({"size": {"height": 384, "width": 384}, "resample": 3}).interpolation
        'bicubic'
        """
        size = fields.get("size", 224)
        sides: tuple[Any, Any] = (size, size)
        if isinstance(size, Mapping):
            sides = size.get("height"), size.get("width")
        side = sides[0]
        if not all(map(is_plain, sides)) or side < 1 or side != sides[1] or fields.get("do_center_crop"):
            raise CheckpointError(
                "preprocessor_config.json: expected a size with one height and width and no do_center_crop, received "
                f"size={size!r:.100} and do_center_crop={fields.get('do_center_crop')!r:.100}"
            )
        resample = fields.get("resample", 2)
        return cls(
            mean=_numbers("image_mean", fields.get("image_mean", (0.5, 0.5, 0.5))),
            std=_numbers("image_std", fields.get("image_std", (0.5, 0.5, 0.5))),
            size=side,
            resize=None,
            interpolation=_interpolation(_RESAMPLE.get(resample) if is_plain(resample) else resample),
        )


def _numbers(field: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(is_plain_number, values)):
        raise CheckpointError(f"expected {field} of three channels, received {values!r:.100}")
    return tuple(float(value) for value in values)


def _interpolation(name: Any) -> str:
    if not isinstance(name, str) or name not in _RESAMPLE.values():
        raise CheckpointError(f"expected interpolation 'bilinear' or 'bicubic', received {brief(name)}")
    return str(name)


IMAGENET = ImagePreprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What torchvision's first weights (`IMAGENET1K_V1`) of its classifiers expect."""
