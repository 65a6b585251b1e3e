"""The checks that the layers share: sizes given to a constructor, and shapes given to a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch import _settings
from einops_arch._settings import SPATIAL_AXES, check_fraction
from einops_arch.errors import ShapeError

__all__ = [
    "check_channels",
    "check_features",
    "check_fraction",
    "check_groups",
    "check_rank",
    "check_sizes",
    "check_space",
    "per_axis",
    "spatial_pattern",
    "window_outputs",
]


def spatial_pattern(axes: int, last: str = "c") -> str:
    """The axis names of a channels-last input: `spatial_pattern(2)` is `"b h w c"`."""
    return f"b {' '.join(SPATIAL_AXES[axes])} {last}"


def per_axis(layer: str, name: str, value: Any, axes: int, minimum: int) -> tuple[int, ...]:
    """One integer per spatial axis, from one integer for all axes or a sequence with one for each."""
    names = SPATIAL_AXES.get(axes, ())
    return tuple(int(number) for number in _settings.per_axis(layer, name, value, names, minimum))


def check_sizes(layer: str, **sizes: Any) -> None:
    """Every named size is a whole number of at least 1."""
    for name, value in sizes.items():
        _settings.check_whole(layer, name, value)


def check_groups(layer: str, groups: int, **features: int) -> None:
    """The number of groups divides every named number of features."""
    check_sizes(layer, feature_group_count=groups)
    for name, value in features.items():
        _settings.check_multiple(layer, name, value, "feature_group_count", groups)


def check_rank(layer: str, shape: tuple[int, ...], axes: int, last: str = "c") -> None:
    """The input has `axes` spatial axes, with a batch axis or without one, as PyTorch allows."""
    if len(shape) not in (axes + 1, axes + 2):
        raise ShapeError(
            f"{layer}: expected axes '{spatial_pattern(axes, last)}' (the batch may be left out), "
            f"received {len(shape)} axes in shape {shape}"
        )


def check_space(layer: str, shape: tuple[int, ...], axes: int) -> None:
    """No spatial axis is empty; a batch may be."""
    if 0 in shape[-axes - 1 : -1]:
        raise ShapeError(
            f"{layer}: expected axes '{spatial_pattern(axes)}' with at least one position along each spatial axis, "
            f"received shape {shape}"
        )


def check_channels(layer: str, shape: tuple[int, ...], channels: int, *, what: str = "channels") -> None:
    """The last axis holds the channels; where only axis 1 would fit, the message asks about the layout."""
    if shape and shape[-1] == channels:
        return
    received = f"received {shape[-1]} in shape {shape}" if shape else "received a scalar of shape ()"
    hint = ""
    if len(shape) > 2 and shape[1] == channels:
        hint = f"; likely fix: channels first? axis 1 has {channels}, move it to the end with to_channels_last(x)"
    raise ShapeError(f"{layer}: expected {channels} {what} on the last axis (channels last), {received}{hint}")


def check_features(layer: str, shape: tuple[int, ...], features: int) -> None:
    """The last axis holds the features of a layer that knows no space."""
    if not shape or shape[-1] != features:
        received = f"received {shape[-1]} in shape {shape}" if shape else "received a scalar of shape ()"
        raise ShapeError(f"{layer}: expected {features} input features on the last axis, {received}")


def window_outputs(
    layer: str,
    shape: tuple[int, ...],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """How many positions a window takes along each spatial axis; at least one, or it is an error."""
    sizes = shape[-len(window) - 1 : -1]
    outputs = tuple(
        (size + sum(p) - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(sizes, window, strides, padding, dilation, strict=True)
    )
    if min(outputs) < 1:
        reach = tuple(d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True))
        padded = tuple(size + sum(p) for size, p in zip(sizes, padding, strict=True))
        raise ShapeError(
            f"{layer}: expected spatial sizes of at least {reach} (the window's reach), "
            f"received {padded} after padding in shape {shape}"
        )
    return outputs
