"""Boxes of a tensor: where each axis of a slice begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Box", "is_whole", "sizes_of", "slices", "whole"]

Box: TypeAlias = tuple[tuple[int, int], ...]
"""Where each axis begins and ends."""


def whole(shape: Sequence[int]) -> Box:
    """The box that is everything.

    >>> whole((2, 3))
    ((0, 2), (0, 3))
    """
    return tuple((0, size) for size in shape)


def is_whole(box: Box, shape: Sequence[int]) -> bool:
    """Whether a box is everything."""
    return box == whole(shape)


def sizes_of(box: Box) -> tuple[int, ...]:
    """The shape of what is in a box."""
    return tuple(stop - start for start, stop in box)


def slices(box: Box) -> tuple[slice, ...]:
    """The index by which numpy takes a box out of an array."""
    return tuple(slice(start, stop) for start, stop in box)
