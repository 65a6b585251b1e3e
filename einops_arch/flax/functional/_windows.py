"""Where the windows of a pool lie: settings for each spatial axis, sizes of the result, and PyTorch's refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_rank, check_space, per_axis

__all__ = ["PerAxis", "Window", "Windows", "spatial_axes"]

PerAxis: TypeAlias = int | Sequence[int]


@dataclass(frozen=True)
class Window:
    """The windows along one axis of an array."""

    size: int
    window: int
    stride: int
    padding: int
    dilation: int
    outputs: int

    @property
    def reach(self) -> int:
        """How many positions a window spans."""
        return self.dilation * (self.window - 1) + 1

    @property
    def pads(self) -> tuple[int, int]:
        """What stands before and after the axis, so that all windows fit; less than 0 where the end is in none."""
        return self.padding, (self.outputs - 1) * self.stride + self.reach - self.size - self.padding

    def counts(self, *, with_padding: bool) -> np.ndarray:
        """How many positions of each window lie on the image, or on the image and its padding."""
        first = np.arange(self.outputs) * self.stride - self.padding
        last = np.minimum(first + self.window, self.size + self.padding)
        if with_padding:
            return last - first
        return np.maximum(np.minimum(last, self.size) - np.maximum(first, 0), 0)


class Windows:
    """The settings of a pool, checked when it is built and bound to a shape when it is called.

    Args:
        layer: the name for messages.
        window: one size for each spatial axis, or one integer for all axes of the input.
        strides: likewise; None is the window.
        padding: likewise; at most half the window.
        dilation: likewise; the distance of two values in a window.
        ceil_mode: whether a last window may reach beyond the padding.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        layer: str,
        window: PerAxis,
        strides: PerAxis | None = None,
        padding: PerAxis = 0,
        dilation: PerAxis = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        strides = window if strides is None else strides
        settings: dict[str, Any] = {"window": window, "strides": strides, "padding": padding}
        if dilation != 1:
            settings["dilation"] = dilation
        lengths = {name: len(value) for name, value in settings.items() if isinstance(value, (tuple, list))}
        if len(set(lengths.values())) > 1 or any(n not in (1, 2, 3) for n in lengths.values()):
            *names, last = settings
            received = ", ".join(f"{name}={value!r}" for name, value in settings.items())
            raise ConfigError(
                f"{layer}: expected {', '.join(names)} and {last} as integers, or with one for each of 1, 2 or 3 "
                f"spatial axes, received {received}"
            )
        # None: as many spatial axes as the input has.
        self.layer, self.ceil_mode = layer, ceil_mode
        self.axes: int | None = next(iter(lengths.values()), None)
        axes = self.axes or 1
        self.window = per_axis(layer, "window", window, axes, 1)
        self.strides = per_axis(layer, "strides", strides, axes, 1)
        self.padding = per_axis(layer, "padding", padding, axes, 0)
        self.dilation = per_axis(layer, "dilation", dilation, axes, 1)
        # A dilated window of two values may lie with both outside; PyTorch asks for no more than half the sizes.
        if any(p > w // 2 for p, w in zip(self.padding, self.window, strict=True)):
            raise ConfigError(
                f"{layer}: expected padding of at most half the window {self.window}, received {self.padding}; more "
                "would leave windows with nothing but padding"
            )

    def bind(self, shape: tuple[int, ...], *, within: bool = False) -> tuple[Window, ...]:
        """The windows along each spatial axis of `b *s c`; the batch may be left out.

        Args:
            shape: the shape of the input.
            within: whether each window must fit in the image without its padding, as PyTorch's 3D average asks for.

        Raises:
            ShapeError: another rank, or an image that is smaller than the window.
        """
        axes = spatial_axes(self.layer, shape, self.axes)
        names = ("window", "strides", "padding", "dilation")
        each = [getattr(self, name) if self.axes else getattr(self, name) * axes for name in names]
        sizes = shape[-axes - 1 : -1]
        bound = tuple(
            Window(size, w, s, p, d, self._outputs(size, w, s, p, d))
            for size, w, s, p, d in zip(sizes, *each, strict=True)
        )
        check_space(self.layer, shape, axes)
        if not shape[-1]:
            raise ShapeError(f"{self.layer}: expected at least one channel, as PyTorch does, received shape {shape}")
        if min(axis.outputs for axis in bound) < 1:
            reach = tuple(axis.reach for axis in bound)
            padded = tuple(axis.size + 2 * axis.padding for axis in bound)
            raise ShapeError(
                f"{self.layer}: expected spatial sizes of at least {reach} (the window's reach), "
                f"received {padded} after padding in shape {shape}"
            )
        if within and any(axis.size < axis.window for axis in bound):
            raise ShapeError(
                f"{self.layer}: expected 3 spatial sizes of at least the window {tuple(axis.window for axis in bound)} "
                f"before padding, as PyTorch does, received shape {shape}"
            )
        return bound

    def _outputs(self, size: int, window: int, stride: int, padding: int, dilation: int) -> int:
        spare = size + 2 * padding - dilation * (window - 1) - 1
        outputs = (spare + (stride - 1 if self.ceil_mode else 0)) // stride + 1
        # A window that would begin in the padding on the far side is none.
        return outputs - 1 if self.ceil_mode and (outputs - 1) * stride >= size + padding else outputs


def spatial_axes(layer: str, shape: tuple[int, ...], axes: int | None) -> int:
    """The number of spatial axes of `b *s c`, where it is known from settings or else from a shape with a batch."""
    if axes is None:
        axes = len(shape) - 2
        if axes not in (1, 2, 3):
            raise ShapeError(
                f"{layer}: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received {len(shape)} axes "
                f"in shape {shape}"
            )
    check_rank(layer, shape, axes)
    return axes


def first_spatial_axis(x: jax.Array, axes: int) -> int:
    """The position of the first spatial axis of `b *s c`, with a batch axis or without one."""
    return x.ndim - axes - 1
