"""The `xp` fixture of the other tests: values cross to each framework and back with the same bits."""

from __future__ import annotations

import numpy as np
import pytest

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_keeps_dtype_shape_and_values(xp, dtype, shape):
    a = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    x = xp.array(a)
    back = xp.numpy(x)
    assert dtype in xp.dtypes
    assert dtype in str(x.dtype)
    assert (back.dtype, back.shape) == (a.dtype, a.shape)
    np.testing.assert_array_equal(back, a)


def test_every_bit_pattern_of_a_half_float_crosses(xp):
    bits = np.arange(2**16, dtype=np.uint16)
    for dtype in ("float16", "bfloat16"):
        if dtype == "bfloat16":
            if dtype not in xp.dtypes:
                continue
            import ml_dtypes

            a = bits.view(ml_dtypes.bfloat16)
        else:
            a = bits.view(dtype)
        back = xp.numpy(xp.array(a))
        assert back.dtype == a.dtype
        np.testing.assert_array_equal(back.view(np.uint16), bits)


def test_float64_special_values_cross(xp):
    a = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324, -5e-324])
    np.testing.assert_array_equal(xp.numpy(xp.array(a)).view(np.int64), a.view(np.int64))


def test_any_memory_order_is_accepted(xp):
    a = np.arange(30.0).reshape(2, 3, 5).transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(xp.numpy(xp.array(a)), a)


def test_the_two_copies_are_independent(xp):
    a = np.zeros(3)
    x = xp.array(a)
    back = xp.numpy(x)
    a[:] = 1
    back[:] = 2
    np.testing.assert_array_equal(xp.numpy(x), np.zeros(3))


def test_arrays_are_the_backends_own(xp, device):
    x = xp.array(np.zeros((2, 3), "float32"))
    assert type(x).__module__.partition(".")[0] in {"numpy": "numpy", "torch": "torch", "jax": "jaxlib jax"}[xp.name]
    if xp.name != "numpy":
        assert device in str(x.device).replace("Cuda", "cuda").lower()
