"""The gradients that the norms give by rule are those of the formula, to any order and in every direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch.flax.kernels import moments as _moments
from einops_arch.flax.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm

AXES = {"batch": (0, 1, 2), "instance": (1, 2), "group": (1, 2, 4)}
SHAPES = {"batch": (3, 4, 5, 6), "instance": (3, 4, 5, 6), "group": (3, 4, 5, 2, 3)}


def formula(x, scale, bias, axes, epsilon):
    """As in a textbook, for jax to derive."""
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + epsilon) * scale + bias, mean, var


def random(*sizes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=size) + 0.5) for size in sizes]


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", AXES)
def test_derivatives_of_normalize(kind):
    shape, axes = SHAPES[kind], AXES[kind]
    channels = shape[3:]
    arguments = random(shape, channels, channels)
    directions = random(shape, channels, channels)

    def derivatives(function):
        def call(x, scale, bias):
            return function(x, scale, bias, axes, 1e-3)

        def loss(*arguments):
            y, mean, var = call(*arguments)
            return (jnp.sin(y).sum() + (mean**3).sum() + jnp.cos(var).sum()).astype(y.dtype)

        gradient = jax.grad(loss, argnums=(0, 1, 2))
        return {
            "values": call(*arguments),
            "forward": jax.jvp(call, tuple(arguments), tuple(directions))[1],
            "reverse": gradient(*arguments),
            "second": jax.jvp(gradient, tuple(arguments), tuple(directions))[1],
            "vmap": jax.vmap(gradient, in_axes=(0, None, None))(jnp.stack([arguments[0]] * 2), *arguments[1:]),
        }

    close(derivatives(_moments.normalize), derivatives(formula))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("features", [7, 1025], ids=["by products", "corrected"])
def test_derivatives_of_normalize_rows(features):
    x, direction = random((3, 2, features), (3, 2, features))

    def derivatives(function):
        def loss(x):
            return jnp.sin(function(x)).sum()

        return {
            "value": function(x),
            "forward": jax.jvp(function, (x,), (direction,))[1],
            "reverse": jax.grad(loss)(x),
            "second": jax.jvp(jax.grad(loss), (x,), (direction,))[1],
            "vmap": jax.vmap(jax.grad(loss))(x),
        }

    expected = derivatives(lambda x: formula(x, 1.0, 0.0, (-1,), 1e-3)[0])
    close(derivatives(lambda x: _moments.normalize_rows(x, 1e-3)), expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda rngs: BatchNorm(6, use_scale=False, rngs=rngs),
        lambda rngs: BatchNorm(6, use_bias=False, rngs=rngs),
        lambda rngs: GroupNorm(6, 2, use_scale=False, rngs=rngs),
        lambda rngs: InstanceNorm(6, rngs=rngs),
        lambda rngs: LayerNorm(6, use_bias=False, rngs=rngs),
    ],
)
def test_a_constant_input_has_a_finite_gradient(build):
    module = build(nnx.Rngs(0))
    gradient = nnx.jit(nnx.grad(lambda x, module: module(x).sum()))(jnp.full((2, 3, 4, 6), 7.0), module)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)


def test_only_a_cpu_adds_up_rows_by_products_and_long_ones_only():
    for features, platform, product in (
        (768, "cpu", True),
        (64, "cpu", False),
        (768, "cuda", False),
        (768, "tpu", False),
    ):
        x = np.zeros((3, features), "float32")
        program = jax.jit(lambda x: _moments.normalize_rows(x, 1e-5)).trace(x)
        text = program.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.dot" in text) == product, (features, platform)


def test_an_eager_call_compiles_once():
    norm = LayerNorm(64, rngs=nnx.Rngs(0))
    x = np.zeros((3, 64), "float32")
    norm(x)
    known = _moments._by_platform._cache_size()
    norm(x + 1)
    assert _moments._by_platform._cache_size() == known
