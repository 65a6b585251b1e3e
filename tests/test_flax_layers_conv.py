"""Two forms of a convolution: the one that is fast on a CPU equals XLA's own, and only a CPU gets it."""

from __future__ import annotations

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch.flax.kernels import convolve as _convolve
from einops_arch.flax.layers import Conv, ConvTranspose

pytestmark = pytest.mark.usefixtures("strict_promotion")


def settings(axes: int, groups: int, **changes):
    same = {
        "strides": (1,) * axes,
        "padding": ((0, 0),) * axes,
        "lhs_dilation": (1,) * axes,
        "rhs_dilation": (1,) * axes,
    }
    return _convolve.Settings(**same | {"groups": groups} | changes)


CASES = {
    "depthwise": ((2, 7, 8, 5), (3, 2, 1, 5), settings(2, 5, strides=(2, 1), padding=((1, 1), (0, 2)))),
    "depthwise, two outputs for each channel": ((2, 9, 3), (3, 1, 6), settings(1, 3, rhs_dilation=(2,))),
    "depthwise, transposed, padding below zero": (
        (2, 5, 4, 3),
        (2, 2, 1, 3),
        settings(2, 3, lhs_dilation=(2, 3), padding=((-1, 1), (1, -2))),
    ),
    "pointwise": ((2, 5, 6, 6), (1, 1, 2, 9), settings(2, 3, strides=(2, 3), padding=((1, 1), (0, 1)))),
    "pointwise, transposed": ((2, 5, 6), (1, 3, 4), settings(1, 2, lhs_dilation=(2,), padding=((0, 1),))),
    "grouped": ((2, 4, 5, 6, 4), (2, 3, 1, 2, 6), settings(3, 2, strides=(1, 2, 1), padding=((1, 0),) * 3)),
}

DENSE = {
    "one position": ((2, 5, 6, 4), (1, 1, 4, 3), settings(2, 1)),
    "one position, strides and padding": (
        (2, 5, 7, 4),
        (1, 1, 4, 3),
        settings(2, 1, strides=(2, 3), padding=((1, 0), (2, 1))),
    ),
    "one position, transposed": ((2, 5, 4), (1, 4, 3), settings(1, 1, lhs_dilation=(2,), padding=((0, -1),))),
    "patches": ((2, 6, 8, 3), (3, 2, 3, 5), settings(2, 1, strides=(3, 2))),
    "patches that leave a rest": ((2, 8, 9, 3), (3, 2, 3, 5), settings(2, 1, strides=(3, 2), padding=((0, 0), (1, 1)))),
    "patches in three axes": ((1, 4, 4, 6, 2), (2, 2, 3, 2, 3), settings(3, 1, strides=(2, 2, 3))),
    "windows apart, strides of their size": (
        (2, 9, 3),
        (2, 3, 4),
        settings(1, 1, strides=(2,), rhs_dilation=(2,)),
    ),
    "windows that overlap": ((2, 6, 7, 3), (3, 3, 3, 4), settings(2, 1, strides=(2, 1), padding=((1, 1), (1, 1)))),
    "windows that overlap, dilated": ((2, 9, 3), (3, 3, 4), settings(1, 1, rhs_dilation=(3,), padding=((2, 0),))),
}
ROWS = {
    "rows": ((2, 6, 7, 3), (3, 3, 3, 4), settings(2, 1, padding=((1, 1), (1, 1)))),
    "rows, dilated, padding of many kinds": (
        (2, 9, 8, 3),
        (3, 2, 3, 2),
        settings(2, 1, rhs_dilation=(2, 3), padding=((3, 0), (-1, 2))),
    ),
    "rows, one window": ((1, 4, 5, 2), (4, 5, 2, 3), settings(2, 1)),
    "rows, nothing but padding in some windows": ((1, 2, 3, 2), (2, 2, 2, 1), settings(2, 1, padding=((4, 5), (0, 3)))),
}
FORMS = {name: (_convolve.grouped_on_cpu, *case) for name, case in CASES.items()}
FORMS |= {name: (_convolve.as_product, *case) for name, case in DENSE.items()}
FORMS |= {name: (_convolve.by_rows, *case) for name, case in ROWS.items()}


@pytest.mark.parametrize("name", FORMS)
def test_both_forms_are_one_function(name):
    other, shape, kernel_shape, chosen = FORMS[name]
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=shape), random.normal(size=kernel_shape)

    @jax.jit
    def both(x, kernel, weights):
        found = {}
        for form in (_convolve.native, other):
            y, back = jax.vjp(lambda x, kernel, form=form: form(x, kernel, chosen), x, kernel)
            found[form.__name__] = (y, *back(weights))
        return found

    outputs = jax.eval_shape(lambda x, kernel: _convolve.native(x, kernel, chosen), x, kernel)
    found = both(x, kernel, random.normal(size=outputs.shape))
    for native, fast in zip(*found.values(), strict=True):
        assert native.shape == fast.shape
        # Sums of a few dozen products of standard normal numbers in float64.
        np.testing.assert_allclose(np.asarray(fast), np.asarray(native), rtol=1e-12, atol=1e-13)


FRAMED = {
    "all sides": ((2, 7, 8, 5), (3, 3, 1, 5), settings(2, 5, padding=((1, 1), (1, 1)))),
    "strides that leave a rest": ((2, 8, 9, 3), (3, 2, 1, 3), settings(2, 3, strides=(2, 3), padding=((1, 1), (0, 1)))),
    "two outputs for each channel, dilated": (
        (2, 9, 3),
        (3, 1, 6),
        settings(1, 3, rhs_dilation=(2,), padding=((3, 2),)),
    ),
    "cut on one side": ((2, 9, 8, 2), (3, 3, 1, 2), settings(2, 2, padding=((-2, 3), (1, -1)))),
    "nothing inside": ((2, 2, 1, 3), (3, 3, 1, 3), settings(2, 3, padding=((2, 2), (1, 1)))),
    "nothing but padding in some windows": ((1, 3, 2), (2, 1, 2), settings(1, 2, padding=((4, 5),))),
    "three axes": ((1, 4, 5, 4, 2), (2, 3, 2, 1, 2), settings(3, 2, strides=(1, 2, 1), padding=((1, 0),) * 3)),
}


OWN_GRADIENT = {f"frame, {name}": (_convolve._depthwise, *case) for name, case in FRAMED.items()}
OWN_GRADIENT |= {name: (_convolve._rows_apart, *case) for name, case in ROWS.items()}


@pytest.mark.parametrize("name", OWN_GRADIENT)
def test_a_gradient_by_rule_is_that_of_xla(name):
    fast, shape, kernel_shape, chosen = OWN_GRADIENT[name]
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=shape), random.normal(size=kernel_shape)
    dx, dkernel = random.normal(size=shape), random.normal(size=kernel_shape)

    def ours(x, kernel):
        return fast(x, kernel, chosen)

    def plain(x, kernel):
        return _convolve.native(x, kernel, chosen)

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(form, x, kernel, dx, dkernel):
        def of_x(x):
            return form(x, kernel)

        return {
            "forward": jax.jvp(form, (x, kernel), (dx, dkernel)),
            "forward, by the input alone": jax.jvp(of_x, (x,), (dx,)),
            "reverse": jax.jacrev(form, (0, 1))(x, kernel),
            "linear transpose": jax.linear_transpose(of_x, x)(of_x(x)),
            "vmap": jax.vmap(form)(x[None], kernel[None]),
        }

    found, expected = (derivatives(form, x, kernel, dx, dkernel) for form in (ours, plain))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for received, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert received.dtype == "float64"
        # Sums of a few dozen products of standard normal numbers.
        np.testing.assert_allclose(received, wanted, rtol=1e-12, atol=1e-13)


def test_a_large_depthwise_convolution_copies_strips_only():
    conv = Conv(64, 64, (3, 3), padding=1, feature_group_count=64, rngs=nnx.Rngs(0))
    graph, state = nnx.split(conv)
    program = jax.jit(lambda state, x: nnx.merge(graph, state)(x))

    def padded(side):
        text = program.lower(state, np.zeros((1, side, side, 64), "float32")).as_text()
        found = re.findall(r"stablehlo.pad .* -> tensor<([0-9x]+)xf32>", text)
        return max(math.prod(map(int, shape.split("x"))) for shape in found)

    assert padded(63) == 65 * 65 * 64
    assert padded(64) == 3 * 66 * 64


def lowered(module: nnx.Module, x: jax.Array, platform: str) -> str:
    def loss(module, x):
        return (module(x) ** 2).sum()

    graph, state = nnx.split(module)
    program = jax.jit(jax.grad(lambda state, x: loss(nnx.merge(graph, state), x), argnums=(0, 1)))
    return program.trace(state, x).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
def test_only_a_cpu_gets_the_other_form(kind):
    module = kind(3, 3, (3, 3), padding=1, feature_group_count=3, rngs=nnx.Rngs(0))
    x = np.zeros((1, 5, 5, 3), "float32")
    assert "stablehlo.convolution" not in lowered(module, x, "cpu")
    for platform in ("cuda", "tpu"):
        text = lowered(module, x, platform)
        assert "stablehlo.convolution" in text
        assert "feature_group_count = 3" in text
    dense = kind(3, 3, (3, 3), padding=1, rngs=nnx.Rngs(0))
    assert "stablehlo.convolution" in lowered(dense, x, "cpu")


@pytest.mark.parametrize(
    ("conv", "side", "product"),
    [
        (lambda rngs: Conv(16, 4, (1, 1), strides=2, rngs=rngs), 8, True),
        (lambda rngs: Conv(3, 4, (4, 4), strides=4, rngs=rngs), 8, True),
        (lambda rngs: Conv(256, 4, (3, 3), padding=1, rngs=rngs), 8, True),
        (lambda rngs: Conv(256, 4, (3, 3), padding=1, rngs=rngs), 23, False),  # 529 windows
        (lambda rngs: Conv(255, 4, (3, 3), padding=1, rngs=rngs), 8, False),
        (lambda rngs: Conv(15, 4, (1, 1), rngs=rngs), 8, False),
        (lambda rngs: ConvTranspose(16, 4, (1, 1), strides=2, rngs=rngs), 8, False),
    ],
    ids=["one position", "patches", "few windows", "many windows", "few channels", "few values", "transposed"],
)
def test_a_dense_convolution_is_a_product_where_that_was_measured_to_pay(conv, side, product):
    module = conv(nnx.Rngs(0))
    x = np.zeros((1, side, side, module.in_features), "float32")
    assert ("stablehlo.convolution" not in lowered(module, x, "cpu")) == product
    assert "stablehlo.convolution" in lowered(module, x, "cuda")


@pytest.mark.parametrize(
    ("conv", "side", "dtype", "rows"),
    [
        (lambda rngs: Conv(22, 64, (3, 3), padding=1, rngs=rngs), 46, "float32", True),
        (lambda rngs: Conv(22, 5, (5, 3), padding=(2, 1), kernel_dilation=(1, 2), rngs=rngs), 50, "float64", True),
        (lambda rngs: Conv(22, 64, (3, 3), padding=1, rngs=rngs), 45, "float32", False),  # 2025 windows
        (lambda rngs: Conv(21, 64, (3, 3), padding=1, rngs=rngs), 46, "float32", False),  # 63 values in a row
        (lambda rngs: Conv(22, 65, (3, 3), padding=1, rngs=rngs), 46, "float32", False),
        (lambda rngs: Conv(128, 2, (3, 3), padding=1, rngs=rngs), 46, "float32", True),
        (lambda rngs: Conv(129, 2, (3, 3), padding=1, rngs=rngs), 46, "float32", False),
        (lambda rngs: Conv(22, 64, (3, 3), padding=1, rngs=rngs), 210, "float32", False),  # too much to add up
        (lambda rngs: Conv(22, 64, (3, 3), padding=1, strides=2, rngs=rngs), 92, "float32", False),
        (lambda rngs: Conv(64, 64, (1, 3), rngs=rngs), 50, "float32", False),
        (lambda rngs: Conv(22, 64, (3, 3), padding=1, rngs=rngs), 46, "bfloat16", False),
        (lambda rngs: ConvTranspose(22, 64, (3, 3), strides=2, rngs=rngs), 46, "float32", False),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_rows_stand_apart_where_that_was_measured_to_pay(conv, side, dtype, rows):
    module = conv(nnx.Rngs(0))
    x = np.zeros((1, side, side, module.in_features), dtype)
    graph, state = nnx.split(module)
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), state)
    program = jax.jit(lambda state, x: nnx.merge(graph, state)(x))

    def kernels(platform):
        text = program.trace(state, x).lower(lowering_platforms=(platform,)).as_text()
        found = re.findall(r"stablehlo.convolution.*tensor<([0-9x]+)x[bf0-9]+>\) ->", text)
        return {tuple(map(int, one.split("x"))) for one in found}

    ((height, width, channels, out),) = kernels("cuda")
    assert sorted(module.kernel.shape) == sorted((height, width, channels, out))
    assert kernels("cpu") == {(1, width, channels, height * out) if rows else (height, width, channels, out)}


def test_the_choice_works_under_jit_grad_and_vmap():
    conv = Conv(4, 8, (3,), feature_group_count=4, rngs=nnx.Rngs(0))
    graph, state = nnx.split(conv)
    x = np.random.default_rng(0).normal(size=(3, 2, 6, 4)).astype("float32")

    def loss(state, x):
        return (nnx.merge(graph, state)(x) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))
    together = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(state, x)
    for sample in range(3):
        alone = gradient(state, x[sample])
        for name in ("kernel", "bias"):
            np.testing.assert_allclose(together[name][...][sample], alone[name][...], rtol=1e-5, atol=1e-5)


def test_half_precision_sums_as_xla_does():
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=(2, 9, 7, 3)), random.normal(size=(5, 5, 1, 3))
    low = [jnp.asarray(value, "bfloat16") for value in (x, kernel)]
    exact = _convolve.native(*(value.astype("float64") for value in low), settings(2, 3))
    found = _convolve.grouped_on_cpu(*low, settings(2, 3))
    assert found.dtype == "bfloat16"
    # One rounding to eight bits, not 25 of them.
    np.testing.assert_allclose(np.asarray(found.astype("float64")), np.asarray(exact), rtol=2.0**-8)


def test_a_product_in_half_precision_sums_as_xla_does():
    random = np.random.default_rng(0)
    low = [jnp.asarray(random.normal(size=size), "bfloat16") for size in ((2, 9, 7, 40), (3, 3, 40, 5))]
    exact = np.asarray(_convolve.native(*(value.astype("float64") for value in low), settings(2, 1)))
    found = _convolve.as_product(*low, settings(2, 1))
    assert found.dtype == "bfloat16"
    # The rounding of the result; sums of 360 products in float32 lose nothing that is seen here.
    np.testing.assert_allclose(np.asarray(found.astype("float64")), exact, rtol=2.0**-8, atol=1e-4)


def test_an_eager_call_compiles_once():
    conv = Conv(4, 4, (3,), feature_group_count=4, rngs=nnx.Rngs(0))
    x = np.zeros((1, 7, 4), "float32")
    conv(x)
    known = _convolve.convolve._cache_size()
    conv(x + 1)
    assert _convolve.convolve._cache_size() == known


def test_an_empty_batch():
    conv = Conv(4, 4, (3,), feature_group_count=4, rngs=nnx.Rngs(0))
    assert conv(np.zeros((0, 7, 4), "float32")).shape == (0, 5, 4)
