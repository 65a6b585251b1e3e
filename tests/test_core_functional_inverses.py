"""Properties that hold for all sizes: what a core does its inverse undoes, and both formats mean the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from functional_cases import FORMATS
from hypothesis import given
from hypothesis import strategies as st

from einops_arch.functional import (
    channel_shuffle,
    channel_unshuffle,
    depth_to_space,
    flatten_features,
    flatten_sequence,
    gram_matrix,
    merge_directions,
    merge_heads,
    patchify,
    space_to_depth,
    split_directions,
    split_heads,
    to_channels_first,
    to_channels_last,
    unflatten_features,
    unflatten_sequence,
    unpatchify,
    upsample_nearest,
)

size = st.integers(1, 4)
length = st.integers(0, 3)  # of a batch or a sequence, which may be empty
formats = st.sampled_from(FORMATS)


def numbered(*shape: int) -> np.ndarray:
    """An array whose numbers all differ."""
    return np.arange(math.prod(shape)).reshape(shape)


@st.composite
def images(draw):
    """Batch, channels, space, a factor per spatial axis."""
    space = tuple(draw(st.lists(size, min_size=1, max_size=3)))
    return draw(length), draw(size), space, tuple(draw(size) for _ in space)


def shaped(b, c, space, data_format):
    return numbered(b, c, *space) if data_format == "channels_first" else numbered(b, *space, c)


def fine(space, factor):
    return tuple(s * f for s, f in zip(space, factor, strict=True))


@given(images(), size, formats)
def test_unshuffling_undoes_shuffling_and_is_shuffling_by_the_members(image, groups, data_format):
    b, members, space, _ = image
    x = shaped(b, members * groups, space, data_format)
    shuffled = channel_shuffle(x, groups, data_format=data_format)
    np.testing.assert_array_equal(channel_unshuffle(shuffled, groups, data_format=data_format), x)
    np.testing.assert_array_equal(channel_shuffle(shuffled, members, data_format=data_format), x)


@given(images(), st.sampled_from(("CRD", "DCR")), formats)
def test_depth_and_space_undo_each_other(image, order, data_format):
    b, c, space, factor = image
    options = {"order": order, "data_format": data_format}
    deep = shaped(b, c * math.prod(factor), space, data_format)
    np.testing.assert_array_equal(space_to_depth(depth_to_space(deep, factor, **options), factor, **options), deep)
    large = shaped(b, c, fine(space, factor), data_format)
    np.testing.assert_array_equal(depth_to_space(space_to_depth(large, factor, **options), factor, **options), large)


@given(images(), formats)
def test_dropping_the_channel_only_drops_it(image, data_format):
    b, _, space, factor = image
    x = shaped(b, math.prod(factor), space, data_format)
    kept = depth_to_space(x, factor, data_format=data_format)
    dropped = depth_to_space(x, factor, drop_channel=True, data_format=data_format)
    np.testing.assert_array_equal(dropped, kept.squeeze(1 if data_format == "channels_first" else -1))


@given(images(), formats)
def test_unpatchify_undoes_patchify(image, data_format):
    b, c, grid, patch = image
    x = shaped(b, c, fine(grid, patch), data_format)
    tokens = patchify(x, patch, data_format=data_format)
    np.testing.assert_array_equal(unpatchify(tokens, patch, grid, data_format=data_format), x)


@given(images(), formats)
def test_unflattening_undoes_flattening(image, data_format):
    b, c, space, _ = image
    x = shaped(b, c, space, data_format)
    vectors = flatten_features(x, data_format=data_format)
    np.testing.assert_array_equal(unflatten_features(vectors, c, space, data_format=data_format), x)


@given(images(), formats)
def test_upsampling_can_be_sampled_back(image, data_format):
    b, c, space, factor = image
    x = shaped(b, c, space, data_format)
    every = tuple(slice(None, None, f) for f in factor)
    index = (..., *every) if data_format == "channels_first" else (slice(None), *every)
    np.testing.assert_array_equal(upsample_nearest(x, factor, data_format=data_format)[index], x)


@given(length, length, st.lists(size, max_size=2), st.booleans())
def test_unflattening_a_sequence_undoes_flattening_it(t, b, rest, batch_first):
    x = numbered(*((b, t) if batch_first else (t, b)), *rest)
    rows = flatten_sequence(x, batch_first=batch_first)
    calls = [{"t": t, "b": b}, *([{"t": t}] if t else []), *([{"b": b}] if b else [])]
    for sizes in calls:
        np.testing.assert_array_equal(unflatten_sequence(rows, **sizes, batch_first=batch_first), x)


@given(length, length, size, size)
def test_heads_and_directions_fold_back(b, n, outer, inner):
    x = numbered(b, n, outer * inner)
    np.testing.assert_array_equal(merge_heads(split_heads(x, outer)), x)
    state = numbered(outer * inner, b, n)
    np.testing.assert_array_equal(merge_directions(split_directions(state, inner)), state)


@given(images())
def test_the_data_formats_undo_each_other(image):
    b, c, space, _ = image
    first, last = shaped(b, c, space, "channels_first"), shaped(b, c, space, "channels_last")
    np.testing.assert_array_equal(to_channels_first(to_channels_last(first)), first)
    np.testing.assert_array_equal(to_channels_last(to_channels_first(last)), last)


@pytest.mark.parametrize("order", ["CRD", "DCR"])
@pytest.mark.parametrize("core", [depth_to_space, space_to_depth])
@given(images())
def test_both_formats_mean_the_same_in_either_order(order, core, image):
    b, c, space, factor = image
    x = numbered(b, c * math.prod(factor), *fine(space, factor))
    last = core(to_channels_last(x), factor, order=order, data_format="channels_last")
    np.testing.assert_array_equal(to_channels_first(last), core(x, factor, order=order))


@given(images())
def test_both_formats_mean_the_same(image):
    b, c, space, factor = image
    x, last = numbered(b, c, *fine(space, factor)), {"data_format": "channels_last"}
    y = to_channels_last(x)
    # What makes images makes the same images.
    upsampled, shuffled = upsample_nearest(y, factor, **last), channel_shuffle(y, c, **last)
    np.testing.assert_array_equal(to_channels_first(upsampled), upsample_nearest(x, factor))
    np.testing.assert_array_equal(to_channels_first(shuffled), channel_shuffle(x, c))
    # What makes something else of them makes the very same.
    np.testing.assert_array_equal(patchify(y, factor, **last), patchify(x, factor))
    np.testing.assert_array_equal(flatten_features(y, **last), flatten_features(x))
    np.testing.assert_array_equal(gram_matrix(y, **last), gram_matrix(x))
