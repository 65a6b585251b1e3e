"""The losses of style transfer against loops over indices, on every array backend."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_oracles import gram_matrix as gram_oracle

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.functional import content_loss, gram_matrix, style_loss, total_variation

FORMATS = ("channels_first", "channels_last")


def _random(*shape, seed=17):
    return np.random.default_rng(seed).normal(size=shape)


def _in_format(x, data_format):
    return x if data_format == "channels_first" else np.ascontiguousarray(np.moveaxis(x, 1, -1))


def _value(xp, loss):
    value = xp.numpy(loss)
    assert value.shape == ()
    return float(value)


def _content_oracle(x, y):
    return sum((float(x[i]) - float(y[i])) ** 2 for i in np.ndindex(x.shape)) / x.size


def _style_oracle(features, paintings, normalize, distance):
    total = 0.0
    for one, painting in zip(features, paintings, strict=True):
        gram, target = (gram_oracle(x, normalize=normalize, data_format="channels_first") for x in (one, painting))
        b, c, _ = gram.shape
        squares = sum(
            (gram[i] - target[i[0] if len(target) > 1 else 0, i[1], i[2]]) ** 2 for i in np.ndindex(gram.shape)
        )
        total += squares / (b * c * c if distance == "mean" else b)
    return total


def _variation_oracle(x):
    """For channels first: each position with the next one along each spatial axis."""
    total = 0.0
    for i in np.ndindex(x.shape):
        for axis in range(2, x.ndim):
            j = (*i[:axis], i[axis] + 1, *i[axis + 1 :])
            if j[axis] < x.shape[axis]:
                total += (float(x[j]) - float(x[i])) ** 2
    return total / len(x)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 7), (1, 2, 3, 4, 5)])
def test_content_loss_is_the_mean_squared_difference(shape, xp):
    x, y = _random(*shape), _random(*shape, seed=19)
    received = _value(xp, content_loss(xp.array(x), xp.array(y)))
    assert received == pytest.approx(_content_oracle(x, y), rel=1e-12)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("distance", ["mean", "frobenius"])
@pytest.mark.parametrize("normalize", ["spatial", "full", "none"])
@pytest.mark.parametrize("paintings", [1, 2])
def test_style_loss_is_the_distance_of_gram_matrices(paintings, normalize, distance, data_format, xp):
    sizes = [(3, 5, 4), (4, 2, 3)]
    features = [_random(2, *size, seed=23 + i) for i, size in enumerate(sizes)]
    targets = [_random(paintings, *size, seed=29 + i) for i, size in enumerate(sizes)]

    grams = [
        gram_matrix(xp.array(_in_format(x, data_format)), normalize=normalize, data_format=data_format) for x in targets
    ]
    received = style_loss(
        [xp.array(_in_format(x, data_format)) for x in features],
        grams,
        normalize=normalize,
        distance=distance,
        data_format=data_format,
    )

    assert _value(xp, received) == pytest.approx(_style_oracle(features, targets, normalize, distance), rel=1e-12)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 7), (2, 3, 1, 4), (1, 2, 3, 4, 5)])
def test_total_variation_sums_the_squares_between_neighbours(shape, data_format, xp):
    x = _random(*shape)
    received = total_variation(xp.array(_in_format(x, data_format)), data_format=data_format)
    assert _value(xp, received) == pytest.approx(_variation_oracle(x), rel=1e-12)


def test_one_pixel_does_not_vary(xp):
    assert _value(xp, total_variation(xp.array(_random(2, 3, 1, 1)))) == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_losses_keep_the_dtype(dtype, xp):
    x, y = (xp.array(_random(2, 3, 4, 5, seed=seed).astype(dtype)) for seed in (1, 2))
    for loss in (content_loss(x, y), style_loss([x], [gram_matrix(y)]), total_variation(x)):
        assert xp.numpy(loss).dtype == dtype


SHAPES = {
    "content_loss broadcasts nothing": (
        lambda a: content_loss(a(2, 3, 4, 5), a(1, 3, 4, 5)),
        "content_loss: pattern 'b c ... -> ' needs two arrays of one shape, received (2, 3, 4, 5) and (1, 3, 4, 5)",
    ),
    "content_loss of nothing": (
        lambda a: content_loss(a(0, 3, 4, 5), a(0, 3, 4, 5)),
        "content_loss: pattern 'b c ... -> ' needs at least one element, received 0 in shape (0, 3, 4, 5)",
    ),
    "a layer without gram matrix": (
        lambda a: style_loss([a(2, 3, 4, 5), a(2, 4, 2, 2)], [a(1, 3, 3)]),
        (
            "style_loss: needs one gram matrix for each of one or more layers, "
            "received 2 arrays of features and 1 gram matrices"
        ),
    ),
    "no layer": (
        lambda _: style_loss([], []),
        (
            "style_loss: needs one gram matrix for each of one or more layers, "
            "received 0 arrays of features and 0 gram matrices"
        ),
    ),
    "gram matrices in another order": (
        lambda a: style_loss([a(2, 3, 4, 5), a(2, 4, 2, 2)], [a(1, 3, 3), a(1, 3, 3)]),
        (
            "style_loss: pattern 'b c1 c2 -> ' with b=2, c1=4, c2=4 in layer 1 needs a gram matrix of shape "
            "(2, 4, 4) or (1, 4, 4), received (1, 3, 3)"
        ),
    ),
    "features where gram matrices are needed": (
        lambda a: style_loss([a(2, 3, 4, 5)], [a(2, 3, 4, 5)]),
        (
            "style_loss: pattern 'b c1 c2 -> ' with b=2, c1=3, c2=3 in layer 0 needs a gram matrix of shape "
            "(2, 3, 3) or (1, 3, 3), received (2, 3, 4, 5)"
        ),
    ),
    "style_loss of no image": (
        lambda a: style_loss([a(0, 3, 4, 5)], [a(1, 3, 3)]),
        "style_loss: pattern 'b c1 c2 -> ' needs at least one image, received 0 in shape (0, 3, 3)",
    ),
    "total_variation of no image": (
        lambda a: total_variation(a(0, 3, 4, 5)),
        "total_variation: pattern 'b c ... -> ' needs at least one image, received 0 in shape (0, 3, 4, 5)",
    ),
    "total_variation without space": (
        lambda a: total_variation(a(2, 3), data_format="channels_last"),
        (
            "total_variation: pattern 'b ... c -> ' needs 3 to 5 axes, received 2 in shape (2, 3); "
            "likely fix: add the batch axis b"
        ),
    ),
}


@pytest.mark.parametrize(("call", "message"), SHAPES.values(), ids=SHAPES)
def test_arrays_that_do_not_fit(call, message):
    with pytest.raises(ShapeError) as error:
        call(lambda *shape: np.zeros(shape))
    assert str(error.value) == message


CONFIGS = {
    "one array of features": (
        lambda a: style_loss(a(2, 3, 4, 5), [a(1, 3, 3)]),
        (
            "style_loss: features needs a sequence of arrays, one for each layer, received one array of shape "
            "(2, 3, 4, 5); likely fix: [features]"
        ),
    ),
    "one gram matrix": (
        lambda a: style_loss([a(2, 3, 4, 5)], a(1, 3, 3)),
        (
            "style_loss: target_grams needs a sequence of arrays, one for each layer, received one array of shape "
            "(1, 3, 3); likely fix: [target_grams]"
        ),
    ),
    "distance": (
        lambda a: style_loss([a(2, 3, 4, 5)], [a(1, 3, 3)], distance="sum"),
        "style_loss: distance needs 'mean' or 'frobenius', received 'sum'",
    ),
    "normalize": (
        lambda a: style_loss([a(2, 3, 4, 5)], [a(1, 3, 3)], normalize="spatail"),
        "gram_matrix: normalize needs 'spatial', 'full' or 'none', received 'spatail'; likely fix: normalize='spatial'",
    ),
    "data_format": (
        lambda a: total_variation(a(2, 3, 4, 5), data_format="NHWC"),
        (
            "total_variation: data_format needs 'channels_first' or 'channels_last', received 'NHWC'; "
            "likely fix: data_format='channels_last'"
        ),
    ),
}


@pytest.mark.parametrize(("call", "message"), CONFIGS.values(), ids=CONFIGS)
def test_arguments_that_are_wrong(call, message):
    with pytest.raises(ConfigError) as error:
        call(lambda *shape: np.zeros(shape))
    assert str(error.value) == message
