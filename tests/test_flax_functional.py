"""The cores on jax arrays: compiled, mapped, differentiated, and traced without a value."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_oracles as oracles
import pytest
from functional_cases import FORMATS, MOVES, SMALL

from einops_arch.errors import ShapeError
from einops_arch.functional import (
    channel_shuffle,
    depth_to_space,
    flatten_features,
    flatten_sequence,
    gram_matrix,
    patchify,
    space_to_depth,
    unflatten_features,
    unflatten_sequence,
    unpatchify,
    upsample_nearest,
)

pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.fixture
def normal(device):
    """Random float64 arrays on the device, the same ones in every run."""
    generator = np.random.default_rng(0)
    return lambda *shape: jax.device_put(generator.normal(size=shape), jax.devices(device)[0])


@pytest.fixture
def inputs(normal):
    return [normal(*case.shape) for case in SMALL]


def every_move(xs):
    return [case.call(x) for case, x in zip(SMALL, xs, strict=True)]


def test_every_move_is_one_program(inputs):
    for case, x, result in zip(SMALL, inputs, jax.jit(every_move)(inputs), strict=True):
        np.testing.assert_array_equal(np.asarray(result), case.expected(np.asarray(x)))


@pytest.mark.parametrize("axis", [0, -1])
def test_every_move_is_mapped_over_one_more_axis(inputs, axis):
    stacked = [jnp.stack([x, x + 1, 2 * x], axis) for x in inputs]
    mapped = jax.jit(jax.vmap(every_move, in_axes=axis))(stacked)
    for case, x, result in zip(SMALL, stacked, mapped, strict=True):
        expected = [case.expected(np.take(np.asarray(x), i, axis)) for i in range(3)]
        np.testing.assert_array_equal(np.asarray(result), np.stack(expected))


def test_the_gradient_of_a_move_is_the_move_backwards(inputs):
    generator = np.random.default_rng(1)
    cotangents = [jnp.asarray(generator.normal(size=case.source.shape)) for case in SMALL]

    @jax.jit
    def gradients(xs, cotangents):
        return jax.vjp(every_move, xs)[1](cotangents)[0]

    for case, x, y, gradient in zip(SMALL, inputs, cotangents, gradients(inputs, cotangents), strict=True):
        expected = np.zeros(x.size)
        np.add.at(expected, case.source, np.asarray(y))
        # Only what a core repeats is summed, six numbers here.
        np.testing.assert_allclose(np.asarray(gradient).ravel(), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("normalize", ["spatial", "full", "none"])
def test_gram_matrix_and_its_gradient(normal, normalize, data_format):
    x = normal(2, 3, 1, 4)
    weights = normal(2, *((3, 3) if data_format == "channels_first" else (4, 4)))
    oracle = functools.partial(oracles.gram_matrix, normalize=normalize, data_format=data_format)

    @jax.jit
    @jax.value_and_grad
    def weighted(x):
        gram = gram_matrix(x, normalize=normalize, data_format=data_format)
        return (gram * weights).sum()

    value, gradient = weighted(x)
    np.testing.assert_allclose(value, (oracle(np.asarray(x)) * weights).sum(), rtol=1e-12)
    # The function is quadratic, so a central difference has no error but rounding: about 1e-16 / 1e-3.
    differences, step = np.empty(x.shape), 1e-3
    for index in np.ndindex(x.shape):
        shift = np.zeros(x.shape)
        shift[index] = step
        ahead, behind = (oracle(np.asarray(x) + sign * shift) for sign in (1, -1))
        differences[index] = ((ahead - behind) * weights).sum() / (2 * step)
    np.testing.assert_allclose(gradient, differences, rtol=1e-9, atol=1e-10)


def test_gram_matrix_is_mapped(normal):
    x = normal(5, 2, 3, 4)
    result = jax.vmap(gram_matrix)(x[:, None])
    np.testing.assert_allclose(result[:, 0], gram_matrix(x), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_gram_matrix_promotes_nothing(dtype):
    x = jax.ShapeDtypeStruct((2, 3, 5, 7), dtype)
    for normalize in ("spatial", "full", "none"):
        result = jax.eval_shape(functools.partial(gram_matrix, normalize=normalize), x)
        assert (result.shape, result.dtype) == ((2, 3, 3), dtype)


def test_every_move_is_known_by_its_shape_alone():
    for case in MOVES:
        result = jax.eval_shape(case.call, jax.ShapeDtypeStruct(case.shape, jnp.bfloat16))
        assert (result.shape, result.dtype) == (case.source.shape, jnp.bfloat16)


def with_sizes_of_its_own(x):
    """What a model does: the sizes that undo a move come from the array."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    return (
        unflatten_sequence(flatten_sequence(x), t=x.shape[0]),
        unflatten_features(flatten_features(x), x.shape[1], x.shape[2:]),
        unpatchify(patchify(x, 2), 2, (h, w)),
        depth_to_space(space_to_depth(x, 2), 2),
        upsample_nearest(channel_shuffle(x, 3), (2, 1)),
        gram_matrix(x),
    )


def test_an_exported_program_serves_other_sizes(normal):
    abstract = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 6, 2*h, 2*w"), np.float64)
    program = jax.export.export(jax.jit(with_sizes_of_its_own))(abstract)
    x = normal(5, 6, 4, 14)
    for result, expected in zip(program.call(x), with_sizes_of_its_own(x), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-15)


def test_sizes_that_do_not_fit_are_an_error_while_tracing():
    with pytest.raises(ShapeError) as caught:
        jax.jit(lambda x: channel_shuffle(x, 3))(jnp.zeros((1, 10, 4)))
    assert str(caught.value) == (
        "channel_shuffle: pattern 'b (g k) ... -> b (k g) ...' with g=3 needs channels divisible by 3, "
        "received 10 in shape (1, 10, 4)"
    )
