"""Every core on every array backend against loops over indices: moves bit for bit, sums within rounding."""

from __future__ import annotations

import ast
import inspect
import math
import re
from pathlib import Path

import numpy as np
import numpy_oracles as oracles
import pytest
from functional_cases import EMPTY, FACTORS, FORMATS, MOVES, ONES, SMALL, SPACES

from einops_arch import functional
from einops_arch.errors import DtypeError

# The losses are not moves, and have tests of their own.
CORES = sorted(set(functional.__all__) - {"AXES", "content_loss", "style_loss", "total_variation"})
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
NORMALIZE = ("spatial", "full", "none")


def dtype_of(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def bits(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a).view(f"u{a.dtype.itemsize}")


def random_bits(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Any bit pattern, so with NaN payloads, infinities, -0 and denormals among them."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.random.default_rng(0).integers(0, 2 if dtype.kind == "b" else 256, size, np.uint8)
    return raw.view(dtype).reshape(shape)


def assert_same_bits(result: np.ndarray, expected: np.ndarray) -> None:
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(bits(result), bits(expected))


def assert_moved(xp, case, dtype: np.dtype) -> None:
    x = random_bits(case.shape, dtype)
    assert_same_bits(xp.numpy(case.call(xp.array(x))), case.expected(x))


def test_every_core_is_tried():
    assert {case.core for case in MOVES} | {"gram_matrix"} == set(CORES)
    assert {case.core for case in SMALL} == {case.core for case in MOVES}


@pytest.mark.parametrize("case", MOVES, ids=str)
def test_a_move_equals_its_oracle_bit_for_bit(xp, case):
    assert_moved(xp, case, np.dtype(np.float32))


@pytest.mark.parametrize("name", [*DTYPES, "bfloat16"])
def test_every_core_keeps_every_bit_of_every_dtype(xp, name):
    assert set(DTYPES) <= set(xp.dtypes)
    if name not in xp.dtypes:
        assert xp.name == "numpy"  # which has a bfloat16 only where ml_dtypes is installed
        return
    arrays = [random_bits(case.shape, dtype_of(name)) for case in SMALL]

    def every_core(xs):
        return [case.call(x) for case, x in zip(SMALL, xs, strict=True)]

    if xp.name == "jax":  # one program is compiled instead of three for every core
        import jax

        every_core = jax.jit(every_core)
    results = every_core([xp.array(x) for x in arrays])
    for case, x, result in zip(SMALL, arrays, results, strict=True):
        assert_same_bits(xp.numpy(result), case.expected(x))


@pytest.mark.parametrize("case", EMPTY, ids=str)
def test_an_empty_batch_stays_empty(xp, case):
    result = xp.numpy(case.call(xp.array(np.zeros(case.shape, np.int64))))
    assert 0 in result.shape
    assert result.shape == case.source.shape


@pytest.mark.parametrize("case", ONES, ids=str)
def test_axes_of_size_one_stay(xp, case):
    assert_moved(xp, case, np.dtype(np.float64))


def gram_limit(x: np.ndarray, normalize: str, data_format: str, dtype: np.dtype) -> np.ndarray:
    """How far rounding can take each entry: a sum of n products in any order, then the divisions.

    The bound gamma(n) = n u / (1 - n u) times the sum of absolute products (Higham, "Accuracy and Stability of
    Numerical Algorithms", 3.1), with two roundings for each division, of the divisor and of the quotient, and
    four for the oracle's own float64. Each product may be flushed to zero below the smallest normal number.
    """
    if dtype.name == "bfloat16":
        import ml_dtypes

        info = ml_dtypes.finfo(dtype)
    else:
        info = np.finfo(dtype)
    positions = math.prod(x.shape[2:] if data_format == "channels_first" else x.shape[1:-1])
    roundings = (positions + 2 * (x.ndim - 1) + 4) * float(info.eps) / 2
    magnitude = oracles.gram_matrix(np.abs(x), normalize=normalize, data_format=data_format)
    return roundings / (1 - roundings) * magnitude + positions * float(info.smallest_normal)


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gram_matrix_equals_its_oracle_within_rounding(xp, axes, data_format, normalize):
    space = SPACES[axes]
    shape = (2, 3, *space) if data_format == "channels_first" else (2, *space, 3)
    values = np.random.default_rng(0).normal(size=shape)
    # The narrow dtypes differ from the wide ones in their rounding only; one number of axes says it.
    for name in ("float64", "float32", *(("float16", "bfloat16") if axes == 2 else ())):
        if name not in xp.dtypes:
            continue
        x = values.astype(dtype_of(name))
        result = xp.numpy(functional.gram_matrix(xp.array(x), normalize=normalize, data_format=data_format))
        expected = oracles.gram_matrix(x, normalize=normalize, data_format=data_format)
        limit = gram_limit(x.astype(np.float64), normalize, data_format, x.dtype)
        # numpy has no product of bfloat16 matrices and makes it of float32 ones.
        widened = (xp.name, name) == ("numpy", "bfloat16")
        assert result.dtype == (np.float32 if widened else x.dtype)
        assert result.shape == expected.shape
        assert np.all(np.abs(result.astype(np.float64) - expected) <= limit), name


@pytest.mark.parametrize("data_format", FORMATS)
def test_gram_matrix_of_an_empty_batch_and_of_one_number(xp, data_format):
    shape = (0, 3, 5, 7) if data_format == "channels_first" else (0, 5, 7, 3)
    empty = functional.gram_matrix(xp.array(np.zeros(shape, np.float32)), data_format=data_format)
    assert tuple(empty.shape) == (0, 3, 3)
    one = functional.gram_matrix(xp.array(np.full((1, 1, 1, 1), 3.0)), data_format=data_format)
    np.testing.assert_array_equal(xp.numpy(one), np.full((1, 1, 1), 9.0))


def test_gram_matrix_divides_by_more_positions_than_float16_can_count(xp):
    # 512 * 512 is infinity in float16; each sum is 4, each quotient 4 / 512 / 512.
    x = np.full((1, 2, 512, 512), 2.0**-8, np.float16)
    result = xp.numpy(functional.gram_matrix(xp.array(x)))
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, np.full((1, 2, 2), 2.0**-16, np.float16))


INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("normalize", NORMALIZE)
def test_gram_matrix_of_integers_is_that_of_the_same_floating_point_numbers(xp, name, normalize):
    if name not in xp.dtypes:
        return
    x = whole_numbers(name, (2, 3, 5, 7))
    result = xp.numpy(functional.gram_matrix(xp.array(x), normalize=normalize))
    assert result.dtype.kind == "f"
    expected = oracles.gram_matrix(x.astype(np.float64), normalize=normalize, data_format="channels_first")
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("name", INTEGERS)
def test_losses_of_integers_are_those_of_the_same_floating_point_numbers(xp, name):
    if name not in xp.dtypes:
        return
    x, y = whole_numbers(name, (2, 3, 5, 7)), whole_numbers(name, (2, 3, 5, 7), seed=1)
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    variation = sum(np.square(np.diff(wide_x, axis=axis)).sum() for axis in (2, 3)) / 2
    grams = [oracles.gram_matrix(value, normalize="none", data_format="channels_first") for value in (wide_x, wide_y)]
    received = {
        "total_variation": (functional.total_variation(xp.array(x)), variation),
        "content_loss": (functional.content_loss(xp.array(x), xp.array(y)), np.mean((wide_x - wide_y) ** 2)),
        "style_loss": (
            functional.style_loss(
                [xp.array(x)], [functional.gram_matrix(xp.array(y), normalize="none")], normalize="none"
            ),
            np.mean((grams[0] - grams[1]) ** 2),
        ),
    }
    for core, (loss, expected) in received.items():
        value = xp.numpy(loss)
        assert value.dtype.kind == "f", core
        np.testing.assert_allclose(value, expected, rtol=1e-5, err_msg=core)


@pytest.mark.parametrize("core", ["gram_matrix", "content_loss", "style_loss", "total_variation"])
def test_complex_numbers_are_refused_by_the_cores_that_sum(xp, core):
    x = xp.array(np.ones((1, 2, 3, 4), np.complex64))
    calls = {
        "gram_matrix": lambda: functional.gram_matrix(x),
        "content_loss": lambda: functional.content_loss(x, x),
        "style_loss": lambda: functional.style_loss([x], [x[:, :, :2, 0]]),
        "total_variation": lambda: functional.total_variation(x),
    }
    with pytest.raises(DtypeError, match=r"needs real numbers, received .*complex64"):
        calls[core]()


def whole_numbers(name, shape, seed=0):
    """Of the whole range of eight bits, and beyond that of nine."""
    rng = np.random.default_rng(seed)
    if name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    low, high = (0, 256) if name == "uint8" else (-128, 128) if name == "int8" else (-300, 300)
    return rng.integers(low, high, shape).astype(name)


def test_what_does_not_fit_is_never_made_to_fit():
    # 16 images of 20x20 leave the old ConvNet's convolutions as 20 channels of 2x2; it expects 4x4.
    features = np.random.default_rng(0).normal(size=(16, 20, 2, 2))
    weight = np.ones((320, 50))

    old = features.reshape(-1, 320)
    assert (old @ weight).shape == (4, 50)  # four answers to sixteen images, and no error
    np.testing.assert_array_equal(old[0], features[:4].reshape(320))  # each one made of four of them

    vectors = functional.flatten_features(features)
    assert vectors.shape == (16, 80)
    with pytest.raises(ValueError, match="size 320 is different from 80"):
        vectors @ weight
    with pytest.raises(functional._checks.ShapeError) as caught:
        functional.unflatten_features(vectors, 20, (4, 4))
    assert str(caught.value) == (
        "unflatten_features: pattern 'b (c h w) -> b c h w' with c=20, h=4, w=4 needs 320 features, "
        "received 80 in shape (16, 80)"
    )


@pytest.fixture
def patterns(monkeypatch):
    """Every pattern that a core hands to einops while the test runs."""
    seen = []

    def recorded(operation):
        def call(x, pattern, **sizes):
            seen.append(pattern)
            return operation(x, pattern, **sizes)

        return call

    for core in CORES:
        module = inspect.getmodule(getattr(functional, core))
        for name in {"rearrange", "repeat"} & set(vars(module)):
            monkeypatch.setattr(module, name, recorded(getattr(module, name)))
    return seen


def test_patterns_use_the_names_of_the_glossary(patterns):
    for case in MOVES:
        case.call(np.zeros(case.shape))
    functional.gram_matrix(np.zeros((2, 3, 5, 7)))
    names = set(re.findall(r"[a-z]\w*", " ".join(patterns)))
    assert {"b", "c", "heads", "r3", "p3", "layer"} <= names <= set(functional.AXES)


@pytest.mark.parametrize("core", [core for core in CORES if core != "gram_matrix"])
def test_a_docstring_begins_with_the_pattern_that_runs(patterns, core):
    documented = re.match(r"`(.+ -> .+?)`", getattr(functional, core).__doc__)
    for case in MOVES:
        if case.core == core:
            case.call(np.zeros(case.shape))
    assert documented is not None
    assert documented[1] in patterns


def test_the_cores_name_no_framework_and_import_einops_only():
    for file in Path(functional.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                imported.update(alias.name.partition(".")[0] for alias in node.names)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert imported <= {"__future__", "collections", "difflib", "einops", "einops_arch", "typing"}, file
        assert names.isdisjoint({"torch", "jax", "jnp", "numpy", "np"}), file


def test_factor_one_changes_nothing(xp):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    for core in (functional.depth_to_space, functional.space_to_depth, functional.upsample_nearest):
        np.testing.assert_array_equal(xp.numpy(core(xp.array(x), 1)), x)


def test_one_number_and_a_list_stand_for_a_factor_per_axis():
    x = np.arange(2 * 18 * 5 * 7).reshape(2, 18, 5, 7)
    expected = functional.depth_to_space(x, (3, 3))
    for factor in (3, np.int64(3), [3, 3], (np.int64(3), 3)):
        np.testing.assert_array_equal(functional.depth_to_space(x, factor), expected)
    assert math.prod(FACTORS[2]) != 9  # the other tests have a factor that differs by axis
