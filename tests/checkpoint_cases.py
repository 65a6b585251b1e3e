"""Tensors in which a mistake of a checkpoint format shows: every dtype, no size, no axes, odd memory, names, ties."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from einops_arch.checkpoints.tensors import DTYPES
from einops_arch.layouts.arrays import same_bits

ALL_DTYPES = tuple(name for name in DTYPES if name != "complex128")


def numpy_name(name):
    return np.dtype(getattr(ml_dtypes, name, name))


def random_bits(dtype, shape, seed=0):
    """Any bits at all: NaN payloads, infinities, subnormals and negative zeros."""
    dtype = numpy_name(dtype)
    rng = np.random.default_rng(seed)
    if dtype.name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(rng.bytes(size), dtype).reshape(shape)


def tensors(dtypes=ALL_DTYPES):
    found = {f"by.dtype.{name}": random_bits(name, (3, 5), seed) for seed, name in enumerate(dtypes)}
    whole = random_bits("float32", (4, 6, 10), 99)
    found |= {
        "0": np.float32(2.5).reshape(()),
        "layers.10.weight": whole[1:3, ::2, 3],
        "layers.9.weight": whole.transpose(2, 0, 1),
        "fortran": np.asfortranarray(random_bits("float64", (3, 5, 2), 7)),
        "backwards": random_bits("int16", (7,), 8)[::-1],
        "empty": np.zeros((0, 3), "float32"),
        "none.of.2": np.zeros((2, 0), "int64"),
        "a b/c": np.arange(3, dtype="int32"),
        "größe.重み": np.arange(2, dtype="uint8"),
        "tied.first": whole,
    }
    found["tied.second"] = found["tied.first"]
    return found


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert same_bits(found[name], value), name
