"""What each core means, written as loops over indices: no einops, no reshape, no transpose.

Slow and plain on purpose. Each works for any number of spatial axes and in both data formats; the channels
are told apart from space by `_sizes` and `_index` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Sizes = tuple[int, ...]


def _sizes(x: np.ndarray, data_format: str) -> tuple[int, int, Sizes]:
    """Batch, channels, space."""
    if data_format == "channels_first":
        return x.shape[0], x.shape[1], x.shape[2:]
    return x.shape[0], x.shape[-1], x.shape[1:-1]


def _index(b: int, c: int, s: Sequence[int], data_format: str) -> Sizes:
    """An index, or a shape, with the channels where the format has them."""
    return (b, c, *s) if data_format == "channels_first" else (b, *s, c)


def _number(index: Sequence[int], sizes: Sequence[int]) -> int:
    """The place of an index when the last one runs fastest."""
    place = 0
    for i, size in zip(index, sizes, strict=True):
        place = place * size + i
    return place


def _times(s: Sequence[int], factors: Sequence[int], r: Sequence[int] | None = None) -> Sizes:
    """Coarse positions to fine ones, `r` inside each cell; without `r` coarse sizes to fine ones."""
    r = r or (0,) * len(s)
    return tuple(i * f + j for i, f, j in zip(s, factors, r, strict=True))


def _over(s: Sequence[int], factors: Sequence[int]) -> Sizes:
    return tuple(i // f for i, f in zip(s, factors, strict=True))


def _rest(s: Sequence[int], factors: Sequence[int]) -> Sizes:
    return tuple(i % f for i, f in zip(s, factors, strict=True))


def gram_matrix(x: np.ndarray, *, normalize: str, data_format: str) -> np.ndarray:
    """In float64, each sum correctly rounded."""
    batch, channels, space = _sizes(x, data_format)
    x = x.astype(np.float64)
    out = np.empty((batch, channels, channels))
    for b, c1, c2 in np.ndindex(out.shape):
        products = [
            float(x[_index(b, c1, s, data_format)]) * float(x[_index(b, c2, s, data_format)]) for s in np.ndindex(space)
        ]
        divisor = {"spatial": len(products), "full": channels * len(products), "none": 1}[normalize]
        out[b, c1, c2] = math.fsum(products) / divisor
    return out


def channel_shuffle(x: np.ndarray, groups: int, *, data_format: str) -> np.ndarray:
    batch, channels, space = _sizes(x, data_format)
    members = channels // groups
    out = np.empty_like(x)
    for b, g, k, *s in np.ndindex(batch, groups, members, *space):
        out[_index(b, k * groups + g, s, data_format)] = x[_index(b, g * members + k, s, data_format)]
    return out


def channel_unshuffle(x: np.ndarray, groups: int, *, data_format: str) -> np.ndarray:
    batch, channels, space = _sizes(x, data_format)
    members = channels // groups
    out = np.empty_like(x)
    for b, c, *s in np.ndindex(batch, channels, *space):
        source = (c % members) * groups + c // members
        out[_index(b, c, s, data_format)] = x[_index(b, source, s, data_format)]
    return out


def depth_to_space(
    x: np.ndarray, factor: Sizes, *, order: str, drop_channel: bool = False, data_format: str
) -> np.ndarray:
    batch, deep, coarse = _sizes(x, data_format)
    channels = deep // math.prod(factor)
    fine = _times(coarse, factor)
    out = np.empty((batch, *fine) if drop_channel else _index(batch, channels, fine, data_format), x.dtype)
    for b, c, *p in np.ndindex(batch, channels, *fine):
        s, r = _over(p, factor), _rest(p, factor)
        if order == "CRD":
            source = _number((c, *r), (channels, *factor))
        else:
            source = _number((*r, c), (*factor, channels))
        target = (b, *p) if drop_channel else _index(b, c, p, data_format)
        out[target] = x[_index(b, source, s, data_format)]
    return out


def space_to_depth(x: np.ndarray, factor: Sizes, *, order: str, data_format: str) -> np.ndarray:
    batch, channels, fine = _sizes(x, data_format)
    coarse = _over(fine, factor)
    out = np.empty(_index(batch, channels * math.prod(factor), coarse, data_format), x.dtype)
    for b, c, *s in np.ndindex(batch, channels, *coarse):
        for r in np.ndindex(*factor):
            # The offsets inside a cell, counted row by row, and what a step of the channel is worth.
            cell = _number(r, factor)
            deep = c * math.prod(factor) + cell if order == "CRD" else cell * channels + c
            source = _index(b, c, _times(s, factor, r), data_format)
            out[_index(b, deep, s, data_format)] = x[source]
    return out


def upsample_nearest(x: np.ndarray, factor: Sizes, *, data_format: str) -> np.ndarray:
    batch, channels, coarse = _sizes(x, data_format)
    fine = _times(coarse, factor)
    out = np.empty(_index(batch, channels, fine, data_format), x.dtype)
    for b, c, *p in np.ndindex(batch, channels, *fine):
        out[_index(b, c, p, data_format)] = x[_index(b, c, _over(p, factor), data_format)]
    return out


def flatten_sequence(x: np.ndarray) -> np.ndarray:
    """Of time-major and batch-major sequences alike: the first axis is the outer one."""
    out = np.empty((x.shape[0] * x.shape[1], *x.shape[2:]), x.dtype)
    for outer, inner, *rest in np.ndindex(x.shape):
        out[(outer * x.shape[1] + inner, *rest)] = x[(outer, inner, *rest)]
    return out


def unflatten_sequence(x: np.ndarray, outer: int, inner: int) -> np.ndarray:
    out = np.empty((outer, inner, *x.shape[1:]), x.dtype)
    for row, *rest in np.ndindex(x.shape):
        out[(row // inner, row % inner, *rest)] = x[(row, *rest)]
    return out


def flatten_features(x: np.ndarray, *, data_format: str) -> np.ndarray:
    batch, channels, space = _sizes(x, data_format)
    out = np.empty((batch, channels * math.prod(space)), x.dtype)
    for b, c, *s in np.ndindex(batch, channels, *space):
        out[b, _number((c, *s), (channels, *space))] = x[_index(b, c, s, data_format)]
    return out


def unflatten_features(x: np.ndarray, channels: int, space: Sizes, *, data_format: str) -> np.ndarray:
    out = np.empty(_index(x.shape[0], channels, space, data_format), x.dtype)
    for b, feature in np.ndindex(x.shape):
        rest, s = feature, []
        for size in reversed(space):
            rest, i = divmod(rest, size)
            s.insert(0, i)
        out[_index(b, rest, s, data_format)] = x[b, feature]
    return out


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    batch, tokens, features = x.shape
    out = np.empty((batch, heads, tokens, features // heads), x.dtype)
    for b, head, n, k in np.ndindex(out.shape):
        out[b, head, n, k] = x[b, n, head * (features // heads) + k]
    return out


def merge_heads(x: np.ndarray) -> np.ndarray:
    batch, heads, tokens, size = x.shape
    out = np.empty((batch, tokens, heads * size), x.dtype)
    for b, n, feature in np.ndindex(out.shape):
        out[b, n, feature] = x[b, feature // size, n, feature % size]
    return out


def split_directions(x: np.ndarray, directions: int) -> np.ndarray:
    states, batch, hidden = x.shape
    out = np.empty((states // directions, directions, batch, hidden), x.dtype)
    for state, b, h in np.ndindex(x.shape):
        out[state // directions, state % directions, b, h] = x[state, b, h]
    return out


def merge_directions(x: np.ndarray) -> np.ndarray:
    layers, directions, batch, hidden = x.shape
    out = np.empty((layers * directions, batch, hidden), x.dtype)
    for layer, direction, b, h in np.ndindex(x.shape):
        out[layer * directions + direction, b, h] = x[layer, direction, b, h]
    return out


def patchify(x: np.ndarray, patch: Sizes, *, data_format: str) -> np.ndarray:
    batch, channels, pixels = _sizes(x, data_format)
    grid = _over(pixels, patch)
    out = np.empty((batch, math.prod(grid), channels * math.prod(patch)), x.dtype)
    for b, c, *p in np.ndindex(batch, channels, *pixels):
        token = _number(_over(p, patch), grid)
        feature = _number((c, *_rest(p, patch)), (channels, *patch))
        out[b, token, feature] = x[_index(b, c, p, data_format)]
    return out


def unpatchify(x: np.ndarray, patch: Sizes, grid: Sizes, *, data_format: str) -> np.ndarray:
    channels = x.shape[2] // math.prod(patch)
    out = np.empty(_index(x.shape[0], channels, _times(grid, patch), data_format), x.dtype)
    for b, c in np.ndindex(x.shape[0], channels):
        # Tokens and the pixels of a patch both run row by row.
        for token, s in enumerate(np.ndindex(*grid)):
            for pixel, r in enumerate(np.ndindex(*patch)):
                feature = c * math.prod(patch) + pixel
                out[_index(b, c, _times(s, patch, r), data_format)] = x[b, token, feature]
    return out


def to_channels_last(x: np.ndarray) -> np.ndarray:
    batch, channels, *space = x.shape
    out = np.empty((batch, *space, channels), x.dtype)
    for b, c, *s in np.ndindex(x.shape):
        out[(b, *s, c)] = x[(b, c, *s)]
    return out


def to_channels_first(x: np.ndarray) -> np.ndarray:
    batch, *space, channels = x.shape
    out = np.empty((batch, channels, *space), x.dtype)
    for b, *s, c in np.ndindex(x.shape):
        out[(b, c, *s)] = x[(b, *s, c)]
    return out
