"""AdaptiveAvgPool against PyTorch's: every relation of sizes, gradients, dtypes, errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from einops_arch.errors import ConfigError, DtypeError, ShapeError
from einops_arch.flax import AdaptiveAvgPool

TORCH = {1: torch.nn.AdaptiveAvgPool1d, 2: torch.nn.AdaptiveAvgPool2d, 3: torch.nn.AdaptiveAvgPool3d}


# Equal, a divisor, neither, and more outputs than positions; both parities of each.
@pytest.mark.parametrize(
    ("size", "output"),
    [((7, 7), (7, 7)), ((14, 21), (7, 7)), ((9, 8), (7, 5)), ((1, 2), (7, 7)), ((10,), (7,)), ((4, 5, 6), (2, 3, 4))],
)
def test_the_same_function_as_in_pytorch(size, output):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *output))
    tensor = torch.from_numpy(x).requires_grad_()
    expected = TORCH[len(size)](output)(tensor)
    (expected * torch.from_numpy(weight)).sum().backward()

    layer, last = AdaptiveAvgPool(output), jnp.asarray(np.moveaxis(x, 1, -1))
    received, back = jax.vjp(jax.jit(layer.__call__), last)
    (gradient,) = back(jnp.asarray(np.moveaxis(weight, 1, -1)))
    np.testing.assert_allclose(np.moveaxis(np.asarray(received), -1, 1), expected.detach(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(np.moveaxis(np.asarray(gradient), -1, 1), tensor.grad, rtol=1e-13, atol=1e-15)


def test_one_integer_is_for_every_axis():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 6, 2)))
    assert jnp.array_equal(AdaptiveAvgPool(3)(x), AdaptiveAvgPool((3, 3))(x))
    assert jnp.array_equal(AdaptiveAvgPool((3, 3))(x[0]), AdaptiveAvgPool(3)(x)[0])


def test_what_is_infinite_stays_where_it_is():
    x = jnp.asarray([jnp.inf, 1.0, 2.0, 3.0, 4.0]).reshape(1, 5, 1)
    assert AdaptiveAvgPool((2,))(x).ravel().tolist() == [jnp.inf, 3.0]


def test_half_precision_is_summed_up_in_float32():
    x = jnp.full((1, 4099, 1), 1.0 + 2.0**-7, "bfloat16")
    assert AdaptiveAvgPool((2,))(x).ravel().tolist() == [1.0 + 2.0**-7] * 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: AdaptiveAvgPool((1, 2, 3, 4)),
            ConfigError,
            (
                "AdaptiveAvgPool: expected output_size as an integer, or with one for each of 1, 2 or 3 spatial axes, "
                "received (1, 2, 3, 4)"
            ),
        ),
        (
            lambda: AdaptiveAvgPool(0),
            ConfigError,
            "AdaptiveAvgPool: output_size needs a whole number of at least 1, received 0",
        ),
        (
            lambda: AdaptiveAvgPool((2, 2))(jnp.ones((2, 3))),
            ShapeError,
            "AdaptiveAvgPool: expected axes 'b h w c' (the batch may be left out), received 2 axes in shape (2, 3)",
        ),
        (
            lambda: AdaptiveAvgPool(2)(jnp.ones((2, 3))),
            ShapeError,
            "AdaptiveAvgPool: expected axes 'b ... c' with 1, 2 or 3 spatial axes, received 2 axes in shape (2, 3)",
        ),
        (
            lambda: AdaptiveAvgPool(2)(jnp.ones((2, 0, 3))),
            ShapeError,
            "AdaptiveAvgPool: expected at least one position along each spatial axis, received shape (2, 0, 3)",
        ),
        (
            lambda: AdaptiveAvgPool(2)(jnp.ones((1, 4, 2), "int32")),
            DtypeError,
            "AdaptiveAvgPool: expected floating-point values, received int32 in shape (1, 4, 2)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
