"""Layout patterns and the table of rules, with numpy alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einops_arch.errors import PatternError, PortError, ShapeError
from einops_arch.layouts.arrays import dtype_kind, same_bits
from einops_arch.layouts.patterns import LayoutPattern
from einops_arch.layouts.plan import ConstantStep, Leaf, Move, SumStep
from einops_arch.layouts.rules import _RULES, Row, Sum, find_rule, register_layout
from einops_arch.layouts.state import hold_state


@pytest.mark.parametrize(
    ("pattern", "shape", "sizes", "expected"),
    [
        ("o i -> i o", (5, 3), {}, (3, 5)),
        ("o i *k -> *k i o", (5, 3, 2), {}, (2, 3, 5)),
        ("o i *k -> *k i o", (5, 3, 2, 7), {}, (2, 7, 3, 5)),
        ("o i *k -> *k i o", (5, 3, 2, 7, 11), {}, (2, 7, 11, 3, 5)),
        ("o i *k -> *k i o", (5, 3), {}, (3, 5)),
        ("*axes -> *axes", (), {}, ()),
        ("(n heads k) e -> n e heads k", (18, 5), {"n": 3, "heads": 2}, (3, 5, 2, 3)),
        ("(*o) (*i) -> *i *o", (20, 6), {"o": (4, 5), "i": (2, 3)}, (2, 3, 4, 5)),
        ("1 -> ", (1,), {}, ()),
        ("o (c h w) -> (h w c) o", (7, 30), {"c": 2, "h": 3}, (30, 7)),
    ],
)
def test_a_pattern_makes_shapes_and_its_inverse_takes_them_back(pattern, shape, sizes, expected):
    parsed = LayoutPattern.parse(pattern)
    assert parsed.shape(shape, sizes) == expected
    array = np.arange(math.prod(shape)).reshape(shape)
    moved = parsed.apply(array, sizes)
    assert moved.shape == expected
    back_sizes = (
        {"o": (4, 5), "i": (2, 3)} if "*o" in pattern else {"c": 2, "h": 3, "w": 5} if "h w c" in pattern else sizes
    )
    assert parsed.inverse().shape(expected, back_sizes) == shape
    assert same_bits(parsed.inverse().apply(moved, back_sizes), array)


def test_a_pattern_moves_elements_where_index_arithmetic_says():
    kernel = np.arange(5 * 3 * 2 * 7).reshape(5, 3, 2, 7)
    moved = LayoutPattern.parse("o i *k -> *k i o").apply(kernel)
    for o, i, h, w in np.ndindex(kernel.shape):
        assert moved[h, w, i, o] == kernel[o, i, h, w]


@given(
    st.permutations(["a", "b", "c", "d"]),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.sampled_from(["uint8", "float16", "float32", "float64", "int64"]),
    st.integers(0, 2**32 - 1),
)
def test_round_trips_keep_every_bit_of_any_permutation(names, shape, dtype, seed):
    pattern = LayoutPattern.parse(f"a b c d -> {' '.join(names)}")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    array = np.random.default_rng(seed).integers(0, 256, size, np.uint8).view(dtype).reshape(shape)
    assert same_bits(pattern.inverse().apply(pattern.apply(array)), array)


def test_an_identity_gives_back_the_array_itself():
    array = np.zeros((2, 3))
    assert LayoutPattern.parse("*axes -> *axes").apply(array) is array


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("o i", "layout pattern: expected two sides and one '->' between them\n  o i\n  ^"),
        ("a -> b -> a", "layout pattern: expected two sides and one '->' between them\n  a -> b -> a\n    ^"),
        ("o i -> i", "layout pattern: axis 'o' is on the left side only\n  o i -> i\n  ^"),
        ("i -> i o", "layout pattern: axis 'o' is on the right side only\n  i -> i o\n         ^"),
        ("o o -> o", "layout pattern: axis 'o' is there twice\n  o o -> o\n    ^"),
        ("(o i -> o i", "layout pattern: a parenthesis is not closed\n  (o i -> o i\n      ^"),
        ("o) -> o", "layout pattern: a parenthesis closes that was not opened\n  o) -> o\n   ^"),
        ("((o)) -> o", "layout pattern: a parenthesis inside a parenthesis\n  ((o)) -> o\n   ^"),
        ("o % -> o", "layout pattern: expected an axis name, '*name', '1' or a parenthesis\n  o % -> o\n    ^"),
    ],
)
def test_a_pattern_that_does_not_parse_shows_the_place(pattern, message):
    with pytest.raises(PatternError) as caught:
        LayoutPattern.parse(pattern)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("pattern", "shape", "sizes", "message"),
    [
        ("o i -> i o", (2, 3, 4), {}, "layout pattern 'o i -> i o' needs 2 axes, received 3 in shape (2, 3, 4)"),
        (
            "(heads k) e -> e heads k",
            (7, 5),
            {"heads": 2},
            (
                "layout pattern '(heads k) e -> e heads k' needs axis '(heads k)' divisible by 2, "
                "received 7 in shape (7, 5)"
            ),
        ),
        ("o i *k -> *k i o", (2,), {}, "layout pattern 'o i *k -> *k i o' needs at least 2 axes, received 1"),
    ],
)
def test_a_shape_that_does_not_fit_says_what_was_expected(pattern, shape, sizes, message):
    with pytest.raises(ShapeError) as caught:
        LayoutPattern.parse(pattern).shape(shape, sizes)
    assert str(caught.value) == message


def test_a_split_with_no_size_is_refused():
    with pytest.raises(PatternError, match=r"needs the size of heads or k$"):
        LayoutPattern.parse("(heads k) -> heads k").shape((6,))


def test_every_rule_holds_patterns_that_parse_and_invert():
    fixed = [row for rule in _RULES.values() if not callable(rule.rows) for row in rule.rows if isinstance(row, Row)]
    assert len(fixed) > 20
    for row in fixed:
        pattern = LayoutPattern.parse(row.pattern)
        assert pattern.inverse().inverse() == pattern


def test_a_rule_of_ones_own_is_checked_kept_and_not_replaced_by_accident():
    class Affine:
        pass

    class Special(Affine):
        pass

    register_layout(Affine, [("weight", "kernel", "o i -> i o"), Row("bias", "offset")])
    try:
        rule = find_rule(Special)
        assert rule is not None
        assert rule.rows == (Row("weight", "kernel", "o i -> i o"), Row("bias", "offset"))
        with pytest.raises(ValueError, match="has a rule already; likely fix: replace=True"):
            register_layout(Affine, [])
        register_layout(Affine, [], replace=True)
        assert find_rule(Affine).rows == ()
        with pytest.raises(PatternError, match="axis 'i' is on the left side only"):
            register_layout("other.Affine", [("weight", "kernel", "o i -> o")])
    finally:
        del _RULES[f"{Affine.__module__}.{Affine.__qualname__}"]


def test_a_type_without_a_rule_has_none():
    assert find_rule(dict) is None


def _leaf(path, array):
    return Leaf(path, array.shape, array.dtype, lambda: array)


def test_a_sum_is_declared_to_lose_information():
    leaf = _leaf("cell.bias", np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    step = SumStep(("bias_ih", "bias_hh"), (leaf,), zero_gate=(2, 3))
    assert step.layout == "sum of both"
    state = step.to_torch()
    np.testing.assert_array_equal(state["bias_ih"], leaf.read())
    np.testing.assert_array_equal(state["bias_hh"], np.zeros(6))
    (total,) = step.to_flax({"bias_ih": np.arange(6.0), "bias_hh": np.array([1.0, 1, 1, 1, 0, 0])})
    np.testing.assert_array_equal(total, [1, 2, 3, 4, 4, 5])
    with pytest.raises(PortError, match="bias_hh: expected gate 2 of 3 to be zero"):
        step.to_flax({"bias_ih": np.arange(6.0), "bias_hh": np.arange(6.0)})


def test_sums_are_the_only_rows_that_compute():
    sums = [row for rule in _RULES.values() if not callable(rule.rows) for row in rule.rows if isinstance(row, Sum)]
    assert {row.torch for row in sums} == {("bias_ih", "bias_hh")}


def test_integers_that_jax_narrows_are_checked_first():
    leaf = _leaf("bn.num_batches_tracked", np.array(3, np.int32))
    step = Move("bn.num_batches_tracked", (leaf,), LayoutPattern.parse("*axes -> *axes"), {}, dtype="int64")
    assert step.to_torch()["bn.num_batches_tracked"].dtype == np.int64
    (narrow,) = step.to_flax({"bn.num_batches_tracked": np.array(2**31 - 1)})
    assert narrow.dtype == np.int32
    assert narrow == 2**31 - 1
    with pytest.raises(PortError, match="expected integers that fit int32, received 2147483648"):
        step.to_flax({"bn.num_batches_tracked": np.array(2**31)})


def test_a_constant_is_written_and_never_read():
    step = ConstantStep("bn.num_batches_tracked", 0, "int64")
    assert step.to_flax({}) == []
    assert step.to_torch()["bn.num_batches_tracked"].dtype == np.int64


def test_every_problem_of_a_state_is_in_one_message():
    expected = {
        "fc.weight": ((5, 3), "floating-point"),
        "fc.bias": ((5,), "floating-point"),
        "decoder.weight": ((7, 2), "floating-point"),
        "encoder.weight": ((7, 2), "floating-point"),
        "steps": ((), "integer"),
    }
    state = {
        "fc.weight": np.zeros((3, 5)),
        "fc.bais": np.zeros(5),
        "encoder.weight": np.zeros((7, 2)),
        "decoder.weight": np.ones((7, 2)),
        "steps": np.zeros(()),
    }
    held = hold_state(expected, state, [["encoder.weight", "decoder.weight"]])
    with pytest.raises(PortError) as error:
        held.check("load into Model")
    assert str(error.value) == (
        "load into Model: 5 problems, nothing was changed\n"
        "  fc.bias: missing, expected shape (5,)\n"
        "  fc.bais: not in the model; did you mean fc.bias?\n"
        "  fc.weight: expected shape (5, 3), received (3, 5); the axes are permuted: a state is in PyTorch's layout\n"
        "  steps: expected integer numbers, received float64\n"
        "  decoder.weight: expected the same values as encoder.weight, which the model ties to it"
    )


def test_kinds_of_numbers():
    assert [dtype_kind(name) for name in ("float16", "int8", "uint64", "bool", "complex64")] == [
        "floating-point",
        "integer",
        "integer",
        "boolean",
        "complex",
    ]


def test_same_bits_sees_the_sign_of_zero_and_the_payload_of_nan():
    zero, nan = np.zeros(2, np.float32), np.array([np.nan], np.float32)
    payload = (nan.view(np.uint32) | 1).view(np.float32)
    assert same_bits(zero, zero.copy())
    assert not same_bits(zero, -zero)
    assert not same_bits(nan, payload)
    assert not same_bits(zero, zero.astype(np.float64))
