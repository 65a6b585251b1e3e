"""What does not fit, and what every core says about it: the whole message, on every array backend."""

from __future__ import annotations

import numpy as np
import pytest

from einops_arch import errors, functional

# A call, and indented below it the error; longer lines are continued, and joined by one space.
TABLE = """
depth_to_space(zeros(1, 10, 4, 4), 3)
    ShapeError: depth_to_space: pattern 'b (c r1 r2) h w -> b c (h r1) (w r2)' with r1=3, r2=3 needs
        channels divisible by 9, received 10 in shape (1, 10, 4, 4)
depth_to_space(zeros(1, 4, 5, 18), (3, 2))
    ShapeError: depth_to_space: pattern 'b (c r1 r2) h w -> b c (h r1) (w r2)' with r1=3, r2=2 needs
        channels divisible by 6, received 4 in shape (1, 4, 5, 18); likely fix:
        data_format='channels_last'
depth_to_space(zeros(1, 5, 18, 6), 3, order='DCR', data_format='channels_last')
    ShapeError: depth_to_space: pattern 'b h w (r1 r2 c) -> b (h r1) (w r2) c' with r1=3, r2=3 needs
        channels divisible by 9, received 6 in shape (1, 5, 18, 6)
depth_to_space(zeros(1, 18, 4, 5), 3, drop_channel=True)
    ShapeError: depth_to_space: pattern 'b (r1 r2) h w -> b (h r1) (w r2)' with r1=3, r2=3 needs exactly
        9 channels, received 18 in shape (1, 18, 4, 5); likely fix: drop_channel=False
depth_to_space(zeros(9, 4), 3)
    ShapeError: depth_to_space: pattern 'b (c r1 r2) h w -> b c (h r1) (w r2)' needs 3 to 5 axes,
        received 2 in shape (9, 4); likely fix: add the batch axis b
depth_to_space(zeros(1, 9, 4, 4, 4, 4), 3)
    ShapeError: depth_to_space: pattern 'b (c r1 r2) h w -> b c (h r1) (w r2)' needs 3 to 5 axes,
        received 6 in shape (1, 9, 4, 4, 4, 4)
space_to_depth(zeros(1, 3, 6, 7), (2, 3))
    ShapeError: space_to_depth: pattern 'b c (h r1) (w r2) -> b (c r1 r2) h w' with r1=2, r2=3 needs
        axis (w r2) divisible by 3, received 7 in shape (1, 3, 6, 7); likely fix: pad it to 9
space_to_depth(zeros(1, 3, 4, 5, 7), 2, data_format='channels_last')
    ShapeError: space_to_depth: pattern 'b (d r1) (h r2) (w r3) c -> b d h w (c r1 r2 r3)' with r1=2,
        r2=2, r3=2 needs axis (d r1) divisible by 2, received 3 in shape (1, 3, 4, 5, 7); likely fix:
        pad it to 4
space_to_depth(zeros(3, 6), 2)
    ShapeError: space_to_depth: pattern 'b c (h r1) (w r2) -> b (c r1 r2) h w' needs 3 to 5 axes,
        received 2 in shape (3, 6); likely fix: add the batch axis b
channel_shuffle(zeros(2, 10, 4), 3)
    ShapeError: channel_shuffle: pattern 'b (g k) ... -> b (k g) ...' with g=3 needs channels divisible
        by 3, received 10 in shape (2, 10, 4)
channel_shuffle(zeros(2, 9, 5, 4), 3, data_format='channels_last')
    ShapeError: channel_shuffle: pattern 'b ... (g k) -> b ... (k g)' with g=3 needs channels divisible
        by 3, received 4 in shape (2, 9, 5, 4); likely fix: data_format='channels_first'
channel_shuffle(zeros(2, 15, 28, 28), 2)
    ShapeError: channel_shuffle: pattern 'b (g k) ... -> b (k g) ...' with g=2 needs channels divisible
        by 2, received 15 in shape (2, 15, 28, 28)
channel_shuffle(zeros(9), 3)
    ShapeError: channel_shuffle: pattern 'b (g k) ... -> b (k g) ...' needs at least 2 axes, received 1
        in shape (9,); likely fix: add the batch axis b
channel_unshuffle(zeros(2, 10), 4, data_format='channels_last')
    ShapeError: channel_unshuffle: pattern 'b ... (k g) -> b ... (g k)' with g=4 needs channels
        divisible by 4, received 10 in shape (2, 10)
gram_matrix(zeros(2, 3))
    ShapeError: gram_matrix: pattern 'b c ... -> b c (...)' needs at least 3 axes, received 2 in shape
        (2, 3); likely fix: add the batch axis b
gram_matrix(zeros(2, 0, 5, 3), data_format='channels_last')
    ShapeError: gram_matrix: pattern 'b ... c -> b (...) c' needs at least one position, received 0 in
        shape (2, 0, 5, 3)
upsample_nearest(zeros(3, 5), 2, data_format='channels_last')
    ShapeError: upsample_nearest: pattern 'b h w c -> b (h r1) (w r2) c' needs 3 to 5 axes, received 2
        in shape (3, 5); likely fix: add the batch axis b
flatten_sequence(zeros(5))
    ShapeError: flatten_sequence: pattern 't b ... -> (t b) ...' needs at least 2 axes, received 1 in
        shape (5,)
unflatten_sequence(zeros(), t=1)
    ShapeError: unflatten_sequence: pattern '(t b) ... -> t b ...' needs at least 1 axis, received 0 in
        shape ()
unflatten_sequence(zeros(10, 3), t=4)
    ShapeError: unflatten_sequence: pattern '(t b) ... -> t b ...' with t=4 needs rows divisible by 4,
        received 10 in shape (10, 3)
unflatten_sequence(zeros(10, 3), t=4, b=5, batch_first=True)
    ShapeError: unflatten_sequence: pattern '(b t) ... -> b t ...' with t=4, b=5 needs 20 rows, received
        10 in shape (10, 3)
flatten_features(zeros(5))
    ShapeError: flatten_features: pattern 'b c ... -> b (c ...)' needs at least 2 axes, received 1 in
        shape (5,); likely fix: add the batch axis b
unflatten_features(zeros(2, 12), 3, (2, 3), data_format='channels_last')
    ShapeError: unflatten_features: pattern 'b (c h w) -> b h w c' with c=3, h=2, w=3 needs 18 features,
        received 12 in shape (2, 12)
unflatten_features(zeros(2, 3, 4), 3, (4,))
    ShapeError: unflatten_features: pattern 'b (c w) -> b c w' needs 2 axes, received 3 in shape (2, 3,
        4)
split_heads(zeros(2, 5, 8), 3)
    ShapeError: split_heads: pattern 'b n (heads k) -> b heads n k' with heads=3 needs features
        divisible by 3, received 8 in shape (2, 5, 8)
split_heads(zeros(5, 8), 2)
    ShapeError: split_heads: pattern 'b n (heads k) -> b heads n k' needs 3 axes, received 2 in shape
        (5, 8); likely fix: add the batch axis b
merge_heads(zeros(2, 5, 8))
    ShapeError: merge_heads: pattern 'b heads n k -> b n (heads k)' needs 4 axes, received 3 in shape
        (2, 5, 8); likely fix: add the batch axis b
split_directions(zeros(3, 2, 5))
    ShapeError: split_directions: pattern '(layer direction) b h -> layer direction b h' with
        direction=2 needs states divisible by 2, received 3 in shape (3, 2, 5)
split_directions(zeros(4, 5))
    ShapeError: split_directions: pattern '(layer direction) b h -> layer direction b h' needs 3 axes,
        received 2 in shape (4, 5)
merge_directions(zeros(4, 2, 5))
    ShapeError: merge_directions: pattern 'layer direction b h -> (layer direction) b h' needs 4 axes,
        received 3 in shape (4, 2, 5)
patchify(zeros(1, 3, 6, 7), (2, 3))
    ShapeError: patchify: pattern 'b c (h p1) (w p2) -> b (h w) (c p1 p2)' with p1=2, p2=3 needs axis (w
        p2) divisible by 3, received 7 in shape (1, 3, 6, 7); likely fix: pad it to 9
patchify(zeros(3, 6), 2, data_format='channels_last')
    ShapeError: patchify: pattern 'b (h p1) (w p2) c -> b (h w) (c p1 p2)' needs 3 to 5 axes, received 2
        in shape (3, 6); likely fix: add the batch axis b
unpatchify(zeros(1, 6, 12), 2, (2, 2))
    ShapeError: unpatchify: pattern 'b (h w) (c p1 p2) -> b c (h p1) (w p2)' with h=2, w=2 needs 4
        tokens, received 6 in shape (1, 6, 12)
unpatchify(zeros(1, 6, 10), 2, (2, 3), data_format='channels_last')
    ShapeError: unpatchify: pattern 'b (h w) (c p1 p2) -> b (h p1) (w p2) c' with p1=2, p2=2 needs
        features divisible by 4, received 10 in shape (1, 6, 10)
unpatchify(zeros(6, 12), 2, (6,))
    ShapeError: unpatchify: pattern 'b (w) (c p1) -> b c (w p1)' needs 3 axes, received 2 in shape (6,
        12); likely fix: add the batch axis b
to_channels_last(zeros(3))
    ShapeError: to_channels_last: pattern 'b c ... -> b ... c' needs at least 2 axes, received 1 in
        shape (3,); likely fix: add the batch axis b
to_channels_first(zeros(3))
    ShapeError: to_channels_first: pattern 'b ... c -> b c ...' needs at least 2 axes, received 1 in
        shape (3,); likely fix: add the batch axis b
depth_to_space(zeros(1, 36, 6, 12), 0)
    ConfigError: depth_to_space: factor needs a whole number of at least 1, received 0
depth_to_space(zeros(1, 36, 6, 12), True)
    ConfigError: depth_to_space: factor needs a whole number of at least 1, received True
depth_to_space(zeros(1, 36, 6, 12), (3, 2.0))
    ConfigError: depth_to_space: factor needs a whole number of at least 1, received 2.0
depth_to_space(zeros(1, 36, 6, 12), None)
    ConfigError: depth_to_space: factor needs a whole number of at least 1, received None
depth_to_space(zeros(1, 36, 6, 12), (3, 3, 1))
    ConfigError: depth_to_space: factor needs one whole number, or one for each of the spatial axes h w,
        received (3, 3, 1)
depth_to_space(zeros(1, 36, 6, 12), 3, order='crd')
    ConfigError: depth_to_space: order needs 'CRD' or 'DCR', received 'crd'; likely fix: order='CRD'
space_to_depth(zeros(1, 36, 6, 12), 3, order='pytorch')
    ConfigError: space_to_depth: order needs 'CRD' or 'DCR', received 'pytorch'
space_to_depth(zeros(1, 36, 6, 12), -2)
    ConfigError: space_to_depth: factor needs a whole number of at least 1, received -2
channel_shuffle(zeros(1, 36, 6, 12), 0)
    ConfigError: channel_shuffle: groups needs a whole number of at least 1, received 0
channel_shuffle(zeros(1, 36, 6, 12), '3')
    ConfigError: channel_shuffle: groups needs a whole number of at least 1, received '3'
channel_shuffle(zeros(1, 36, 6, 12), True)
    ConfigError: channel_shuffle: groups needs a whole number of at least 1, received True
channel_shuffle(zeros(1, 36, 6, 12), (3,))
    ConfigError: channel_shuffle: groups needs a whole number of at least 1, received (3,)
channel_unshuffle(zeros(1, 36, 6, 12), 2.0)
    ConfigError: channel_unshuffle: groups needs a whole number of at least 1, received 2.0
gram_matrix(zeros(1, 36, 6, 12), normalize='spacial')
    ConfigError: gram_matrix: normalize needs 'spatial', 'full' or 'none', received 'spacial'; likely
        fix: normalize='spatial'
gram_matrix(zeros(1, 36, 6, 12), normalize=7)
    ConfigError: gram_matrix: normalize needs 'spatial', 'full' or 'none', received 7
upsample_nearest(zeros(1, 36, 6, 12), 1.5)
    ConfigError: upsample_nearest: factor needs a whole number of at least 1, received 1.5
upsample_nearest(zeros(1, 36, 6, 12), (2,))
    ConfigError: upsample_nearest: factor needs one whole number, or one for each of the spatial axes h
        w, received (2,)
unflatten_sequence(zeros(10, 3))
    ConfigError: unflatten_sequence: pattern '(t b) ... -> t b ...' needs t or b, received neither;
        likely fix: t=...
unflatten_sequence(zeros(0, 3), b=0)
    ConfigError: unflatten_sequence: pattern '(t b) ... -> t b ...' needs t and b where one of them is
        0, received only b=0; likely fix: give both
unflatten_sequence(zeros(10, 3), b=-1)
    ConfigError: unflatten_sequence: b needs a whole number of at least 0, received -1
unflatten_sequence(zeros(10, 3), t=5.0)
    ConfigError: unflatten_sequence: t needs a whole number of at least 0, received 5.0
unflatten_features(zeros(2, 12), -1, (2, 2))
    ConfigError: unflatten_features: channels needs a whole number of at least 0, received -1
unflatten_features(zeros(2, 12), 3, (2, -1))
    ConfigError: unflatten_features: spatial needs a whole number of at least 0, received -1
unflatten_features(zeros(2, 12), 3, 4)
    ConfigError: unflatten_features: spatial needs a tuple of 0 to 3 sizes, received 4
unflatten_features(zeros(2, 12), 3, (1, 1, 2, 2))
    ConfigError: unflatten_features: spatial needs a tuple of 0 to 3 sizes, received (1, 1, 2, 2)
split_heads(zeros(2, 5, 8), 0)
    ConfigError: split_heads: heads needs a whole number of at least 1, received 0
split_directions(zeros(4, 2, 5), True)
    ConfigError: split_directions: directions needs a whole number of at least 1, received True
patchify(zeros(1, 36, 6, 12), (2, 2, 2))
    ConfigError: patchify: patch needs one whole number, or one for each of the spatial axes h w,
        received (2, 2, 2)
patchify(zeros(1, 36, 6, 12), '2')
    ConfigError: patchify: patch needs a whole number of at least 1, received '2'
unpatchify(zeros(1, 6, 12), 2.5, (2, 3))
    ConfigError: unpatchify: patch needs a whole number of at least 1, received 2.5
unpatchify(zeros(1, 6, 12), 2, 6)
    ConfigError: unpatchify: grid needs a tuple of 1 to 3 sizes, received 6
unpatchify(zeros(1, 6, 12), 2, ())
    ConfigError: unpatchify: grid needs a tuple of 1 to 3 sizes, received ()
gram_matrix(zeros(1, 36, 6, 12), data_format='NHWC')
    ConfigError: gram_matrix: data_format needs 'channels_first' or 'channels_last', received 'NHWC';
        likely fix: data_format='channels_last'
channel_shuffle(zeros(1, 36, 6, 12), 3, data_format='NHWC')
    ConfigError: channel_shuffle: data_format needs 'channels_first' or 'channels_last', received
        'NHWC'; likely fix: data_format='channels_last'
channel_unshuffle(zeros(1, 36, 6, 12), 3, data_format='NHWC')
    ConfigError: channel_unshuffle: data_format needs 'channels_first' or 'channels_last', received
        'NHWC'; likely fix: data_format='channels_last'
depth_to_space(zeros(1, 36, 6, 12), 3, data_format='NHWC')
    ConfigError: depth_to_space: data_format needs 'channels_first' or 'channels_last', received 'NHWC';
        likely fix: data_format='channels_last'
space_to_depth(zeros(1, 36, 6, 12), 3, data_format='NHWC')
    ConfigError: space_to_depth: data_format needs 'channels_first' or 'channels_last', received 'NHWC';
        likely fix: data_format='channels_last'
upsample_nearest(zeros(1, 36, 6, 12), 3, data_format='NHWC')
    ConfigError: upsample_nearest: data_format needs 'channels_first' or 'channels_last', received
        'NHWC'; likely fix: data_format='channels_last'
flatten_features(zeros(1, 36, 6, 12), data_format='NHWC')
    ConfigError: flatten_features: data_format needs 'channels_first' or 'channels_last', received
        'NHWC'; likely fix: data_format='channels_last'
unflatten_features(zeros(1, 36, 6, 12), 3, (2,), data_format='NHWC')
    ConfigError: unflatten_features: data_format needs 'channels_first' or 'channels_last', received
        'NHWC'; likely fix: data_format='channels_last'
patchify(zeros(1, 36, 6, 12), 3, data_format='NHWC')
    ConfigError: patchify: data_format needs 'channels_first' or 'channels_last', received 'NHWC';
        likely fix: data_format='channels_last'
unpatchify(zeros(1, 36, 6, 12), 3, (2,), data_format='NHWC')
    ConfigError: unpatchify: data_format needs 'channels_first' or 'channels_last', received 'NHWC';
        likely fix: data_format='channels_last'
flatten_features(zeros(1, 36, 6, 12), data_format=None)
    ConfigError: flatten_features: data_format needs 'channels_first' or 'channels_last', received None
"""


def entries() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in TABLE.strip().splitlines():
        if not line.startswith(" "):
            found.append((line, ""))
        else:
            call, message = found[-1]
            found[-1] = (call, f"{message} {line.strip()}".strip())
    return found


@pytest.mark.parametrize(("call", "message"), entries())
def test_the_whole_message(xp, call, message):
    names = {**vars(functional), "zeros": lambda *shape: xp.array(np.zeros(shape, np.float32))}
    kind, _, said = message.partition(": ")
    with pytest.raises(getattr(errors, kind)) as caught:
        eval(call, names)
    assert type(caught.value).__name__ == kind
    assert str(caught.value) == said


def test_every_core_is_in_the_table_for_its_shape_and_its_arguments():
    cores = set(functional.__all__) - {"AXES", "content_loss", "style_loss", "total_variation"}
    named = {(call.partition("(")[0], message.partition(":")[0]) for call, message in entries()}
    without_arguments = {
        *("flatten_sequence", "merge_heads", "merge_directions"),
        *("to_channels_first", "to_channels_last"),
    }
    assert named == {(core, "ShapeError") for core in cores} | {
        (core, "ConfigError") for core in cores - without_arguments
    }


def test_a_value_error_handler_catches_both():
    for factor in (5, 0):
        with pytest.raises(ValueError, match=r"^depth_to_space: "):
            functional.depth_to_space(np.zeros((1, 9, 2, 2)), factor)


@pytest.mark.parametrize("factor", [np.bool_(True), np.float32(2), "2", 2j, None, b"2"])
def test_what_is_no_whole_number_is_refused(factor):
    with pytest.raises(errors.ConfigError, match=r"^upsample_nearest: factor needs a whole number of at least 1"):
        functional.upsample_nearest(np.zeros((1, 1, 2)), factor)


def test_data_format_and_the_other_options_are_keywords_only():
    for call in (
        lambda x: functional.channel_shuffle(x, 2, "channels_last"),
        lambda x: functional.depth_to_space(x, 2, "DCR"),
        lambda x: functional.gram_matrix(x, "full"),
        lambda x: functional.flatten_sequence(x, True),
        lambda x: functional.unflatten_sequence(x, 4),
    ):
        with pytest.raises(TypeError, match="positional argument"):
            call(np.zeros((1, 4, 2, 2)))
