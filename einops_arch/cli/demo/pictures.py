"""The pictures, as PNG files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch.cli.demo.data import Array, to_colors

__all__ = ["CROP", "chosen_digits", "crops", "denoised_crops", "draw_denoised", "draw_digits", "draw_upscaled", "png"]

CROP = (slice(150, 282), slice(306, 482))
"""Rows and columns of the photograph that are shown: the cup's rim and the spoon."""

_INK, _RIGHT, _WRONG = "#1c2024", "#18794e", "#ce2c31"


def chosen_digits(digits: dict[str, Any], count: int = 40) -> list[int]:
    """Which test digits to show: the mistakes first, as far as they fill a quarter, then the others as they come."""
    wrong = np.flatnonzero((digits["torch"] != digits["labels"]) | (digits["flax"] != digits["labels"]))
    first = [int(n) for n in wrong[: count // 4]]
    others = [n for n in range(len(digits["labels"])) if n not in set(wrong.tolist())]
    return first + others[: count - len(first)]


def crops(upscaled: dict[str, Any]) -> list[tuple[str, Array, float | None]]:
    """The same part of each version of the photograph: what it is, the image `h w c`, and its PSNR."""
    photograph = upscaled["photograph"]
    shown: list[tuple[str, Array, float | None]] = [("original", photograph.colors[CROP], None)]
    for name, title in (("bicubic", "bicubic"), ("torch", "PyTorch"), ("flax", "Flax, ported")):
        image = to_colors(np.clip(upscaled[name], 0, 1), photograph.small_colors)
        shown.append((title, image[CROP], upscaled["psnr"][name]))
    return shown


def denoised_crops(denoised: dict[str, Any]) -> list[tuple[str, Array, float | None]]:
    """The same part of the brightness with noise, and without it by either framework, as `crops` has them."""
    shown: list[tuple[str, Array, float | None]] = [("original", denoised["photograph"].bright[CROP], None)]
    for name, title in (("noisy", "with noise"), ("torch", "PyTorch"), ("flax", "Flax, translated")):
        shown.append((title, np.clip(denoised[name], 0, 1)[CROP], denoised["psnr"][name]))
    return shown


def draw_digits(path: Path, digits: dict[str, Any]) -> None:
    """A grid of test digits, each with what PyTorch and Flax read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = chosen_digits(digits)
    figure = Figure(figsize=(12, 9.2), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    equal, count = int((digits["torch"] == digits["flax"]).sum()), len(digits["labels"])
    figure.suptitle(
        f"Trained in PyTorch, ported to Flax: {equal} of {count} test digits read alike\n"
        "above each digit: PyTorch | Flax; mistakes come first, in red, with the right answer",
        fontsize=13,
        color=_INK,
    )
    for place, axes in zip(chosen, figure.subplots(5, 8).flat, strict=True):
        torch_answer, flax_answer, label = (int(digits[name][place]) for name in ("torch", "flax", "labels"))
        wrong = (torch_answer, flax_answer) != (label, label)
        axes.imshow(digits["images"][place], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(
            f"{torch_answer} | {flax_answer}" + (f"  ({label})" if wrong else ""), color=_WRONG if wrong else _RIGHT
        )
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color("#d0d4d9")
    figure.savefig(path)


def draw_upscaled(path: Path, photograph: dict[str, Any]) -> None:
    """The original, bicubic, PyTorch and Flax side by side."""
    factor = photograph["photograph"].bright.shape[0] // photograph["photograph"].small.shape[0]
    _draw_crops(path, crops(photograph), f"A photograph that the network has not seen, enlarged {factor} times")


def draw_denoised(path: Path, denoised: dict[str, Any]) -> None:
    """The original, with noise, PyTorch and the translated Flax side by side."""
    _draw_crops(path, denoised_crops(denoised), "A photograph that the U-Net has not seen, without its noise")


def _draw_crops(path: Path, shown: list[tuple[str, Array, float | None]], title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = shown[0][1].shape[:2]
    figure = Figure(figsize=(16, 16 / len(shown) * height / width + 0.62), dpi=110, facecolor="white")
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14, color=_INK)
    for (name, image, psnr), axes in zip(shown, figure.subplots(1, len(shown)).flat, strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name if psnr is None else f"{name}: {psnr:.2f} dB", color=_INK)
        axes.set_axis_off()
    figure.savefig(path)


def png(image: Array, scale: int = 1) -> bytes:
    """An image `h w` or `h w c`, from 0 to 1, as the bytes of a PNG file."""
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    buffer = BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue()
